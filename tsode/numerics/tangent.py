"""Tangent of a solve: a small change of the state, carried along so that the steps suit gradients too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["carry_tangent", "first_tangent"]

_GOLDEN = 0.6180339887498949


def first_tangent(z: Tensor) -> Tensor:
    """A change of the states ``z`` (b d) of about unit size that no symmetry of a field is likely to have: (b d)."""
    place = torch.arange(1, z.shape[1] + 1, dtype=z.dtype, device=z.device)
    return (0.5 + (_GOLDEN * place) % 1.0).expand_as(z)


def carry_tangent(step: Callable[[Tensor], Tensor], z: Tensor, tangent: Tensor) -> Tensor:
    """What becomes of a small change of the state in a step: the derivative of ``step`` at `z` along `tangent`.

    The error of a state says nothing of the error of its gradient: at rest the one is zero at any length of the step,
    while the other grows with the power of it. A tangent obeys the same linear equation as all gradients, so steps
    that are short enough for it are short enough for them.

    Parameters
    ----------
    step : callable
        ``z`` (b d) -> (b k), each row by itself.
    z, tangent : Tensor[b d]

    Returns
    -------
    Tensor[b k]
        Not differentiable; NaN in rows at which the step has no derivative.
    """
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        after = step(at)
        pull = torch.ones_like(after, requires_grad=True)
        try:  # the derivative of a product with the transposed Jacobian is a product with the Jacobian itself
            (pulled,) = torch.autograd.grad(after, at, pull, create_graph=True)
            (pushed,) = torch.autograd.grad(pulled, pull, tangent)
            # the two agree, unless a part of the field hides that it has no second derivative
            left, right = (pulled.detach() * tangent).sum(dim=1), pushed.sum(dim=1)
            agrees = torch.isclose(left, right, rtol=1e-3, equal_nan=True)[:, None]
        except RuntimeError:  # what the field is made of says that it has none
            pushed, agrees = after.detach(), torch.zeros_like(after[:, :1], dtype=torch.bool)
    if agrees.all():
        return pushed
    size = torch.finfo(z.dtype).eps ** (1 / 3) * z.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
    with torch.no_grad():
        return torch.where(agrees, pushed, (step(z + size * tangent) - step(z - size * tangent)) / (2.0 * size))
