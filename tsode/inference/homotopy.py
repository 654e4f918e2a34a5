"""Homotopy from segments to whole series: modes are sought with gaps between segments, which are closed in stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.ascent import FIRST_STEP, along_axes
from tsode.inference.engines.mode import Starts, choose_starts
from tsode.inference.evaluation import INTERRUPTED, MOST_SLOPES, Evaluator, Stopped
from tsode.inference.known_density import KnownDensity
from tsode.inference.modes import Prior
from tsode.inference.segments import Relaxed, SegmentedDensity
from tsode.inference.settings import Settings

__all__ = ["Start", "close_gaps", "search_by_segments"]

STAGES = (0.1, 0.02, 3e-3, 3e-4, 1e-5)  # standard deviation of gaps, in parts of the range of a state
STEPS_OF_A_STAGE, GAIN = 6, 0.1  # at most, and nats that the next step must promise
LADDER = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0)  # damping, in parts of the curvature of each coordinate
FARTHEST = 2.0  # that a coordinate moves in a step: standard deviations of the prior, and ranges of a state
STEP = (1e-5, 1e-2, 0.1)  # of a difference: least and most, in the same units, and in those of the width found
FLAT = 1e-13  # least curvature, of coordinates of curvature 1
FEWEST = 4  # starts that go on to the last stage
KEPT = 0.5  # of the starts after a stage
MOST_DRAWS, SHARE_OF_STARTS = 1024, 0.25  # of the prior, and of the starts of a search without segments


class Start(NamedTuple):
    """Parameters and states of segments of some starts.

    Parameters
    ----------
    u : Tensor[g b p]
        In units of the prior.
    x : Tensor[g b s q d]
    """

    u: Tensor
    x: Tensor


def search_by_segments(evaluator: Evaluator, prior: Prior, settings: Settings) -> Starts:
    """Starts for whole series: where segments lead when their gaps are closed.

    Raises
    ------
    ParameterError
        If the density is not that of a known system, which alone can be cut.
    """
    density = evaluator.density
    if not isinstance(density, KnownDensity):
        raise ParameterError(
            f"segments={settings.segments!r} cuts the series of a KnownDensity, but this is a "
            f"{type(density).__name__}: leave it out."
        )
    evaluator.stage("segments")
    assert settings.segments is not None
    segmented = SegmentedDensity(density, settings.segments)
    draws = prior.draws[:, :MOST_DRAWS]
    found, x = evaluator.ask(lambda: segmented.nudged(draws), draws.shape[0] * draws.shape[1], False)
    value = merit(found, STAGES[0])
    u = draws / prior.scale[:, None]
    n_starts = max(FEWEST, round(SHARE_OF_STARTS * settings.n_starts))
    places = choose_starts(u, value, n_starts)
    every = torch.arange(len(u))[:, None]
    return close_gaps(evaluator, segmented, Start(u[every, places], x[every, places]), prior.scale)


@dataclass(frozen=True)
class _Model:
    """Local model of the relaxed density: likelihood by slope and curvature, gaps by their value and derivatives.

    All coordinates in one row: the parameters, then the states.
    """

    log_prob: Tensor  # (g b)
    gaps: Tensor  # (g b k)
    slope: Tensor  # (g b c)
    curvature: Tensor  # (g b c c)
    jacobian: Tensor  # (g b k c)


def close_gaps(evaluator: Evaluator, density: SegmentedDensity, start: Start, scale: Tensor) -> Starts:
    """Climb from each start with gaps that are free at first and closed at the end.

    Newton's steps with gaps by Gauss and Newton, so that the last stages are those of Bock (1983), who holds gaps to
    zero by linear constraints. A step is two calls: values and slopes around where each start stands, and values at all
    dampings. Derivatives by states of all segments come at once, since each segment sees its own alone.

    Parameters
    ----------
    evaluator : Evaluator
    density : SegmentedDensity
    start : Start
    scale : Tensor[g p]
        Unit of each parameter.
    """
    p = start.u.shape[2]
    closed, of_whole = (
        torch.full_like(start.u[:, 0, 0], torch.nan),
        torch.diag_embed(torch.full_like(start.u, FIRST_STEP)),
    )
    step = Start(torch.full_like(start.u, STEP[1] * 0.1), torch.full_like(start.x, STEP[1] * 0.1))
    try:
        for stage in STAGES:
            value = closed[:, None]
            for _ in range(STEPS_OF_A_STAGE):
                model = _look_around(evaluator, density, start, step, scale)
                start, value, promised, step = _move(evaluator, density, start, model, scale, stage)
                if bool((promised < GAIN).all()):
                    break
            start, step, of_whole = _best(start, step, along_axes(_whole_curvature(model, p)), value)
        closed = value.amax(dim=1)
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
    return Starts(start.u, of_whole, closed)


def _best(start: Start, step: Start, of_whole: Tensor, value: Tensor) -> tuple[Start, Start, Tensor]:
    """The better starts, with their steps."""
    b = value.shape[1]
    n = max(min(FEWEST, b), int(KEPT * b))
    order = value.argsort(dim=1, descending=True, stable=True)[:, :n]
    every = torch.arange(len(value))[:, None]
    kept, steps = (Start(one.u[every, order], one.x[every, order]) for one in (start, step))
    return kept, steps, of_whole[every, order]


def _whole_curvature(model: _Model, p: int) -> Tensor:
    """Curvature (g b p p) by the parameters if the states follow so that gaps stay as they are.

    Whole series are far more sensitive than segments where small errors grow.
    """
    by_parameters, by_states = model.jacobian[..., :p], model.jacobian[..., p:]
    # a cut that a series does not have moves nothing
    is_none = (by_states == 0).all(dim=-1)
    follows = torch.linalg.solve(by_states + torch.diag_embed(is_none.to(by_states)), -by_parameters)
    along = torch.cat([torch.eye(p, dtype=follows.dtype).expand(*follows.shape[:2], p, p), follows], dim=-2)
    return along.mT @ model.curvature @ along


def merit(found: Relaxed, stage: float) -> Tensor:
    """The relaxed density (g b) with gaps of this standard deviation."""
    return found.log_prob - 0.5 * (found.gaps / stage).square().flatten(2).sum(dim=-1).nan_to_num(nan=torch.inf)


def _look_around(evaluator: Evaluator, density: SegmentedDensity, at: Start, step: Start, scale: Tensor) -> _Model:
    g, b, p = at.u.shape
    s, q, d = at.x.shape[2:]
    r = 1 + p + d
    u = at.u[:, :, None].expand(-1, -1, r, -1).clone()
    x = at.x[:, :, None].expand(-1, -1, r, -1, -1, -1).clone()
    u[:, :, 1 : p + 1] += torch.diag_embed(step.u)
    for k in range(d):
        x[:, :, p + 1 + k, ..., k] += step.x[..., k]
    parts = max(1, MOST_SLOPES // (g * r * (q + 1)))
    found = [
        evaluator.ask(partial(_value_and_slope, density, u, x, scale), g * u.shape[1] * r, True)
        for u, x in zip(u.split(parts, dim=1), x.split(parts, dim=1))
    ]
    value, gaps, of_u, of_x = (torch.cat(parts, dim=1) for parts in zip(*found))

    is_fine = value.isfinite()

    def change(of: Tensor) -> Tensor:
        """What a quantity of the rows differs from that in the middle; nothing beside a failure."""
        of = of[:, :, 1:] - of[:, :, :1]
        return torch.where(is_fine[:, :, 1:].reshape(g, b, r - 1, *[1] * (of.dim() - 3)), of, 0.0)

    k = s * q * d
    du, dx, dgaps = change(of_u), change(of_x), change(gaps)
    of_cut = dgaps.new_zeros(g, b, s, q, d, s, q, d)  # derivatives of gaps by states
    curvature_x = torch.zeros_like(of_cut)
    every_s = torch.arange(s)[:, None]
    every_q = torch.arange(q)
    for c in range(d):
        own = step.x[..., c]  # (g b s q)
        moved = dgaps[:, :, p + c].clone()
        moved[..., c] += own
        of_cut[:, :, every_s, every_q[1:], :, every_s, every_q[:-1], c] = (
            moved[..., 1:, :] / own[..., :-1, None]
        ).permute(2, 3, 0, 1, 4)
        curvature_x[:, :, every_s, every_q, :, every_s, every_q, c] = (-dx[:, :, p + c] / own[..., None]).permute(
            2, 3, 0, 1, 4
        )
    is_cut = density.cuts.is_cut.reshape(g, s, q)[:, None, ..., None].expand(g, b, s, q, d).reshape(g, b, k)
    of_cut = of_cut.reshape(g, b, k, k) - torch.diag_embed(torch.where(is_cut, 1.0, 0.0).to(value))
    jacobian = torch.cat([(dgaps[:, :, :p].flatten(3) / step.u[..., None]).mT, of_cut], dim=-1)
    across = -(dx[:, :, :p].flatten(3) / step.u[..., None])  # (g b p k)
    of_parameters = -du[:, :, :p] / step.u[..., None]
    curvature = torch.cat(
        [torch.cat([of_parameters, across], dim=-1), torch.cat([across.mT, curvature_x.reshape(g, b, k, k)], dim=-1)],
        dim=-2,
    )
    return _Model(
        value[:, :, 0],
        gaps[:, :, 0].flatten(2),
        torch.cat([of_u[:, :, 0], of_x[:, :, 0].flatten(2)], dim=-1),
        0.5 * (curvature + curvature.mT),
        jacobian,
    )


def _move(
    evaluator: Evaluator, density: SegmentedDensity, at: Start, model: _Model, scale: Tensor, stage: float
) -> tuple[Start, Tensor, Tensor, Start]:
    """The best of all damped steps, its value, what was promised, and steps of differences that suit the place."""
    g, b, p = at.u.shape
    precision = stage**-2
    slope = model.slope - precision * (model.jacobian.mT @ model.gaps[..., None]).squeeze(-1)
    curvature = model.curvature + precision * model.jacobian.mT @ model.jacobian
    diagonal = curvature.diagonal(dim1=-2, dim2=-1).abs()
    unit = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    width, axes = torch.linalg.eigh(curvature * unit[..., None] * unit[..., None, :])
    width = width.abs().clamp(min=FLAT)
    along = (axes.mT @ (slope * unit)[..., None]).squeeze(-1)
    promised = 0.5 * (along.square() / width).sum(dim=-1)
    ladder = slope.new_tensor(LADDER)
    moves = (along[:, :, None] / (width[:, :, None] + ladder[:, None])) @ axes.mT * unit[:, :, None]
    moves = moves * (FARTHEST / moves.abs().amax(dim=-1, keepdim=True).clamp(min=FARTHEST))
    moves = torch.cat([torch.zeros_like(moves[:, :, :1]), moves], dim=2)  # (g b j c)
    u = at.u[:, :, None] + moves[..., :p]
    x = at.x[:, :, None] + moves[..., p:].unflatten(-1, at.x.shape[2:])
    n = u.shape[2]

    @torch.no_grad()
    def values_by(density: SegmentedDensity) -> Tensor:
        asked = (u * scale[:, None, None]).flatten(1, 2), x.flatten(1, 2)
        found = evaluator.ask(lambda: density.relaxed(*asked), g * b * n, False)
        return merit(found, stage).unflatten(1, (b, n))

    # far moves are many, and seldom good where they are dear: all would wait for the dearest
    values = values_by(density.hurried())
    is_dear = model.log_prob.isfinite() & ~values[:, :, 0].isfinite()
    if is_dear.any():
        values = torch.where(is_dear[..., None], values_by(density), values)
    best = values.argmax(dim=2)
    every_g, every_b = torch.arange(g)[:, None], torch.arange(b)
    new = Start(u[every_g, every_b, best], x[every_g, every_b, best])
    least, most, share = STEP
    steps = (share * unit).clamp(least, most)
    step = Start(steps[..., :p], steps[..., p:].unflatten(-1, at.x.shape[2:]))
    return new, values[every_g, every_b, best], promised, step


def _value_and_slope(
    density: SegmentedDensity, u: Tensor, x: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log density (g b r), gaps (g b r s q d), and slopes by parameters in their units and by states."""
    b = u.shape[1]
    at_u = u.flatten(1, 2).clone().requires_grad_()
    at_x = x.flatten(1, 2).clone().requires_grad_()
    with torch.enable_grad():
        found = density.relaxed(at_u * scale[:, None], at_x)
        total = found.log_prob.where(found.log_prob.isfinite(), 0.0).sum()
        slopes = torch.autograd.grad(total, (at_u, at_x), allow_unused=True)
    is_fine = found.log_prob.detach().isfinite() & found.gaps.detach().flatten(2).isfinite().all(dim=-1)
    of_u, of_x = (torch.zeros_like(at) if slope is None else slope for at, slope in zip((at_u, at_x), slopes))
    is_fine &= of_u.isfinite().all(dim=-1) & of_x.flatten(2).isfinite().all(dim=-1)
    value = found.log_prob.detach().where(is_fine, -torch.inf)
    gaps = torch.where(is_fine[..., None, None, None], found.gaps.detach(), 0.0)
    of_u = torch.where(is_fine[..., None], of_u, 0.0)
    of_x = torch.where(is_fine[..., None, None, None], of_x, 0.0)
    return tuple(part.unflatten(1, (b, -1)) for part in (value, gaps, of_u, of_x))
