"""Turnover: what is made at a constant rate and lost in proportion to what is there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.parameters import Parameters
from tsode.systems.priors import Typical, around

__all__ = ["turnover"]


def turnover(level: Typical = 1.0, loss: Typical = 1.0, spread: float = 1.0) -> KnownSystem:
    """Return to a level of rest: ``x' = loss * (level - x)``, in which ``loss * level`` is what is made per time.

    State and channel ``response``, with log-normal noise of standard deviation ``sd``; where it starts has the prior of
    `level`. Doses may push it.

    Parameters
    ----------
    level : float or Prior
        Typical level of rest.
    loss : float or Prior
        Typical share lost per time.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    parameters = {
        "level": around("level", level, spread),
        "loss": around("loss", loss, spread),
        "sd": around("sd", 0.2, 1.0),
    }
    return KnownSystem(
        _rates, ["response"], parameters, {"response": parameters["level"]},
        {"response": LogNormalNoise("response", sd="sd")},
    )  # fmt: skip


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    return (p.loss * (p.level - z[:, 0]),)
