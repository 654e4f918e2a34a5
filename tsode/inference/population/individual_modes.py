"""Individual modes: the most probable effects of each subject, by Newton's steps for all subjects at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Local", "Modes", "find_individual_modes"]

TOLERANCE = 1e-9  # nats that the last step promises: what is left of them after it is about their square
FIRST, STIFFER, SOFTER = 0.3, 8.0, 0.1  # damping after a step that brought nothing, and what follows
LEAST, MOST = 0.05, 1e8
MOST_STEPS = 40


class Local(NamedTuple):
    """A subject's log density of its effects about a point: value (g b s), slope (g b s q), curvature (g b s q q).

    The curvature is positive definite; where a subject has no likelihood the value is -inf.
    """

    value: Tensor
    slope: Tensor
    curvature: Tensor


Look = Callable[[Tensor], Local]


class Modes(NamedTuple):
    """Most probable effects (g b s q), and whether each subject has come to them (g b s)."""

    eta: Tensor
    is_found: Tensor


def find_individual_modes(look_at: Callable[[Tensor], Look], start: Tensor) -> Modes:
    """Climb from `start` (g b s q), which every subject must have a likelihood at or near.

    Each subject has a damping of its own: a step that brings nothing is taken back and made shorter. The last one is
    not looked at again: so near to the mode Newton's step lands on it. Whenever half of the problems are done, the
    others go on without them.

    Parameters
    ----------
    look_at : callable
        Places of problems (k,) -> how to look at their effects (k b s q).
    start : Tensor[g b s q]
    """
    modes = Modes(start.clone(), torch.zeros(start.shape[:3], dtype=torch.bool))
    left = torch.arange(len(start))
    look = look_at(left)
    eta, here = start, look(start)
    damping = torch.zeros_like(here.value)
    for n_left in reversed(range(MOST_STEPS + 1)):
        newton = torch.linalg.solve(here.curvature, here.slope[..., None])[..., 0]
        is_found = (0.5 * (here.slope * newton).sum(dim=-1) < TOLERANCE) & here.value.isfinite()
        is_idle = is_found | (damping > MOST)  # and stays so: nobody's way depends on how long others need
        is_over = is_idle.flatten(1).all(dim=1) | (n_left == 0)
        if 2 * int(is_over.sum()) >= len(left):
            modes.eta[left[is_over]] = torch.where(is_found[..., None], eta + newton, eta)[is_over]
            modes.is_found[left[is_over]] = is_found[is_over]
            left, eta, damping, is_idle = (x[~is_over] for x in (left, eta, damping, is_idle))
            if not len(left):
                break
            here, look = Local(*(x[~is_over] for x in here)), look_at(left)
        unit = here.curvature.diagonal(dim1=-2, dim2=-1)
        stiff = here.curvature + torch.diag_embed(damping[..., None] * unit)
        move = torch.linalg.solve(stiff, here.slope[..., None])[..., 0]
        # without a likelihood there is no slope: back to where most subjects have one
        move = torch.where(here.value.isfinite()[..., None], move, -0.5 * eta)
        move = torch.where(is_idle[..., None], 0.0, move)
        there = look(eta + move)
        is_better = (there.value >= here.value - 1e-12 * here.value.abs()) & there.value.isfinite()
        is_better = ~is_idle & (is_better | ~here.value.isfinite())
        eta = torch.where(is_better[..., None], eta + move, eta)
        here = Local(*(_where(is_better, new, old) for new, old in zip(there, here)))
        softer = torch.where(damping * SOFTER < LEAST, 0.0, damping * SOFTER)
        stiffer = (damping * STIFFER).clamp(min=FIRST)
        damping = torch.where(is_idle, damping, torch.where(is_better, softer, stiffer))
    return modes


def _where(is_new: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(is_new.reshape(*is_new.shape, *[1] * (new.dim() - is_new.dim())), new, old)
