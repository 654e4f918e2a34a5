"""Scores of forecasters beside those of the baselines, from backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.backtest.forecasts import by_name, reading_of, run_rounds
from tsode.errors import ParameterError
from tsode.estimators import (
    FORECASTERS,
    AutoForecaster,
    BaseForecaster,
    LastValueForecaster,
    SeasonalNaiveForecaster,
)
from tsode.estimators.parameters import check_boolean
from tsode.estimators.settings import read_levels
from tsode.metrics import coverage, crps_from_quantiles, interval_score, mae, mse, rmse

__all__ = ["ERRORS", "METRICS", "REFERENCE", "baselines", "score_table"]

REFERENCE = LastValueForecaster.__name__
"""The baseline by whose errors those of all others are divided."""
ERRORS = ("crps", "mae", "mse", "rmse", "interval")
"""Scores of which less is better."""
METRICS = (*ERRORS, "coverage", "n")
MEAN_ERRORS = {"mae": mae, "mse": mse, "rmse": rmse}
"""Scores of the mean forecast alone."""
# central intervals whose 20 bounds are the middles of 20 equal parts of (0, 1): the midpoint rule for the CRPS
GRID = tuple(range(5, 100, 10))


def baselines() -> dict[str, type[BaseForecaster]]:
    """The forecasters that are in every table of scores, by name."""
    return {name: forecaster for name, forecaster in FORECASTERS.items() if forecaster.is_baseline}


def score_table(
    estimators: Any,
    frame: Any,
    *,
    cutoffs: Any = None,
    every: Any = None,
    horizon: Any,
    metrics: Sequence[str] = ("mae", "rmse", "crps", "coverage", "interval"),
    level: float | Sequence[float] = 80,
    refit: bool = False,
    prefit: bool = False,
    members: bool = False,
    train: Any = None,
    context: Any = None,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Score forecasters beside the baselines, which are always in the table, made for the same horizon.

    The seasonal naive is among them if a season is known: the ``period_`` of a forecaster beside it, else what its own
    ``period="auto"`` finds in the rows to learn from.

    Parameters
    ----------
    estimators : forecaster, or dict of name to forecaster
    frame, cutoffs, every, horizon, refit, prefit, train, context, events, static, known
        See `backtest`. With `prefit`, the baselines are still fitted here.
    members : bool
        With `prefit`, whether the members of an `AutoForecaster` are in the table too, as in "AutoForecaster / Direct".
    metrics : sequence of {"crps", "mae", "mse", "rmse", "interval", "coverage", "n"}
        Of the mean forecast: absolute and squared errors. Of the distribution: the continuous ranked probability score,
        from 20 quantiles; the share of truths in the interval of `level`, and its interval score. "n": how many truths.
    level : per cent or list of per cents
        With several, there are columns ``coverage-80``, ``coverage-95``, ... instead of one, and so for "interval".

    Returns
    -------
    DataFrame
        Index levels ``channel`` and ``model``; a column for each metric and, but for the coverage and the count,
        ``metric-rel``: the same divided by that of the last value carried forward. Below 1 is better than that.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ParameterError(f"metrics={unknown} are not known: choose among {', '.join(METRICS)}.")
    shares = read_levels(level, "level", 100.0)
    check_boolean("members", members)
    named, compared = by_name(estimators), baselines()
    if members:
        named |= _members(named, prefit)
    taken = [name for name in named if name in compared and type(named[name]) is not compared[name]]
    if taken:
        raise ParameterError(f"{taken} are names of baselines, which are in the table anyway: choose other names.")
    fitted = tuple(named) if prefit else ()
    reading = reading_of(next(iter(named.values()), None))
    # the horizon too: the spread of a baseline is that of leads up to it
    optional = {name for name, made in compared.items() if made is SeasonalNaiveForecaster and name not in named}
    named |= {name: baseline(**reading, horizon=horizon) for name, baseline in compared.items() if name not in named}
    levels = sorted({*shares, *map(float, GRID)}) if "crps" in metrics else shares
    covariates = {"static": static, "known": known}
    rows, channels = run_rounds(
        named, frame, cutoffs, every, horizon, levels, refit, fitted, train, context, events, covariates,
        optional,
    )  # fmt: skip
    named = {name: estimator for name, estimator in named.items() if name in rows.columns}
    columns: dict[str, tuple[str, float]] = {}
    for metric in metrics:
        of_level = shares if metric in ("coverage", "interval") else shares[:1]
        columns |= {metric if len(of_level) == 1 else f"{metric}-{share:g}": (metric, share) for share in of_level}
    scored = []
    for channel in channels:
        of_channel = rows[rows["channel"] == channel]
        if not len(of_channel):
            continue
        for name in named:
            values = {column: _score(of_channel, name, *score) for column, score in columns.items()}
            scored.append({"channel": channel, "model": name} | values)
    table = pd.DataFrame(scored).set_index(["channel", "model"])
    for column, (metric, _) in columns.items():
        if metric in ERRORS:
            reference = table[column].xs(REFERENCE, level="model")
            table[f"{column}-rel"] = table[column] / reference.reindex(table.index, level="channel")
    return table


def _members(named: Mapping[str, Any], prefit: bool) -> dict[str, Any]:
    """Members of automatic choices, by names that begin with those of the choices."""
    chosen = {name: made for name, made in named.items() if isinstance(made, AutoForecaster)}
    if not prefit or not chosen:
        raise ParameterError("members=True shows those of a fitted AutoForecaster: fit one, and give prefit=True.")
    return {f"{name} / {key}": member for name, made in chosen.items() for key, member in made.members_.items()}


def _score(rows: pd.DataFrame, name: str, metric: str, level: float) -> float:
    truth = rows["y"].to_numpy()
    if metric == "n":
        return len(truth)
    if metric in MEAN_ERRORS:
        return MEAN_ERRORS[metric](truth, rows[name].to_numpy())
    if metric == "crps":
        sides = [(f"{name}-{side}-{share:g}", share) for share in GRID for side in ("lo", "hi")]
        p = np.array([0.5 + (-1 if "-lo-" in column else 1) * share / 200.0 for column, share in sides])
        return crps_from_quantiles(truth, rows[[column for column, _ in sides]].to_numpy(), p)
    low, high = (rows[f"{name}-{side}-{level:g}"].to_numpy() for side in ("lo", "hi"))
    if metric == "coverage":
        return coverage(truth, low, high)
    return interval_score(truth, low, high, level)
