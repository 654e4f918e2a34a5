"""Innovation filter (diagonal flow, innovation GRU) over all events of a batch in one autograd node.

The plain loop records some forty autograd nodes an event. Here the loop runs on preallocated buffers without padding,
event by event and the longest rows first; its backward pass is written out and carries only the gradient of the state
from event to event, and every weight gradient is one product over all events at the end. The members of an ensemble
stand on a leading axis of states and weights, and share the events. One event of the forward pass, for all rows that
have it at once::

    [p, q] = theta W_m + c_m                                          rates, from the statics after the last jump
    u      = u exp(-softplus(p) gap + i phase),   phase = frequency exp(tanh(q) / 2) gap
    u      = u + what flows in at held rates, `tsode.kernels.held_drive`
    [h, g, r, v, n] = [last, seen, features, 1] W_h + [x, mask, input, features, 1] W_g + z- W_z'   one product with z-
    [a, b] = silu(h) W_o + b_o,   e = x - mask (a + last sigmoid(b))    innovation
    [r, v, n] += e W_g
    z+     = (1 - v) n + v z- + input P,   r, v = sigmoid(r), sigmoid(v),   n = tanh(n + r g)

`torch.tanh` costs four sigmoids on a CPU, therefore ``tanh(x) = 2 sigmoid(2 x) - 1`` throughout. Rows without
observation or input have 1e9 in their update gate: ``v`` is then exactly 1 and its slope exactly 0, so state and
gradient pass untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, cos, lerp, mul, sin, sub
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsode.kernels.held_drive import HeldDrive, flow_in
from tsode.kernels.workspace import Workspace, borrow, give_back

__all__ = ["KernelInputs", "States", "Weights", "filter_states"]

CLOSED = 1e9  # update gate of a row without observation or input, before the sigmoid

aten = torch.ops.aten
softplus, tanh_backward = aten.softplus.out, aten.tanh_backward.grad_input
sigmoid_backward, softplus_backward = aten.sigmoid_backward.grad_input, aten.softplus_backward.grad_input


class KernelInputs(NamedTuple):
    """Events as the loop reads them, listed as in `tsode.core.ragged.Ragged`; q events, b' rows that have any.

    Parameters
    ----------
    sizes : sequence of int
        Rows that have a first, second, ... event.
    ends : Tensor[b']
        Where the last event of each row is listed.
    gap : Tensor[q]
        Time since the event before.
    values, mask, last, seen : Tensor[q c]
        As in `tsode.models.filters.jump_filter.JumpFilter`, in the state's dtype; `values` are 0 where `mask` is.
    dropout : Tensor[q h] or Tensor[k q h] or None
        Factors of the hidden units of the readout, for each of k members.
    inputs : Tensor[q e]
        e may be 0.
    features : Tensor[q f] or None
        Covariates at the events.
    rates : Tensor[q r] or None
        Rates of infusions held since the event before.
    """

    sizes: Sequence[int]
    ends: Tensor
    gap: Tensor
    values: Tensor
    mask: Tensor
    last: Tensor
    seen: Tensor
    inputs: Tensor
    dropout: Tensor | None = None
    features: Tensor | None = None
    rates: Tensor | None = None


class Weights(NamedTuple):
    """Weights of the parts, as their modules hold them; m modes, s statics, d = 2 m + s, h hidden, c channels.

    ``modulation``: (2m s), (2m), or None without statics; ``gates``: (3d 3c+e+f), (3d d), (3d), (3d) of a
    `torch.nn.GRUCell`; ``hidden``: (h d+f) or (h d+2c+f), (h); ``out``: (c h) or (2c h), (c) or (2c). The last value is
    read and gated if ``out`` has twice the channels. ``z_start``: (d), or (b' d) for a start of each row.
    ``input_map``: (d e) for e inputs, ``rate_map``: (d r) for r rates, or None without.
    """

    z_start: Tensor
    rate: Tensor
    frequency: Tensor
    modulation: tuple[Tensor, Tensor] | None
    gates: tuple[Tensor, Tensor, Tensor, Tensor]
    hidden: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    input_map: Tensor | None = None
    rate_map: Tensor | None = None


class States(NamedTuple):
    """States from the loop, for one model or with the members of an ensemble on a leading axis.

    Parameters
    ----------
    minus, plus : Tensor[q d]
        State just before and just after each event.
    end : Tensor[b' d]
        State after the last event of each row.
    location : Tensor[q c]
        What the readout predicted for each event.
    """

    minus: Tensor
    plus: Tensor
    end: Tensor
    location: Tensor


class Packed(NamedTuple):
    """Weights as the loop reads them, named as in the equations above, with the members on a leading axis if several.

    ``z`` is (h+3d d); the others stand as they multiply from the right, ``g`` with a row for each of
    ``[x, mask, input, features, 1, is empty, e]`` and the four blocks ``g, r, v, n`` of columns.
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
    input_map: Tensor
    rate_map: Tensor


def filter_states(events: KernelInputs, *members: Weights) -> States:
    """States along the events; of several members of equal sizes, all in one pass."""
    each = [pack(weights, events.values.shape[1]) for weights in members]
    packed = each[0] if len(each) == 1 else Packed(*map(torch.stack, zip(*each)))
    if torch.is_grad_enabled() and any(w.requires_grad for w in packed):
        return States(*InnovationFilter.apply(events, *packed))
    work = borrow(packed.z_start)
    states, _ = run(events, packed, work, keep=False)
    give_back(work)
    return states


def pack(weights: Weights, n_channels: int) -> Packed:
    """Put the weights together, by ordinary autograd."""
    z_start, rate, frequency, modulation, (w_in, w_state, b_in, b_state), (w_h, b_h), (w_o, b_o), *maps = weights
    d, c, m = z_start.shape[-1], n_channels, len(rate)
    w_m, c_m = modulation or (rate.new_zeros(2 * m, 0), rate.new_zeros(2 * m))
    w_e, w_x, w_mask, w_input = functional.pad(w_in.t(), (d, 0)).split([c, c, c, w_in.shape[1] - 3 * c])
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
        g=torch.cat([w_x, w_mask, w_input, b_g[None], closed[None], w_e]),
        o=w_o,
        b=b_o,
        input_map=rate.new_zeros(0, d) if maps[0] is None else maps[0].t(),
        rate_map=rate.new_zeros(0, 2 * m) if maps[1] is None else maps[1][: 2 * m].t(),
    )


def products(packed: Packed) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Matrix product and product with sum, of one member or of all."""
    return (torch.mm, torch.addmm) if packed.z.dim() == 2 else (torch.bmm, torch.baddbmm)


def has_own_starts(packed: Packed) -> bool:
    """Whether every row has a start of its own."""
    return packed.z_start.dim() == packed.z.dim()


def shared(tensor: Tensor, packed: Packed) -> Tensor:
    """What all members share, as they read it."""
    return tensor.expand(*packed.z.shape[:-2], *tensor.shape)


def run(events: KernelInputs, packed: Packed, work: Workspace, keep: bool) -> tuple[States, tuple[Tensor, ...]]:
    """The forward loop. With `keep` every event has its own part of the buffers, else all events share one."""
    sizes, ends, gap, values, mask, last, seen, inputs, dropout, features, held = events
    (q, c), (*members, n_out, n_hidden) = values.shape, packed.o.shape
    d, m = packed.z_start.shape[-1], packed.frequency.shape[-1]
    n, room = len(sizes), q if keep else max(sizes, default=0)
    mm, addmm = products(packed)

    def listed(block: Tensor) -> Sequence[Tensor]:
        """Rows of each event."""
        if keep or block.shape[-2] == q:
            return block.split(sizes, dim=-2)
        parts = {size: block.narrow(-2, 0, size) for size in set(sizes)}
        return [parts[size] for size in sizes]

    def cut(block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        return [listed(part) for part in block.split(widths, dim=-1)]

    def doubled(weight: Tensor, start: int) -> Tensor:  # from column `start`, for tanh(x) = 2 sigmoid(2 x) - 1
        return torch.cat([weight[..., :start], 2.0 * weight[..., start:]], dim=-1)

    # what does not depend on the state
    is_empty = (torch.cat([mask, inputs], dim=1) == 0).all(dim=1, keepdim=True).to(values.dtype)
    one = values.new_ones(q, 1)
    with_one = [one] if features is None else [features, one]
    to_hidden = torch.cat([last, seen, *with_one] if n_out > c else with_one, dim=1)
    to_gates = torch.cat([values, mask, inputs, *with_one, is_empty], dim=1)
    input_jumps = listed(inputs @ packed.input_map) if packed.input_map.shape[-2] else None
    drive = [] if held is None else listed(held @ packed.rate_map)
    turned = packed.frequency[..., None, :] * math.exp(-0.5)  # exp(tanh(q) / 2) = exp(sigmoid(2 q) - 1 / 2)
    base = gap[:, None] * turned
    w_m, c_m = doubled(packed.m, m), doubled(packed.c, m)[..., None, :]
    w_h, w_o, b_o, w_z = packed.h, packed.o.mT, packed.b[..., None, :], packed.z.mT
    w_g = doubled(packed.g, 3 * d)
    w_x, w_e = w_g[..., :-c, :], w_g[..., -c:, d:]

    # buffers
    minus, plus = values.new_empty(2, *members, q, d)
    blocks, rates = work.new(*members, room, n_hidden + 4 * d), work.new(*members, room, 2 * m)
    turn, opened = work.new(3, *members, room, m), work.new(*members, room, n_hidden)
    grown, dropped = work.new(*members, room, 2 * m), work.new(*members, room, n_hidden)
    out, e_all = values.new_empty(*members, q, n_out), work.new(*members, q, c).copy_(values)
    minus_one = values.new_full((1,), -1.0)

    # their parts, one an event
    z_minus, z_plus = listed(minus), listed(plus)
    re, im, static = cut(minus, m, m, d - 2 * m)
    (p, a_rate), pq = cut(rates, m, m), listed(rates)
    phase, cosine, sine, sigma, h_dropped = map(listed, (*turn, opened, dropped))
    size, bend = cut(grown, m, m)
    grown_at = listed(grown)
    h, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    grvn, hgrv = listed(blocks[..., n_hidden:]), listed(blocks[..., : n_hidden + 3 * d])
    rv, rvn = listed(blocks[..., n_hidden + d : n_hidden + 3 * d]), listed(blocks[..., n_hidden + d :])
    ab, (a, *gate) = listed(out), cut(out, *[c] * (n_out // c))
    e, x, before = listed(e_all), listed(shared(to_gates, packed)), listed(shared(to_hidden, packed))
    minus_mask, latest, minus_gap, full_turn = map(listed, (-mask, last, -gap[:, None], base))
    kept = [k for size, after in zip(sizes, [*sizes[1:], 0]) for k in (after, size - after)]  # rows with an event more
    after = [part.split(kept, dim=-2)[::2] for part in plus.split([m, m, d - 2 * m], dim=-1)]
    factors = None if dropout is None else listed(dropout)

    start = packed.z_start
    if not has_own_starts(packed):
        start = start[..., None, :].expand(*members, max(sizes, default=0), d)
    now = start.split([m, m, d - 2 * m], dim=-1)
    with torch.inference_mode():
        for k in range(n):
            # flow
            addmm(c_m, now[2], w_m, out=pq[k])
            softplus(p[k], out=size[k]).mul_(minus_gap[k])
            torch.sigmoid(a_rate[k], out=bend[k])
            grown_at[k].exp_()
            mul(bend[k], full_turn[k], out=phase[k])
            cos(phase[k], out=cosine[k]).mul_(size[k])
            sin(phase[k], out=sine[k]).mul_(size[k])
            mul(now[0], cosine[k], out=re[k]).addcmul_(now[1], sine[k], value=-1.0)
            mul(now[0], sine[k], out=im[k]).addcmul_(now[1], cosine[k])
            if drive:
                flow_in(re[k], im[k], drive[k], functional.softplus(p[k]), bend[k] * turned, -minus_gap[k])
            static[k].copy_(now[2])
            # readout
            mm(before[k], w_h, out=h[k])
            mm(x[k], w_x, out=grvn[k])
            addmm(hgrv[k], z_minus[k], w_z, out=hgrv[k])
            hidden = h[k].mul_(torch.sigmoid(h[k], out=sigma[k]))
            if factors is not None:
                hidden = mul(hidden, factors[k], out=h_dropped[k])
            addmm(b_o, hidden, w_o, out=ab[k])
            if gate:
                a[k].addcmul_(latest[k], gate[0][k].sigmoid_())
            # jump
            e[k].addcmul_(minus_mask[k], a[k])
            addmm(rvn[k], e[k], w_e, out=rvn[k])
            rv[k].sigmoid_()
            candidate[k].addcmul_(r[k], g[k], value=2.0).sigmoid_()
            torch.add(minus_one, candidate[k], alpha=2.0, out=candidate[k])
            lerp(candidate[k], z_minus[k], v[k], out=z_plus[k])
            if input_jumps is not None:
                z_plus[k].add_(input_jumps[k])
            now = [part[k] for part in after]
    states = States(minus, plus, plus.index_select(-2, ends), out[..., :c])
    return states, (blocks, rates, turn, opened, out, to_hidden, to_gates, e_all)


class InnovationFilter(torch.autograd.Function):
    """Gradients of `run`: one sweep back over the events."""

    @staticmethod
    def forward(ctx: Any, events: KernelInputs, *packed: Tensor) -> tuple[Tensor, ...]:
        ctx.work = borrow(packed[0])
        states, ctx.buffers = run(events, Packed(*packed), ctx.work, keep=True)
        ctx.set_materialize_grads(False)
        ctx.sizes = events.sizes
        ctx.save_for_backward(*events[1:], *packed, states.minus, states.plus)
        return tuple(states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *into: Tensor | None) -> tuple[Tensor | None, ...]:
        n_events = len(KernelInputs._fields) - 1
        saved = ctx.saved_tensors
        events, packed = KernelInputs(ctx.sizes, *saved[:n_events]), Packed(*saved[n_events:-2])
        work, ctx.work = ctx.work, None
        if work is None:  # a second time through a kept graph
            work = borrow(packed.z_start)
            _, ctx.buffers = run(events, packed, work, keep=True)
        gradients = sweep(events, packed, work, (*saved[-2:], *ctx.buffers), into)
        ctx.buffers = None
        give_back(work)
        return None, *gradients


def sweep(
    events: KernelInputs, packed: Packed, work: Workspace, forward: Sequence[Tensor], into: Sequence[Tensor | None]
) -> Packed:
    """The backward loop: from the gradients of the states to those of the weights."""
    sizes, _, gap, _, mask, last, _, inputs, dropout, _, held = events
    minus, plus, blocks, rates, turn, opened, out, to_hidden, to_gates, e = forward
    has_inputs = packed.input_map.shape[-2] > 0
    if has_inputs:  # the state before the input
        plus = plus - inputs @ packed.input_map
    into_minus, into_plus, into_end, into_location = into
    (q, c), (*members, n_out, n_hidden) = mask.shape, packed.o.shape
    d, m = minus.shape[-1], packed.frequency.shape[-1]
    n_rows = max(sizes, default=0)
    mm, addmm = products(packed)

    def listed(block: Tensor) -> Sequence[Tensor]:
        return block.split(sizes, dim=-2)

    def cut(block: Tensor, *widths: int) -> list[Sequence[Tensor]]:
        return [listed(part) for part in block.split(widths, dim=-1)]

    def top(block: Tensor, *widths: int) -> list[list[Tensor]]:
        """Rows that have the event, of buffers that all events share."""
        parts = {size: block.narrow(-2, 0, size).split_with_sizes(widths, dim=-1) for size in set(sizes)}
        return [[parts[size][i] for size in sizes] for i in range(len(widths))]

    # slopes that do not depend on the gradient
    p_all, q_all = rates.split(m, dim=-1)
    slopes, d_turn = work.new(*members, q, 2 * m), work.new(*members, q, 2 * m)
    softplus_backward((-gap[:, None]).expand_as(p_all), p_all, 1.0, 20.0, grad_input=slopes[..., :m])
    bend_slope = torch.sigmoid(q_all, out=slopes[..., m:])
    sigmoid_backward(turn[0], bend_slope, grad_input=bend_slope).mul_(2.0)
    to_out = shared(-mask, packed)
    if n_out > c:  # of the correction and of the gate
        gated = torch.ops.aten.sigmoid_backward(shared(last, packed), out[..., c:])
        to_out = torch.cat([to_out, to_out * gated], dim=-1)
    d_out = work.new(*members, q, n_out)
    if into_location is None:
        d_out.zero_()
    else:
        d_out[..., :c] = into_location
        if n_out > c:
            torch.mul(into_location, gated, out=d_out[..., c:])

    # what flowed in, which the turn of the modes does not know
    turned, d_drive, flows = minus[..., : 2 * m], minus, []
    if held is not None:
        frequency = (torch.sigmoid(q_all) - 0.5).exp() * packed.frequency[..., None, :]
        drive = HeldDrive.of(held @ packed.rate_map, functional.softplus(p_all), frequency, gap[:, None])
        turned, d_drive = turned - drive.flowed_in, torch.empty_like(turned)
        flows = list(zip(drive.split(sizes), listed(d_drive)))

    # buffers
    d_z, d_minus, scratch = (work.new(*members, n_rows, width) for width in (d, d, d + n_hidden + n_out))
    one, d_blocks = minus.new_ones(1), work.new(*members, q, n_hidden + 4 * d)
    w_e = packed.g[..., -c:, d:].mT.repeat(*[1] * (len(members) + 1), n_out // c)  # as often as it is read
    if into_end is None:
        d_z.zero_()
    else:
        d_z.copy_(into_end)

    # their parts, one an event
    zp, d_input_jumps = listed(plus), work.new(*members, q if has_inputs else 0, d)
    d_input_jump = listed(d_input_jumps) if has_inputs else ()
    re, im = cut(turned, m, m)
    cosine, sine, sigma = map(listed, (turn[1], turn[2], opened))
    h, g, r, v, candidate = cut(blocks, n_hidden, d, d, d, d)
    slope, d_log, (d_size, d_phase) = listed(slopes), listed(d_turn), cut(d_turn, m, m)
    d_ab, from_e = listed(d_out), listed(to_out)
    from_minus, from_plus = (t if t is None else listed(t) for t in (into_minus, into_plus))
    d_h, d_g, d_r, d_v, d_n = cut(d_blocks, n_hidden, d, d, d, d)
    d_hgrv, d_rvn = listed(d_blocks[..., : n_hidden + 3 * d]), listed(d_blocks[..., n_hidden + d :])
    (d_z_top,), (d_minus_top,) = top(d_z, d), top(d_minus, d)
    room_top, d_hidden_top, d_e_top = top(scratch, d, n_hidden, n_out)
    d_re, d_im, d_static = top(d_minus, m, m, d - 2 * m)
    d_re_before, d_im_before, d_static_before = top(d_z, m, m, d - 2 * m)
    factors, w_m = None if dropout is None else listed(dropout), packed.m.mT

    with torch.inference_mode():
        for k in reversed(range(len(sizes))):
            d_plus, d_before, spare, d_unit = d_z_top[k], d_minus_top[k], room_top[k], d_hidden_top[k]
            if from_plus is not None:
                d_plus.add_(from_plus[k])
            if has_inputs:
                d_input_jump[k].copy_(d_plus)
            # jump: z+ = n + v (z- - n)
            mul(d_plus, v[k], out=d_before)
            sub(d_plus, d_before, out=spare)
            sub(zp[k], candidate[k], out=d_v[k]).mul_(spare)
            tanh_backward(spare, candidate[k], grad_input=d_n[k])
            mul(d_n[k], r[k], out=d_g[k])
            sigmoid_backward(mul(d_n[k], g[k], out=d_r[k]), r[k], grad_input=d_r[k])
            # readout
            d_ab[k].addcmul_(mm(d_rvn[k], w_e, out=d_e_top[k]), from_e[k])
            mm(d_ab[k], packed.o, out=d_unit)
            if factors is not None:
                d_unit.mul_(factors[k])
            mul(lerp(h[k], one, sigma[k], out=d_h[k]), d_unit, out=d_h[k])  # silu' = s + silu (1 - s)
            # what read z-
            if from_minus is not None:
                d_before.add_(from_minus[k])
            addmm(d_before, d_hgrv[k], packed.z, out=d_before)
            # flow
            mul(re[k], d_re[k], out=d_size[k]).addcmul_(im[k], d_im[k])
            mul(re[k], d_im[k], out=d_phase[k]).addcmul_(im[k], d_re[k], value=-1.0)
            if flows:
                flows[k][0].pull_back(d_re[k], d_im[k], d_size[k], d_phase[k], flows[k][1])
            mul(cosine[k], d_re[k], out=d_re_before[k]).addcmul_(sine[k], d_im[k])
            mul(cosine[k], d_im[k], out=d_im_before[k]).addcmul_(sine[k], d_re[k], value=-1.0)
            addmm(d_static[k], slope[k].mul_(d_log[k]), w_m, out=d_static_before[k])

    hidden = blocks[..., :n_hidden] if dropout is None else blocks[..., :n_hidden] * dropout
    turns = (torch.sigmoid(q_all) - 0.5).exp() * gap[:, None]
    d_x = shared(to_gates, packed).mT @ d_blocks[..., n_hidden:]
    d_from_e = functional.pad(e.mT @ d_blocks[..., n_hidden + d :], (d, 0))
    return Packed(
        z_start=d_z.clone() if has_own_starts(packed) else d_z.sum(-2),
        frequency=(d_turn[..., m:] * turns).sum(-2),
        m=minus[..., 2 * m :].mT @ slopes,
        c=slopes.sum(-2),
        z=d_blocks[..., : n_hidden + 3 * d].mT @ minus,
        h=shared(to_hidden, packed).mT @ d_blocks[..., :n_hidden],
        g=torch.cat([d_x, d_from_e], dim=-2),
        o=d_out.mT @ hidden,
        b=d_out.sum(-2),
        input_map=shared(inputs, packed).mT @ d_input_jumps if has_inputs else torch.zeros_like(packed.input_map),
        rate_map=torch.zeros_like(packed.rate_map) if held is None else shared(held, packed).mT @ d_drive,
    )
