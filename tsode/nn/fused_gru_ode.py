"""GRU-ODE over a whole batch in one autograd node: exponential steps between events, a GRU jump at each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsode.nn.fused_ode_rnn import Flow, gate_slopes, outer, run_events, total
from tsode.nn.workspace import Workspace

__all__ = ["GRUFlow", "fused_gru_ode"]


class GRUFlow(Flow):
    """Exponential Euler steps of ``dz/dt = (1 - u) (n - z)``: a GRU whose update gate is ``e = exp(-(1 - u) h)``.

    With ``[r, v, m] = W y + a``, ``r`` and ``v = 1 - u`` through a sigmoid, and ``s = sigmoid(c + r m)``, a step is
    ``y <- s + e (y - s)``. `weights`: ``W, a, c``.
    """

    def __init__(self, weights: Sequence[Tensor], gaps: Tensor, n_steps: int, work: Workspace, keep: bool) -> None:
        super().__init__(gaps, n_steps, work, keep)
        self.weight, *biases = weights
        self.bias, self.candidate_bias = (bias.expand(gaps.shape[1], -1).contiguous() for bias in biases)
        self.transposed = self.weight.t()
        d = self.weight.shape[1]
        self.gates = self.slots(4 * d)
        whole, cut, again = self.gates[0].flatten(0, 1), work.cut, 1 if keep else gaps.shape[0] * n_steps
        (s, r, v, m), (_, rv, _) = cut(whole, d, d, d, d), cut(whole, d, 2 * d, d)
        (_, rvm) = cut(whole, d, 3 * d)
        self.parts = list(zip(rvm, rv, r, v, m, s)) * again
        self.stay = self.slots(d)
        self.backward_gap = (-gaps).unbind() * n_steps

    def step(self, i: int, start: Tensor, end: Tensor) -> None:
        rvm, rv, r, v, m, s = self.parts[i]
        torch.addmm(self.bias, start, self.transposed, out=rvm)
        rv.sigmoid_()
        torch.addcmul(self.candidate_bias, r, m, out=s).sigmoid_()
        stay = torch.mul(v, self.backward_gap[i], out=self.stay[1][i]).exp_()
        torch.lerp(s, start, stay, out=end)

    def prepare(self, starts: Tensor) -> None:
        d = starts.shape[-1]
        stay = self.stay[0]
        self.g_gates, slots = self.slots(4, d)
        gate_slopes(self.gates[0].unflatten(-1, (4, d)), starts, stay, -self.gaps * stay, self.g_gates)
        _, g_rvm = self.work.cut(self.g_gates.flatten(-2).flatten(0, 1), d, 3 * d)
        self.g_parts = list(zip(slots, g_rvm))

    def step_back(self, i: int, g_end: Tensor, g_start: Tensor) -> None:
        g_gates, g_rvm = self.g_parts[i]
        g_gates.mul_(g_end[:, None])
        g_start.addcmul_(g_end, self.stay[1][i]).addmm_(g_rvm, self.weight)

    def gradients(self, starts: Tensor, g_ends: Tensor) -> list[Tensor]:
        d = starts.shape[-1]
        g_s, g_rvm = self.g_gates.flatten(-2).split([d, 3 * d], dim=-1)
        return [outer(g_rvm, starts), total(g_rvm), total(g_s)]


def fused_gru_ode(
    gates: nn.Linear, candidate_bias: Tensor, n_steps: int, z_start: Tensor, values: Tensor, mask: Tensor,
    gaps: Tensor, cell: nn.GRUCell,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States of a GRU-ODE at all events.

    Parameters
    ----------
    gates : nn.Linear
        ``d -> 3 d``: arguments of the gates ``r`` and ``u``, and ``U_n z + b_un`` of the candidate.
    candidate_bias : Tensor[d]
        ``b_n`` in the candidate ``n = tanh(b_n + r (U_n z + b_un))``.
    n_steps, z_start, values, mask, gaps, cell
        As in `tsode.nn.fused_ode_rnn.fused_ode_rnn`.

    Returns
    -------
    z_minus, z_plus : Tensor[b n d]
        States just before and just after each event.
    """
    factor = torch.tensor([1.0, -1.0, 2.0]).to(gates.weight).repeat_interleave(len(candidate_bias))
    weight, bias = gates.weight * factor[:, None], gates.bias * factor
    folded = [2 * weight, bias - weight.sum(dim=1), 2 * candidate_bias]
    return run_events(GRUFlow, n_steps, folded, z_start, values, mask, gaps, cell)
