"""Ranks of values among sampled members: flat where an ensemble is drawn from the law of what comes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from tsode.diagnostics.forecast_rows import forecast_rows
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster

__all__ = ["rank_histogram"]

CHANCE = 0.01  # of a shape where ranks are even
FEWEST_IN_BIN, MOST_BINS = 5, 20


def rank_histogram(
    forecaster: FittedForecaster,
    X: Any,
    *,
    cutoffs: Any = None,
    every: Any = None,
    horizon: Any = None,
    n_members: int = 99,
    random_state: Any = 0,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Ranks of what came among the members of an ensemble that a forecaster samples, with their shape.

    From each cutoff on members are drawn by `sample`, by the rows of `X` up to the cutoff. If they are of the same law
    as what comes, every rank has the same chance.

    Parameters
    ----------
    forecaster, X, cutoffs, every, horizon, events, static, known
        See `spread_skill`.
    n_members : int
        Of each ensemble; ranks go from 0, below all of them, to `n_members`. Among members that are equal to the value,
        as counts may be, its place is drawn at random.
    random_state : int, generator or None
        Of members, and of places among equals.

    Returns
    -------
    DataFrame
        A column a channel: the ranks, NaN where the channel was not seen. ``attrs["n_ranks"]`` is their number;
        ``attrs["chi_square"]`` of each channel the chance that even ranks are as uneven, by Pearson's test in up to 20
        bins; ``attrs["shape"]`` its shape: "flat", or "U" (spread too narrow), "dome" (too wide), "slope" (too low or
        too high, which is said), or "uneven". Values that were forecast from one cutoff of one series have errors in
        common, which both reckon with (Rao and Scott 1981). `plot_rank_histogram` draws it.

    Raises
    ------
    ParameterError
        If there are too few members.
    DataError
        If there is nothing to forecast from or to compare with.

    References
    ----------
    Hamill, "Interpretation of rank histograms for verifying ensemble forecasts", Monthly Weather Review 129, 2001.
    Jolliffe, Primo, "Evaluating rank histograms using decompositions of the chi-square test statistic", Monthly
    Weather Review 136, 2008 (slope and U as contrasts).
    Rao, Scott, "The analysis of categorical data from complex sample surveys", Journal of the American Statistical
    Association 76, 1981 (first-order correction).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.diagnostics import rank_histogram
    >>> walk = {"drift": [[0.0]], "diffusion": [[0.2]], "readout": [[1.0]], "noise": [0.1]}
    >>> walk |= {"initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> data = pd.Series(np.cumsum(np.random.default_rng(0).normal(size=200)), index=np.arange(200.0), name="y")
    >>> ranks = rank_histogram(LinearSDEForecaster(system=walk).fit(data[:20]), data, every=1.0, horizon=1.0)
    >>> ranks.attrs["shape"]
    {'y': 'U: spread too narrow'}
    """
    if not isinstance(n_members, int | np.integer) or n_members < 2:
        raise ParameterError(f"n_members={n_members!r} must be a whole number of at least 2.")
    tables = {"events": events, "static": static, "known": known}
    rows = forecast_rows(
        "rank_histogram", forecaster, X, cutoffs, every, horizon, tables, int(n_members), random_state
    )  # fmt: skip
    rows = rows[rows["rank"].notna()]
    columns, chances, shapes = {}, {}, {}
    for channel, own in rows.groupby("channel", sort=False):
        ranks, blocks = own["rank"].to_numpy(dtype=int), pd.factorize(own["block"])[0]
        columns[channel] = pd.Series(own["rank"].to_numpy())
        chances[channel] = _chance(ranks, blocks, int(n_members) + 1)
        shapes[channel] = _shape(ranks, blocks, int(n_members) + 1, chances[channel])
    table = pd.DataFrame(columns)
    table.attrs = {"n_ranks": int(n_members) + 1, "chi_square": chances, "shape": shapes}
    return table


def _chance(ranks: np.ndarray, blocks: np.ndarray, n_ranks: int) -> float:
    """Chance of Pearson's statistic by the number of bins that values suffice for, over its inflation by blocks."""
    n = len(ranks)
    n_bins = min(MOST_BINS, n_ranks, n // FEWEST_IN_BIN)
    if n_bins < 2:
        return math.nan
    p = np.bincount(np.arange(n_ranks) * n_bins // n_ranks) / n_ranks
    counts = np.zeros((blocks.max() + 1, n_bins))
    np.add.at(counts, (blocks, ranks * n_bins // n_ranks), 1.0)
    off = counts - counts.sum(axis=1, keepdims=True) * p
    inflation = max(float((off**2 / p).sum()) / (n * (n_bins - 1)), 1.0)
    statistic = float((off.sum(axis=0) ** 2 / p).sum()) / n
    return float(scipy.stats.chi2.sf(statistic / inflation, n_bins - 1))


def _shape(ranks: np.ndarray, blocks: np.ndarray, n_ranks: int, chance: float) -> str:
    """Name of the shape, by a linear and a quadratic contrast of the ranks."""
    if math.isnan(chance):
        return "too few values"
    every = (np.arange(n_ranks) + 0.5) / n_ranks - 0.5
    scores = []
    for contrast in (every, every**2):
        contrast = (contrast - contrast.mean()) / contrast.std()
        of_blocks = np.bincount(blocks, contrast[ranks])
        scores.append(of_blocks.sum() / math.sqrt(max(float((of_blocks**2).sum()), len(ranks))))
    slope, bend = scores
    far = scipy.stats.norm.isf(CHANCE / 4)  # of two contrasts with two sides each
    names = []
    if abs(bend) > far:
        names.append("U: spread too narrow" if bend > 0.0 else "dome: spread too wide")
    if abs(slope) > far:
        names.append(f"slope: forecasts too {'low' if slope > 0.0 else 'high'}")
    return "; ".join(names) or ("flat" if chance >= CHANCE else "uneven")
