"""Ascent from the starts that are cheap, and from dear ones only where they may matter."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from tsode.inference.ascent import HOPELESS, Climbed, climb
from tsode.inference.evaluation import Evaluator

__all__ = ["climb_quick_first"]


def climb_quick_first(
    evaluator: Evaluator, point: Tensor, value: Tensor, scale: Tensor, step: Tensor | None = None
) -> Climbed:
    """Climb as `climb` does, at first where the density is cheap.

    A call costs what its dearest point costs: far out in a prior some solves are stiff, and a few starts there would
    cost more than all others together. They are climbed after the others, if their density is not far below the modes
    that are then known; and all starts are, where the others have found no mode. What is found is the density's own.
    """
    quick = evaluator.hurried()
    if quick.density is evaluator.density:
        return climb(evaluator, point, value, scale, step=step)
    is_quick = quick.value(point * scale[:, None]).isfinite()
    first = climb(quick, point, value.where(is_quick, -torch.inf), scale, step=step)
    best = first.value.where(first.is_done, -torch.inf).amax(dim=1, keepdim=True)
    reached = torch.maximum(first.value, value)
    alone = first.heir == torch.arange(value.shape[1])
    is_wanted = ~first.is_done & alone & (reached > torch.where(best.isfinite(), best - HOPELESS, -torch.inf))
    if not is_wanted.any():
        return first
    again = climb(evaluator, first.point, reached.where(is_wanted, -torch.inf), scale, step=step)
    return Climbed(*(_where(is_wanted, getattr(again, x.name), getattr(first, x.name)) for x in fields(Climbed)))


def _where(is_wanted: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(is_wanted.reshape(*is_wanted.shape, *[1] * (x.dim() - 2)), x, other)
