"""Influence of one observation on later predictions, while the forecaster goes on being fed with data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.diagnostics.forecast_sensitivity import sensitivity
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.frames.durations import read_duration
from tsode.frames.index import native_times, restore_times

__all__ = ["influence"]

N_LAGS = 12


def influence(
    forecaster: FittedForecaster, context: Any = None, *, lags: Sequence[Any] | None = None, share: float = 0.25,
    events: Any = None, static: Any = None, known: Any = None,
) -> pd.DataFrame:  # fmt: skip
    """Decay curve: derivatives of predictions, at growing lags after an observation, by that observation.

    Of each series one observation is looked at, and every prediction within the history knows all that was seen before
    it: what is left of the influence is what later observations have not replaced. `forgetting` has the rate at which
    curves fall in the end, for filters; this is for every forecaster that `sensitivity` answers for.
    What was learned stays as it is; how far it moves without a training series is `tsode.influence.influence`.

    Parameters
    ----------
    forecaster : fitted forecaster
    context, events, static, known
        Histories, as in ``predict``; by default those of fit.
    lags : list of durations, optional
        Times after the observation, no later than the last one of the series; by default twelve, evenly spaced up to
        the median of what is left of the histories.
    share : float
        Which observation time: that at this share of each history, by number, from 0 for the first.

    Returns
    -------
    DataFrame
        A row a series, channel seen then, lag and channel predicted: ``series``, ``time`` and ``source`` of the
        observation; ``lag_hours`` where times are datetimes or durations, else ``lag_units``; ``channel``, and
        ``derivative`` in units of the channel per unit of the source.

    Raises
    ------
    ParameterError
        If the forecaster cannot be differentiated (see `sensitivity`), or a lag is not positive.
    DataError
        If no history goes on for the shortest lag.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.diagnostics import influence
    >>> walk = {"drift": [[0.0]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [2.0 ** 0.5]}
    >>> walk |= {"initial_mean": [0.0], "initial_cov": [[1.0]]}
    >>> data = pd.Series(np.arange(40.0), index=np.arange(40.0))
    >>> table = influence(LinearSDEForecaster(system=walk).fit(data), lags=[0.5, 1.5, 2.5])
    >>> table["derivative"].round(4).tolist()  # the gain, and half as much after each later observation
    [0.5, 0.25, 0.125]
    """
    if not 0.0 <= share < 1.0:
        raise ParameterError(f"share={share!r} must lie between 0, the first observation of a history, and 1.")
    if not isinstance(forecaster, FittedForecaster):
        raise ParameterError(f"influence is of a forecaster, and {type(forecaster).__name__} is none.")
    forecaster._check_fitted()
    _, panel = forecaster._read_query(None, None, forecaster.horizon_, context, events, static, known)
    timeline = forecaster.reader_.timeline
    is_clock = timeline.resolution is not None
    unit = timeline.duration(np.timedelta64(1, "h") if is_clock else 1.0)
    seen = {key: timeline.to_model(times) for key, times in zip(panel.ids, panel.seen_times) if len(times) > 1}
    begin = {key: float(times[math.floor(share * len(times))]) for key, times in seen.items()}
    left = {key: float(times[-1]) - begin[key] for key, times in seen.items()}
    if lags is None:
        longest = float(np.median(list(left.values()))) if left else 0.0
        after = longest * np.arange(1, N_LAGS + 1) / N_LAGS
    else:
        after = np.array([timeline.duration(read_duration(lag, timeline.kind, "lags"), "lags") for lag in lags])
        if (after <= 0.0).any():
            raise ParameterError(f"lags={list(lags)!r} must be after the observation: give durations above 0.")
    asked = {key: timeline.to_native(begin[key] + after[after <= left[key]]) for key in seen}
    asked = {key: times for key, times in asked.items() if len(times)}
    if not asked:
        raise DataError(
            "No history goes on for so long after its observation: give shorter lags=, or a smaller share=."
        )
    dtype = panel.layout.time_dtype
    told = {"context": context, "events": events, "static": static, "known": known}
    times = {key: restore_times(own, dtype) for key, own in asked.items()}
    table = sensitivity(forecaster, times=times if panel.layout.has_ids else next(iter(times.values())), **told)
    at, ahead = (timeline.to_model(native_times(pd.Index(table[name]), name)[0]) for name in ("time", "forecast_time"))
    is_meant = (table["kind"] == "value") & (at == table["series"].map(begin).to_numpy(dtype=float))
    table, lag = table[is_meant], (ahead - at)[is_meant]
    nearest = after[np.abs(lag[:, None] - after).argmin(axis=1)]  # the same number in all series
    table.insert(3, f"lag_{'hours' if is_clock else 'units'}", nearest / unit)
    table = table.drop(columns=["kind", "value", "forecast_time", "forecast"]).reset_index(drop=True)
    table.attrs = {}
    return table
