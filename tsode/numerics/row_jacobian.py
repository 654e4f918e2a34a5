"""Derivatives of a vector field by the state and the time of each row."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tsode.numerics.base import VectorField
from tsode.numerics.shadow import is_differentiated

__all__ = ["linearise", "load_rules"]

_FEW = 3  # coordinates that are differentiated as fast one by one
_LARGEST = 4_000_000  # numbers in a tensor of the derivatives of several coordinates


def linearise(field: VectorField, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value (b d), Jacobian (b d d) and derivative by the time (b d) of a field at ``t`` (b,) and ``z`` (b d).

    All can be differentiated where the value can, once.
    """
    value = field(t, z) if torch.is_grad_enabled() else None
    goes_on = is_differentiated(t, z, *([] if value is None else [value]))
    with torch.enable_grad():
        # apart from their history, which every one of the derivatives below would be looked for in
        when, at = (x.detach().requires_grad_() for x in (t, z))
        image = field(when, at)
        if not image.requires_grad:  # constant, or one that keeps gradients to itself
            return image if value is None else value, *_forward(field, t, z)
        by_state, by_time = _backward(image, at, when, goes_on)
    value = image.detach() if value is None else value
    slopes = torch.cat([by_state, by_time.to(z)[..., None]], dim=2)
    if goes_on and slopes.requires_grad:
        slopes = _Rejoined.apply(slopes, when, at, t, z)
    return value, slopes[..., :-1], slopes[..., -1]


class _Rejoined(torch.autograd.Function):
    """A function of ``t`` and ``z`` that was computed of copies without their history."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, when: Tensor, at: Tensor, t: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(result, when, at)
        return result.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        result, when, at = ctx.saved_tensors
        by_time, by_state = torch.autograd.grad(
            result, (when, at), slope, retain_graph=True, materialize_grads=True, allow_unused=True
        )
        return slope, None, None, by_time, by_state


def _backward(image: Tensor, at: Tensor, when: Tensor, goes_on: bool) -> tuple[Tensor, Tensor]:
    """Jacobian and derivative by the time in reverse mode, of several coordinates at once where the field lets them."""
    b, d = image.shape
    some = max(1, _LARGEST // max(image.numel(), 1))
    ones = torch.eye(d, dtype=image.dtype, device=image.device)[:, None].expand(d, b, d)

    def slopes(of: Tensor, is_batched: bool) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(
            image, (at, when), of, create_graph=goes_on, retain_graph=True, allow_unused=True,
            is_grads_batched=is_batched,
        )  # fmt: skip
        count = of.shape[: of.dim() - 2]
        return tuple(x.new_zeros(*count, *x.shape) if y is None else y for x, y in zip((at, when), found))

    if d > _FEW:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that some operation goes one by one
                parts = [slopes(of, True) for of in ones.split(some)]
            by_state, by_time = (torch.cat(part).movedim(0, 1) for part in zip(*parts))
            return by_state, by_time
        except RuntimeError:  # an operation of the field's own has no rule for it
            pass
    by_state, by_time = (torch.stack(part, dim=1) for part in zip(*(slopes(of, False) for of in ones.unbind())))
    return by_state, by_time


def _forward(field: VectorField, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobian and derivative by the time in forward mode, one direction after the other."""
    load_rules()
    still, nothing = torch.zeros_like(t), torch.zeros_like(z)
    by_time = torch.func.jvp(field, (t, z), (torch.ones_like(t), nothing))[1]
    columns = []
    for i in range(z.shape[1]):
        direction = nothing.clone()
        direction[:, i] = 1.0
        columns.append(torch.func.jvp(field, (t, z), (still, direction))[1])
    return torch.stack(columns, dim=2), by_time


@cache
def load_rules() -> None:
    """Let PyTorch load its rules for forward mode, at which it warns of its own use of what it has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))
