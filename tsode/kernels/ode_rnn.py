"""ODE-RNN over a whole batch in one autograd node: a flow between events, a GRU jump at each.

The plain loop spends most of its time on small autograd nodes. Here the forward pass writes what the backward pass
needs into buffers, the backward pass runs the recursion of the state's gradient alone, and the weights' gradients are
large products over many events at once.

Everything is written in the shifted state ``y = (z + 1) / 2``, which turns ``tanh(x) = 2 sigmoid(2 x) - 1`` into a
sigmoid: on a CPU a tanh costs more than the product of matrices before it, a sigmoid a third of it. The shift and the
factors 2 are folded into the weights, outside of the node, by ordinary autograd. Letters: ``n`` events, ``b`` rows,
``d`` state, ``w`` hidden units, ``i`` inputs, ``k`` steps between two events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tsode.kernels.workspace import Workspace, borrow, give_back

__all__ = ["Flow", "MLPFlow", "fused_ode_rnn", "run_events"]

# Added to the argument of the update gate without observation or input: the gate is exactly 1, the state stays bit for
# bit.
SHUT = 1e9

# Rows (events times series) that the backward pass takes at once: many for the products, few for the cache.
GROUP = 1024

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class Flow(ABC):
    """Steps of the shifted state from event to event, and their derivatives. A flow lives for one pass.

    Parameters
    ----------
    weights : sequence of Tensor
    gaps : Tensor[n b 1]
        Length of each step on the way to each event.
    n_steps : int
        Steps on the way to each event.
    work : Workspace
    keep : bool
        Whether a backward pass will follow. It goes through the events in groups, the last group first.
    """

    def __init__(self, weights: Sequence[Tensor], gaps: Tensor, n_steps: int, work: Workspace, keep: bool) -> None:
        self.weights, self.gaps, self.n_steps, self.work = weights, gaps, n_steps, work
        self.gap = gaps.unbind()
        self.n_kept = len(gaps) if keep else 1
        self.g_weights = [torch.zeros_like(w) for w in weights] if keep else []

    def slots(self, n: int, *shape: int) -> Slots:
        """A buffer (k n b ...) for the steps to `n` events, and its part for each step to each event, over and over."""
        buffer = self.work.new(self.n_steps, n, self.gaps.shape[1], *shape)
        return buffer, [list(self.work.cut(part)[0]) * (len(self.gaps) // n) for part in buffer]

    @abstractmethod
    def step(self, j: int, k: int, start: Tensor, end: Tensor) -> None:
        """Write the state (b d) after the `j`-th step to event `k` from `start` into `end`."""

    @abstractmethod
    def begin_backward(self, n: int) -> None:
        """Make room for groups of up to `n` events."""

    @abstractmethod
    def begin_group(self, low: int, high: int, starts: Tensor) -> None:
        """Compute the factors of the steps to the events from `low` to `high`; ``starts`` (k n b d) are before them."""

    @abstractmethod
    def step_back(self, j: int, k: int, g_end: Tensor, g_start: Tensor) -> None:
        """Add to `g_start` (b d) what the `j`-th step to event `k` of the group makes of `g_end`."""

    @abstractmethod
    def end_group(self, low: int, high: int, starts: Tensor, g_ends: Tensor) -> None:
        """Add the group's part to `g_weights`; `g_ends` (k n b d) may be overwritten."""


Slots = tuple[Tensor, list[list[Tensor]]]


