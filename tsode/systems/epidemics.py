"""Epidemics in a closed population: SIR and SEIR."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.base import Between, Noise
from tsode.inference.noise.negative_binomial import NegativeBinomialNoise
from tsode.inference.parameters import Parameters
from tsode.systems.priors import Typical, around

__all__ = ["seir", "sir"]


def sir(
    population: float, reproduction: Typical = 2.0, infectious: Typical = 1.0, first: Typical = 10.0,
    reported: Typical = 1.0, spread: float = 0.5,
) -> KnownSystem:  # fmt: skip
    """Susceptible, infectious and removed people, of whom those who fall ill are counted.

    ``S' = -b S I / N``, ``I' = b S I / N - I / infectious``, with ``b = reproduction / infectious``. Channel ``cases``
    counts who has fallen ill since the count before (at first since the start), times `reported`, with negative
    binomial noise of ``size``. The states are people.

    Parameters
    ----------
    population : float
        ``N``, known.
    reproduction : float or Prior
        Typical number of people whom one infects while all are susceptible.
    infectious : float or Prior
        Typical time for which one does.
    first : float or Prior
        Typical number of infectious people at the start.
    reported : float or Prior
        Share of cases that are counted; a number is taken as known.
    spread : float
        Standard deviation of the logarithms of the parameters before any data; of `first` it is twice that.
    """
    parameters = _parameters(population, reproduction, infectious, first, reported, spread)
    initial = {"s": _all_but_first, "i": _first, "r": 0.0}
    return KnownSystem(_sir, ["s", "i", "r"], parameters, initial, _cases())


def seir(
    population: float, reproduction: Typical = 2.0, infectious: Typical = 1.0, latent: Typical = 1.0,
    first: Typical = 10.0, reported: Typical = 1.0, spread: float = 0.5,
) -> KnownSystem:  # fmt: skip
    """Epidemic with people who are infected and do not infect yet: as `sir`, with a state ``e`` before ``i``.

    ``E' = b S I / N - E / latent``, ``I' = E / latent - I / infectious``. Those who are infected at the start are in
    ``i``; ``cases`` counts who has been infected.

    Parameters
    ----------
    population, reproduction, infectious, first, reported, spread
        As in `sir`.
    latent : float or Prior
        Typical time from being infected to infecting.
    """
    parameters = _parameters(population, reproduction, infectious, first, reported, spread)
    parameters["latent"] = around("latent", latent, spread)
    initial = {"s": _all_but_first, "e": 0.0, "i": _first, "r": 0.0}
    return KnownSystem(_seir, ["s", "e", "i", "r"], parameters, initial, _cases())


def _parameters(
    population: float, reproduction: Typical, infectious: Typical, first: Typical, reported: Typical, spread: float
) -> dict[str, Any]:
    if not 0 < population < math.inf:
        raise ParameterError(f"population is the number of people, above 0, but is {population!r}.")
    return {
        "population": population,
        "reproduction": around("reproduction", reproduction, spread),
        "infectious": around("infectious", infectious, spread),
        "first": around("first", first, 2.0 * spread),
        "reported": reported,
        "size": around("size", 20.0, 1.0),
    }


def _cases() -> dict[str, Noise]:
    return {"cases": NegativeBinomialNoise(Between(_fallen_ill), size="size")}


def _fallen_ill(t_before: Tensor, z_before: Tensor, t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return p.reported * (z_before[:, 0] - z[:, 0])


def _first(p: Parameters) -> Tensor:
    return p.first


def _all_but_first(p: Parameters) -> Tensor:
    return p.population - p.first


def _infected(s: Tensor, i: Tensor, p: Parameters) -> Tensor:
    return p.reproduction / p.infectious * s * i / p.population


def _sir(t: Tensor, z: Tensor, p: Parameters) -> Any:
    s, i, _ = z.unbind(-1)
    infected, removed = _infected(s, i, p), i / p.infectious
    return -infected, infected - removed, removed


def _seir(t: Tensor, z: Tensor, p: Parameters) -> Any:
    s, e, i, _ = z.unbind(-1)
    infected, begun, removed = _infected(s, i, p), e / p.latent, i / p.infectious
    return -infected, infected - begun, begun - removed, removed
