"""Filter and smoother on a grid: sums over all states, for one or two states with additive noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["OnGrid", "filter_on_grid", "generator"]


@dataclass(frozen=True)
class OnGrid:
    """What a grid knows: log likelihood, and means (n d) of the state by the data up to each time, and by all."""

    log_prob: float
    filtered: Tensor
    smoothed: Tensor


def filter_on_grid(
    drift: Callable[[Tensor], Tensor],
    noise: Tensor,
    axes: list[Tensor],
    start: tuple[Tensor, Tensor],
    times: Tensor,
    log_prob: Callable[[int, Tensor], Tensor],
    step: float,
) -> OnGrid:
    """Chapman and Kolmogorov's equation by sums over a grid.

    The noise of a short step is integrated on the even points of the grid, by the trapezoidal rule, whose error falls
    exponentially once points are no further apart than the noise is wide; the drift moves points, half a step before
    and half after, so that nothing is interpolated.

    Parameters
    ----------
    drift : callable
        States (n d) -> (n d).
    noise : Tensor[d]
        Standard deviations per root of time, of independent noises.
    axes : list of Tensor
        Even points of each state.
    start : Tensor[d], Tensor[d]
        Mean and standard deviation at time 0.
    times : Tensor[n]
    log_prob : callable
        Number of the time and states -> log likelihood of what was seen there.
    step : float
        Longest step.
    """
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes))

    def moved(z: Tensor, h: float) -> Tensor:
        k1 = drift(z)
        k2 = drift(z + 0.5 * h * k1)
        k3 = drift(z + 0.5 * h * k2)
        k4 = drift(z + h * k3)
        return z + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    def kernels(z: Tensor, h: float) -> list[Tensor]:
        centre, found = moved(z, 0.5 * h), []
        for j, axis in enumerate(axes):
            sd = float(noise[j]) * math.sqrt(h)
            scaled = (axis - centre[:, j, None]) / sd
            found.append((-0.5 * scaled**2).exp() * float(axis[1] - axis[0]) / (sd * math.sqrt(2.0 * math.pi)))
        return found

    def ahead(weight: Tensor, k: list[Tensor]) -> Tensor:
        return weight @ k[0] if len(k) == 1 else ((weight[:, None] * k[0]).mT @ k[1]).flatten()

    def back(value: Tensor, k: list[Tensor]) -> Tensor:
        if len(k) == 1:
            return k[0] @ value
        return ((k[0] @ value.reshape(len(axes[0]), -1)) * k[1]).sum(dim=1)

    weight = (-0.5 * ((points - start[0]) / start[1]) ** 2).sum(dim=1).exp()
    weight, where, t = weight / weight.sum(), points, 0.0
    origin, total, cached, passed, filtered = 0.0, 0.0, {}, [], []  # `origin`: the step that has led to `where`
    for n, end in enumerate(times.tolist()):
        count = math.ceil((end - t) / step - 1e-9)
        steps = []
        for _ in range(count):
            h = (end - t) / count
            key = (round(origin, 12), round(h, 12))
            if key not in cached:
                cached[key] = (kernels(where, h), moved(points, 0.5 * h))
            k, after = cached[key]
            weight, where, origin = ahead(weight, k), after, h
            steps.append(k)
        t = end
        likelihood = log_prob(n, where).exp().nan_to_num(0.0)
        weight = weight * likelihood
        total += float(weight.sum().log())
        weight = weight / weight.sum()
        passed.append((steps, likelihood, weight, where))
        filtered.append(weight @ where)
    value, smoothed = torch.ones_like(weight), []
    for steps, likelihood, weight, where in reversed(passed):
        both = weight * value
        smoothed.append(both @ where.nan_to_num(0.0) / both.sum())
        value = value * likelihood
        for k in reversed(steps):
            value = back(value, k)
        value = value / value.max()
    return OnGrid(total, torch.stack(filtered), torch.stack(smoothed[::-1]))


def generator(drift: Callable[[Tensor], Tensor], noise: float, axis: Tensor) -> Tensor:
    """Rates (n n) between the points of an axis, of a Markov chain that is like the motion: column by column they sum
    to zero, and its exponential carries a law ahead.

    References
    ----------
    Scharfetter and Gummel, "Large-signal analysis of a silicon Read diode oscillator", 1969.
    """
    dx, diffusivity = float(axis[1] - axis[0]), 0.5 * noise**2
    middle = drift(0.5 * (axis[1:] + axis[:-1])[:, None])[:, 0] * dx / diffusivity

    def bernoulli(x: Tensor) -> Tensor:
        small = x.abs() < 1e-8
        return torch.where(small, 1.0 - 0.5 * x, x / torch.where(small, 1.0, x).expm1())

    right, left = bernoulli(-middle) * diffusivity / dx**2, bernoulli(middle) * diffusivity / dx**2
    rates = torch.diag(right, -1) + torch.diag(left, 1)
    return rates - torch.diag(rates.sum(dim=0))