class MLPFlow(Flow):
    """Runge-Kutta steps along a perceptron: ``f = A s_L + a``, ``s_l = sigmoid(A_l s_(l-1) + a_l)``, ``s_0 = y``.

    The stages run in the first pre-activation ``v = A_1 y + a_1``, where a slope is ``A_1 f = G s_L + c``.

    Parameters
    ----------
    below, share : sequence of float
        A Runge-Kutta method in which a stage reads only the slope before: its weight there, in the second, third, ...
        stage; and the weights of all slopes in the step.
    weights : sequence of Tensor
        ``A_1, a_1, ..., A_L, a_L, A, a, G, c``, without the last two where there is one stage.
    """

    def __init__(
        self, below: Sequence[float], share: Sequence[float], weights: Sequence[Tensor], gaps: Tensor, n_steps: int,
        work: Workspace, keep: bool,
    ) -> None:  # fmt: skip
        super().__init__(weights, gaps, n_steps, work, keep)
        self.below, self.share = below, share
        n_layers = len(weights) // 2 - (2 if below else 1)
        self.inner, self.outer, self.product = weights[: 2 * n_layers : 2], weights[2 * n_layers], weights[-2]
        b, (d, width) = gaps.shape[1], self.outer.shape
        # units[j][l]: of layer l in stage j; mean: of the last layer, over the stages as in the step
        self.units = [[self.slots(self.n_kept, width) for _ in self.inner] for _ in share]
        self.mean = self.units[-1][-1] if share[-1] == 1 else self.slots(self.n_kept, width)
        self.v, self.slope, self.f = work.new(b, width), work.new(b, width), work.new(b, d)
        # A product adds a full matrix faster than a row.
        layers = [(w.t(), bias.expand(b, -1).contiguous()) for w, bias in zip(weights[::2], weights[1::2])]
        self.layers = layers[0], layers[n_layers], layers[-1]
        self.stages = [
            (a, stage[0][1], [(*layer, slots) for layer, (_, slots) in zip(layers[1:n_layers], stage[1:])])
            for a, stage in zip((0.0, *below), self.units)
        ]

    def step(self, j: int, k: int, start: Tensor, end: Tensor) -> None:
        (first, bias), (outer, outer_bias), (product, product_bias) = self.layers
        gap, v = self.gap[k], torch.addmm(bias, start, first, out=self.v)
        for a, slots, layers in self.stages:
            if not a:
                units = torch.sigmoid(v, out=slots[j][k])
            else:  # v_j = v + h a_j (G s + c)
                slope = torch.addmm(product_bias, units, product, out=self.slope)
                units = torch.addcmul(v, gap, slope, value=a, out=slots[j][k]).sigmoid_()
            for weight, bias, slots in layers:
                units = torch.addmm(bias, units, weight, out=slots[j][k]).sigmoid_()
        if self.mean is not self.units[-1][-1]:
            units = torch.mul(self.units[0][-1][1][j][k], self.share[0], out=self.mean[1][j][k])
            for share, stage in zip(self.share[1:], self.units[1:]):
                units.add_(stage[-1][1][j][k], alpha=share)
        torch.addcmul(start, gap, torch.addmm(outer_bias, units, outer, out=self.f), out=end)

    def begin_backward(self, n: int) -> None:
        self.g_units = [[self.slots(n, self.v.shape[1]) for _ in stage] for stage in self.units]
        self.g_v = [stage[0][1] for stage in self.g_units]
        layers = [[(g, w) for (_, g), w in zip(stage[1:], self.inner[1:])][::-1] for stage in self.g_units]
        # per stage, the last first: its share, its weight in the stage above, the g_v of that and its own
        self.stages_back = list(zip(self.share, (*self.below, 0.0), (*self.g_v[1:], []), self.g_v, layers))[::-1]
        self.g_mean, self.g_top, self.g_below = (torch.empty_like(self.v) for _ in range(3))

    def begin_group(self, low: int, high: int, starts: Tensor) -> None:
        # Each buffer holds the slope of its sigmoid first and the gradient of the sigmoid's argument later. The slopes
        # of the last layer take the length of the step too, and in the last stage the stage's share of the step.
        gaps, one = self.gaps[low:high], self.gaps.new_ones(())
        for stage, g_stage in zip(self.units, self.g_units):
            length = gaps * self.share[-1] if stage is self.units[-1] else gaps
            for slots, (slopes, _) in zip(stage, g_stage):
                units, factor = slots[0][:, low:high], length if slots is stage[-1] else one
                sigmoid_backward(factor.expand_as(units), units, grad_input=slopes[:, : high - low])

    def step_back(self, j: int, k: int, g_end: Tensor, g_start: Tensor) -> None:
        g_mean = g = torch.mm(g_end, self.outer, out=self.g_mean)
        for share, a, above, g_v, layers in self.stages_back:
            if a:
                g = torch.addmm(g_mean, above[j][k], self.product, beta=share, alpha=a, out=self.g_top)
            for slots, weight in layers:
                g = torch.mm(slots[j][k].mul_(g), weight, out=self.g_below)
            total = g_v[j][k].mul_(g)
        for g_v in self.g_v[1:]:  # every stage starts from v: the first buffer collects the gradient of v
            total.add_(g_v[j][k])
        g_start.add_(g_end).addmm_(total, self.inner[0])

    def end_group(self, low: int, high: int, starts: Tensor, g_ends: Tensor) -> None:
        gaps, n = self.gaps[low:high], high - low
        pairs = list(zip(self.g_weights[::2], self.g_weights[1::2]))
        add_linear(*pairs[0], self.g_units[0][0][0][:, :n], starts)
        for units, g_units in zip(self.units, self.g_units):
            for pair, (x, _), (g, _) in zip(pairs[1:], units[:-1], g_units[1:]):
                add_linear(*pair, g[:, :n], x[:, low:high])
        add_linear(*pairs[len(self.inner)], g_ends.mul_(gaps), self.mean[0][:, low:high])
        for a, units, g_units in zip(self.below, self.units, self.g_units[1:]):
            add_linear(*pairs[-1], g_units[0][0][:, :n].mul_(gaps * a), units[-1][0][:, low:high])


