"""Forecasts of a fitted forecaster from some cutoffs on beside what came, a row a value: what is verified by lead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode._random import new_generator
from tsode.backtest.forecasts import cut_rounds
from tsode.backtest.splits import find_rounds, read_span, refuse_cutoff
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.reach_report import untold
from tsode.frames.index import restore_times
from tsode.frames.write import write_long

__all__ = ["forecast_rows"]


def forecast_rows(
    what: str, forecaster: FittedForecaster, X: Any, cutoffs: Any, every: Any, horizon: Any, tables: dict[str, Any],
    n_members: int = 0, random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """Forecasts from each cutoff on by the rows of `X` up to it, beside what came within the horizon.

    Parameters
    ----------
    what : str
        The question, for messages.
    forecaster, X, cutoffs, every, horizon
        See `spread_skill`.
    tables : dict
        Events and covariates; None are those of fit.
    n_members : int
        Paths that are sampled beside; 0 for none, and no ranks.
    random_state : int, generator or None
        Of the paths, and of the ranks of ties.

    Returns
    -------
    DataFrame
        ``channel``, ``block`` (number of the cutoff and series), ``lead``, ``part`` (of the horizon), ``value``,
        ``mean``, ``sd`` and, where paths are sampled, ``rank``: how many of them lie below the value.
    """
    if not isinstance(forecaster, FittedForecaster):
        raise ParameterError(f"{what} is of a forecaster, and {type(forecaster).__name__} is none.")
    forecaster._check_fitted()
    reader = forecaster.reader_
    panel = reader.read(X, beside=forecaster._panel)
    panel = panel.select([row for row, times in enumerate(panel.times) if len(times)])
    horizon = forecaster.horizon_ if horizon is None else horizon
    lead = read_span(horizon, panel, "horizon")
    if cutoffs is None and every is None:
        every = lead
    generator = new_generator(random_state)
    tables = {key: table for key, table in tables.items() if table is not None}
    parts: list[pd.DataFrame] = []
    n_blocks = 0
    for cutoff_of in find_rounds(panel, cutoffs, every, lead):
        past, ahead = cut_rounds(panel, panel, cutoff_of, lead)
        if not len(ahead):
            if not isinstance(cutoffs, dict):
                refuse_cutoff(panel, cutoff_of(panel.ids[0]), horizon, len(past) > 0)
            continue
        history, future = (write_long(one, forecaster.id_col, forecaster.time_col) for one in (past, ahead))
        n_each = [len(times) for times in ahead.times]
        block = n_blocks + np.repeat(np.arange(len(ahead)), n_each)
        n_blocks += len(ahead)
        cut = restore_times(np.repeat([cutoff_of(key) for key in ahead.ids], n_each), panel.layout.time_dtype)
        leads = future[forecaster.time_col] - pd.Series(cut, index=future.index)
        span: Any = pd.Timedelta(lead) if isinstance(lead, np.timedelta64) else lead
        common = {"block": block, "lead": leads, "part": (leads / span).to_numpy(dtype=float)}
        with untold():
            told = {"context": history, **tables}
            mean, sd = _moments(forecaster, future, **told)
            paths = (
                forecaster.sample(future, **told, n_samples=n_members, random_state=generator) if n_members else None
            )
        for c, channel in enumerate(forecaster.channels_):
            value = future[channel].to_numpy(dtype=float)
            numbers = {"value": value, "mean": mean[:, c], "sd": sd[:, c]}
            if paths is not None:
                u = torch.rand(len(value), generator=generator, dtype=torch.float64).numpy()
                numbers["rank"] = _ranks(value, _members(paths, future, forecaster, channel), u)
            parts.append(pd.DataFrame({"channel": channel, **common, **numbers})[~np.isnan(value)])
    if not parts or not any(map(len, parts)):
        raise DataError(f"No cutoff has an observed row up to it and another within horizon={horizon!r} after it.")
    return pd.concat(parts, ignore_index=True)


def _moments(
    forecaster: Any, future: pd.DataFrame, context: Any, events: Any = None, static: Any = None, known: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (n c) of forecasts at the rows of `future`, by one run over the histories."""
    query, panel = forecaster._read_query(future, None, None, context, events, static, known)
    found = np.full((2, len(future), len(forecaster.channels_)), np.nan)
    for answer in forecaster._forecast(query, panel):
        found[:, answer.at] = answer.mean, np.sqrt(answer.variances[0])
    mean, sd = found[:, np.argsort(query.rows)]
    return mean, sd


def _members(paths: pd.DataFrame, future: pd.DataFrame, forecaster: Any, channel: Any) -> np.ndarray:
    """Sampled values (n m) of one channel at the rows of `future`."""
    keys = [forecaster.id_col, forecaster.time_col]
    table = paths.pivot(index=keys, columns="sample", values=channel)
    return table.loc[pd.MultiIndex.from_frame(future[keys])].to_numpy(dtype=float)


def _ranks(value: np.ndarray, members: np.ndarray, u: np.ndarray) -> np.ndarray:
    """How many members (n m) lie below each value (n,); one of those that tie, by `u`; NaN where a member has none."""
    below = (members < value[:, None]).sum(axis=1)
    tied = (members == value[:, None]).sum(axis=1)
    rank = below + np.minimum(np.floor(u * (tied + 1)), tied)
    return np.where(np.isnan(members).any(axis=1), np.nan, rank)
