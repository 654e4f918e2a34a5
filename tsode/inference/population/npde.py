"""Normalised prediction distribution errors: where values lie among simulated ones, freed of their correlation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from tsode.errors import ParameterError
from tsode.inference.population.decorrelation import check_root, decorrelate
from tsode.inference.population.residuals import FlatCells

__all__ = ["npde"]

MOST_SHARE = 0.5  # values of a series in simulations, beyond which their covariance is not known


def npde(
    cells: FlatCells, simulated: np.ndarray, limits: Sequence[tuple[float | None, float | None]], root: str,
    generator: np.random.Generator, ids: Sequence[object],
) -> np.ndarray:  # fmt: skip
    """Standard normal scores (k,) of values among simulated ones, both decorrelated by the simulated covariance.

    A value beyond a limit of quantification, observed or simulated, is replaced by one that is drawn from those that
    were simulated beyond the limit in its cell; so both are treated alike. Ranks of values that are equal, as counts
    are, are drawn among them.

    Parameters
    ----------
    cells : FlatCells
    simulated : array[n k]
    limits : sequence of (below, above)
        Of each channel.
    root : {"cholesky", "symmetric"}
    generator : numpy.random.Generator
    ids : sequence
        Names of the series.

    References
    ----------
    Brendel, Comets, Laffont, Laveille and Mentre, "Metrics for external model evaluation with an application to the
    population pharmacokinetics of gliclazide", Pharm. Res. 23, 2006; of censored values Nguyen, Comets and Mentre, J.
    Pharmacokinet. Pharmacodyn. 39, 2012.
    """
    check_root(root)
    found, n = np.full(len(cells.values), np.nan), len(simulated)
    for places in cells.of_series():
        if len(places) > MOST_SHARE * n:
            raise ParameterError(
                f"Series {ids[cells.series[places[0]]]!r} has {len(places)} values: their covariance {n} simulations "
                f"do not tell: take n={4 * len(places)} or more."
            )
        both = np.concatenate([cells.values[None, places], simulated[:, places]])
        for j, place in enumerate(places):
            below, above = limits[cells.channel[place]]
            if below is not None:
                _fill(both[:, j], both[:, j] <= below, below, generator)
            if above is not None:
                _fill(both[:, j], both[:, j] >= above, above, generator)
        drawn = both[1:]
        # a cell that is the same in all simulations has nothing to be decorrelated of
        varies = drawn.std(axis=0) > 0
        centred = both[:, varies] - drawn[:, varies].mean(axis=0)
        covariance = np.atleast_2d(centred[1:].T @ centred[1:] / (n - 1))
        both[:, varies] = decorrelate(centred, covariance, root)
        n_less = (both[1:] < both[0]).sum(axis=0)
        n_same = (both[1:] == both[0]).sum(axis=0)
        share = np.where(n_same > 0, generator.random(len(places)), 0.5)
        found[places] = ndtri((n_less + share * (n_same + 1)) / (n + 1))
    return found


def _fill(column: np.ndarray, is_beyond: np.ndarray, limit: float, generator: np.random.Generator) -> None:
    """Draw what lies beyond a limit anew from the simulated values there; the first of the column is observed."""
    pool = column[1:][is_beyond[1:]]
    column[is_beyond] = generator.choice(pool, int(is_beyond.sum())) if len(pool) else limit
