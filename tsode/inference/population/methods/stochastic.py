"""Stochastic ascent, as a method that users ask for by name."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.inference.population.methods.importance import Importance

__all__ = ["Stochastic"]


@dataclass(frozen=True)
class Stochastic(Importance):
    """Importance sampling, to which maximum likelihood turns only where chains of the effects have led.

    See `tsode.inference.population.stochastic.maximum_by_chains`.
    """

    name = "stochastic"
    title = "Integral by importance sampling, at the end of a stochastic ascent"
