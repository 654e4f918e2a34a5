"""Innovations: where each value lies in the forecast by the rows before it, and whether what is left is white noise."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import torch

from tsode._random import new_generator
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.frames.index import restore_times
from tsode.frames.times import Query
from tsode.numerics.whiteness import portmanteau

__all__ = ["innovations"]

CHANCE = 0.01  # that four tests share; at uneven times that of whiteness is wrong more often than it says
MOST_TESTED = 5000  # innovations that are asked whether they are normal
FEWEST = 20  # innovations, for their law to be tested


def innovations(
    forecaster: FittedForecaster, X: Any = None, *, events: Any = None, static: Any = None, known: Any = None,
    random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """Innovations of a fitted forecaster: each value beside its forecast by the rows strictly before it.

    An innovation is the normal score of the value in its forecast: of a normal forecast the error in its standard
    deviations, as in a Kalman filter, and of any other the normal number at the same level. If the forecasts are right,
    the innovations of a channel are independent standard normal numbers, whatever the model, its noise and the spacing
    of the rows; what they are instead says what is wrong. A value that has a chance of its own, such as a count, lies
    at a level that is drawn at random within that chance.

    Where parameters were fitted to the same rows, innovations are a little too small; give `X` that fit has not seen
    for an honest test. Parameters are those of the fit all along. A `KnownODEForecaster` whose series have parameters
    of their own is inferred anew for every row.

    Parameters
    ----------
    forecaster : fitted forecaster
    X : same kinds as in fit, optional
        Series to look at, which are their own histories; by default those that the forecaster has.
    events, static, known
        See `predict`; by default those that the forecaster has.
    random_state : int, generator or None
        Of the levels of values that have a chance of their own.

    Returns
    -------
    DataFrame
        A row a value: ``channel``, id, time, ``value``, ``mean`` and ``sd`` of its forecast, ``innovation`` (at most
        40: beyond all numbers; NaN where there is no forecast).

        ``attrs["channels"]``, a row a channel: ``n``, ``mean`` (0 if right), ``variance`` (1), ``correlation`` with the
        innovation before it in the series (0), ``whiteness``: chance that white noise is as correlated in time,
        ``normality``: chance that normal noise is as far from its law (Shapiro and Wilk 1965; NaN for fewer than 20),
        and ``verdict``, which is "fine" or names what 96 of 100 right models are free of.

    Raises
    ------
    ParameterError
        If it is not a forecaster.
    DataError
        If nothing was seen.

    References
    ----------
    Kailath, "An innovations approach to least-squares estimation", IEEE Transactions on Automatic Control 13, 1968.
    Dunn, Smyth, "Randomized quantile residuals", Journal of Computational and Graphical Statistics 5, 1996.
    Dawid, "Statistical theory: the prequential approach", Journal of the Royal Statistical Society A 147, 1984.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.diagnostics import innovations
    >>> walk = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [2.0 ** 0.5]}
    >>> walk |= {"initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> data = pd.Series([1.0, 3.0, 0.0], index=[0.0, 1.0, 2.0], name="y")
    >>> innovations(LinearSDEForecaster(system=walk).fit(data))["innovation"].round(4).tolist()
    [0.5774, 1.3926, -0.7817]
    """
    if not isinstance(forecaster, FittedForecaster):
        raise ParameterError(f"innovations are of a forecaster, and {type(forecaster).__name__} is none.")
    forecaster._check_fitted()
    reader, history = forecaster.reader_, forecaster._panel
    rows = history if X is None else reader.read(X, beside=history)
    panel = reader.with_tables(rows, history, events, static, known)
    n_each, channels = [len(times) for times in panel.times], list(forecaster.channels_)
    x = np.concatenate([values[:, : len(channels)] for values in panel.values])
    if np.isnan(x).all():
        raise DataError("Nothing was seen in X: innovations are of values.")
    asked = copy.copy(forecaster)
    asked._checkpoints = None  # the state at an end says nothing of rows before it
    query = Query(list(panel.ids), list(panel.times), np.arange(len(x)), panel.layout)
    levels = torch.rand(x.shape, generator=new_generator(random_state), dtype=torch.float64).clamp(1e-12, 1.0 - 1e-12)
    found = np.full((3, *x.shape), np.nan)
    for answer in asked._forecast(query, panel):
        at = answer.at
        found[:, at] = answer.mean, np.sqrt(answer.variances[0]), answer.normal_scores(x[at], levels.numpy()[at])
    return _table(forecaster, panel, channels, n_each, x, found)


def _table(
    forecaster: Any, panel: Any, channels: Sequence[Any], n_each: Sequence[int], x: np.ndarray, found: np.ndarray
) -> pd.DataFrame:
    """The table, a channel after the other, and what it says of each."""
    series = np.repeat(np.arange(len(n_each)), n_each)
    times = np.concatenate(list(panel.times))
    in_model = forecaster.reader_.timeline.to_model(times)
    parts, verdicts = [], {}
    for c, channel in enumerate(channels):
        is_seen = ~np.isnan(x[:, c])
        mean, sd, scores = found[:, is_seen, c]
        parts.append(pd.DataFrame({
            "channel": channel,
            forecaster.id_col: [panel.ids[row] for row in series[is_seen]],
            forecaster.time_col: restore_times(times[is_seen], panel.layout.time_dtype),
            "value": x[is_seen, c], "mean": mean, "sd": sd, "innovation": scores,
        }))  # fmt: skip
        has_any = ~np.isnan(scores)
        verdicts[channel] = _said(scores[has_any], in_model[is_seen][has_any], series[is_seen][has_any])
    table = pd.concat(parts, ignore_index=True)
    table.attrs["channels"] = pd.DataFrame.from_dict(verdicts, orient="index").rename_axis("channel")
    return table


def _said(scores: np.ndarray, times: np.ndarray, series: np.ndarray) -> dict[str, Any]:
    """What the innovations of one channel say of its forecasts."""
    n = len(scores)
    if n < 2:
        numbers = dict.fromkeys(("variance", "correlation", "whiteness", "normality"), math.nan)
        return {"n": n, "mean": float(scores.mean()) if n else math.nan, **numbers, "verdict": "too few values"}
    mean, variance = float(scores.mean()), float(scores.var(ddof=1))
    next_to = np.diff(series) == 0
    rest = scores - mean
    products = (rest[1:] * rest[:-1])[next_to]
    correlation = float(products.mean() / np.mean(rest**2)) if len(products) and variance > 0.0 else math.nan
    whiteness = portmanteau(times, rest, series) if variance > 0.0 else math.nan
    some = scores[:: -(-n // MOST_TESTED)]
    normality = float(scipy.stats.shapiro(some).pvalue) if n >= FEWEST and variance > 0.0 else math.nan
    numbers = {"mean": mean, "variance": variance, "correlation": correlation}
    chances = {"whiteness": whiteness, "normality": normality}
    return {"n": n, **numbers, **chances, "verdict": _verdict(n, **numbers, **chances)}


def _verdict(n: int, mean: float, variance: float, correlation: float, whiteness: float, normality: float) -> str:
    """What is wrong, by four tests that share one chance of naming anything where nothing is."""
    each = CHANCE / 4
    faults = []
    if 2.0 * scipy.stats.norm.sf(abs(mean) * math.sqrt(n)) < each:
        faults.append("too low" if mean > 0.0 else "too high")
    below = scipy.stats.chi2.cdf((n - 1) * variance, n - 1)
    if 2.0 * min(below, 1.0 - below) < each:
        faults.append("bands too narrow" if variance > 1.0 else "bands too wide")
    if whiteness < each:
        faults.append("errors go on from row to row" if correlation > 0.0 else "errors alternate or return")
    if normality < each:
        faults.append("another law than that of the noise")
    return "; ".join(faults) or "fine"
