"""Decay and rotation of complex modes over many gaps, in memory that outlives a training step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsode.kernels.workspace import Workspace, borrow, give_back

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
    return _Rotate.apply(z, decay, frequency, gap, torch.is_grad_enabled())


def _in_plain_operations(z: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor) -> Tensor:
    n = decay.shape[-1]
    re, im, rest = z.split([n, n, z.shape[-1] - 2 * n], dim=-1)
    amplitude, phase = (-decay * gap).exp(), frequency * gap
    cosine, sine = phase.cos() * amplitude, phase.sin() * amplitude
    return torch.cat([re * cosine - im * sine, re * sine + im * cosine, rest.expand(*gap.shape[:-1], -1)], dim=-1)


def _turn(decay: Tensor, frequency: Tensor, gap: Tensor, work: Workspace) -> tuple[Tensor, Tensor, Tensor]:
    """``exp(-decay gap)`` times cosine and sine of ``frequency gap``, and a third buffer of their shape."""
    cosine, sine, room = work.new(3, *gap.shape[:-1], decay.shape[-1])
    torch.mul(frequency, gap, out=room)
    torch.cos(room, out=cosine)
    torch.sin(room, out=sine)
    torch.mul(decay, -gap, out=room).exp_()
    return cosine.mul_(room), sine.mul_(room), room


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, decay: Tensor, frequency: Tensor, gap: Tensor, keep: bool) -> Tensor:
        n, work = decay.shape[-1], borrow(z)
        cosine, sine, _ = turn = _turn(decay, frequency, gap, work)
        out = z.new_empty(*gap.shape[:-1], z.shape[-1])
        re, im = z[..., :n], z[..., n : 2 * n]
        torch.mul(re, cosine, out=out[..., :n]).addcmul_(im, sine, value=-1.0)
        torch.mul(re, sine, out=out[..., n : 2 * n]).addcmul_(im, cosine)
        out[..., 2 * n :] = z[..., 2 * n :]
        if keep:
            ctx.kept = work, turn
        else:
            give_back(work)
        ctx.save_for_backward(z, decay, frequency, gap)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            wanted = [x for x, is_needed in zip(inputs, ctx.needs_input_grad) if is_needed]
            derivatives = iter(torch.autograd.grad(_in_plain_operations(*inputs), wanted, grad, create_graph=True))
            return *(next(derivatives) if is_needed else None for is_needed in ctx.needs_input_grad[:4]), None
        z, decay, frequency, gap = inputs
        n, kept, ctx.kept = decay.shape[-1], ctx.kept, None
        work = kept[0] if kept else borrow(z)  # given back already: a second time through a kept graph
        cosine, sine, room = kept[1] if kept else _turn(decay, frequency, gap, work)
        g_re, g_im, g_rest = grad.split([n, n, z.shape[-1] - 2 * n], dim=-1)
        re, im, _ = z.split([n, n, z.shape[-1] - 2 * n], dim=-1)
        # all gradients are sums over the gaps of these two, plain or weighted by the gap
        p = torch.mul(g_re, cosine, out=room).addcmul_(g_im, sine)
        q = g_im.mul(cosine).addcmul_(g_re, sine, value=-1.0)
        weight = torch.stack([torch.ones_like(gap), gap], dim=-1).flatten(2).mT
        (sum_p, moment_p), (sum_q, moment_q) = ((weight @ part).split(1, dim=1) for part in (p, q))
        grad_gap = None
        if ctx.needs_input_grad[3]:
            along, across = re * p + im * q, re * q - im * p
            grad_gap = (frequency * across - decay * along).sum(dim=-1, keepdim=True)
        grads = (
            torch.cat([sum_p, sum_q, g_rest.sum(dim=1, keepdim=True)], dim=-1),
            -(re * moment_p + im * moment_q),
            re * moment_q - im * moment_p,
            grad_gap,
            None,
        )
        give_back(work)
        return grads
