"""All events of a jump filter with a diagonal flow and an innovation GRU in one autograd node.

The plain loop records some forty autograd nodes an event. Here the loop runs on preallocated time-major buffers; its
backward pass is written out and carries only the gradient of the state from event to event, and every weight gradient
is one product over all events at the end. One event of the forward pass, for all rows at once::

    [p, q] = theta W_m' + c_m                               rates, from the statics after the last jump
    u      = u exp(-softplus(p) gap + i phi),   phi = frequency exp(tanh(q) / 2) gap
    [h, g, r, v] = [last, seen, 1] W_h' + [x, mask, 1] W_g' + z- W_z'    readout and gates: one product with z-
    [a, b] = silu(h) W_o' + b_o,   e = x - mask (a + last sigmoid(2 + b))     innovation
    [r, v, n]   += e W_e'
    z+     = (1 - v) n + v z-,   r, v = sigmoid(r), sigmoid(v),   n = tanh(n + r g)

`torch.tanh` costs four sigmoids on a CPU, therefore ``tanh(x) = 2 sigmoid(2 x) - 1`` throughout. Rows that see nothing
get 1e9 in their update gate: ``v`` is then exactly 1 and its slope exactly 0, so state and gradient pass untouched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsode.nn.workspace import Workspace, borrow, give_back

__all__ = ["Events", "Weights", "filter_states"]

CLOSED = 1e9  # update gate of a row that sees nothing, before the sigmoid

aten = torch.ops.aten
silu, softplus = aten.silu.out, aten.softplus.out
silu_backward, tanh_backward = aten.silu_backward.grad_input, aten.tanh_backward.grad_input
sigmoid_backward, softplus_backward = aten.sigmoid_backward.grad_input, aten.softplus_backward.grad_input


class Events(NamedTuple):
    """What the loop reads at each event, time-major.

    Parameters
    ----------
    gap : Tensor[n b]
        Time since the event before.
    values, mask, last, seen : Tensor[n b c]
        As in `tsode.models.jump_filter.JumpFilter`, in the state's dtype; `values` are 0 where `mask` is.
    dropout : Tensor[n b h] or None
        Factors of the hidden units of the readout.
    """

    gap: Tensor
    values: Tensor
    mask: Tensor
    last: Tensor
    seen: Tensor
    dropout: Tensor | None = None


class Weights(NamedTuple):
    """Weights of the three parts, as their modules hold them; m modes, s statics, d = 2 m + s, h hidden, c channels.

    ``modulation``: (2m s), (2m), or None without statics; ``gates``: (3d 3c), (3d d), (3d), (3d) of a
    `torch.nn.GRUCell`; ``hidden``: (h d) or (h d+2c), (h); ``out``: (c h) or (2c h), (c) or (2c). The last value is
    read and gated if ``out`` has twice the channels.
    """

    z_start: Tensor
    rate: Tensor
    frequency: Tensor
    modulation: tuple[Tensor, Tensor] | None
    gates: tuple[Tensor, Tensor, Tensor, Tensor]
    hidden: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]


class Packed(NamedTuple):
    """Weights as the loop reads them, named as in the equations above.

    ``g`` is for the columns ``[x, mask, 1, is empty, e]`` and the four blocks ``g, r, v, n``.
    """

    z_start: Tensor
    frequency: Tensor
    m: Tensor
    c: Tensor
    z: Tensor
    h: Tensor
    g: Tensor
    o: Tensor
    b: Tensor


def filter_states(events: Events, weights: Weights) -> tuple[Tensor, Tensor]:
    """States just before and just after each event: two Tensors[b n d]."""
    packed = pack(weights, events.values.shape[2])
    if torch.is_grad_enabled() and any(w.requires_grad for w in packed):
        z_minus, z_plus = InnovationFilter.apply(events, *packed)
    else:
        work = borrow(packed.z_start)
        z_minus, z_plus, *_ = run(events, packed, work, keep=False)
        give_back(work)
    return z_minus.transpose(0, 1), z_plus.transpose(0, 1)


def pack(weights: Weights, n_channels: int) -> Packed:
    """Put the weights together, by ordinary autograd."""
    z_start, rate, frequency, modulation, gates, hidden, out = weights
    d, c, m = len(z_start), n_channels, len(rate)
    w_m, c_m = modulation or (rate.new_zeros(2 * m, 0), rate.new_zeros(2 * m))
    c_m = c_m + functional.pad(rate, (0, m))
    w_in, w_state, b_in, b_state = gates
    w_e, w_x, w_mask = w_in.split(c, dim=1)
    bias = torch.cat([b_state[2 * d :], b_in + functional.pad(b_state[: 2 * d], (0, d))])
    empty = bias.new_zeros(4, d)
    empty[2] = CLOSED
    w_g = functional.pad(torch.cat([w_x, w_mask], dim=1), (0, 0, d, 0))
    w_g = torch.cat([w_g, bias[:, None], empty.view(-1, 1), functional.pad(w_e, (0, 0, d, 0))], dim=1)
    w_h, b_h = hidden
    w_z = torch.cat([w_h[:, :d], w_state[2 * d :], w_state[: 2 * d]])
    w_o, b_o = out
    b_o = b_o + functional.pad(b_o.new_full((len(b_o) - c,), 2.0), (c, 0))
    w_h = torch.cat([w_h[:, d:], b_h[:, None]], dim=1)
    return Packed(z_start, frequency, w_m, c_m, w_z, w_h, w_g, w_o, b_o)


def run(events: Events, packed: Packed, work: Workspace, keep: bool) -> tuple[Tensor, ...]:
    """The forward loop. With `keep` every event has its own slot in the buffers, else all events share one."""
    gap, values, mask, last, seen, dropout = events
    z_start, frequency, w_m, c_m, w_z, w_h, w_g, w_o, b_o = packed
    (n, b, c), d, m, n_hidden, n_out = values.shape, len(z_start), len(frequency), len(w_h), len(w_o)
    slots = n if keep else min(n, 1)

    def cut(block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        return [part.unbind() * (n // max(len(block), 1)) for part in block.split(widths, dim=2)]

    # what does not depend on the state
    one, is_empty = values.new_ones(n, b, 1), (mask == 0).all(dim=2, keepdim=True).to(values.dtype)
    to_hidden = torch.cat([last, seen, one], dim=2) if n_out > c else one
    to_gates = torch.cat([values, mask, one, is_empty, values], dim=2)  # the last block becomes e
    base = gap[..., None] * (frequency * math.exp(-0.5))  # exp(tanh(q) / 2) = exp(sigmoid(2 q) - 1 / 2)
    w_m = torch.cat([w_m[:m], 2.0 * w_m[m:]]).t()
    c_m = torch.cat([c_m[:m], 2.0 * c_m[m:]]).expand(b, -1)
    w_g = torch.cat([w_g[: 3 * d], 2.0 * w_g[3 * d :]]).t()
    w_x, w_e, w_h, w_z, w_o, b_o = w_g[:-c], w_g[-c:, d:], w_h.t(), w_z.t(), w_o.t(), b_o.expand(b, -1)

    states = values.new_empty(2, n, b, d)
    blocks, rates = work.new(slots, b, n_hidden + 4 * d), work.new(slots, b, 2 * m)
    turn, out = work.new(slots, b, 3 * m), work.new(slots, b, n_out)
    decay, hidden, location = work.new(b, m), work.new(b, n_hidden), work.new(b, c)
    minus_one = values.new_tensor(-1.0)

    (z_minus,), (z_plus,) = cut(states[0], d), cut(states[1], d)
    (re, im, static), after = cut(states[0], m, m, d - 2 * m), zip(*cut(states[1], m, m, d - 2 * m))
    (pq,), (p, q), (phase, cosine, sine) = cut(rates, 2 * m), cut(rates, m, m), cut(turn, m, m, m)
    (h, grvn), (hgrv, _) = cut(blocks, n_hidden, 4 * d), cut(blocks, n_hidden + 3 * d, d)
    _, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    (_, rv, _), (_, rvn) = cut(blocks, n_hidden + d, 2 * d, d), cut(blocks, n_hidden + d, 3 * d)
    (ab,), (a, *gate) = cut(out, n_out), cut(out, *[c] * (n_out // c))
    x_in, e = cut(to_gates, 2 * c + 2, c)
    x, h_in, minus_mask, minus_gap = (t.unbind() for t in (values, to_hidden, -mask, -gap[..., None]))

    now = z_start.expand(b, -1).split([m, m, d - 2 * m], dim=1)
    for k in range(n):
        # flow: z- from the state after the event before
        torch.addmm(c_m, now[2], w_m, out=pq[k])
        softplus(p[k], out=decay).mul_(minus_gap[k]).exp_()
        torch.exp(q[k].sigmoid_(), out=phase[k]).mul_(base[k])
        torch.cos(phase[k], out=cosine[k]).mul_(decay)
        torch.sin(phase[k], out=sine[k]).mul_(decay)
        torch.mul(now[0], cosine[k], out=re[k]).addcmul_(now[1], sine[k], value=-1.0)
        torch.mul(now[0], sine[k], out=im[k]).addcmul_(now[1], cosine[k])
        static[k].copy_(now[2])
        # readout
        torch.mm(h_in[k], w_h, out=h[k])
        torch.mm(x_in[k], w_x, out=grvn[k])
        hgrv[k].addmm_(z_minus[k], w_z)
        silu(h[k], out=hidden)
        if dropout is not None:
            hidden.mul_(dropout[k])
        torch.addmm(b_o, hidden, w_o, out=ab[k])
        located = torch.addcmul(a[k], last[k], gate[0][k].sigmoid_(), out=location) if gate else a[k]
        # jump
        torch.addcmul(x[k], minus_mask[k], located, out=e[k])
        rvn[k].addmm_(e[k], w_e)
        rv[k].sigmoid_()
        candidate[k].addcmul_(r[k], g[k], value=2.0).sigmoid_()
        torch.add(minus_one, candidate[k], alpha=2.0, out=candidate[k])
        torch.lerp(candidate[k], z_minus[k], v[k], out=z_plus[k])
        now = next(after)
    return states[0], states[1], blocks, rates, turn, out, to_hidden, to_gates


class InnovationFilter(torch.autograd.Function):
    """Gradients of `run`: one sweep back over the events."""

    @staticmethod
    def forward(ctx: Any, events: Events, *packed: Tensor) -> tuple[Tensor, Tensor]:
        ctx.work = borrow(packed[0])
        z_minus, z_plus, *ctx.buffers = run(events, Packed(*packed), ctx.work, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*events, *packed, z_minus)
        return z_minus, z_plus

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, into_minus: Tensor | None, into_plus: Tensor | None) -> tuple[Tensor | None, ...]:
        events, weights, z_minus = (
            Events(*ctx.saved_tensors[:6]),
            Packed(*ctx.saved_tensors[6:-1]),
            ctx.saved_tensors[-1],
        )
        work, ctx.work = ctx.work, None
        if work is None:  # a second time through a kept graph
            work = borrow(z_minus)
            _, _, *ctx.buffers = run(events, weights, work, keep=True)
        gradients = sweep(events, weights, work, z_minus, ctx.buffers, into_minus, into_plus)
        ctx.buffers = None
        give_back(work)
        return None, *gradients


def sweep(
    events: Events,
    weights: Packed,
    work: Workspace,
    z_minus: Tensor,
    buffers: Sequence[Tensor],
    into_minus: Tensor | None,
    into_plus: Tensor | None,
) -> Packed:
    """The backward loop, from the gradients of both limits to those of the weights."""
    blocks, rates, turn, out, to_hidden, to_gates = buffers
    gap, _, mask, last, _, dropout = events
    (n, b, c), d, m, (n_out, n_hidden) = mask.shape, z_minus.shape[2], len(weights.frequency), weights.o.shape
    chunk = max(1, 64 // b)  # events whose gradients enter the weights' together: a product wants rows, a cache few

    def cut(block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        return [part.unbind() * -(-n // len(part)) for part in block.split(widths, dim=2)]

    # slopes that do not depend on the gradient
    p_all, q_all = rates.split(m, dim=2)
    slope, d_turn, d_out = work.new(n, b, 2 * m), work.new(n, b, 2 * m), work.new(n, b, n_out)
    softplus_backward((-gap[..., None]).expand_as(p_all), p_all, 1.0, 20.0, grad_input=slope[..., :m])
    sigmoid_backward(turn[..., :m], q_all, grad_input=slope[..., m:]).mul_(2.0)
    to_out = -mask[:, :, None]
    if n_out > c:
        gated = torch.ops.aten.sigmoid_backward(last, out[..., c:])
        to_out = torch.cat([to_out, to_out * gated[:, :, None]], dim=2)

    grad = Packed(*(torch.zeros_like(w) for w in weights))
    d_z, d_minus, room = work.new(b, d).zero_(), work.new(b, d), work.new(b, d)
    d_e, d_hidden, w_e = work.new(b, c), work.new(b, n_hidden), weights.g[d:, -c:].contiguous()
    d_blocks = work.new(chunk, b, n_hidden + 4 * d)

    (zm,), (re, im, _) = cut(z_minus, d), cut(z_minus, m, m, d - 2 * m)
    _, cosine, sine = cut(turn, m, m, m)
    h, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    _, rv, _ = cut(blocks, n_hidden + d, 2 * d, d)
    d_h, d_g, d_r, d_v, d_n = cut(d_blocks, n_hidden, d, d, d, d)
    (_, d_rv, _), (_, d_rvn) = cut(d_blocks, n_hidden + d, 2 * d, d), cut(d_blocks, n_hidden + d, 3 * d)
    d_hgrv, _ = cut(d_blocks, n_hidden + 3 * d, d)
    (d_log,), (d_size, d_phase), (d_ab,) = cut(d_turn, 2 * m), cut(d_turn, m, m), cut(d_out, n_out)
    d_re, d_im, d_static = d_minus.split([m, m, d - 2 * m], dim=1)
    d_re_before, d_im_before, d_static_before = d_z.split([m, m, d - 2 * m], dim=1)

    for k in reversed(range(n)):
        if into_plus is not None:
            d_z.add_(into_plus[k])
        # jump: z+ = n + v (z- - n)
        torch.mul(d_z, v[k], out=d_minus)
        tanh_backward(torch.sub(d_z, d_minus, out=room), candidate[k], grad_input=d_n[k])
        torch.mul(d_n[k], r[k], out=d_g[k])
        torch.mul(d_n[k], g[k], out=d_r[k])
        torch.mul(torch.sub(zm[k], candidate[k], out=room), d_z, out=d_v[k])
        sigmoid_backward(d_rv[k], rv[k], grad_input=d_rv[k])
        # readout
        torch.mm(d_rvn[k], w_e, out=d_e)
        torch.mul(d_e[:, None], to_out[k], out=d_ab[k].view(b, -1, c))
        torch.mm(d_ab[k], weights.o, out=d_hidden)
        if dropout is not None:
            d_hidden.mul_(dropout[k])
        silu_backward(d_hidden, h[k], grad_input=d_h[k])
        # everything that read z-
        if into_minus is not None:
            d_minus.add_(into_minus[k])
        d_minus.addmm_(d_hgrv[k], weights.z)
        # flow
        torch.mul(re[k], d_re, out=d_size[k]).addcmul_(im[k], d_im)
        torch.mul(re[k], d_im, out=d_phase[k]).addcmul_(im[k], d_re, value=-1.0)
        torch.mul(cosine[k], d_re, out=d_re_before).addcmul_(sine[k], d_im)
        torch.mul(cosine[k], d_im, out=d_im_before).addcmul_(sine[k], d_re, value=-1.0)
        torch.addmm(d_static, slope[k].mul_(d_log[k]), weights.m, out=d_static_before)
        # weights
        if k % chunk == 0:
            stop = min(k + chunk, n)
            left = d_blocks[: stop - k].flatten(0, 1).t()
            grad.z.addmm_(left[: n_hidden + 3 * d], z_minus[k:stop].flatten(0, 1))
            grad.h.addmm_(left[:n_hidden], to_hidden[k:stop].flatten(0, 1))
            grad.g.addmm_(left[n_hidden:], to_gates[k:stop].flatten(0, 1))

    hidden = functional.silu(blocks[..., :n_hidden])
    if dropout is not None:
        hidden = hidden * dropout
    return grad._replace(
        z_start=d_z.sum(0),
        frequency=(d_turn[..., m:] * gap[..., None] * (q_all - 0.5).exp()).sum((0, 1)),
        m=slope.flatten(0, 1).t() @ z_minus[..., 2 * m :].flatten(0, 1),
        c=slope.sum((0, 1)),
        o=d_out.flatten(0, 1).t() @ hidden.flatten(0, 1),
        b=d_out.sum((0, 1)),
    )
