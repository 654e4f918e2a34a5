"""Tables of a crossing forecast, in the ids and times of the data."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import Timeline
from tsode.estimators.crossings.forecast import CrossingForecast
from tsode.estimators.crossings.found import Found
from tsode.estimators.crossings.grid import Grid
from tsode.estimators.crossings.levels import Levels
from tsode.frames.index import restore_times
from tsode.frames.panel import Layout
from tsode.frames.table import ID_COL, TIME_COL
from tsode.frames.times import Query
from tsode.frames.write import write_frame

__all__ = ["write_crossings"]


def write_crossings(
    timeline: Timeline,
    query: Query,
    levels: Levels,
    grids: Sequence[Grid],
    found: Sequence[Found],
    quantiles: np.ndarray,
    channel: Hashable,
    of: str,
    id_col: Hashable,
    time_col: Hashable,
) -> CrossingForecast:
    """Write what was found, series by series, level by level.

    Parameters
    ----------
    timeline : Timeline
    query : Query
    levels : Levels
    grids : list of Grid
    found : list of Found
    quantiles : array[q]
    channel : label
    of : str
    id_col, time_col : label
    """
    layout = _long(query.layout, id_col, time_col)
    names, n = levels.names, len(levels.names)

    def by_times(**columns: str) -> pd.DataFrame:
        """A row a series, level and time."""
        each: dict[Hashable, list[np.ndarray]] = {
            "level": [np.repeat(np.array(names, dtype=object), len(grid.at)) for grid in grids]
        }
        each |= {label: [getattr(one, name).reshape(-1) for one in found] for label, name in columns.items()}
        return write_frame(layout, query.ids, [np.tile(times, n) for times in query.times], each)

    duration = by_times(mean="duration", error="duration_error")
    for k, q in enumerate(quantiles):
        duration[f"q-{q:g}"] = np.concatenate([one.duration_quantiles[..., k].reshape(-1) for one in found])
    for label in duration.columns[-2 - len(quantiles) :]:
        duration[label] = timeline.span(duration[label].to_numpy())
    starts = write_frame(
        layout,
        query.ids,
        [np.repeat(grid.origin, n) for grid in grids],
        {
            "level": [np.array(names, dtype=object)] * len(grids),
            "value": list(levels.values),
            "direction": [np.array(levels.directions, dtype=object)] * len(grids),
            "beyond": [one.beyond for one in found],
            "n_paths": [np.full(n, one.n_paths) for one in found],
        },
    )
    first_times = starts.loc[starts.index.repeat(len(quantiles)), :].reset_index(drop=True)
    first_times = first_times.drop(columns=["value", "direction", "beyond", "n_paths"])
    times = np.concatenate([one.first_times.reshape(-1) for one in found])
    first_times.insert(first_times.shape[1], "quantile", np.tile(quantiles, n * len(found)))
    first_times[layout.time_col] = _stamps(timeline, times, layout)
    first_times["is_censored"] = np.isposinf(times)
    first = by_times(incidence="incidence", error="incidence_error")
    probability = by_times(probability="probability", error="error", reached="reached")
    return CrossingForecast(channel, of, probability, first_times, first, duration, starts)


def _long(layout: Layout, id_col: Hashable, time_col: Hashable) -> Layout:
    """Layout of a long frame of pandas, whatever came."""
    has_ids = layout.has_ids
    return replace(
        layout,
        kind="long" if has_ids else "wide",
        id_col=(layout.id_col if layout.id_col is not None else id_col or ID_COL) if has_ids else None,
        time_col=layout.time_col if layout.time_col is not None else time_col or TIME_COL,
        time_in_index=False,
        is_squeezed=False,
        column_names=(None,),
        backend="pandas",
    )


def _stamps(timeline: Timeline, times: np.ndarray, layout: Layout) -> Any:
    """Native times with their zone; where infinite or NaN, none."""
    is_known = np.isfinite(times)
    native = timeline.to_native(np.where(is_known, times, 0.0))
    if timeline.resolution is None:
        return np.where(is_known, native, np.nan)
    stamps = pd.Series(restore_times(native, layout.time_dtype))
    return stamps.where(is_known).to_numpy() if layout.tz is None else stamps.where(is_known).array
