"""Taylor coefficients of functions of a number, by automatic derivatives of derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode.stability.flow import derivative_along

__all__ = ["taylor"]

BESIDE = 0.01  # where second derivatives are compared: at 0 itself they may be zero


def taylor(function: Any, like: Tensor, order: int) -> np.ndarray:
    """Coefficient of that power at 0 of a function (..., d) of numbers, those in `like`, each by itself.

    Derivatives of derivatives in reverse mode, which take a fortieth of the time of those in forward mode at order 6;
    these are taken where the second derivatives are not the same, as of a field that keeps gradients to itself.
    """
    if order > 2:

        def beside(s: Tensor) -> Any:
            return function(s + BESIDE)

        exact, quick = _forward(beside, like, 2), _reverse(beside, like, 2)
        if quick is not None and np.allclose(
            exact, quick, rtol=1e-9, atol=1e-12 * float(np.abs(exact).max(initial=0.0))
        ):
            found = _reverse(function, like, order)
            if found is not None:
                return found
    return _forward(function, like, order)


def _forward(function: Any, like: Tensor, order: int) -> np.ndarray:
    def derived(g: Any) -> Any:
        return lambda s: derivative_along(g, s, torch.ones_like(s))

    for _ in range(order):
        function = derived(function)
    value: np.ndarray = function(torch.zeros_like(like)).numpy() / math.factorial(order)
    return value


def _reverse(function: Any, like: Tensor, order: int) -> np.ndarray | None:
    """The same, or None where an operation has no derivative of its derivative."""
    s = torch.zeros_like(like).requires_grad_()
    found = []
    try:
        with torch.enable_grad():
            image = function(s)
            for value in image.unbind(dim=-1):
                for _ in range(order):
                    if not value.requires_grad:
                        value = torch.zeros_like(s)
                        break
                    (value,) = torch.autograd.grad(
                        value.sum(), s, create_graph=True, allow_unused=True, materialize_grads=True
                    )  # fmt: skip
                found.append(value.detach())
    except RuntimeError:
        return None
    result: np.ndarray = torch.stack(found, dim=-1).numpy() / math.factorial(order)
    return result
