"""FitzHugh and Nagumo's model of a nerve that fires."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.parameters import Parameters
from tsode.inference.priors import Normal
from tsode.systems.priors import Typical, around

__all__ = ["fitzhugh_nagumo"]


def fitzhugh_nagumo(
    a: Typical = 0.2, b: Typical = 0.2, c: Typical = 3.0, timescale: float = 1.0, spread: float = 0.5
) -> KnownSystem:
    """Fast voltage and slow recovery: ``v' = c (v - v^3 / 3 + w)``, ``w' = -(v - a + b w) / c``, over a time scale.

    States ``voltage`` and ``recovery``; channel ``voltage`` with additive noise of standard deviation ``sd``. Both are
    without units and of size 1 to 2. A likelihood of many periods has narrow peaks.

    Parameters
    ----------
    a, b, c : float or Prior
        Typical values; the larger ``c``, the more sudden the spikes.
    timescale : float
        Of your unit of time: a period is some 10 of it.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.

    References
    ----------
    FitzHugh, "Impulses and physiological states in theoretical models of nerve membrane", Biophys. J. 1, 1961. In this
    form: Ramsay et al., "Parameter estimation for differential equations", JRSS B 69, 2007.
    """
    parameters = {
        "a": around("a", a, spread),
        "b": around("b", b, spread),
        "c": around("c", c, spread),
        "timescale": timescale,
        "sd": around("sd", 0.2, 1.0),
    }
    initial = {"voltage": Normal(0.0, 1.0), "recovery": Normal(0.0, 1.0)}
    return KnownSystem(_rates, list(initial), parameters, initial, {"voltage": AdditiveNoise("voltage", sd="sd")})


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    v, w = z.unbind(-1)
    return p.c * (v - v**3 / 3 + w) / p.timescale, -(v - p.a + p.b * w) / (p.c * p.timescale)
