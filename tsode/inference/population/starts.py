"""Starts of the search for the top of a population's likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from tsode.errors import ParameterError, SolverError
from tsode.inference.engines.mode import choose_starts
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.fo import FO
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.priors import Prior

__all__ = ["exchanges", "find_starts"]


def find_starts(
    density: MarginalDensity, generator: torch.Generator, n_starts: int, n_prior: int, tell: Callable[[str], None]
) -> Tensor:
    """The best of draws of the prior, (b p), chosen to differ.

    Raises
    ------
    SolverError
        If none of them gives every series a likelihood.
    """
    tell("looking for starts")
    draws = density.sample_prior(n_prior, generator)
    with torch.no_grad():
        value = _rough(density).log_prob(draws)
    if not bool(value.isfinite().any()):
        raise SolverError(
            f"None of {n_prior} draws of the prior gives every series a likelihood: look at priors and units, or give "
            "starting values."
        )
    return draws[0, choose_starts(draws, value, n_starts)[0]]


def exchanges(names: Sequence[str], priors: Mapping[str, Prior]) -> list[list[int]]:
    """Orders of the coordinates in which two parameters of the same prior, and their spreads, have changed places.

    Such as two volumes or two rates, of which a start may end with one in the place of the other.
    """
    found = []
    place = {name: k for k, name in enumerate(names)}
    for a, b in combinations([name for name in names if not name.startswith(("omega_", "corr_"))], 2):
        if repr(priors[a]) != repr(priors[b]):
            continue
        order = list(range(len(names)))
        for one, other in ((a, b), (f"omega_{a}", f"omega_{b}")):
            if one in place and other in place:
                order[place[one]], order[place[other]] = place[other], place[one]
        found.append(order)
    return found


def _rough(density: MarginalDensity) -> MarginalDensity:
    """A cheap likelihood: linearised where noise is normal."""
    try:
        return MarginalDensity(density.joint, FO())
    except ParameterError:
        return MarginalDensity(density.joint, Laplace())
