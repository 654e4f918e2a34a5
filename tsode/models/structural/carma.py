"""CARMA part: an autoregression of second order in continuous time, with a moving average."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.kernels.paired_filter import PairedSteps
from tsode.models.structural.component import Component, DataScale, Prior, decayed

__all__ = ["CARMA"]

NEAR_DOUBLE = 0.1  # of the discriminant by the squared gap: there, the roots are nearly one
SMALL = 0.2  # of the rates by the gap: there, noise is the series of its equation
TERMS = 16
HYPERBOLIC_TERMS = 8


@dataclass(frozen=True)
class CARMA(Component):
    """CARMA(2, q) process, ``y'' + 2 ratio / time y' + y / time^2 = W' + moving_average time W''`` (Brockwell 2001).

    It is scaled to its variance. A damping ratio below 1 makes an oscillation with the period
    ``2 pi time / sqrt(1 - ratio^2)``, 1 a double root (without a moving average a `Matern` part), and above 1 a sum of
    two decays. The states are ``y`` and what is uncorrelated with it and has its variance: there, with the angle
    ``tan a = moving_average``, the noise comes in along ``(sin a, cos a)`` and the start is diagonal.

    Parameters
    ----------
    q : int
        Order of the moving average, 0 or 1; with 0 the process has a derivative.
    """

    q: int = 1
    name: str = "carma"

    has_own_period: ClassVar[bool] = True
    n_states: ClassVar[int] = 2  # type: ignore[assignment]
    readout: ClassVar[tuple[float, ...]] = (1.0, 0.0)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.q not in (0, 1):
            raise ParameterError(f"q={self.q!r} of component 'carma' must be 0 or 1: it is of second order.")

    def priors(self, scale: DataScale) -> dict[str, Prior]:
        priors = {
            "variance": Prior(0.2, 1.5),
            "time": Prior(sqrt(0.2 * scale.gap), 1.5),
            "damping_ratio": Prior(1.0, 1.0),
        }
        return priors | ({"moving_average": Prior(0.5, 1.5)} if self.q else {})

    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        variance = parameters["variance"]
        tangent = parameters.get("moving_average", torch.zeros_like(variance))
        turn = gap / parameters["time"]  # all rates are by the gap
        rate = parameters["damping_ratio"] * turn
        double_sine = 2.0 * tangent / (1.0 + tangent**2)
        double_cosine = (1.0 - tangent**2) / (1.0 + tangent**2)
        # the drift is -rate and, beside it, [[d, p], [q, -d]], whose square is a number
        d, p, q = rate * double_cosine, turn - rate * double_sine, -turn - rate * double_sine
        cosine, sine = _decaying_waves(rate, turn)
        own = torch.stack([cosine + sine * d, cosine - sine * d], dim=-1)
        other = torch.stack([sine * p, sine * q], dim=-1)
        is_small = rate + turn < SMALL
        near = [torch.where(is_small, x, 0.0) for x in (rate, d, p, q)]
        series, far = _noise(*near), _rest(own, other)
        first, second, covariance = (variance * torch.where(is_small, a, b) for a, b in zip(series, far))
        return PairedSteps(own, other, torch.stack([first, second], dim=-1), covariance[..., None])

    def start(self, **parameters: Tensor) -> Tensor:
        return parameters["variance"][..., None].expand(-1, 2)


def _decaying_waves(rate: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(-rate) cosh(root)`` and ``exp(-rate) sinh(root) / root``, ``root^2 = rate^2 - turn^2`` of either sign."""
    square = (rate - turn) * (rate + turn)
    near = square.clamp(-NEAR_DOUBLE, NEAR_DOUBLE)
    near_cosine, near_sine = torch.zeros_like(near), torch.zeros_like(near)
    for k in range(HYPERBOLIC_TERMS, -1, -1):
        near_cosine = near_cosine * near + 1.0 / factorial(2 * k)
        near_sine = near_sine * near + 1.0 / factorial(2 * k + 1)
    angle = (-square).clamp(min=NEAR_DOUBLE).sqrt()
    root = square.clamp(min=NEAR_DOUBLE).sqrt()
    slow = (-(turn**2) / (rate + root)).exp()  # of the slower root: rate - root would cancel
    decay, rest = (-rate).exp(), decayed(2.0 * root)
    is_double, is_wave = square.abs() < NEAR_DOUBLE, square < 0.0
    cosine = torch.where(
        is_double, decay * near_cosine, torch.where(is_wave, decay * angle.cos(), slow * (1.0 - rest / 2.0))
    )
    sine = torch.where(
        is_double, decay * near_sine, torch.where(is_wave, decay * angle.sin() / angle, slow * rest / (2.0 * root))
    )
    return cosine, sine


def _noise(rate: Tensor, d: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noise over short gaps, by variance: the power series of ``dQ = A Q + Q A' + g g'`` with ``g g' = -A - A'``."""
    first, second, both = 2.0 * (rate - d), 2.0 * (rate + d), -(p + q)
    total = [first, second, both]
    for k in range(2, TERMS + 1):
        first, second, both = (
            2.0 * ((d - rate) * first + p * both) / k,
            2.0 * (q * both - (rate + d) * second) / k,
            (q * first + p * second - 2.0 * rate * both) / k,
        )
        total = [x + term for x, term in zip(total, (first, second, both))]
    return total[0], total[1], total[2]


def _rest(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noise over long gaps, by variance: what the state has forgotten."""
    kept = 1.0 - own**2 - other**2
    return kept[..., 0], kept[..., 1], -(own[..., 0] * other[..., 1] + other[..., 0] * own[..., 1])
