"""Shrinkage of the effects of occasions: by how much less than they should they differ."""

from __future__ import annotations

from torch import Tensor

from tsode.inference.along_time import occasions_seen
from tsode.inference.known_density import KnownDensity

__all__ = ["shrinkage_of_occasions"]


def shrinkage_of_occasions(eta: Tensor, joint: KnownDensity) -> dict[str, float]:
    """``1 - sqrt(mean(kappa ** 2))`` of each parameter over the occasions on which anything was seen.

    By ``occasion_<name>``, as spreads are called behind their ``omega_``.

    Parameters
    ----------
    eta : Tensor[n q]
        Most probable effects of each series, those of occasions last.
    joint : KnownDensity
    """
    population = joint.system.population
    if population is None or population.occasions is None:
        return {}
    names = population.occasions.effects.names
    seen = occasions_seen(joint.data, population.occasions)
    kappa = eta[:, len(population.effects.names) :].unflatten(1, (-1, len(names)))  # (n k m)
    root = kappa[seen].square().mean(dim=0).sqrt()
    return {f"occasion_{name}": 1.0 - x for name, x in zip(names, root.tolist())}
