"""ODE-RNN over a whole batch in one autograd node: a flow between events, a GRU jump at each.

The plain loop spends most of its time on small autograd nodes. Here the forward pass writes what the backward pass
needs into buffers, the backward pass runs the recursion of the state's gradient alone, and every weight gradient is
one large product at the end.

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

from tsode.nn.workspace import Workspace, borrow, give_back

__all__ = ["Flow", "MLPFlow", "fused_ode_rnn", "run_events"]

# Added to the argument of the update gate where nothing is seen: the gate is exactly 1, the state stays bit for bit.
SHUT = 1e9

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


class Flow(ABC):
    """Steps of the shifted state from event to event, and their derivatives. A flow lives for one pass.

    Parameters
    ----------
    gaps : Tensor[n b 1]
        Length of each step on the way to each event.
    n_steps : int
        Steps on the way to each event; step ``i = j * n + k`` is the ``j``-th before event ``k``.
    work : Workspace
    keep : bool
        Whether a backward pass will follow.
    """

    def __init__(self, gaps: Tensor, n_steps: int, work: Workspace, keep: bool) -> None:
        self.gaps, self.n_steps, self.work, self.keep = gaps, n_steps, work, keep
        self.gap = gaps.unbind() * n_steps

    def slots(self, *shape: int) -> tuple[Tensor, Sequence[Tensor]]:
        """A buffer (k n b ...), and its part for each step; one part for all steps when nothing is kept."""
        n, b, _ = self.gaps.shape
        if not self.keep:
            buffer = self.work.new(1, 1, b, *shape)
            return buffer, [buffer[0, 0]] * (self.n_steps * n)
        buffer = self.work.new(self.n_steps, n, b, *shape)
        return buffer, self.work.cut(buffer.flatten(0, 1))[0]

    @abstractmethod
    def step(self, i: int, start: Tensor, end: Tensor) -> None:
        """Write the state (b d) after step `i` from `start` into `end`."""

    @abstractmethod
    def prepare(self, starts: Tensor) -> None:
        """Compute the factors of the backward steps, all at once, from the states (k n b d) before the steps."""

    @abstractmethod
    def step_back(self, i: int, g_end: Tensor, g_start: Tensor) -> None:
        """Add to `g_start` (b d) what step `i` makes of the gradient `g_end` at its end."""

    @abstractmethod
    def gradients(self, starts: Tensor, g_ends: Tensor) -> list[Tensor]:
        """Gradients of the weights; both arguments are (k n b d), and `g_ends` may be overwritten."""


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
        super().__init__(gaps, n_steps, work, keep)
        self.below, self.share = below, share
        self.weights, self.biases = list(weights[::2]), list(weights[1::2])
        self.n_layers = len(self.weights) - (1 if len(self.share) == 1 else 2)
        b, (d, width) = gaps.shape[1], self.weights[self.n_layers].shape
        self.transposed = [w.t() for w in self.weights]
        self.full_biases = [bias.expand(b, -1).contiguous() for bias in self.biases]
        # units[j][l]: of layer l in stage j; mean: of the last layer, over the stages as in the step
        self.units = [[self.slots(width) for _ in range(self.n_layers)] for _ in self.share]
        self.mean = self.units[-1][-1] if self.share[-1] == 1 else self.slots(width)
        self.v, self.slope, self.f = work.new(b, width), work.new(b, width), work.new(b, d)

    def step(self, i: int, start: Tensor, end: Tensor) -> None:
        gap, weights, biases = self.gap[i], self.transposed, self.full_biases
        torch.addmm(biases[0], start, weights[0], out=self.v)
        top = self.v
        for j, layers in enumerate(self.units):
            below, units = top, layers[0][1][i]
            if j == 0:
                torch.sigmoid(self.v, out=units)
            else:  # v_j = v + h a_j (G s + c)
                torch.addmm(biases[-1], below, weights[-1], out=self.slope)
                torch.addcmul(self.v, gap, self.slope, value=self.below[j - 1], out=units).sigmoid_()
            for layer in range(1, self.n_layers):
                below, units = units, layers[layer][1][i]
                torch.addmm(biases[layer], below, weights[layer], out=units).sigmoid_()
            top = units
        mean = self.mean[1][i]
        if mean is not top:
            torch.mul(self.units[0][-1][1][i], self.share[0], out=mean)
            for share, layers in zip(self.share[1:], self.units[1:]):
                mean.add_(layers[-1][1][i], alpha=share)
        torch.addmm(biases[self.n_layers], mean, weights[self.n_layers], out=self.f)
        torch.addcmul(start, gap, self.f, out=end)

    def prepare(self, starts: Tensor) -> None:
        # Each buffer holds the slope of its sigmoid first and the gradient of the sigmoid's argument later. The slopes
        # of the last layer take the length of the step too, and in the last stage the stage's share of the step.
        width = self.v.shape[1]
        self.g_units = [[self.slots(width) for _ in layers] for layers in self.units]
        one = self.gaps.new_ones(())
        for layers, g_layers in zip(self.units, self.g_units):
            length = self.gaps * (self.share[-1] if layers is self.units[-1] else 1.0)
            for layer, ((units, _), (slope, _)) in enumerate(zip(layers, g_layers), 1):
                factor = length if layer == self.n_layers else one
                sigmoid_backward(factor.expand_as(units), units, grad_input=slope)
        self.g_mean, self.g_top, self.g_below = (torch.empty_like(self.v) for _ in range(3))

    def step_back(self, i: int, g_end: Tensor, g_start: Tensor) -> None:
        weights = self.weights
        g = torch.mm(g_end, weights[self.n_layers], out=self.g_mean)
        for j in reversed(range(len(self.share))):
            layers = self.g_units[j]
            if j + 1 < len(self.share):
                g_v = self.g_units[j + 1][0][1][i]
                g = torch.addmm(self.g_mean, g_v, weights[-1], beta=self.share[j], alpha=self.below[j], out=self.g_top)
            for layer in range(self.n_layers - 1, 0, -1):
                g = torch.mm(layers[layer][1][i].mul_(g), weights[layer], out=self.g_below)
            layers[0][1][i].mul_(g)
        # Every stage starts from v: the first buffer collects the gradient of v.
        g_v = self.g_units[0][0][1][i]
        for layers in self.g_units[1:]:
            g_v.add_(layers[0][1][i])
        g_start.add_(g_end).addmm_(g_v, weights[0])

    def gradients(self, starts: Tensor, g_ends: Tensor) -> list[Tensor]:
        def linear(pairs: list[tuple[Tensor, Tensor]]) -> list[Any]:
            return [sum(outer(g, x) for g, x in pairs), sum(total(g) for g, _ in pairs)]

        stages = list(zip(self.g_units, self.units))
        grads = linear([(self.g_units[0][0][0], starts)])
        for layer in range(1, self.n_layers):
            grads += linear([(g[layer][0], units[layer - 1][0]) for g, units in stages])
        grads += linear([(g_ends.mul_(self.gaps), self.mean[0])])
        pairs = zip(self.below, self.g_units[1:], self.units)
        slopes = [(g[0][0].mul_(self.gaps * below), units[-1][0]) for below, g, units in pairs]
        return grads + linear(slopes) if slopes else grads


def gate_slopes(gates: Tensor, before: Tensor, stay: Tensor, factor: Tensor | None, slopes: Tensor) -> None:
    """Slopes of ``after = s + stay (before - s)`` in the arguments of the gates ``s, r, u, m`` (... 4 d).

    `stay` is a function of ``u`` with the slope `factor` (1 where None).
    """
    s, r, u, m = gates.unbind(dim=-2)
    f_s, f_r, f_u, f_m = slopes.unbind(dim=-2)
    sigmoid_backward(1 - stay, s, grad_input=f_s)
    torch.mul(f_s, r, out=f_m)
    sigmoid_backward(f_s * m, r, grad_input=f_r)
    difference = before - s
    sigmoid_backward(difference if factor is None else difference.mul_(factor), u, grad_input=f_u)


def outer(g: Tensor, x: Tensor) -> Tensor:
    """Sum of the outer products ``g x'`` over the leading axes: (... p), (... q) -> (p q)."""
    return g.reshape(-1, g.shape[-1]).t() @ x.reshape(-1, x.shape[-1])


