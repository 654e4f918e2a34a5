"""Runge-Kutta steps, explicit, given by their tableau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.stepwise import Step

__all__ = ["Tableau", "combine", "polynomial", "runge_kutta_dense", "runge_kutta_step"]


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
    dense : tuple of tuple of float
        Dense output: row p holds each slope's coefficient of ``theta ** (p + 1)``; the columns sum to `b`.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]

    @cached_property
    def ends_in_stage(self) -> bool:
        """Whether the step ends where its last slope is taken, which is the first of the next step."""
        return bool(self.a) and (*self.a[-1], 0.0) == self.b


def combine(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """Weighted sum of slopes; a weight of zero costs nothing and lets no infinity through."""
    weight, total = _proportion(tuple(weights), slopes)
    return total * weight


def _add_combined(z: Tensor, length: Tensor, weights: tuple[float, ...], slopes: Sequence[Tensor]) -> Tensor:
    """``z + length * combine(weights, slopes)``, in fewer operations."""
    weight, total = _proportion(weights, slopes)
    return torch.addcmul(z, length, total, value=weight)


def _proportion(weights: tuple[float, ...], slopes: Sequence[Tensor]) -> tuple[float, Tensor]:
    """The first weight that is not zero, and what a weighted sum is in proportion to it."""
    weight, first, rest = _terms(weights)
    if not rest:
        return weight, slopes[first]
    share, place = rest[0]
    total = torch.add(slopes[first], slopes[place], alpha=share)
    for share, place in rest[1:]:
        total.add_(slopes[place], alpha=share)
    return weight, total


@cache
def _terms(weights: tuple[float, ...]) -> tuple[float, int, tuple[tuple[float, int], ...]]:
    """The first weight that is not zero, its place, and the others in proportion to it with theirs."""
    places = [place for place, weight in enumerate(weights) if weight]
    first = weights[places[0]]
    return first, places[0], tuple((weights[place] / first, place) for place in places[1:])


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
    end, is_finite = z, is_finite_row(z) if torch.is_grad_enabled() else None
    for node, weights in zip(tableau.c[1:], tableau.a):
        end = _add_combined(z, length, weights, slopes)
        # The field never sees a value that is not finite: a gradient of zero times infinity would reach its weights.
        if is_finite is not None:
            is_finite = is_finite & is_finite_row(end)
            seen = torch.where(is_finite[:, None], end, z)
        else:
            seen = end.nan_to_num() if node == 1.0 else end.nan_to_num_()
        slopes.append(field(torch.add(t, dt, alpha=node), seen))
    if not tableau.ends_in_stage:
        end = _add_combined(z, length, tableau.b, slopes)
    if is_finite is not None:
        return Step(end, slopes, is_finite & is_finite_row(end))
    # a stage is finite where the slopes before it are
    return Step(end, slopes, is_finite_row(torch.cat([*slopes[: len(tableau.a)], end], dim=1)))


def runge_kutta_dense(tableau: Tableau, z: Tensor, slopes: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
    """State after the fraction `theta` (... 1) of the step of length `dt` (... 1) that began at `z` (... d)."""
    powers = list(accumulate([theta] * len(tableau.dense), torch.mul))  # to the bit the same alone and in any batch
    for weights, slope in zip(zip(*tableau.dense), slopes):
        if any(weights):
            z = torch.addcmul(z, dt * combine(weights, powers), slope)
    return z


def polynomial(tableau: Tableau, slopes: Sequence[Tensor], length: Tensor) -> list[Tensor]:
    """Coefficients (b d) of the powers of the share that has passed, from the first, of a step of this length (b 1)."""
    return [combine(weights, slopes) * length for weights in tableau.dense]
