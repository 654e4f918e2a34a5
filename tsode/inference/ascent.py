"""Newton's ascent from many starts at once, in few and wide calls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped

__all__ = ["Climbed", "along_axes", "climb", "curvature_at"]

LADDER = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)  # damping, in parts of the largest curvature
FARTHEST = 2.0  # that any coordinate moves in a step, in units of its prior
STIFFER = 1e3  # damping after a step that has brought nothing
MOST_FAILURES = 2  # in a row
TOLERANCE, GRAIN = 1e-6, 1e-2  # nats to gain at which a start is done; where nothing gains more, nats that may be left
FIRST_STEP, STEPS, SHARE = 1e-3, (1e-5, 5e-2), 0.1  # of a difference: in units of the prior, and of the width found
SHARE_OF_AXES = 0.02  # of the width along an axis: where small errors grow, widths differ by 1e4 and axes bend
MERGE_FROM, THIN_FROM, FEWEST = 2, 6, 8  # steps after which starts merge, and half are dropped down to so many
HOPELESS = 20.0  # nats below the best with no more to gain: such a mode would have no weight


@dataclass(frozen=True)
class Climbed:
    """Where starts have come to, in units of the prior.

    Attributes
    ----------
    point : Tensor[g b p]
    value : Tensor[g b]
    curvature : Tensor[g b p p]
        Negative Hessian by forward differences of gradients.
    is_done : Tensor[g b], bool
    heir : Tensor[g b], int64
        The start that has come to the same place and goes on, or itself.
    """

    point: Tensor
    value: Tensor
    curvature: Tensor
    is_done: Tensor
    heir: Tensor


def curvature_at(evaluator: Evaluator, point: Tensor, scale: Tensor, step: Tensor, is_central: bool) -> tuple:
    """Value, slope and negative Hessian in units of the prior, by differences of gradients in one call.

    Autograd would take `p` calls, through a solver that may not have second derivatives.

    Parameters
    ----------
    evaluator : Evaluator
    point : Tensor[g b p]
    scale : Tensor[g p]
        Unit of each coordinate.
    step : Tensor[g b p] or Tensor[g b p p]
        Of each coordinate; or moves that span all, a row each.
    is_central : bool
        Differences to both sides, exact to the third derivative.
    """
    g, b, p = point.shape
    moves = torch.diag_embed(step) if step.dim() == 3 else step
    stencil = [torch.zeros_like(moves[:, :, :1]), moves] + ([-moves] if is_central else [])
    rows = point[:, :, None] + torch.cat(stencil, dim=2)
    value, slope = evaluator.value_and_slope((rows * scale[:, None, None]).flatten(1, 2))
    value = value.reshape(g, b, -1)
    slope = (slope * scale[:, None]).reshape(g, b, -1, p)
    is_fine, middle = value.isfinite(), slope[:, :, :1]
    up, is_up = slope[:, :, 1 : p + 1], is_fine[:, :, 1 : p + 1, None]
    if is_central:
        down, is_down = slope[:, :, p + 1 :], is_fine[:, :, p + 1 :, None]
        width = is_up.double() + is_down.double()
        change = up.where(is_up, middle) - down.where(is_down, middle)
    else:
        width, change = is_up.double(), up.where(is_up, middle) - middle
    # beside a failure on both sides nothing is known but the prior
    if step.dim() == 3:
        each = torch.eye(p, dtype=step.dtype)
        rate = torch.where(width > 0, -change / (width.clamp(min=1.0) * step[..., None]), each)
    else:
        # symmetric in units of the moves: errors along the narrowest axis are more than the curvature of the widest
        own = torch.where(width > 0, -change / width.clamp(min=1.0), 0.0) @ moves.mT
        rate = torch.linalg.solve(moves, torch.linalg.solve(moves, 0.5 * (own + own.mT)).mT)
    return value[:, :, 0], slope[:, :, 0], 0.5 * (rate + rate.mT)


def along_axes(curvature: Tensor) -> Tensor:
    """Moves (g b p p) along the axes of a density with this curvature, by a share of the width along each."""
    width, axes = torch.linalg.eigh(curvature)
    size = width.abs().maximum(1e-14 * width.abs().amax(dim=-1, keepdim=True))
    return (axes * (SHARE_OF_AXES / size.clamp(min=1e-12).sqrt()).clamp(max=STEPS[1])[..., None, :]).mT


def climb(
    evaluator: Evaluator, point: Tensor, value: Tensor, scale: Tensor, n_steps: int = 40, step: Tensor | None = None
) -> Climbed:
    """Climb from each start to a mode, by Newton's steps with a ladder of dampings tried at once.

    A step is two calls whatever the number of starts: one for values at all dampings of all starts, one for gradients
    around where each then stands, whose differences are the curvature. Directions in which the density is convex are
    climbed as if it were concave (Dauphin et al. 2014, "saddle-free Newton"). Starts that come into the width of a
    better one's mode are merged with it; after some steps only the better half of what is under way goes on.

    Parameters
    ----------
    evaluator : Evaluator
    point : Tensor[g b p]
        Starts, in units of the prior.
    value : Tensor[g b]
        Log density there; a start with -inf is not taken.
    scale : Tensor[g p]
    n_steps : int
    step : Tensor[g b p p], optional
        Moves for all differences, where it is known how wide the density is along which axes.
    """
    g, b, p = point.shape
    state = Climbed(
        point.clone(),
        value.clone(),
        torch.eye(p, dtype=point.dtype).expand(g, b, p, p).clone(),
        torch.zeros(g, b, dtype=torch.bool),
        torch.arange(b).expand(g, b).clone(),
    )
    is_active = value.isfinite()
    hope = torch.full_like(value, torch.inf)
    n_failures = torch.zeros(g, b, dtype=torch.long)
    is_known = step is not None
    step = torch.full_like(point, FIRST_STEP) if step is None else step
    try:
        for n in range(n_steps):
            if not is_active.any():
                break
            rows = _packed(is_active)
            at, shift = _take(state.point, rows), _take(step, rows)
            here, slope, curvature = curvature_at(evaluator, at, scale, shift, is_central=False)
            width, axes = _axes(curvature)
            promised = 0.5 * ((axes.mT @ slope[..., None]).squeeze(-1) ** 2 / width).sum(-1)
            diagonal = curvature.diagonal(dim1=-2, dim2=-1).abs().clamp(min=1e-12)
            moved, gained = _best_move(evaluator, at, slope, width, axes, curvature, _take(n_failures, rows), scale)
            gain = (gained - here).where(gained > here, 0.0)
            at = torch.where((gain > 0)[..., None], moved, at)

            is_mine = _take(is_active, rows)  # rows that only fill up change nothing
            # a solver's values with and without derivatives differ by its grain
            is_done = is_mine & ((promised < TOLERANCE) & (gain < GRAIN) | (gain <= 0) & (promised < GRAIN))
            best = state.value.where(state.is_done, -torch.inf).amax(dim=1, keepdim=True)
            creeps = here + n_steps * gain < best - HOPELESS
            failures = torch.where((gain > 0) & ~creeps, 0, _take(n_failures, rows) + 1)
            _put(state.point, rows, is_mine, at)
            _put(state.value, rows, is_mine, here + gain)
            _put(state.curvature, rows, is_mine, curvature)
            _put(state.is_done, rows, is_mine, is_done)
            _put(hope, rows, is_mine, 3.0 * promised)
            _put(n_failures, rows, is_mine, failures)
            if not is_known:
                _put(step, rows, is_mine, (SHARE / diagonal.sqrt()).clamp(*STEPS))
            is_active &= ~state.is_done & (n_failures <= MOST_FAILURES)

            if n >= MERGE_FROM:
                _merge(state, is_active)
            if n >= THIN_FROM:
                is_active &= _still_wanted(state, is_active, hope)
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
    return state


def _best_move(
    evaluator: Evaluator,
    at: Tensor,
    slope: Tensor,
    width: Tensor,
    axes: Tensor,
    curvature: Tensor,
    n_failures: Tensor,
    scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """The best of all damped steps and of two along the most convex direction: points and values."""
    g, b, p = at.shape
    ladder = at.new_tensor(LADDER) * STIFFER ** n_failures[..., None].double()
    damping = ladder * width.amax(dim=-1, keepdim=True)  # (g b j)
    along = (axes.mT @ slope[..., None]).squeeze(-1)
    moves = (along[:, :, None] / (width[:, :, None] + damping[..., None])) @ axes.mT  # (g b j p)
    least = torch.linalg.eigvalsh(curvature)[..., 0]
    # the eigenvector of the least eigenvalue is the first that `_axes` gives
    away = axes[..., 0] * (least.abs().clamp(min=0.1) ** -0.5)[..., None]
    moves = torch.cat([moves, away[:, :, None], -away[:, :, None]], dim=2)
    moves = moves * (FARTHEST / moves.abs().amax(dim=-1, keepdim=True).clamp(min=FARTHEST))
    points = at[:, :, None] + moves
    values = evaluator.value((points * scale[:, None, None]).flatten(1, 2)).reshape(g, b, -1)
    best = values.argmax(dim=-1, keepdim=True)
    return points.gather(2, best[..., None].expand(-1, -1, 1, p)).squeeze(2), values.gather(2, best).squeeze(2)


def _axes(curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute curvatures, bounded below, along the eigenvectors, from the least (with its sign) on."""
    values, axes = torch.linalg.eigh(curvature)
    size = values.abs()
    return torch.maximum(size, 1e-9 * size.amax(dim=-1, keepdim=True)).clamp(min=1e-9), axes