def total(g: Tensor) -> Tensor:
    """Sum over the leading axes: (... p) -> (p)."""
    return g.reshape(-1, g.shape[-1]).sum(dim=0)


class _Pass:
    """One run over the events, with what its backward pass needs.

    The jump is that of `torch.nn.GRUCell`: with ``[s, r, u]`` made from the inputs and ``[r, u, m] += W y-``, ``r`` and
    ``u`` through a sigmoid and ``s = sigmoid(s + r m)``, it is ``y+ = s + u (y- - s)``.

    Parameters
    ----------
    inputs : Tensor[n b i]
    shut : Tensor[n b 1]
        Added to the argument of ``u``.
    weights : sequence of Tensor
        Start (b d); weights ``s, r, u`` of the inputs (3d i), ``r, u, m`` of the state (3d d), biases ``s, r, u, m``
        (4d); those of the flow.
    """

    def __init__(
        self, make_flow: Callable[..., Flow], n_steps: int, inputs: Tensor, shut: Tensor, gaps: Tensor,
        weights: Sequence[Tensor], keep: bool,
    ) -> None:  # fmt: skip
        self.inputs, self.shut = inputs.flatten(0, 1), shut
        self.start, self.w_in, self.w_state, self.bias, *rest = weights
        self.work = borrow(self.start)
        (self.n, self.b), self.d, self.n_steps = inputs.shape[:2], self.w_state.shape[1], n_steps
        self.flow = make_flow(rest, gaps, n_steps, self.work, keep)

    def forward(self) -> tuple[Tensor, Tensor]:
        n, b, d, new, cut = self.n, self.b, self.d, self.work.new, self.work.cut
        gates, self.ends, self.afters = new(n, b, 4 * d), new(self.n_steps, n, b, d), new(n + 1, b, d)
        flat, self.gates = gates.flatten(0, 1), gates.view(n, b, 4, d)
        torch.addmm(self.bias[: 3 * d], self.inputs, self.w_in.t(), out=flat[:, : 3 * d])
        flat[:, 3 * d :] = self.bias[3 * d :]
        gates[..., 2 * d : 3 * d].add_(self.shut)
        self.afters[0] = self.start

        w_state, step = self.w_state.t(), self.flow.step
        ends, (afters,) = [cut(end)[0] for end in self.ends], cut(self.afters)
        (s, r, u, m), (_, ru, _), (_, rum) = cut(gates, d, d, d, d), cut(gates, d, 2 * d, d), cut(gates, d, 3 * d)
        y = afters[0]
        for k in range(n):
            for j, end in enumerate(ends):
                step(j * n + k, y, end[k])
                y = end[k]
            rum[k].addmm_(y, w_state)
            ru[k].sigmoid_()
            s[k].addcmul_(r[k], m[k]).sigmoid_()
            y = torch.lerp(s[k], y, u[k], out=afters[k + 1])
        minus_one = self.start.new_tensor(-1.0)
        return torch.add(minus_one, self.ends[-1], alpha=2.0), torch.add(minus_one, self.afters[1:], alpha=2.0)

    def backward(self, g_minus: Tensor | None, g_plus: Tensor | None) -> list[Tensor]:
        n, b, d, new, cut, flow = self.n, self.b, self.d, self.work.new, self.work.cut, self.flow
        starts = self.afters[None, :-1] if self.n_steps == 1 else torch.cat([self.afters[None, :-1], self.ends[:-1]])
        flow.prepare(starts)
        # First the slopes of y+ in the gates' arguments; times the gradient of y+ they are the arguments' gradients.
        g_gates = new(n, b, 4, d)
        gate_slopes(self.gates, self.ends[-1], self.gates[:, :, 2], None, g_gates)
        # Gradients after the jumps and after the steps; what comes from outside is there first (z = 2 y - 1).
        g_afters, g_ends = new(n + 1, b, d), new(self.n_steps, n, b, d)
        for g, outside in ((g_afters, g_plus), (g_ends, g_minus)):
            g.zero_() if outside is None else torch.mul(outside, 2.0, out=g[-n:] if g is g_afters else g[-1])
        g_afters[0] = 0
        g_ends[:-1] = 0

        (slopes,), (g_after,), (g_after_gates,) = cut(g_gates), cut(g_afters), cut(g_afters[:, :, None])
        ends, (_, _, u, _) = [cut(g)[0] for g in g_ends], cut(self.gates.flatten(2), d, d, d, d)
        (_, rum), step_back, w_state = cut(g_gates.flatten(2), d, 3 * d), flow.step_back, self.w_state
        for k in range(n - 1, -1, -1):
            slopes[k].mul_(g_after_gates[k + 1])
            ends[-1][k].addcmul_(g_after[k + 1], u[k]).addmm_(rum[k], w_state)
            for j in range(self.n_steps - 1, -1, -1):
                step_back(j * n + k, ends[j][k], ends[j - 1][k] if j else g_after[k])

        flat = g_gates.view(n * b, 4 * d)
        w_in = (self.inputs.t() @ flat[:, : 3 * d]).t()
        return [
            g_afters[0].clone(), w_in, outer(flat[:, d:], self.ends[-1]), total(flat), *flow.gradients(starts, g_ends)
        ]  # fmt: skip


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, make_flow: Callable[..., Flow], n_steps: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.parts = make_flow, n_steps
        inputs, shut, gaps, *weights = tensors
        ctx.run = _Pass(make_flow, n_steps, inputs, shut, gaps, weights, keep=True)
        return ctx.run.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_minus: Tensor | None, g_plus: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, shut, gaps, *weights = ctx.saved_tensors
        run, ctx.run = ctx.run, None
        if run is None:  # a second time through a retained graph: the workspace is gone
            make_flow, n_steps = ctx.parts
            run = _Pass(make_flow, n_steps, inputs, shut, gaps, weights, keep=True)
            run.forward()
        gradients = run.backward(g_minus, g_plus)
        give_back(run.work)
        return None, None, None, None, None, *gradients


