"""Quasi-Newton search of many small problems at once, each by its own steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["minimise"]

DECREASE = 1e-4  # share of the decrease a slope promises that a step must bring
FARTHEST = 2.0  # that any coordinate moves in a step
MOST_CUTS = 12
PATIENCE = 25  # evaluations


def minimise(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    max_evaluations: int = 150,
    tolerance: float = 1e-4,
    inverse: Tensor | None = None,
    least_gain: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise functions of a few variables each, by BFGS with backtracking (Nocedal & Wright 2006, algorithm 6.1).

    Coordinates are expected to be of order one.

    Parameters
    ----------
    evaluate : callable
        Points (k p) and which problems they are of (k) -> values (k) and slopes (k p). What is not finite is not taken.
    start : Tensor[b p]
    max_evaluations : int
    tolerance : float
        A problem is done where Newton's step promises to bring less.
    inverse : Tensor[b p p], optional
        Of the curvature at the start, about; the identity where it is not known.
    least_gain : float
        A problem that has not fallen by so much in the last `PATIENCE` evaluations stops, and is not done.

    Returns
    -------
    point : Tensor[b p]
    value : Tensor[b]
    is_done : Tensor[b], bool
    """
    b, p = start.shape
    everyone = torch.arange(b, device=start.device)
    point = start.clone()
    value, slope = evaluate(point, everyone)
    value = torch.where(value.isfinite(), value, torch.inf)
    eye = torch.eye(p, dtype=start.dtype, device=start.device).repeat(b, 1, 1)
    inverse = eye.clone() if inverse is None else inverse.clone()
    is_first = (inverse == eye).flatten(1).all(dim=1)  # nothing is known of it
    newton = (inverse @ slope[..., None]).squeeze(-1)
    direction = _clip(-torch.where(is_first[:, None], slope / (1.0 + slope.norm(dim=1, keepdim=True)), newton))
    length, n_cuts = torch.ones_like(value), torch.zeros_like(everyone)
    is_done = ~slope.isfinite().all(dim=1)
    stopped = is_done.clone()
    mark, n_idle = value.clone(), torch.zeros_like(everyone)  # what it has to fall below, and for how long it has not
    for _ in range(max_evaluations - 1):
        active = everyone[~stopped]
        if not len(active):
            break
        move = length[active, None] * direction[active]
        new_value, new_slope = evaluate(point[active] + move, active)
        promised = (slope[active] * direction[active]).sum(dim=1)
        is_fine = new_value.isfinite() & new_slope.isfinite().all(dim=1)
        is_taken = is_fine & (new_value <= value[active] + DECREASE * length[active] * promised)

        taken = active[is_taken]
        change = new_slope[is_taken] - slope[taken]
        inverse[taken] = _updated(inverse[taken], move[is_taken], change, is_first[taken])
        gained = value[taken] - new_value[is_taken]
        point[taken], value[taken], slope[taken] = (
            point[taken] + move[is_taken],
            new_value[is_taken],
            new_slope[is_taken],
        )
        is_first[taken] = False
        direction[taken] = _clip(-(inverse[taken] @ slope[taken, :, None]).squeeze(-1))
        length[taken], n_cuts[taken] = 1.0, 0
        promised_next = -(slope[taken] * direction[taken]).sum(dim=1)
        is_done[taken] = (0.5 * promised_next < tolerance) & (gained < 10.0 * tolerance)

        failed = active[~is_taken]
        cut = _shorter(length[failed], promised[~is_taken], new_value[~is_taken] - value[failed])
        length[failed] *= torch.where(is_fine[~is_taken], cut, 0.1)
        n_cuts[failed] += 1
        has_gained = value[active] < mark[active] - least_gain
        mark[active] = torch.where(has_gained, value[active], mark[active])
        n_idle[active] = torch.where(has_gained, 0, n_idle[active] + 1)
        stopped = is_done | (n_cuts > MOST_CUTS) | (n_idle >= PATIENCE)
    return point, value, is_done


def _updated(inverse: Tensor, move: Tensor, change: Tensor, is_first: Tensor) -> Tensor:
    """BFGS of the inverse curvature; left as it is where the curvature along the move is not positive."""
    along = (move * change).sum(dim=1)
    is_convex = along > 1e-10 * move.norm(dim=1) * change.norm(dim=1)
    rho = torch.where(is_convex, 1.0 / torch.where(is_convex, along, 1.0), 0.0)[:, None, None]
    size = (along / (change * change).sum(dim=1).clamp(min=1e-300)).clamp(1e-6, 1e3)
    inverse = torch.where((is_first & is_convex)[:, None, None], inverse * size[:, None, None], inverse)
    identity = torch.eye(move.shape[1], dtype=move.dtype, device=move.device)
    left = identity - rho * move[:, :, None] * change[:, None]
    return left @ inverse @ left.mT + rho * move[:, :, None] * move[:, None]


def _clip(direction: Tensor) -> Tensor:
    """No coordinate moves farther than is sensible at once."""
    return direction * (FARTHEST / direction.abs().amax(dim=1, keepdim=True).clamp(min=FARTHEST))


def _shorter(length: Tensor, promised: Tensor, excess: Tensor) -> Tensor:
    """Factor to the lowest point of the parabola through what is known of the line."""
    curvature = (excess - length * promised) / length**2
    best = -promised / (2.0 * curvature.clamp(min=1e-300)) / length
    return torch.nan_to_num(best, nan=0.1).clamp(0.1, 0.5)
