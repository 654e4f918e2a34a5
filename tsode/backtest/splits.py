"""Splits by time: training rows up to a cutoff, test rows within a horizon after it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import add_spans
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.array_inputs import array_rows
from tsode.frames.durations import read_duration
from tsode.frames.index import restore_times
from tsode.frames.meeting import check_meeting
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.table import ID_COL, TIME_COL, open_table
from tsode.frames.times import read_times

__all__ = ["CutoffSplit", "Cutoffs", "end_cutoffs", "find_rounds", "read_span", "refuse_cutoff", "shift_time"]

Cutoffs = Callable[[Hashable], Any]
"""Native time at which a series is cut, by its id; None = it is not."""


class CutoffSplit:
    """Train on the rows up to each cutoff, test on those within a horizon after it: a splitter for scikit-learn.

    `TimeSeriesSplit` cuts by number of rows; with several series, or uneven spacing, that is no point in time. Rows of
    series that have no row up to the cutoff are left out of the test: nothing is known to forecast them from.

    Parameters
    ----------
    cutoffs : time or list of times, optional
        In the kind of the data's times; strings for datetimes.
    every : duration or number, optional
        Instead of `cutoffs`: one cutoff every so often, back from one horizon before the last time as far as the
        middle of the data's time span.
    horizon : duration or number
        How far after a cutoff its test reaches, its end included: "7D" for datetimes, a number for numeric time.
    id_col, time_col : label
        Columns of a long frame. Wide frames, Series, frames with index levels id and time, and arrays with times in the
        first column are read as the forecasters read them.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": list("aaabb"), "ds": [0.0, 1.0, 2.5, 0.5, 2.0], "y": 1.0})
    >>> [(train.tolist(), test.tolist()) for train, test in CutoffSplit(cutoffs=[1.0], horizon=1.0).split(frame)]
    [([0, 1, 3], [4])]
    """

    def __init__(
        self,
        cutoffs: Any = None,
        *,
        every: Any = None,
        horizon: Any,
        id_col: Hashable = ID_COL,
        time_col: Hashable = TIME_COL,
    ) -> None:
        self.cutoffs = cutoffs
        self.every = every
        self.horizon = horizon
        self.id_col = id_col
        self.time_col = time_col

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers of each train and test set, earliest cutoff first.

        Parameters
        ----------
        X : rows of ids and times
        y : ignored
        groups : array[n], optional
            Of which series each row is, instead of an id in `X`.

        Raises
        ------
        DataError
            If a cutoff has no row before it or none to test on.
        """
        panel, codes = self._open(X, groups)
        times = panel.times[0]
        horizon = read_span(self.horizon, panel, "horizon")
        for cutoff in _find_cutoffs(panel, self.cutoffs, self.every, horizon):
            is_past = times <= cutoff
            has_past = np.isin(codes, codes[is_past])
            test = np.flatnonzero(~is_past & has_past & (times <= shift_time(panel, cutoff, horizon)))
            if not len(test):
                refuse_cutoff(panel, cutoff, self.horizon, is_past.any())
            yield np.flatnonzero(is_past), test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of cutoffs; with `every` they depend on `X`."""
        if self.every is None and self.cutoffs is not None:
            return 1 if np.ndim(self.cutoffs) == 0 else len(self.cutoffs)
        if X is None:
            raise ParameterError("With every=, the number of cutoffs depends on the data: pass X.")
        panel, _ = self._open(X, groups)
        return len(_find_cutoffs(panel, self.cutoffs, self.every, read_span(self.horizon, panel, "horizon")))

    def __repr__(self) -> str:
        params = {"cutoffs": self.cutoffs, "every": self.every}
        shown = ", ".join(f"{name}={value!r}" for name, value in params.items() if value is not None)
        return f"CutoffSplit({shown}, horizon={self.horizon!r})"

    def _open(self, X: Any, groups: Any) -> tuple[Panel, np.ndarray]:
        """All times as one series, and the code of the series of each row."""
        if isinstance(X, np.ndarray) and X.dtype != object:
            X = array_rows(X[:, :1] if X.ndim == 2 else X, self.time_col)
        elif isinstance(X, pd.Index) and not isinstance(X, pd.MultiIndex):
            X = pd.DataFrame(index=X)
        table = open_table(X, self.id_col, self.time_col)
        if table.layout.kind == "list":
            raise DataError("A list of series has no rows to split: join it into one long frame first.")
        if not len(table.times):
            raise DataError("X has no rows to split.")
        codes = table.codes
        if groups is not None:
            if len(groups) != len(codes):
                raise DataError(f"groups has {len(groups)} entries, but X has {len(codes)} rows.")
            codes = pd.factorize(np.asarray(groups))[0]
        return Panel([0], [table.times], [np.zeros((len(table.times), 1))], ["y"], table.layout), codes


def end_cutoffs(
    frame: Any,
    horizon: Any,
    *,
    n_cutoffs: int = 1,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
    target: Any = None,
    duplicates: str = "error",
) -> dict[Hashable, list[Any]]:
    """Cutoffs at the end of each series: one horizon before its last observation, two before it, ...

    For series that each have a time of their own (patients, devices), where no one time cuts all of them.

    Parameters
    ----------
    frame : same kinds as X in fit
    horizon : duration or number
    n_cutoffs : int
        Of each series.
    id_col, time_col, target, duplicates
        How to read `frame`, as in the forecasters.

    Returns
    -------
    dict of id to list of times
        For `backtest` and `score_table`: earliest first, for series with an observation up to the first of them.
        Series that are shorter are left out.

    Raises
    ------
    DataError
        If no series is long enough.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": list("aabb"), "ds": [0.0, 10.0, 4.0, 6.0], "y": 1.0})
    >>> end_cutoffs(frame, 5.0)
    {'a': [5.0]}
    """
    panel = read_panel(frame, id_col=id_col, time_col=time_col, target=target, duplicates=duplicates)
    lead = read_span(horizon, panel, "horizon")
    cutoffs = {}
    for key, times, values in zip(panel.ids, panel.times, panel.values):
        seen = times[~np.isnan(values).all(axis=1)]
        back = np.arange(-n_cutoffs, 0)
        native = add_spans(seen[-1:], np.asarray(lead), back, dtype=panel.layout.time_dtype) if len(seen) else seen
        if len(seen) and seen[0] <= native[0]:
            cutoffs[key] = list(restore_times(native, panel.layout.time_dtype))
    if not cutoffs:
        length = f"horizon={horizon!r}" if n_cutoffs == 1 else f"{n_cutoffs} times horizon={horizon!r}"
        raise DataError(
            f"No series is longer than {length}, so none can be forecast from its past: give a shorter one."
        )
    return cutoffs


def find_rounds(panel: Panel, cutoffs: Any, every: Any, horizon: Any) -> list[Cutoffs]:
    """The cutoffs of each round of a backtest, earliest first."""
    if not isinstance(cutoffs, Mapping) or every is not None:
        return [_for_all(cutoff) for cutoff in _find_cutoffs(panel, cutoffs, every, horizon)]
    check_meeting(cutoffs, panel.ids, "cutoffs= has the series {}, which has no rows")
    cutoffs_of = {key: np.unique(read_times(times, panel, "cutoffs=")) for key, times in cutoffs.items()}
    n_rounds = max(map(len, cutoffs_of.values()), default=0)
    return [{key: times[k] for key, times in cutoffs_of.items() if k < len(times)}.get for k in range(n_rounds)]


def _for_all(cutoff: Any) -> Cutoffs:
    return lambda key: cutoff


def _find_cutoffs(panel: Panel, cutoffs: Any, every: Any, horizon: Any) -> list[Any]:
    """Native times, increasing."""
    if (cutoffs is None) == (every is None):
        raise ParameterError("Give exactly one of cutoffs= and every=.")
    if cutoffs is not None:
        return list(np.unique(read_times(cutoffs, panel, "cutoffs=")))
    step = read_span(every, panel, "every")
    pooled = np.concatenate(panel.times)
    first, last = pooled.min(), pooled.max()
    span = last - first if panel.time_kind in ("datetime", "timedelta") else shift_time(panel, last, first, -1)
    middle = add_spans(np.array([first]), np.asarray(span), parts=2)[0]
    latest = shift_time(panel, last, horizon, -1)
    n = int((latest - middle) // step) + 2 if latest >= middle else 0
    found = add_spans(np.array([latest]), np.asarray(step), -np.arange(n), dtype=panel.layout.time_dtype)
    found = found[found >= middle]
    if not len(found):
        raise DataError(
            f"No cutoff lies in the second half of the data with a whole horizon after it: the data span {last - first}"
            f", the horizon is {horizon}. Give a shorter horizon, or cutoffs=."
        )
    return list(found[::-1])


def read_span(value: Any, panel: Panel, name: str) -> Any:
    """A positive duration in native time."""
    span = read_duration(value, panel.time_kind, name)
    if Timeline.fit(panel.times).duration(span, name) <= 0:
        raise ParameterError(f"{name}={value!r} must be positive.")
    return span.to_timedelta64() if isinstance(span, pd.Timedelta) else span


def shift_time(panel: Panel, time: Any, span: Any, count: int = 1) -> Any:
    """Native time `count` spans after a time of the panel's."""
    return add_spans(np.array([time]), np.asarray(span), count, dtype=panel.layout.time_dtype)[0]


def refuse_cutoff(panel: Panel, cutoff: Any, horizon: Any, has_past: bool) -> None:
    """Raise a DataError: the cutoff has no row up to it, or none to test on."""
    pooled = np.concatenate(panel.times)
    first, last, native = restore_times(np.array([pooled.min(), pooled.max(), cutoff]), panel.layout.time_dtype)
    where = f"within horizon={horizon!r} after it of a series that has one up to it" if has_past else "up to it"
    raise DataError(f"The cutoff {native} has no observed row {where}; the data go from {first} to {last}.")
