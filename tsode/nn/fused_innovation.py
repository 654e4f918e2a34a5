"""All events of a jump filter with a diagonal flow and an innovation GRU in one autograd node.

The plain loop records some forty autograd nodes an event. Here the loop runs on preallocated time-major buffers; its
backward pass is written out and carries only the gradient of the state from event to event, and every weight gradient
is one product over all events at the end. One event of the forward pass, for all rows at once::

    [p, q] = theta W_m + c_m                                          rates, from the statics after the last jump
    u      = u exp(-softplus(p) gap + i phase),   phase = frequency exp(tanh(q) / 2) gap
    [h, g, r, v, n] = [last, seen, 1] W_h + [x, mask, 1] W_g + z- W_z'  readout and gates: one product with z-
    [a, b] = silu(h) W_o + b_o,   e = x - mask (a + last sigmoid(b))    innovation
    [r, v, n] += e W_g
    z+     = (1 - v) n + v z-,   r, v = sigmoid(r), sigmoid(v),   n = tanh(n + r g)

`torch.tanh` costs four sigmoids on a CPU, therefore ``tanh(x) = 2 sigmoid(2 x) - 1`` throughout. Rows that see nothing
get 1e9 in their update gate: ``v`` is then exactly 1 and its slope exactly 0, so state and gradient pass untouched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, addcmul, addmm, cos, lerp, mm, mul, sin, sub
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsode.nn.workspace import Workspace, borrow, give_back

__all__ = ["Events", "Weights", "filter_states"]

CLOSED = 1e9  # update gate of a row that sees nothing, before the sigmoid

aten = torch.ops.aten
softplus, tanh_backward = aten.softplus.out, aten.tanh_backward.grad_input
sigmoid_backward, softplus_backward = aten.sigmoid_backward.grad_input, aten.softplus_backward.grad_input


class Events(NamedTuple):
    """What the loop reads at each event, time-major.

    Parameters
    ----------
    gap : Tensor[n b]
        Time since the event before.
    values, mask, last, seen : Tensor[n c b]
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

    ``z`` is (h+3d d); the others stand as they multiply from the right, ``g`` with a row for each of
    ``[x, mask, 1, is empty, e]`` and the four blocks ``g, r, v, n`` of columns.
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
    packed = pack(weights, events.values.shape[1])
    if torch.is_grad_enabled() and any(w.requires_grad for w in packed):
        z_minus, z_plus = InnovationFilter.apply(events, *packed)
    else:
        work = borrow(packed.z_start)
        z_minus, z_plus, *_ = run(events, packed, work, keep=False)
        give_back(work)
    return z_minus.transpose(0, 1), z_plus.transpose(0, 1)


def pack(weights: Weights, n_channels: int) -> Packed:
    """Put the weights together, by ordinary autograd."""
    z_start, rate, frequency, modulation, (w_in, w_state, b_in, b_state), (w_h, b_h), (w_o, b_o) = weights
    d, c, m = len(z_start), n_channels, len(rate)
    w_m, c_m = modulation or (rate.new_zeros(2 * m, 0), rate.new_zeros(2 * m))
    w_e, w_x, w_mask = functional.pad(w_in.t(), (d, 0)).split(c)
    b_g = torch.cat([b_state[2 * d :], b_in + functional.pad(b_state[: 2 * d], (0, d))])
    closed = b_in.new_tensor([0.0, 0.0, CLOSED, 0.0]).repeat_interleave(d)
    b_o = b_o + functional.pad(b_o.new_full((len(b_o) - c,), 2.0), (c, 0))
    return Packed(
        z_start=z_start,
        frequency=frequency,
        m=w_m.t(),
        c=c_m + functional.pad(rate, (0, m)),
        z=torch.cat([w_h[:, :d], w_state[2 * d :], w_state[: 2 * d]]),
        h=torch.cat([w_h[:, d:].t(), b_h[None]]),
        g=torch.cat([w_x, w_mask, b_g[None], closed[None], w_e]),
        o=w_o,
        b=b_o,
    )