def run_events(
    make_flow: Callable[..., Flow], n_steps: int, flow_weights: Sequence[Tensor], z_start: Tensor, values: Tensor,
    mask: Tensor, gaps: Tensor, cell: nn.GRUCell,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Flow and jump through all events; `flow_weights` are folded, the rest is as in `fused_ode_rnn`."""
    d = cell.hidden_size
    shut = (~mask.any(dim=2)).t().to(values.dtype)[..., None] * SHUT
    mask = mask.to(values.dtype).transpose(0, 1)
    inputs = torch.cat([values.transpose(0, 1) * mask, mask], dim=2)
    gaps = (gaps.t() / n_steps)[..., None].contiguous()
    # The candidate n = 2 s - 1 doubles its argument; z = 2 y - 1.
    one = torch.ones_like(cell.bias_hh)
    factor = torch.cat([one[: 2 * d], one[:d] + 1])
    w_in, b_in = (cell.weight_ih * factor[:, None]).roll(d, 0), (cell.bias_ih * factor).roll(d)
    b_state = torch.addmv(cell.bias_hh, cell.weight_hh, one[:d], alpha=-1) * factor
    bias = nn.functional.pad(b_in, (0, d)) + nn.functional.pad(b_state, (d, 0))
    start = ((z_start + 1) / 2).expand(values.shape[0], -1)
    weights = (start, w_in, cell.weight_hh * (2 * factor[:, None]), bias, *flow_weights)
    if torch.is_grad_enabled() and any(w.requires_grad for w in weights):
        z_minus, z_plus = _Events.apply(make_flow, n_steps, inputs, shut, gaps, *weights)
    else:
        run = _Pass(make_flow, n_steps, inputs, shut, gaps, weights, keep=False)
        z_minus, z_plus = run.forward()
        give_back(run.work)
    return z_minus.transpose(0, 1), z_plus.transpose(0, 1)


def fused_ode_rnn(
    layers: Sequence[nn.Linear], below: Sequence[float], share: Sequence[float], n_steps: int, z_start: Tensor,
    values: Tensor, mask: Tensor, gaps: Tensor, cell: nn.GRUCell,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States of an ODE-RNN at all events.

    Parameters
    ----------
    layers : sequence of nn.Linear
        The field ``dz/dt``, with a tanh between each two; two of them at least.
    below, share : sequence of float
        The Runge-Kutta method, see `MLPFlow`.
    n_steps : int
        Steps of equal length on the way to each event.
    z_start : Tensor[d]
        State before the first event.
    values : Tensor[b n c]
        Finite everywhere.
    mask : Tensor[b n c]
        True = seen. A row keeps its state bit for bit at an event where it saw nothing.
    gaps : Tensor[b n]
        Time since the event before, in the states' dtype.
    cell : nn.GRUCell
        The jump: reads ``[mask * values, mask]``.

    Returns
    -------
    z_minus, z_plus : Tensor[b n d]
        States just before and just after each event.
    """
    # tanh(x) = 2 sigmoid(2 x) - 1 and z = 2 y - 1: every layer reads 2 s - 1, all but the last double their argument.
    folded = []
    for layer in layers[:-1]:
        one = layer.weight.new_ones(layer.in_features)
        folded += [4 * layer.weight, torch.addmv(layer.bias, layer.weight, one, beta=2, alpha=-2)]
    last = layers[-1]
    one = last.weight.new_ones(last.in_features)
    folded += [last.weight, torch.addmv(last.bias, last.weight, one, beta=0.5, alpha=-0.5)]
    if below:
        folded += [folded[0] @ folded[-2], folded[0] @ folded[-1]]
    return run_events(partial(MLPFlow, below, share), n_steps, folded, z_start, values, mask, gaps, cell)
