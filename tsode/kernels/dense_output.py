"""States at many times of one flow from few steps: dense output of a neural field in one autograd node.

The steps are laid out from the start without regard to the times asked for. A Runge-Kutta method with dense output
gives the state at any time as ``z + sum_i c_i f_i`` over the slopes ``f_i`` of all stages of all steps, where the
``c_i`` depend on that time alone: one batched product serves all times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["LONGEST_SERIES", "gru_states_at", "mlp_states_at"]

LONGEST_SERIES = 2.0  # over longer steps the series of a decay loses digits

tanh_backward = torch.ops.aten.tanh_backward.grad_input


class _Stages(torch.autograd.Function):
    """``z + sum_i c_i f_i`` for a perceptron ``f`` with tanh between its layers."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, coefficients: Tensor, step: float, below: Sequence[float], share: Sequence[float],
        *layers: Tensor,
    ) -> Tensor:  # fmt: skip
        n, (b, d), n_stages = coefficients.shape[2], z.shape, len(share)
        weights, biases = [weight.t() for weight in layers[::2]], layers[1::2]
        blocks = [z.new_empty(n, b, width) for width in (d, *map(len, biases))]  # states, hidden units, slopes
        states, *units, slopes = (block.unbind() for block in blocks)
        states[0].copy_(z)
        for first in range(0, n, n_stages):
            for i in range(first, first + n_stages):
                if i > first:
                    torch.add(states[first], slopes[i - 1], alpha=step * below[i - first - 1], out=states[i])
                top = states[i]
                for weight, bias, unit in zip(weights, biases, units):
                    top = torch.addmm(bias, top, weight, out=unit[i]).tanh_()
                torch.addmm(biases[-1], top, weights[-1], out=slopes[i])
            after = first + n_stages
            if after < n:
                states[after].copy_(states[first])
                for part, slope in zip(share, slopes[first:after]):
                    states[after].add_(slope, alpha=step * part)
        ctx.save_for_backward(coefficients, *blocks[:-1], *layers[::2])
        ctx.method = step, below, share
        return torch.baddbmm(z[:, None], coefficients, blocks[-1].transpose(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        step, below, share = ctx.method
        coefficients, *rest = ctx.saved_tensors
        inputs, weights = rest[: len(rest) // 2], rest[len(rest) // 2 :]  # of each layer
        g_slopes = (coefficients.transpose(1, 2) @ g).transpose(0, 1).contiguous()
        g_outputs = [*map(torch.empty_like, inputs[1:]), g_slopes]
        *g_units, g_slope = (block.unbind() for block in g_outputs)
        layers = list(zip(weights[1:], (block.unbind() for block in inputs[1:]), g_units))[::-1]
        g_state, n_stages = torch.zeros_like(inputs[0][0]), len(share)
        for first in range(len(g_slopes) - n_stages, -1, -n_stages):
            g_end, top = g_state.clone(), None
            for j in reversed(range(n_stages)):
                i = first + j
                g_slope[i].add_(g_end, alpha=step * share[j])
                if top is not None:
                    g_slope[i].add_(top, alpha=step * below[j])
                top = g_slope[i]
                for weight, unit, g_unit in layers:
                    top = tanh_backward(top @ weight, unit[i], grad_input=g_unit[i])
                top = top @ weights[0]
                g_state.add_(top)
        gradients: list[Tensor] = []
        for g_out, x in zip(g_outputs, inputs):
            gradients += [g_out.flatten(0, 1).t() @ x.flatten(0, 1), g_out.sum(dim=(0, 1))]
        return g_state + g.sum(dim=1), None, None, None, None, *gradients


def mlp_states_at(
    layers: Sequence[tuple[Tensor, Tensor]], a: Sequence[float], b: Sequence[float], inside: Sequence[Sequence[float]],
    step: float, z: Tensor, elapsed: Tensor,
) -> Tensor:  # fmt: skip
    """States of ``dz/dt = f(z)`` at many times, for a perceptron ``f`` with a tanh between each two layers.

    Parameters
    ----------
    layers : sequence of (Tensor[out in], Tensor[out])
        Weight and bias of each layer.
    a : sequence of float
        Weight of the slope before in the second, third, ... stage.
    b : sequence of float
        Weights of the slopes in the step.
    inside : sequence of sequence of float
        Dense output: row p holds each slope's coefficient of ``theta ** (p + 1)``.
    step : float
        Length of a step.
    z : Tensor[b d]
        States at the start.
    elapsed : Tensor[b m], float64
        Times since the start, of either sign.

    Returns
    -------
    Tensor[b m d]
    """
    weights = [tensor for layer in layers for tensor in layer]

    def run(theta: Tensor, step: float) -> Tensor:
        theta, coefficients = theta[..., None], z.new_zeros(())
        for row in reversed(inside):
            coefficients = (coefficients + z.new_tensor(row)) * theta
        return _Stages.apply(z, (coefficients * step).flatten(2), step, a, b, *weights)

    return _either_side(run, step, z, elapsed)


def gru_states_at(gates: nn.Linear, candidate_bias: Tensor, step: float, z: Tensor, elapsed: Tensor) -> Tensor:
    """States of a GRU-ODE at many times, by exponential Euler steps; arguments as above and in `fused_gru_ode`."""
    d = len(candidate_bias)

    # expm1(rate theta) as its power series in theta: all times are one product, as many terms as the rounding asks for
    n_terms = next((p for p in range(1, 40) if step**p / math.factorial(p + 1) < torch.finfo(z.dtype).eps / 4), 40)

    def run(theta: Tensor, step: float) -> Tensor:
        start, terms = z, []
        for _ in range(theta.shape[2]):
            ru, m = gates(start).split([2 * d, d], dim=1)
            r, u = ru.sigmoid().chunk(2, dim=1)
            rate, pull = (u - 1) * step, start - torch.tanh(torch.addcmul(candidate_bias, r, m))
            scaled = rate[:, None] / torch.arange(1, n_terms + 1, dtype=z.dtype, device=z.device)[:, None]
            terms.append(pull[:, None] * scaled.cumprod(dim=1))
            start = start + torch.expm1(rate) * pull
        powers = theta[..., None].expand(*theta.shape, n_terms).cumprod(dim=3)
        return torch.baddbmm(z[:, None], powers.flatten(2), torch.cat(terms, dim=1))

    return _either_side(run, step, z, elapsed)


def _either_side(run: Callable[[Tensor, float], Tensor], step: float, z: Tensor, elapsed: Tensor) -> Tensor:
    """Call `run` with the part of each step (b m k) that lies before each time, and with the step's signed length."""
    states = None
    for sign in (1.0, -1.0):
        steps = (sign / step) * elapsed
        n_steps = int(steps.max().ceil()) if steps.numel() else 0
        if n_steps > 0:
            theta = (steps[..., None] - torch.arange(n_steps, device=steps.device)).clamp(0, 1).to(z.dtype)
            there = run(theta, sign * step)
            states = there if states is None else torch.where((steps > 0)[..., None], there, states)
    return z[:, None].expand(-1, elapsed.shape[1], -1) if states is None else states