def run(events: Events, packed: Packed, work: Workspace, keep: bool) -> tuple[Tensor, ...]:
    """The forward loop. With `keep` every event has its own slot in the buffers, else all events share one."""
    gap, values, mask, last, seen, dropout = events
    (n, c, b), d, m, (n_out, n_hidden) = values.shape, len(packed.z_start), len(packed.frequency), packed.o.shape
    slots = n if keep else min(n, 1)

    def cut(block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        return [list(views) * (n // max(slots, 1)) for views in work.cut(block, *widths)]

    def parts(block: Tensor) -> list[Sequence[Tensor]]:
        return [part.unbind() for part in block.split([m, m, d - 2 * m], dim=2)]

    def doubled(weight: Tensor, start: int) -> Tensor:  # from column `start`, for tanh(x) = 2 sigmoid(2 x) - 1
        return torch.cat([weight[..., :start], 2.0 * weight[..., start:]], dim=-1)

    # what does not depend on the state
    one, is_empty = values.new_ones(n, 1, b), (mask == 0).all(dim=1, keepdim=True).to(values.dtype)
    to_hidden = torch.cat([last, seen, one], dim=1) if n_out > c else one
    to_gates = torch.cat([values, mask, one, is_empty, values], dim=1)
    base = gap[..., None] * (packed.frequency * math.exp(-0.5))  # exp(tanh(q) / 2) = exp(sigmoid(2 q) - 1 / 2)
    w_m, c_m = doubled(packed.m, m), doubled(packed.c, m).repeat(b, 1)
    w_h, w_o, b_o, w_z = packed.h, packed.o, packed.b[:, None].repeat(1, b), packed.z.t()
    w_g = doubled(packed.g, 3 * d)
    w_x, w_e = w_g[:-c], w_g[-c:, d:]

    # buffers
    states = values.new_empty(2, n, b, d)
    blocks, rates = work.new(slots, b, n_hidden + 4 * d), work.new(slots, b, 2 * m)
    turn, opened, out = work.new(3, slots, b, m), work.new(slots, b, n_hidden), work.new(slots, n_out, b)
    grown, dropped, location = work.new(b, 2 * m), work.new(b, n_hidden), work.new(c * b)
    minus_one = work.new(b, d).fill_(-1.0)
    size, bend = grown.split(m, dim=1)

    # their parts, one an event
    z_minus, z_plus = states[0].unbind(), states[1].unbind()
    (re, im, static), after = parts(states[0]), zip(*parts(states[1]))
    (pq,), (p, q), (phase,), (cosine,), (sine,) = cut(rates), cut(rates, m, m), *(cut(block) for block in turn)
    (h, grvn), (hgrv, _) = cut(blocks, n_hidden, 4 * d), cut(blocks, n_hidden + 3 * d, d)
    _, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    (_, rv, _), (_, rvn) = cut(blocks, n_hidden + d, 2 * d, d), cut(blocks, n_hidden + d, 3 * d)
    (sigma,), (ab,), (a, *gate) = cut(opened), cut(out), cut(out.view(slots, -1), *[c * b] * (n_out // c))
    x, e_t = (part.unbind() for part in to_gates.transpose(1, 2).split([2 * c + 2, c], dim=2))
    e = to_gates.view(n, -1)[:, (2 * c + 2) * b :].unbind()  # e = x to begin with
    before = to_hidden.transpose(1, 2).unbind()
    minus_mask, latest = (-mask).reshape(n, -1).unbind(), last.reshape(n, -1).unbind()
    minus_gap, full_turn = (-gap[..., None]).unbind(), base.unbind()

    now = packed.z_start.expand(b, -1).split([m, m, d - 2 * m], dim=1)
    with torch.inference_mode():
        for k in range(n):
            # flow
            addmm(c_m, now[2], w_m, out=pq[k])
            softplus(p[k], out=size).mul_(minus_gap[k])
            torch.sigmoid(q[k], out=bend)
            grown.exp_()
            mul(bend, full_turn[k], out=phase[k])
            cos(phase[k], out=cosine[k]).mul_(size)
            sin(phase[k], out=sine[k]).mul_(size)
            mul(now[0], cosine[k], out=re[k]).addcmul_(now[1], sine[k], value=-1.0)
            mul(now[0], sine[k], out=im[k]).addcmul_(now[1], cosine[k])
            static[k].copy_(now[2])
            # readout
            mm(before[k], w_h, out=h[k])
            mm(x[k], w_x, out=grvn[k])
            hgrv[k].addmm_(z_minus[k], w_z)
            hidden = h[k].mul_(torch.sigmoid(h[k], out=sigma[k]))
            if dropout is not None:
                hidden = mul(hidden, dropout[k], out=dropped)
            addmm(b_o, w_o, hidden.t(), out=ab[k])
            located = addcmul(a[k], latest[k], gate[0][k].sigmoid_(), out=location) if gate else a[k]
            # jump
            e[k].addcmul_(minus_mask[k], located)
            rvn[k].addmm_(e_t[k], w_e)
            rv[k].sigmoid_()
            candidate[k].addcmul_(r[k], g[k], value=2.0).sigmoid_()
            torch.add(minus_one, candidate[k], alpha=2.0, out=candidate[k])
            lerp(candidate[k], z_minus[k], v[k], out=z_plus[k])
            now = next(after)
    return states[0], states[1], blocks, rates, turn, opened, out, to_hidden, to_gates


class InnovationFilter(torch.autograd.Function):
    """Gradients of `run`: one sweep back over the events."""

    @staticmethod
    def forward(ctx: Any, events: Events, *packed: Tensor) -> tuple[Tensor, Tensor]:
        ctx.work = borrow(packed[0])
        z_minus, z_plus, *ctx.buffers = run(events, Packed(*packed), ctx.work, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*events, *packed, z_minus, z_plus)
        return z_minus, z_plus

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, into_minus: Tensor | None, into_plus: Tensor | None) -> tuple[Tensor | None, ...]:
        events, packed, states = ctx.saved_tensors[:6], ctx.saved_tensors[6:-2], ctx.saved_tensors[-2:]
        work, ctx.work = ctx.work, None
        if work is None:  # a second time through a kept graph
            work = borrow(packed[0])
            _, _, *ctx.buffers = run(Events(*events), Packed(*packed), work, keep=True)
        gradients = sweep(Events(*events), Packed(*packed), work, (*states, *ctx.buffers), into_minus, into_plus)
        ctx.buffers = None
        give_back(work)
        return None, *gradients


def sweep(
    events: Events,
    packed: Packed,
    work: Workspace,
    forward: Sequence[Tensor],
    into_minus: Tensor | None,
    into_plus: Tensor | None,
) -> Packed:
    """The backward loop: from the gradients of both limits to those of the weights."""
    gap, _, mask, last, _, dropout = events
    z_minus, z_plus, blocks, rates, turn, opened, out, to_hidden, to_gates = forward
    (n, c, b), d, m, (n_out, n_hidden) = mask.shape, z_minus.shape[2], len(packed.frequency), packed.o.shape

    # slopes that do not depend on the gradient
    p_all, q_all = rates.split(m, dim=2)
    slopes, d_turn, d_out = work.new(n, b, 2 * m), work.new(n, b, 2 * m), work.new(n, n_out, b)
    softplus_backward((-gap[..., None]).expand_as(p_all), p_all, 1.0, 20.0, grad_input=slopes[..., :m])
    bend = torch.sigmoid(q_all, out=slopes[..., m:])
    sigmoid_backward(turn[0], bend, grad_input=bend).mul_(2.0)
    to_out = -mask[:, None]
    if n_out > c:
        gated = torch.ops.aten.sigmoid_backward(last, out[:, c:])
        to_out = torch.cat([to_out, to_out * gated[:, None]], dim=1)

    # buffers
    d_w_z, d_w_h, d_w_g, d_w_o = (torch.zeros_like(w) for w in (packed.z, packed.h, packed.g, packed.o))
    d_z, d_minus, room, d_hidden = work.new(b, d).zero_(), work.new(b, d), work.new(b, d), work.new(b, n_hidden)
    one = d_hidden.new_ones(b, n_hidden)
    d_blocks, d_e, w_e = work.new(b, n_hidden + 4 * d), work.new(c, b), packed.g[-c:, d:].contiguous()

    # their parts, one an event
    cut, zm, zp = work.cut, z_minus.unbind(), z_plus.unbind()
    re, im = (part.unbind() for part in z_minus[..., : 2 * m].split(m, dim=2))
    (cosine,), (sine,), (sigma,) = cut(turn[1]), cut(turn[2]), cut(opened)
    h, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    (slope,), (d_log,), (d_size, d_phase), (d_ab,) = cut(slopes), cut(d_turn), cut(d_turn, m, m), cut(d_out)
    d_a_and_b, from_e = d_out.view(n, -1, c * b).unbind(), to_out.reshape(n, -1, c * b).unbind()
    before, x, d_ab_t = to_hidden.unbind(), to_gates.unbind(), d_out.transpose(1, 2).unbind()
    from_minus, from_plus = (t if t is None else t.unbind() for t in (into_minus, into_plus))
    d_h, d_g, d_r, d_v, d_n = d_blocks.split([n_hidden, d, d, d, d], dim=1)
    d_hgrv, d_grvn, d_rvn = d_blocks[:, : n_hidden + 3 * d], d_blocks[:, n_hidden:], d_blocks[:, n_hidden + d :].t()
    d_re, d_im, d_static = d_minus.split([m, m, d - 2 * m], dim=1)
    d_re_before, d_im_before, d_static_before = d_z.split([m, m, d - 2 * m], dim=1)
    d_error, d_hgrv_t, w_m = d_e.view(-1), d_hgrv.t(), packed.m.t()

    with torch.inference_mode():
        for k in reversed(range(n)):
            if from_plus is not None:
                d_z.add_(from_plus[k])
            # jump: z+ = n + v (z- - n)
            mul(d_z, v[k], out=d_minus)
            sub(d_z, d_minus, out=room)
            sub(zp[k], candidate[k], out=d_v).mul_(room)
            tanh_backward(room, candidate[k], grad_input=d_n)
            mul(d_n, r[k], out=d_g)
            sigmoid_backward(mul(d_n, g[k], out=d_r), r[k], grad_input=d_r)
            # readout
            mm(w_e, d_rvn, out=d_e)
            mul(d_error, from_e[k], out=d_a_and_b[k])
            mm(d_ab_t[k], packed.o, out=d_hidden)
            if dropout is not None:
                d_hidden.mul_(dropout[k])
            mul(lerp(h[k], one, sigma[k], out=d_h), d_hidden, out=d_h)  # silu' = s + silu (1 - s)
            # what read z-, and the weights it met
            if from_minus is not None:
                d_minus.add_(from_minus[k])
            d_minus.addmm_(d_hgrv, packed.z)
            d_w_z.addmm_(d_hgrv_t, zm[k])
            d_w_h.addmm_(before[k], d_h)
            d_w_g.addmm_(x[k], d_grvn)
            d_w_o.addmm_(d_ab[k], h[k] if dropout is None else h[k] * dropout[k])
            # flow
            mul(re[k], d_re, out=d_size[k]).addcmul_(im[k], d_im)
            mul(re[k], d_im, out=d_phase[k]).addcmul_(im[k], d_re, value=-1.0)
            mul(cosine[k], d_re, out=d_re_before).addcmul_(sine[k], d_im)
            mul(cosine[k], d_im, out=d_im_before).addcmul_(sine[k], d_re, value=-1.0)
            addmm(d_static, slope[k].mul_(d_log[k]), w_m, out=d_static_before)

    turns = (torch.sigmoid(q_all) - 0.5).exp() * gap[..., None]
    return Packed(
        z_start=d_z.sum(0),
        frequency=(d_turn[..., m:] * turns).sum((0, 1)),
        m=z_minus[..., 2 * m :].flatten(0, 1).t() @ slopes.flatten(0, 1),
        c=slopes.sum((0, 1)),
        z=d_w_z,
        h=d_w_h,
        g=d_w_g,
        o=d_w_o,
        b=d_out.sum((0, 2)),
    )
