"""Prepared copy of a fitted model: what diagnostics differentiate."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from tsode.evolutions.base import Solved
from tsode.numerics.gradients import Backprop

__all__ = ["differentiable_copy"]

Model = TypeVar("Model", bound=nn.Module)


def differentiable_copy(model: Model) -> Model:
    """Copy on the CPU, in double precision, without dropout: derivatives by data are exact for the steps that it takes.

    Weights ask for no gradient, and solved evolutions are differentiated through their steps whatever training does.
    """
    copied = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    for part in copied.modules():
        if isinstance(part, Solved):
            part.gradient = Backprop()
    return copied
