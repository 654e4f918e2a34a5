"""Forecasts under several event tables, and what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from tsode._random import new_generator
from tsode.errors import ParameterError
from tsode.estimators.forecasters.kept import KeepsHistories
from tsode.estimators.forecasters.pieces import NUMBERS_AT_ONCE
from tsode.estimators.forecasters.predictive import Measure, interval_measure
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.settings import read_levels
from tsode.frames.panel import CovariateRecord, Panel
from tsode.frames.table import ID_COL, TIME_COL
from tsode.frames.times import Query
from tsode.frames.write import write_table

__all__ = ["ComparesScenarios", "compare", "of_rows", "parts_of"]


class ComparesScenarios(KeepsHistories):
    """What forecasters say of several event tables."""

    channels_: list[Hashable]
    reader_: DataReader
    _read_query: Callable[..., tuple[Query, Panel]]
    _measure: Callable[..., np.ndarray]
    _paths: Callable[..., Iterator[tuple[list[int], list[np.ndarray]]]]

    def what_if(
        self,
        scenarios: Mapping[str, Any],
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        static: Any = None,
        known: Any = None,
        level: float | Sequence[float] = (80,),
        n_samples: int = 200,
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Forecast under several tables of events or covariates, and by how much they differ from the first.

        The differences are paired: all scenarios share the same random numbers, so that the band of a difference
        holds what the events change and not what would have been uncertain anyway. A series whose events are the same
        in two scenarios has a difference of exactly zero.

        What is reported is how forecasts differ between series in which these events happen. It may be read as the
        effect of causing them only if, in the data of fit, events were given for reasons that the model sees (they
        were randomised, or decided from the observed history alone); if such histories had some chance of every
        compared table; and if an event does the same whoever decides it. Doses that go to the sicker patient, for
        reasons that are not in the data, look harmful here as they do in any regression.

        Parameters
        ----------
        scenarios : dict of name to events
            All events of the series, past and to come, as in `predict`; None stands for those given to fit. Or a dict
            of the tables that a scenario changes, ``{"events": ..., "known": ..., "static": ...}``. The first is what
            the others are compared with.
        X, times, horizon, context, static, known
            See `predict`.
        level : per cent or list of per cents
            Of the bands.
        n_samples : int
            Paths from which the bands of differences are taken.
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            A row for each scenario, series and time, whatever the container of the data: the ids and times, then
            ``scenario``, and for each channel its mean ``channel``, its band ``channel-lo-80``, ``channel-hi-80``,
            the difference of means ``channel-diff`` and the band of paired differences ``channel-diff-lo-80``,
            ``channel-diff-hi-80``.
        """
        if not isinstance(scenarios, Mapping) or not scenarios:
            raise ParameterError(
                f"scenarios takes a dict of name to events, but is {scenarios!r}: "
                "pass {'base': events, 'more': other}."
            )
        tables = {name: _tables_of(scenario) for name, scenario in scenarios.items()}
        events_of = [table.get("events") for table in tables.values()]
        query, panel = self._read_query(X, times, horizon, context, None, static, known, events_of)
        levels = read_levels(level, "level", 100.0)
        seed = int(new_generator(random_state).initial_seed())
        panels = {}
        for name, table in tables.items():
            told = self.reader_.with_events(panel, table.get("events"), self._panel)
            changed = table.get("static"), table.get("known")
            panels[name] = self.reader_.with_covariates(told, *changed, panel.covariates)

        def paths_of(asked: Query, which: Panel, part: int) -> list[np.ndarray]:
            # the same seed for all: their paths share their noise
            drawn = self._paths(asked, which, int(n_samples), new_generator((seed + part) % 2**63))
            paths = {row: path for rows, of_rows in drawn for row, path in zip(rows, of_rows)}
            return [paths[row] for row in range(len(asked.ids))]

        return compare(query, panels, self.channels_, levels, self._measure, paths_of, int(n_samples))


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
            table[:, places[changed]] = measure_of(of_rows(query, differs), panel, measure)[:, changed]
        for part, rows in enumerate(parts_of(differs, query, n_samples * len(channels))):
            subset = of_rows(query, rows)
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


def of_rows(query: Query, rows: Sequence[int]) -> Query:
    """Some series of a question."""
    return replace(query, ids=[query.ids[k] for k in rows], times=[query.times[k] for k in rows])


def parts_of(rows: Sequence[int], query: Query, width: int) -> Iterator[list[int]]:
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


def _tables_of(scenario: Any) -> Mapping[str, Any]:
    """The tables of a scenario by their names; one alone is of events."""
    is_of_tables = isinstance(scenario, Mapping) and set(scenario) <= {"events", "known", "static"}
    return scenario if is_of_tables else {"events": scenario}


def _is_after_change(left: Panel, right: Panel, key: Hashable, times: np.ndarray) -> np.ndarray:
    """Which of the times come after the first event or covariate that two panels do not share: array[m]."""
    is_after = np.zeros(len(times), dtype=bool)
    rows = [
        [] if inputs is None else list(zip(inputs.times, map(tuple, inputs.values)))
        for inputs in (left.inputs.get(key), right.inputs.get(key))
    ]
    for pair in zip_longest(*rows):
        if pair[0] != pair[1]:
            is_after |= times > min(event[0] for event in pair if event is not None)
            break
    old, new = (panel.covariates.get(key, CovariateRecord()) for panel in (left, right))
    if not np.array_equal(_or_nothing(old.static), _or_nothing(new.static), equal_nan=True):
        is_after[:] = True
    known = [list(zip(_or_nothing(one.times), map(bytes, _or_nothing(one.values)))) for one in (old, new)]
    for place, pair in enumerate(zip_longest(*known)):
        if pair[0] != pair[1]:  # a line changes from the row before on
            is_after |= times > known[0][place - 1][0] if place else True
            break
    return is_after


def _or_nothing(x: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if x is None else x
