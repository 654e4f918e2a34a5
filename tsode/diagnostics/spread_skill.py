"""Spread against skill: whether the spread of forecasts foretells the size of their errors, by lead or by spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsode.diagnostics.forecast_rows import forecast_rows
from tsode.errors import ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster

__all__ = ["spread_skill"]


def spread_skill(
    forecaster: FittedForecaster,
    X: Any,
    *,
    cutoffs: Any = None,
    every: Any = None,
    horizon: Any = None,
    by: str = "lead",
    n_bins: int = 8,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Spread of forecasts beside their errors: equal where bands are as wide as they should be.

    From each cutoff on, what comes within the horizon is forecast by the rows of `X` up to the cutoff. Over many
    forecasts the mean of their variances is the mean square error of their means, if they are right: at every lead, and
    among those that claim to be sure as among those that do not. A ratio below 1 says that they are too sure.

    Parameters
    ----------
    forecaster : fitted forecaster
        It forecasts as it is, and is not fitted again: to be honest, let it be fitted to rows before the first cutoff.
    X : same kinds as in fit
        Series with both the histories and what came.
    cutoffs, every, horizon
        When to forecast from and how far, see `tsode.backtest.CutoffSplit`; by default as far as the forecaster was
        made for, and every so often. Errors of forecasts that overlap are more alike than the standard error knows.
    by : {"lead", "spread"}
        What forecasts are binned by.
    n_bins : int
        At most so many, with about as many values in each.
    events, static, known
        See `predict`.

    Returns
    -------
    DataFrame
        A row a channel and bin: ``channel``, ``lead`` (mean time after the cutoff), ``n`` values, ``spread`` (root of
        the mean variance) and ``skill`` (root of the mean square error of the mean) in units of the channel, ``ratio``
        of spread to skill, and its standard error ``ratio_se``, in which the forecasts of one series from one cutoff
        count as one (NaN if there is one only).

    Raises
    ------
    ParameterError
        If `by` or `n_bins` is not possible.
    DataError
        If there is nothing to forecast from or to compare with.

    References
    ----------
    Fortin, Abaza, Anctil, Turcotte, "Why should ensemble spread match the RMSE of the ensemble mean?", Journal of
    Hydrometeorology 15, 2014 (equation 15; the variance here is that of the forecast, not of a finite ensemble).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.diagnostics import spread_skill
    >>> walk = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.5]}
    >>> walk |= {"initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> data = pd.Series(np.cumsum(np.random.default_rng(0).normal(size=400)), index=np.arange(400.0), name="y")
    >>> table = spread_skill(LinearSDEForecaster(system=walk).fit(data[:20]), data, every=4.0, horizon=4.0)
    >>> table["lead"].tolist(), table["spread"].round(1).tolist()
    ([1.0, 2.0, 3.0, 4.0], [1.2, 1.6, 1.9, 2.1])
    """
    if by not in ("lead", "spread"):
        raise ParameterError(f"by={by!r} is not known: choose 'lead' or 'spread'.")
    if not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ParameterError(f"n_bins={n_bins!r} must be a whole number of at least 1.")
    tables = {"events": events, "static": static, "known": known}
    rows = forecast_rows("spread_skill", forecaster, X, cutoffs, every, horizon, tables)
    rows = rows[rows["mean"].notna() & rows["sd"].notna()]
    found = []
    for channel, own in rows.groupby("channel", sort=False):
        by_what = own["part"].round(9) if by == "lead" else own["sd"]
        bins = by_what if by_what.nunique() <= n_bins else pd.qcut(by_what, n_bins, duplicates="drop")
        for _, within in own.groupby(bins, observed=True):
            found.append({"channel": channel, **_compared(within)})
    return pd.DataFrame(found)


def _compared(rows: pd.DataFrame) -> dict[str, Any]:
    """Spread and skill of forecasts, with the standard error of their ratio by the delta method over blocks."""
    squares = pd.DataFrame({"variance": rows["sd"] ** 2, "error": (rows["value"] - rows["mean"]) ** 2})
    spread, skill = np.sqrt(squares.mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        of_blocks = squares.groupby(rows["block"]).sum().to_numpy() / squares.sum().to_numpy()
        ratio = float(np.divide(spread, skill))
    n_blocks = len(of_blocks)
    moves = 0.5 * (of_blocks[:, 0] - of_blocks[:, 1])  # of the log ratio, by the share of each block
    error = ratio * np.sqrt(np.sum(moves**2) * n_blocks / (n_blocks - 1)) if n_blocks > 1 else np.nan
    return {
        "lead": rows["lead"].mean(), "n": len(rows), "spread": float(spread), "skill": float(skill), "ratio": ratio,
        "ratio_se": float(error),
    }  # fmt: skip
