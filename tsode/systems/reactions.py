"""First-order reactions: a chain of species, each turning into the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.parameters import Parameters
from tsode.systems.priors import Typical, around

__all__ = ["first_order_reactions"]


def first_order_reactions(
    species: Sequence[str] = ("a", "b", "c"), rate: Typical = 1.0, level: Typical = 1.0, spread: float = 1.0
) -> KnownSystem:
    """Chain of reactions ``a -> b -> c -> ...``, each in proportion to what there is: ``a' = -rate_1 a``, and so on.

    States and channels are the species, all of them measured with additive noise of standard deviation ``sd``. At the
    start there is the first alone.

    Parameters
    ----------
    species : sequence of str
        At least two; the last one stays.
    rate : float or Prior
        Typical rate of a reaction, per time.
    level : float or Prior
        Typical amount of the first species at the start.
    spread : float
        Standard deviation of the logarithms of the parameters before any data.
    """
    if isinstance(species, str) or len(species) < 2:
        raise ParameterError(f"species must name at least two, but is {species!r}.")
    start = around("level", level, spread)
    parameters = {f"rate_{k}": around("rate", rate, spread) for k in range(1, len(species))}
    parameters["sd"] = around("sd", 0.05 * float(start.quantile(0.5)), 1.0)
    initial = {name: start if k == 0 else 0.0 for k, name in enumerate(species)}
    observed = {name: AdditiveNoise(name, sd="sd") for name in species}
    return KnownSystem(_rates, list(species), parameters, initial, observed)


def _rates(t: Tensor, z: Tensor, p: Parameters) -> Any:
    amounts = z.unbind(-1)
    reacted = [p[f"rate_{k}"] * amount for k, amount in enumerate(amounts[:-1], start=1)]
    return (-reacted[0], *(made - lost for made, lost in itertools.pairwise(reacted)), reacted[-1])
