"""Forecasts under several event tables, and what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pandas as pd

from tsode.estimators.forecasters.pieces import NUMBERS_AT_ONCE
from tsode.estimators.forecasters.predictive import Measure, interval_measure
from tsode.frames.panel import Panel
from tsode.frames.table import ID_COL, TIME_COL
from tsode.frames.times import Query
from tsode.frames.write import write_table

__all__ = ["compare"]


def compare(
    query: Query,
    panels: Mapping[str, Panel],
    channels: Sequence[Hashable],
    levels: Sequence[float],
    measure_of: Callable[[Query, Panel, Measure], np.ndarray],
    draw_paths: Callable[[Query, Panel, int], list[np.ndarray]],
    n_samples: int,
) -> pd.DataFrame:
    """Forecasts of each scenario, and its differences from the first, as one long table.

    Parameters
    ----------
    query : Query
    panels : dict of name to Panel
        Histories with the events of each scenario.
    channels : list of label
    levels : list of float
        Per cents of the bands.
    measure_of : callable
        A measure (k n) of the forecasts of a query, from histories.
    draw_paths : callable
        Joint paths (s m c) of each series of a query, with the same noise at every call with one number of a part.
    n_samples : int
        Paths.
    """
    base = next(iter(panels.values()))
    measure = interval_measure(channels, levels)
    table_of_base = measure_of(query, base, measure)
    starts = np.cumsum([0, *map(len, query.times)])
    at_mean = [measure.labels.index(name) for name in channels]
    ends = [0.5 + sign * share / 200.0 for share in levels for sign in (-1.0, 1.0)]
    of_ends = [f"{end}-{share:g}" for share in levels for end in ("lo", "hi")]
    layout = query.layout
    layout = replace(
        layout,
        kind="long",
        id_col=ID_COL if layout.id_col is None and layout.kind == "list" else layout.id_col,
        time_col=TIME_COL if layout.time_col is None else layout.time_col,
        time_in_index=False,
        is_squeezed=False,
        backend="pandas",
    )
    frames = []
    for name, panel in panels.items():
        # what comes before events differ is not computed again: rounding would set it apart
        is_changed = [_is_after_change(panel, base, key, times) for key, times in zip(query.ids, query.times)]
        differs = [row for row, changed in enumerate(is_changed) if changed.any()]
        table = table_of_base.copy()
        between = np.zeros((len(channels), len(ends), starts[-1]))
        if differs:
            places = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in differs])
            changed = np.concatenate([is_changed[row] for row in differs])
            table[:, places[changed]] = measure_of(_of_rows(query, differs), panel, measure)[:, changed]
        for part, rows in enumerate(_parts(differs, query, n_samples * len(channels))):
            subset = _of_rows(query, rows)
            for row, one, other in zip(rows, *(draw_paths(subset, which, part) for which in (panel, base))):
                gap = np.where(is_changed[row][:, None], one - other, 0.0)
                between[..., starts[row] : starts[row + 1]] = np.quantile(gap, ends, axis=0).transpose(2, 0, 1)
        columns: dict[Hashable, np.ndarray] = {}
        for c, channel in enumerate(channels):
            first, n = at_mean[c], 1 + len(ends)
            columns |= dict(zip([channel, *(f"{channel}-{end}" for end in of_ends)], table[first : first + n]))
            columns[f"{channel}-diff"] = table[first] - table_of_base[first]
            columns |= dict(zip([f"{channel}-diff-{end}" for end in of_ends], between[c]))
        scenario = {"scenario": np.full(starts[-1], name, dtype=object)}
        results = np.stack(list(columns.values()))
        frames.append(
            write_table(layout, query.ids, query.times, list(columns), results, first=scenario, rows=query.rows)
        )
    return pd.concat(frames, ignore_index=True)


def _of_rows(query: Query, rows: Sequence[int]) -> Query:
    return replace(query, ids=[query.ids[k] for k in rows], times=[query.times[k] for k in rows])


def _parts(rows: Sequence[int], query: Query, width: int) -> Iterator[list[int]]:
    """Rows in turn, as many together as fit when each query time takes `width` numbers; one at least."""
    part: list[int] = []
    size = 0
    for row in rows:
        size += width * len(query.times[row])
        if part and size > NUMBERS_AT_ONCE // 4:  # of two scenarios, and what is made of them
            yield part
            part, size = [], width * len(query.times[row])
        part.append(row)
    if part:
        yield part


def _is_after_change(left: Panel, right: Panel, key: Hashable, times: np.ndarray) -> np.ndarray:
    """Which of the times come after the first event that two tables do not share: array[m]."""
    rows = [
        [] if inputs is None else list(zip(inputs.times, map(tuple, inputs.values)))
        for inputs in (left.inputs.get(key), right.inputs.get(key))
    ]
    for pair in zip_longest(*rows):
        if pair[0] != pair[1]:
            return times > min(event[0] for event in pair if event is not None)
    return np.zeros(len(times), dtype=bool)
