"""Tail probabilities by SciPy, with derivatives that autograd can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["log_tail", "through_scipy"]

_STEP = 1e-5  # of a central difference in the logarithm of a shape: its error is about the square of this


def through_scipy(function: Callable[..., Any], *arguments: Tensor) -> Tensor:
    """A function of arrays at some tensors, without a gradient."""
    arrays = [x.detach().cpu().double().numpy() for x in arguments]
    with np.errstate(divide="ignore", under="ignore"):
        result = np.asarray(function(*arrays), dtype=np.float64)
    return torch.from_numpy(result).to(arguments[0])


class _LogTail(torch.autograd.Function):
    """The log probability of a tail: SciPy's value, the given slope by `x`, and differences by `log_shape`."""

    @staticmethod
    def forward(ctx: Any, value: Any, slope: Any, x: Tensor, log_shape: Tensor) -> Tensor:
        ctx.value, ctx.slope = value, slope
        ctx.save_for_backward(x, log_shape)
        return through_scipy(value, x, log_shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (x, log_shape) = gradients, ctx.saved_tensors
        by_x = by_shape = None
        if ctx.needs_input_grad[2]:
            # asked for again, so that it has a derivative of its own
            by_x = gradient * ctx.slope(x, log_shape, _LogTail.apply(ctx.value, ctx.slope, x, log_shape))
        if ctx.needs_input_grad[3]:
            ahead, behind = (through_scipy(ctx.value, x, log_shape + step) for step in (_STEP, -_STEP))
            by_shape = gradient * (ahead - behind) / (2 * _STEP)
        return None, None, by_x, by_shape


def log_tail(
    value: Callable[[Any, Any], Any], slope: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, log_shape: Tensor
) -> Tensor:
    """Log probability of a tail that SciPy knows, with a gradient.

    Parameters
    ----------
    value : callable
        ``(x, log_shape)``, arrays (...) -> the log probability (...).
    slope : callable
        ``(x, log_shape, log_probability)``, tensors (...) -> its derivative by `x` (...).
    x, log_shape : Tensor[...]
        The derivative by `log_shape` is by central differences, and has none of its own.
    """
    x, log_shape = torch.broadcast_tensors(x, log_shape)
    return _LogTail.apply(value, slope, x, log_shape)  # type: ignore[no-any-return, no-untyped-call]
