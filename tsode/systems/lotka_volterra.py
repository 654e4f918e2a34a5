"""Lotka and Volterra's predators and prey."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.parameters import Parameters
from tsode.systems.priors import around

__all__ = ["lotka_volterra"]


def lotka_volterra(
    prey_level: float = 1.0, predator_level: float = 1.0, period: float = 1.0, spread: float = 0.5
) -> KnownSystem:
    """Predators and prey: ``x' = (alpha - beta y) x``, ``y' = (delta x - gamma) y``.

    States and channels ``prey`` and ``predator``, with log-normal noise of standard deviations ``sd_prey`` and
    ``sd_predator``. Around the resting levels ``gamma / delta`` and ``alpha / beta`` they go round with a period of
    ``2 pi / sqrt(alpha gamma)``, and more slowly farther out.

    Parameters
    ----------
    prey_level, predator_level : float
        Typical numbers.
    period : float
        Typical time from one peak to the next.
    spread : float
        Standard deviation of the logarithms of the parameters before any data; of the starts it is twice that.
    """
    for name, value in {"prey_level": prey_level, "predator_level": predator_level, "period": period}.items():
        if not 0 < value < math.inf:
            raise ParameterError(f"{name} must be above 0, but is {value!r}.")
    pace = 2.0 * math.pi / period
    parameters = {
        "alpha": around("alpha", pace, spread),
        "beta": around("beta", pace / predator_level, spread),
        "gamma": around("gamma", pace, spread),
        "delta": around("delta", pace / prey_level, spread),
        "sd_prey": around("sd_prey", 0.25, 1.0),
        "sd_predator": around("sd_predator", 0.25, 1.0),
    }
    initial = {
        "prey": around("prey_level", prey_level, 2.0 * spread),
        "predator": around("predator_level", predator_level, 2.0 * spread),
    }
    observed = {name: LogNormalNoise(name, sd=f"sd_{name}") for name in initial}
    return KnownSystem(_rates, list(initial), parameters, initial, observed)


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    prey, predator = z.unbind(-1)
    return (p.alpha - p.beta * predator) * prey, (p.delta * prey - p.gamma) * predator
