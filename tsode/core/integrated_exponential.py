"""Integral of a complex exponential, which is what a linear mode makes of a constant input."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["integrated_exponential"]


def integrated_exponential(decay: Tensor, frequency: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of ``(exp(lambda dt) - 1) / lambda``, which is `dt` where ``lambda`` is 0."""
    # exp(lambda dt) - 1 without the loss of digits at short steps: 1 - cos(x) = 2 sin(x / 2)^2
    angle, growth = frequency * dt, torch.expm1(-decay * dt)
    versine = 2.0 * torch.sin(0.5 * angle).square()
    real, imaginary = growth - versine * (growth + 1.0), (growth + 1.0) * angle.sin()
    square = decay.square() + frequency.square()
    is_zero = square == 0.0
    square = torch.where(is_zero, 1.0, square)
    return (
        torch.where(is_zero, dt, (frequency * imaginary - decay * real) / square),
        -(frequency * real + decay * imaginary) / square,
    )
