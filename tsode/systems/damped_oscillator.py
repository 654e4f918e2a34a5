"""Damped oscillator: what swings ever less about its place of rest."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.parameters import Parameters
from tsode.inference.priors import Normal
from tsode.systems.priors import Typical, around

__all__ = ["damped_oscillator"]


def damped_oscillator(
    period: Typical = 1.0, damping: Typical = 0.1, amplitude: float = 1.0, spread: float = 0.5
) -> KnownSystem:
    """Oscillator with friction: ``x'' = -2 damping w x' - w^2 x`` with ``w = 2 pi / period``.

    States ``position`` and ``velocity``; channel ``position`` with additive noise of standard deviation ``sd``.

    Parameters
    ----------
    period : float or Prior
        Typical time of a swing without friction.
    damping : float or Prior
        Typical ratio to the friction at which it swings no more.
    amplitude : float
        Typical swing.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    if not 0 < amplitude < math.inf:
        raise ParameterError(f"amplitude must be above 0, but is {amplitude!r}.")
    parameters = {
        "period": around("period", period, spread),
        "damping": around("damping", damping, 2.0 * spread),
        "sd": around("sd", 0.1 * amplitude, 1.0),
    }
    # where a swing of this size starts, its speed is as large times w
    fastest = 2.0 * math.pi * amplitude / float(parameters["period"].quantile(0.5))
    initial = {"position": Normal(0.0, amplitude), "velocity": Normal(0.0, fastest)}
    return KnownSystem(_rates, list(initial), parameters, initial, {"position": AdditiveNoise("position", sd="sd")})


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    position, velocity = z.unbind(-1)
    pace = 2.0 * math.pi / p.period
    return velocity, -2.0 * p.damping * pace * velocity - pace**2 * position
