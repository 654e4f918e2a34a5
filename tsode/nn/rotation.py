"""Decay and rotation of complex modes over many gaps, with a gradient that keeps three tensors instead of twelve."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["rotate"]


def rotate(z: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor) -> Tensor:
    """Carry ``[Re u, Im u, rest]`` over gaps: ``u exp((-decay + i frequency) gap)``, the rest as it is.

    Parameters
    ----------
    z : Tensor[b 1 d]
    decay, frequency : Tensor[b 1 n], ``2 n <= d``
    gap : Tensor[b m 1]

    Returns
    -------
    Tensor[b m d]
    """
    return _Rotate.apply(z, decay, frequency, gap)


def _turn(decay: Tensor, frequency: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    amplitude, phase = (-decay * gap).exp_(), frequency * gap
    return phase.cos() * amplitude, phase.sin() * amplitude


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor) -> Tensor:
        n = decay.shape[-1]
        cosine, sine = _turn(decay, frequency, gap)
        out = z.new_empty(*cosine.shape[:-1], z.shape[-1])
        re, im = z[..., :n], z[..., n : 2 * n]
        torch.mul(re, cosine, out=out[..., :n]).addcmul_(im, sine, value=-1.0)
        torch.mul(re, sine, out=out[..., n : 2 * n]).addcmul_(im, cosine)
        out[..., 2 * n :] = z[..., 2 * n :]
        ctx.save_for_backward(z, decay, frequency, gap, out)
        ctx.turn = cosine, sine
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, decay, frequency, gap, out = ctx.saved_tensors
        # a second derivative needs the factors as functions of the inputs
        cosine, sine = _turn(decay, frequency, gap) if torch.is_grad_enabled() else ctx.turn
        n = decay.shape[-1]
        g_re, g_im, g_rest = grad.split([n, n, z.shape[-1] - 2 * n], dim=-1)
        re, im = out[..., :n], out[..., n : 2 * n]
        along, across = g_re * re + g_im * im, g_im * re - g_re * im
        grad_z = torch.cat([g_re * cosine + g_im * sine, g_im * cosine - g_re * sine, g_rest], dim=-1)
        grad_gap = None
        if ctx.needs_input_grad[3]:
            grad_gap = (frequency * across - decay * along).sum(dim=-1, keepdim=True)
        return (
            grad_z.sum_to_size(z.shape),
            -(along * gap).sum_to_size(decay.shape),
            (across * gap).sum_to_size(frequency.shape),
            grad_gap,
        )
