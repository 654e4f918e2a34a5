"""Leapfrog method, for separable fields."""

from __future__ import annotations

from dataclasses import dataclass

from tsode.numerics.symplectic import SymplecticComposition

__all__ = ["Leapfrog"]


@dataclass(frozen=True)
class Leapfrog(SymplecticComposition):
    """Leapfrog or Stoermer-Verlet method: symplectic, reversible, order 2, two forces and a velocity a step.

    Half a kick, a drift, half a kick. Stable for oscillations of an angular frequency below ``2 / step``.

    References
    ----------
    Hairer, Lubich, Wanner, *Geometric Numerical Integration*, 2nd ed., eq. I.1.17; no drift of the energy:
    theorem IX.8.1.
    """

    order = 2
    drifts = (0.0, 1.0)
    kicks = (0.5, 0.5)
