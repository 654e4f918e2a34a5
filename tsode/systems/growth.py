"""Growth to a limit: logistic and Gompertz."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsode.inference.known_system import KnownSystem, Rates
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.parameters import Parameters
from tsode.systems.priors import Typical, around

__all__ = ["gompertz_growth", "logistic_growth"]


def logistic_growth(
    rate: Typical = 1.0, limit: Typical = 1.0, start: Typical = 0.1, spread: float = 1.0
) -> KnownSystem:
    """Logistic growth: ``x' = rate x (1 - x / limit)``.

    State and channel ``size``, with log-normal noise of standard deviation ``sd``.

    Parameters
    ----------
    rate : float or Prior
        Typical rate of growth per time while `size` is small.
    limit, start : float or Prior
        Typical size in the end and at the start.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    return _growth(_logistic, rate, limit, start, spread)


def gompertz_growth(
    rate: Typical = 1.0, limit: Typical = 1.0, start: Typical = 0.1, spread: float = 1.0
) -> KnownSystem:
    """Gompertz growth, as of tumours: ``x' = rate x log(limit / x)``; the logarithm nears its end exponentially.

    Parameters
    ----------
    rate, limit, start, spread
        As in `logistic_growth`, but `rate` is that at which the logarithm nears its end.
    """
    return _growth(_gompertz, rate, limit, start, spread)


def _growth(rates: Rates, rate: Typical, limit: Typical, start: Typical, spread: float) -> KnownSystem:
    parameters = {
        "rate": around("rate", rate, spread),
        "limit": around("limit", limit, spread),
        "sd": around("sd", 0.1, 1.0),
    }
    initial = {"size": around("start", start, spread)}
    return KnownSystem(rates, ["size"], parameters, initial, {"size": LogNormalNoise("size", sd="sd")})


def _logistic(t: Tensor, z: Tensor, p: Parameters) -> Any:
    size = z[:, 0]
    return (p.rate * size * (1 - size / p.limit),)


def _gompertz(t: Tensor, z: Tensor, p: Parameters) -> Any:
    size = z[:, 0]
    # a trial step may overshoot to a size that has no logarithm: at 0 nothing grows
    share = (size / p.limit).clamp(min=torch.finfo(size.dtype).tiny)
    return (-p.rate * size * share.log(),)
