"""Runge-Kutta steps, explicit, given by their tableau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.stepwise import Step

__all__ = ["Tableau", "combine", "runge_kutta_dense", "runge_kutta_step"]


@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta method, in the letters of Hairer, Norsett and Wanner.

    Parameters
    ----------
    c : tuple of float
        Nodes; the first is 0.
    a : tuple of tuple of float
        Weights of the earlier slopes in the second, third, ... stage.
    b : tuple of float
        Weights of the slopes in the step.
    inside : tuple of tuple of float
        Dense output: row p holds each slope's coefficient of ``theta ** (p + 1)``; the columns sum to `b`.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]

    @property
    def ends_at_last_stage(self) -> bool:
        """Whether the state of the last stage is that at the end of the step."""
        return bool(self.a) and self.b == (*self.a[-1], 0.0)


def combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """Weighted sum of slopes; a weight of zero costs nothing and lets no infinity through."""
    (weight, slope), *rest = [(w, k) for w, k in zip(weights, slopes) if w != 0]
    total = weight * slope
    for weight, slope in rest:
        total = torch.add(total, slope, alpha=weight)
    return total


def runge_kutta_step(
    tableau: Tableau, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None
) -> Step:
    """Take one step of length ``dt`` (b,) from ``z`` (b d) at ``t`` (b,).

    Parameters
    ----------
    slope : Tensor[b d], optional
        ``field(t, z)`` where it is known already.
    """
    length = dt.to(z.dtype)[:, None]
    slopes = [field(t, z) if slope is None else slope]
    is_finite = torch.ones_like(dt, dtype=torch.bool)
    for node, weights in zip(tableau.c[1:], tableau.a):
        stage = torch.addcmul(z, length, combine(weights, slopes))
        is_finite = is_finite & is_finite_row(stage)
        # The field never sees a value that is not finite: a gradient of zero times infinity would reach its weights.
        slopes.append(field(t + node * dt, torch.where(is_finite[:, None], stage, z)))
    if tableau.ends_at_last_stage:
        return Step(stage, slopes, is_finite)
    end = torch.addcmul(z, length, combine(tableau.b, slopes))
    return Step(end, slopes, is_finite & is_finite_row(end))


def runge_kutta_dense(tableau: Tableau, z: Tensor, slopes: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
    """State after the fraction `theta` (... 1) of the step of length `dt` (... 1) that began at `z` (... d)."""
    powers = [theta ** (p + 1) for p in range(len(tableau.dense))]
    for weights, slope in zip(zip(*tableau.dense), slopes):
        if any(weights):
            z = torch.addcmul(z, dt * combine(weights, powers), slope)
    return z
