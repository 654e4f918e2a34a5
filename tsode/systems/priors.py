"""Priors of ready systems, from typical values."""

from __future__ import annotations

import math

from tsode.errors import ParameterError
from tsode.inference.priors import LogNormal, Prior

__all__ = ["Typical", "around"]

Typical = float | Prior
"""A typical value, or a prior where more is known."""


def around(name: str, typical: Typical, spread: float) -> Prior:
    """Prior of a positive parameter: log-normal with its median at a typical value, or the prior that was given.

    Parameters
    ----------
    name : str
        For messages.
    typical : float or Prior
    spread : float
        Standard deviation of the logarithm: with 0.5 two values of three lie within a factor of 1.65, with 1 of 2.7.
    """
    if isinstance(typical, Prior):
        return typical
    if isinstance(typical, bool) or not isinstance(typical, int | float) or not 0 < typical < math.inf:
        raise ParameterError(f"{name} is a typical value above 0, in your units, or a prior, but is {typical!r}.")
    return LogNormal(math.log(typical), spread)