def add_linear(g_weight: Tensor, g_bias: Tensor, g: Tensor, x: Tensor) -> None:
    """Add the gradients of a linear layer from those of its output ``g`` (... p) and its input ``x`` (... q)."""
    g, x = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
    g_weight.addmm_(g.t(), x)
    g_bias.add_(g.sum(dim=0))


def gate_slopes(gates: Tensor, before: Tensor, stay: Tensor, factor: Tensor | None, slopes: Tensor) -> None:
    """Slopes of ``after = s + stay (before - s)`` in the arguments of the gates ``s, r, u, m`` (... 4 d).

    `stay` is a function of ``u`` with the slope `factor` (1 where None).
    """
    s, r, u, m = gates.unbind(dim=-2)
    f_s, f_r, f_u, f_m = slopes.unbind(dim=-2)
    torch.sub(before, s, out=f_u)
    if factor is not None:
        f_u.mul_(factor)
    sigmoid_backward(f_u, u, grad_input=f_u)
    torch.sub(stay.new_ones(()), stay, out=f_s)
    sigmoid_backward(f_s, s, grad_input=f_s)
    torch.mul(f_s, r, out=f_m)
    sigmoid_backward(torch.mul(f_s, m, out=f_r), r, grad_input=f_r)


class _Pass:
    """One run over the events, with the buffers of its backward pass.

    The jump is that of `torch.nn.GRUCell`: with ``[s, r, u]`` made from the inputs and ``[r, u, m] += W y-``, ``r`` and
    ``u`` through a sigmoid and ``s = sigmoid(s + r m)``, it is ``y+ = s + u (y- - s)``.

    Parameters
    ----------
    cell_inputs : Tensor[n b i]
    shut : Tensor[n b 1]
        Added to the argument of ``u``.
    input_jumps : Tensor[n b d] or None
        Added to the state after the jump.
    weights : sequence of Tensor
        Start (b d); weights ``s, r, u`` of the inputs (3d i), ``r, u, m`` of the state (3d d), biases ``s, r, u, m``
        (4d); those of the flow.
    """

    def __init__(
        self, make_flow: Callable[..., Flow], n_steps: int, cell_inputs: Tensor, shut: Tensor, gaps: Tensor,
        input_jumps: Tensor | None, weights: Sequence[Tensor], keep: bool,
    ) -> None:  # fmt: skip
        self.cell_inputs, self.shut, self.input_jumps, self.n_steps = cell_inputs, shut, input_jumps, n_steps
        self.start, self.w_in, self.w_state, self.bias, *rest = weights
        self.work = borrow(self.start)
        self.flow = make_flow(rest, gaps, n_steps, self.work, keep)

    def forward(self) -> tuple[Tensor, Tensor]:
        (n, b), d, new, cut = self.cell_inputs.shape[:2], self.w_state.shape[1], self.work.new, self.work.cut
        gates, self.ends, self.afters = new(n, b, 4 * d), new(self.n_steps, n, b, d), new(n + 1, b, d)
        flat, self.gates = gates.flatten(0, 1), gates.view(n, b, 4, d)
        torch.addmm(self.bias[: 3 * d], self.cell_inputs.flatten(0, 1), self.w_in.t(), out=flat[:, : 3 * d])
        flat[:, 3 * d :] = self.bias[3 * d :]
        gates[..., 2 * d : 3 * d].add_(self.shut)
        self.afters[0] = self.start

        w_state, step = self.w_state.t(), self.flow.step
        ends, (afters,) = [cut(end)[0] for end in self.ends], cut(self.afters)
        (s, r, u, m), (_, ru, _), (_, rum) = cut(gates, d, d, d, d), cut(gates, d, 2 * d, d), cut(gates, d, 3 * d)
        y = afters[0]
        for k in range(n):
            for j, end in enumerate(ends):
                step(j, k, y, end[k])
                y = end[k]
            rum[k].addmm_(y, w_state)
            ru[k].sigmoid_()
            s[k].addcmul_(r[k], m[k]).sigmoid_()
            y = torch.lerp(s[k], y, u[k], out=afters[k + 1])
            if self.input_jumps is not None:
                y.add_(self.input_jumps[k])
        minus_one = self.start.new_tensor(-1.0)
        return torch.add(minus_one, self.ends[-1], alpha=2.0), torch.add(minus_one, self.afters[1:], alpha=2.0)

    def backward(self, g_minus: Tensor | None, g_plus: Tensor | None) -> list[Tensor | None]:
        (n, b, _, d), new, cut, flow, w_state = self.gates.shape, self.work.new, self.work.cut, self.flow, self.w_state
        size = max(1, min(n, GROUP // b))
        flow.begin_backward(size)
        g_gates, g_ends, g_afters = new(size, b, 4, d), new(self.n_steps, size, b, d), new(n + 1, b, d)
        g_w_in, g_w_state, g_bias = (torch.zeros_like(w) for w in (self.w_in, self.w_state, self.bias))
        # The gradients after the jumps and after the steps start as what comes from outside; z = 2 y - 1.
        g_afters.zero_()
        if g_plus is not None:
            torch.mul(g_plus, 2.0, out=g_afters[1:])

        (g_after,), (g_after_gates,), (slopes,) = cut(g_afters), cut(g_afters[:, :, None]), cut(g_gates)
        (_, rum), (_, _, u, _) = cut(g_gates.flatten(2), d, 3 * d), cut(self.gates.flatten(2), d, d, d, d)
        ends = [cut(g)[0] for g in g_ends]
        for high in range(n, 0, -size):
            low = max(high - size, 0)
            starts, before, gates = self.afters[None, low:high], self.ends[-1, low:high], self.gates[low:high]
            if self.n_steps > 1:
                starts = torch.cat([starts, self.ends[:-1, low:high]])
            flow.begin_group(low, high, starts)
            # First the slopes of y+ in the gates' arguments, then times the gradient of y+: the arguments' gradients.
            gate_slopes(gates, before, gates[:, :, 2], None, g_gates[: high - low])
            g_ends.zero_()
            if g_minus is not None:
                torch.mul(g_minus[low:high], 2.0, out=g_ends[-1, : high - low])
            for k in range(high - low - 1, -1, -1):
                after = low + k + 1
                slopes[k].mul_(g_after_gates[after])
                ends[-1][k].addcmul_(g_after[after], u[low + k]).addmm_(rum[k], w_state)
                for j in range(self.n_steps - 1, 0, -1):
                    flow.step_back(j, k, ends[j][k], ends[j - 1][k])
                flow.step_back(0, k, ends[0][k], g_after[low + k])
            g = g_gates[: high - low].flatten(2).flatten(0, 1)
            g_w_in.addmm_(g[:, : 3 * d].t(), self.cell_inputs[low:high].flatten(0, 1))
            g_w_state.addmm_(g[:, d:].t(), before.flatten(0, 1))
            g_bias.add_(g.sum(dim=0))
            flow.end_group(low, high, starts, g_ends[:, : high - low])
        g_input_jumps = None if self.input_jumps is None else g_afters[1:].clone()
        return [g_input_jumps, g_afters[0].clone(), g_w_in, g_w_state, g_bias, *flow.g_weights]


class _Events(torch.autograd.Function):
    """`_Pass` as one node; its workspace goes back to the pool after the backward pass."""

    @staticmethod
    def forward(ctx: Any, make_flow: Callable[..., Flow], n_steps: int, *tensors: Any) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.parts = make_flow, n_steps
        cell_inputs, shut, gaps, input_jumps, *weights = tensors
        ctx.run = _Pass(make_flow, n_steps, cell_inputs, shut, gaps, input_jumps, weights, keep=True)
        return ctx.run.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_minus: Tensor | None, g_plus: Tensor | None) -> tuple[Tensor | None, ...]:
        cell_inputs, shut, gaps, input_jumps, *weights = ctx.saved_tensors
        run, ctx.run = ctx.run, None
        if run is None:  # a second time through a retained graph: the workspace is gone
            make_flow, n_steps = ctx.parts
            run = _Pass(make_flow, n_steps, cell_inputs, shut, gaps, input_jumps, weights, keep=True)
            run.forward()
        gradients = run.backward(g_minus, g_plus)
        give_back(run.work)
        return None, None, None, None, None, *gradients


def run_events(
    make_flow: Callable[..., Flow], n_steps: int, flow_weights: Sequence[Tensor], z_start: Tensor, values: Tensor,
    mask: Tensor, gaps: Tensor, cell: nn.GRUCell, inputs: Tensor | None, input_map: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Flow and jump through all events; `flow_weights` are folded, the rest is as in `fused_ode_rnn`."""
    d = cell.hidden_size
    is_shut = ~mask.any(dim=2)
    mask = mask.to(values.dtype).transpose(0, 1)
    read, input_jumps = [values.transpose(0, 1) * mask, mask], None
    if input_map is not None:
        inputs = values.new_zeros(*is_shut.shape, input_map.shape[1]) if inputs is None else inputs
        is_shut = is_shut & ~(inputs != 0).any(dim=2)
        read.append(inputs.transpose(0, 1))
        input_jumps = read[-1] @ input_map.t() / 2
    cell_inputs, shut = torch.cat(read, dim=2), is_shut.t().to(values.dtype)[..., None] * SHUT
    gaps = (gaps.t() / n_steps)[..., None].contiguous()
    # The candidate n = 2 s - 1 doubles its argument; z = 2 y - 1.
    ones = torch.ones_like(cell.bias_hh)
    factor = torch.cat([ones[: 2 * d], ones[:d] + 1])
    w_in, b_in = (cell.weight_ih * factor[:, None]).roll(d, 0), (cell.bias_ih * factor).roll(d)
    b_state = torch.addmv(cell.bias_hh, cell.weight_hh, ones[:d], alpha=-1) * factor
    bias = nn.functional.pad(b_in, (0, d)) + nn.functional.pad(b_state, (d, 0))
    start = ((z_start + 1) / 2).expand(values.shape[0], -1)
    weights = (start, w_in, cell.weight_hh * (2 * factor[:, None]), bias, *flow_weights)
    if torch.is_grad_enabled() and any(w.requires_grad for w in weights):
        z_minus, z_plus = _Events.apply(make_flow, n_steps, cell_inputs, shut, gaps, input_jumps, *weights)
    else:
        run = _Pass(make_flow, n_steps, cell_inputs, shut, gaps, input_jumps, weights, keep=False)
        z_minus, z_plus = run.forward()
        give_back(run.work)
    return z_minus.transpose(0, 1), z_plus.transpose(0, 1)


def fused_ode_rnn(
    layers: Sequence[nn.Linear], below: Sequence[float], share: Sequence[float], n_steps: int, z_start: Tensor,
    values: Tensor, mask: Tensor, gaps: Tensor, cell: nn.GRUCell, inputs: Tensor | None = None,
    input_map: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States of an ODE-RNN at all events.

    Parameters
    ----------
    layers : sequence of nn.Linear
        The field ``dz/dt``, with a tanh between each two; two of them at least, all hidden layers of one width.
    below, share : sequence of float
        The Runge-Kutta method, see `MLPFlow`.
    n_steps : int
        Steps of equal length on the way to each event.
    z_start : Tensor[d]
        State before the first event.
    values : Tensor[b n c]
        Finite everywhere.
    mask : Tensor[b n c]
        True = seen. A row keeps its state bit for bit at an event without observation or input.
    gaps : Tensor[b n]
        Time since the event before, in the states' dtype.
    cell : nn.GRUCell
        The jump: reads ``[mask * values, mask]``, and `inputs` if there is an `input_map`.
    inputs : Tensor[b n e] or None
        Inputs; None = zeros.
    input_map : Tensor[d e] or None
        What inputs add to the state after the jump; None = no inputs.

    Returns
    -------
    z_minus, z_plus : Tensor[b n d]
        States just before and just after each event.
    """
    # tanh(x) = 2 sigmoid(2 x) - 1 and z = 2 y - 1: every layer reads 2 s - 1, all but the last double their argument.
    folded = []
    for layer in layers[:-1]:
        ones = layer.weight.new_ones(layer.in_features)
        folded += [4 * layer.weight, torch.addmv(layer.bias, layer.weight, ones, beta=2, alpha=-2)]
    last = layers[-1]
    ones = last.weight.new_ones(last.in_features)
    folded += [last.weight, torch.addmv(last.bias, last.weight, ones, beta=0.5, alpha=-0.5)]
    if below:
        folded += [folded[0] @ folded[-2], folded[0] @ folded[-1]]
    flow = partial(MLPFlow, below, share)
    return run_events(flow, n_steps, folded, z_start, values, mask, gaps, cell, inputs, input_map)
