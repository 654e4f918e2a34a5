"""Starts of the search for the top of a population's likelihood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.errors import ParameterError, SolverError
from tsode.inference.engines.mode import choose_starts
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.fo import FO
from tsode.inference.population.methods.laplace import Laplace

__all__ = ["find_starts"]


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


def _rough(density: MarginalDensity) -> MarginalDensity:
    """A cheap likelihood: linearised where noise is normal."""
    try:
        return MarginalDensity(density.joint, FO())
    except ParameterError:
        return MarginalDensity(density.joint, Laplace())
