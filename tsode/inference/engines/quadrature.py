"""Quadrature over one or two coordinates: the trapezoid rule on a grid that is dense at the modes and reaches far."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.inference.draws import Posterior, resample
from tsode.inference.evaluation import Evaluator
from tsode.inference.mixture import laplace_mixture
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings

__all__ = ["ACCURATE", "MOST_AXES", "answer_by_quadrature"]

MOST_AXES = 2
ACCURATE = 1e-3  # change by the last refinement up to which an answer is used
TOLERANCE = (
    1e-7  # change at which refinement ends; what is left after it is far less, for the rule converges geometrically
)
N_COARSE, LEAST_GRID = 33, (257, 65)  # values per axis at first, and at the end with one axis and with two
FIRST, STRIDE, FARTHEST = 3.0, 1.5, 20.0  # ends of the grid, and their moves, in the coordinates of the grid
EDGE, DEAD = 25.0, 32.0  # nats below the top to which edges have to be, and from which they may come nearer
MOST_MOVES = 16


class _Axes:
    """Coordinates in which the grid is even: along the principal axes, and there dense about each mode.

    Along an axis ``t = sum_m w_m asinh((y - y_m) / s_m)``: straight within a mode, logarithmic far away, where heavy
    tails become exponential ones, for which the trapezoid rule converges geometrically (Trefethen & Weideman 2014).
    """

    def __init__(self, modes: Modes) -> None:
        law = laplace_mixture(modes)
        weight = law.weight[..., None]
        self.centre = (weight * modes.point).sum(dim=1)
        apart = modes.point - self.centre[:, None]
        spread = (weight[..., None] * (modes.covariance + apart[..., :, None] * apart[..., None, :])).sum(dim=1)
        self.frame = torch.linalg.eigh(spread)[1]  # (g p p)
        used = law.weight > 0
        self.share = used / used.sum(dim=1, keepdim=True)
        self.place = torch.einsum("gmp,gpq->gqm", apart, self.frame)
        along = self.frame[:, None].mT @ modes.covariance @ self.frame[:, None]
        self.width = along.diagonal(dim1=-2, dim2=-1).clamp(min=1e-300).sqrt().mT  # (g p m)

    def select(self, problems: Tensor) -> _Axes:
        chosen = object.__new__(_Axes)
        chosen.__dict__.update({name: value[problems] for name, value in self.__dict__.items()})
        return chosen

    def along(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Places along the axes and the log of their slope, by bisection: (g k p) -> (g k p), (g k p)."""
        place, width, share = self.place[:, None], self.width[:, None], self.share[:, None, None]
        reach = place + width * torch.sinh(t[..., None])  # where t would be if there were this mode alone
        low, high = reach.amin(dim=-1), reach.amax(dim=-1)
        for _ in range(80 if reach.shape[-1] > 1 else 0):
            middle = 0.5 * (low + high)
            is_below = (share * torch.asinh((middle[..., None] - place) / width)).sum(dim=-1) < t
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        y = 0.5 * (low + high)
        return y, -(share / torch.hypot(width, y[..., None] - place)).sum(dim=-1).log()

    def to_points(self, y: Tensor) -> Tensor:
        """Points at places along the axes, (g k p)."""
        return self.centre[:, None] + y @ self.frame.mT

    def grid(self, low: Tensor, high: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Even grid between ends (g p): coordinates (g n^p p), points (g n^p p) and log Jacobians (g n^p)."""
        p = low.shape[1]
        share = torch.linspace(0.0, 1.0, n, dtype=low.dtype)[:, None]
        t = low[:, None] + share * (high - low)[:, None]
        y, log_slope = self.along(t)
        every = torch.cartesian_prod(*[torch.arange(n)] * p).reshape(-1, p)
        own = torch.arange(p)
        return t[:, every, own], self.to_points(y[:, every, own]), log_slope[:, every, own].sum(dim=-1)


def answer_by_quadrature(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Nodes and weights of the trapezoid rule, refined until evidence, means and covariances stand still.

    The standard error of the evidence is the last change. Draws are of the cells around the nodes.
    """
    evaluator.stage("quadrature")
    g, _, p = modes.point.shape
    axes = _Axes(modes)
    low, high = _ends(evaluator, axes, p)
    most = settings.n_grid if p > 1 else settings.n_grid**2
    left, before = torch.arange(g), torch.full((g, 1 + p + p * p), torch.nan, dtype=low.dtype)
    log_evidence, error, share_failed = (low.new_full((g,), torch.nan) for _ in range(3))
    nodes, log_weights = [torch.zeros(0)] * g, [torch.zeros(0)] * g
    cells = [torch.zeros(0)] * g
    n = N_COARSE
    while len(left) and n <= most:
        t, u, log_slope = axes.select(left).grid(low[left], high[left], n)
        cell = (high[left] - low[left]) / (n - 1)
        value = evaluator.select(left).value(u)
        total = value + log_slope
        weight = torch.log_softmax(total, dim=1)
        found = _moments(u, weight, total.logsumexp(dim=1) + cell.log().sum(dim=-1))
        change = _change(found, before[left], p)
        log_evidence[left], error[left], before[left] = found[:, 0], change, found
        share_failed[left] = (~value.isfinite()).double().mean(dim=1)
        is_done = (change < TOLERANCE) & (n >= LEAST_GRID[p - 1]) | (2 * n - 1 > most)
        for own_place, place in enumerate(left.tolist()):
            if is_done[own_place]:
                nodes[place], log_weights[place], cells[place] = t[own_place], weight[own_place], cell[own_place]
        left, n = left[~is_done], 2 * n - 1
    n_most = max(map(len, nodes))
    t = torch.stack([torch.cat([x, x[:1].expand(n_most - len(x), -1)]) for x in nodes])
    weights = torch.stack([torch.cat([w, w.new_full((n_most - len(w),), -torch.inf)]) for w in log_weights])
    streams = evaluator.streams.branch("draws")
    drawn = resample(t, weights, streams, settings.n_chains, settings.n_draws).flatten(1, 2)
    jitter = (streams.branch("cells").uniform(*drawn.shape[1:]) - 0.5) * torch.stack(cells)[:, None]
    draws = axes.to_points(axes.along(drawn + jitter)[0]).reshape(g, settings.n_chains, -1, p)
    exact = torch.full((g, p), float(settings.n_draws), dtype=low.dtype)
    return Posterior(
        evaluator.names,
        ("quadrature",) * g,
        draws,
        axes.to_points(axes.along(t)[0]),
        weights,
        modes,
        log_evidence,
        error,
        torch.full_like(exact, torch.nan),
        exact,
        exact.clone(),
        torch.full_like(error, torch.nan),
        share_failed,
        evaluator.effort,
        tuple(
            ()
            if change <= ACCURATE
            else (f"the quadrature has not settled: its last refinement changed it by {change:.1g}",)
            for change in error.tolist()
        ),
    )


def _ends(evaluator: Evaluator, axes: _Axes, p: int) -> tuple[Tensor, Tensor]:
    """Ends of the grid on each side, outside of which nothing is left."""
    g = evaluator.n_problems
    low = axes.centre.new_full((g, p), -FIRST)
    high = -low
    left = torch.arange(g)
    for _ in range(MOST_MOVES):
        _, u, log_slope = axes.select(left).grid(low[left], high[left], N_COARSE)
        total = (evaluator.select(left).value(u) + log_slope).reshape(-1, *[N_COARSE] * p)
        total = total - total.flatten(1).amax(dim=1).reshape(-1, *[1] * p)
        is_moved = torch.zeros(len(left), dtype=torch.bool)
        for axis in range(p):
            profile = total if p == 1 else total.amax(dim=2 - axis)  # the best of each value along the axis
            for end, sign in ((low, -1.0), (high, 1.0)):
                own = profile if sign < 0 else profile.flip(1)
                here = end[left, axis]
                is_alive = own[:, 0] > -EDGE
                dead = (own < -DEAD).long().cumprod(dim=1).sum(dim=1)  # values from the edge on
                cell = (high[left, axis] - low[left, axis]) / (N_COARSE - 1)
                moved = torch.where(is_alive, here + sign * STRIDE, here - sign * (dead - 1).clamp(min=0) * cell)
                moved = moved.clamp(-FARTHEST, FARTHEST)
                is_moved |= is_alive & (moved != here)
                end[left, axis] = moved
        left = left[is_moved]
        if not len(left):
            break
    return low, high


def _moments(u: Tensor, log_weights: Tensor, log_evidence: Tensor) -> Tensor:
    """Log evidence, means and covariances in one row: (g 1 + p + p^2)."""
    weight = log_weights.exp()
    mean = torch.einsum("gk,gkp->gp", weight, u)
    apart = u - mean[:, None]
    covariance = torch.einsum("gk,gkp,gkq->gpq", weight, apart, apart)
    return torch.cat([log_evidence[:, None], mean, covariance.flatten(1)], dim=1)


def _change(found: Tensor, before: Tensor, p: int) -> Tensor:
    """Largest change of the evidence, and of means and covariances in units of standard deviations."""
    sd = found[:, 1 + p :: p + 1].clamp(min=1e-300).sqrt()
    unit = torch.cat([torch.ones_like(sd[:, :1]), sd, (sd[:, :, None] * sd[:, None]).flatten(1)], dim=1)
    return ((found - before) / unit).abs().amax(dim=1).nan_to_num(nan=math.inf)