def _merge(state: Climbed, is_active: Tensor) -> None:
    """Let starts under way end where a better one has them within the width of its mode."""
    b = state.value.shape[1]
    least = torch.linalg.eigvalsh(state.curvature)[..., 0]
    apart = state.point[:, :, None] - state.point[:, None]  # (g i j p): i from j
    distance = torch.einsum("gijp,gjpq,gijq->gij", apart, state.curvature, apart)
    order = state.value.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    goes_on = (is_active | state.is_done) & (least > 0)
    is_near = (distance < 1.0) & goes_on[:, None] & (order[:, None] < order[:, :, None]) & is_active[:, :, None]
    nearest = torch.where(is_near, order[:, None], b).min(dim=2)
    is_merged = nearest.values < b
    state.heir[is_merged] = nearest.indices[is_merged]
    is_active &= ~is_merged


def _still_wanted(state: Climbed, is_active: Tensor, hope: Tensor) -> Tensor:
    """Starts under way that may still come to something: the better half, and none that is far below with no hope."""
    best = state.value.where(state.is_done, -torch.inf).amax(dim=1, keepdim=True)
    has_hope = state.value + hope > best - HOPELESS
    ranked = (
        state.value.where(is_active & has_hope, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    )
    n_kept = (is_active.sum(dim=1, keepdim=True) // 2).clamp(min=FEWEST)
    return has_hope & (ranked < n_kept)


# -- rows of starts under way ------------------------------------------------------------------------------------------


def _packed(is_active: Tensor) -> Tensor:
    """Places (g k) of the starts under way, filled up with others where a problem has fewer."""
    n_most = int(is_active.sum(dim=1).max())
    return (~is_active).long().argsort(dim=1, stable=True)[:, :n_most]


def _take(x: Tensor, rows: Tensor) -> Tensor:
    return x.gather(1, rows.reshape(*rows.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))


def _put(x: Tensor, rows: Tensor, is_mine: Tensor, new: Tensor) -> None:
    """Write new values of the active among the rows in place."""
    more = [1] * (x.dim() - 2)
    kept = torch.where(is_mine.reshape(*is_mine.shape, *more), new, _take(x, rows))
    x.scatter_(1, rows.reshape(*rows.shape, *more).expand_as(kept), kept)
