"""GRU-ODE over a whole batch in one autograd node: exponential steps between events, a GRU jump at each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsode.kernels.ode_rnn import Flow, add_linear, gate_slopes, run_events
from tsode.kernels.workspace import Workspace

__all__ = ["GRUFlow", "fused_gru_ode"]


class GRUFlow(Flow):
    """Exponential Euler steps of ``dz/dt = (1 - u) (n - z)``: a GRU whose update gate is ``e = exp(-(1 - u) h)``.

    With ``[r, v, m] = W y + a``, ``r`` and ``v = 1 - u`` through a sigmoid, and ``s = sigmoid(c + r m)``, a step is
    ``y <- s + e (y - s)``. `weights`: ``W, a, c``.
    """

    def __init__(self, weights: Sequence[Tensor], gaps: Tensor, n_steps: int, work: Workspace, keep: bool) -> None:
        super().__init__(weights, gaps, n_steps, work, keep)
        d = weights[0].shape[1]
        self.transposed = weights[0].t()
        self.bias, self.candidate_bias = (bias.expand(gaps.shape[1], -1).contiguous() for bias in weights[1:])
        self.gates, _ = self.slots(self.n_kept, 4 * d)
        self.parts = [self.cut(gates, (d, d, d, d), (d, 2 * d, d), (d, 3 * d)) for gates in self.gates]
        self.stay = self.slots(self.n_kept, d)
        self.backward_gap = (-gaps).unbind()

    def cut(self, block: Tensor, *widths: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
        """All parts of each event's part of `block`, over and over."""
        parts = [part for each in widths for part in self.work.cut(block, *each)]
        return list(zip(*parts)) * (len(self.gaps) // len(block))

    def step(self, j: int, k: int, start: Tensor, end: Tensor) -> None:
        s, r, v, m, _, rv, _, _, rvm = self.parts[j][k]
        torch.addmm(self.bias, start, self.transposed, out=rvm)
        rv.sigmoid_()
        torch.addcmul(self.candidate_bias, r, m, out=s).sigmoid_()
        stay = torch.mul(v, self.backward_gap[k], out=self.stay[1][j][k]).exp_()
        torch.lerp(s, start, stay, out=end)

    def begin_backward(self, n: int) -> None:
        d = self.transposed.shape[0]
        self.g_gates, _ = self.slots(n, 4, d)
        self.g_parts = [list(zip(*self.work.cut(g), self.work.cut(g.flatten(2), d, 3 * d)[1])) for g in self.g_gates]

    def begin_group(self, low: int, high: int, starts: Tensor) -> None:
        self.low = low
        gates, stay = self.gates[:, low:high].unflatten(-1, (4, -1)), self.stay[0][:, low:high]
        gate_slopes(gates, starts, stay, -self.gaps[low:high] * stay, self.g_gates[:, : high - low])

    def step_back(self, j: int, k: int, g_end: Tensor, g_start: Tensor) -> None:
        g_gates, g_rvm = self.g_parts[j][k]
        g_gates.mul_(g_end[:, None])
        g_start.addcmul_(g_end, self.stay[1][j][self.low + k]).addmm_(g_rvm, self.weights[0])

    def end_group(self, low: int, high: int, starts: Tensor, g_ends: Tensor) -> None:
        weight, bias, candidate_bias = self.g_weights
        g_s, g_rvm = self.g_gates[:, : high - low].flatten(-2).tensor_split([starts.shape[-1]], dim=-1)
        add_linear(weight, bias, g_rvm, starts)
        candidate_bias.add_(g_s.sum(dim=(0, 1, 2)))


def fused_gru_ode(
    gates: nn.Linear, candidate_bias: Tensor, n_steps: int, z_start: Tensor, values: Tensor, mask: Tensor,
    gaps: Tensor, cell: nn.GRUCell, inputs: Tensor | None = None, input_map: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States of a GRU-ODE at all events.

    Parameters
    ----------
    gates : nn.Linear
        ``d -> 3 d``: arguments of the gates ``r`` and ``u``, and ``U_n z + b_un`` of the candidate.
    candidate_bias : Tensor[d]
        ``b_n`` in the candidate ``n = tanh(b_n + r (U_n z + b_un))``.
    n_steps, z_start, values, mask, gaps, cell, inputs, input_map
        As in `tsode.kernels.ode_rnn.fused_ode_rnn`.

    Returns
    -------
    z_minus, z_plus : Tensor[b n d]
        States just before and just after each event.
    """
    factor = torch.tensor([1.0, -1.0, 2.0]).to(gates.weight).repeat_interleave(len(candidate_bias))
    weight, bias = gates.weight * factor[:, None], gates.bias * factor
    folded = [2 * weight, bias - weight.sum(dim=1), 2 * candidate_bias]
    return run_events(GRUFlow, n_steps, folded, z_start, values, mask, gaps, cell, inputs, input_map)
