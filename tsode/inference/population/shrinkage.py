"""Shrinkage: by how much less than they should most probable effects differ."""

from __future__ import annotations

from torch import Tensor

from tsode.inference.along_time import occasions_seen
from tsode.inference.known_density import KnownDensity
from tsode.inference.population.estimate import Estimate

__all__ = ["shrinkage"]


def shrinkage(estimate: Estimate, joint: KnownDensity) -> dict[str, float]:
    """``1 - sqrt(mean(eta ** 2))`` of standardised effects, not centred, by what their spreads have behind ``omega_``.

    Of the series that have any value, and of the occasions on which anything was seen: others are at 0 whatever the
    population is.
    """
    population = joint.system.population
    assert population is not None
    names, q = population.effects.names, len(population.effects.names)
    found = dict(zip(names, _shrunk(estimate.eta[estimate.is_seen, :q])))
    if population.occasions is not None:
        of_occasions = population.occasions.effects.names
        kappa = estimate.eta[:, q:].unflatten(1, (-1, len(of_occasions)))  # (n k m)
        seen = occasions_seen(joint.data, population.occasions)
        found |= {f"occasion_{name}": x for name, x in zip(of_occasions, _shrunk(kappa[seen]))}
    return found


def _shrunk(effects: Tensor) -> list[float]:
    return (1.0 - effects.square().mean(dim=0).sqrt()).tolist()
