"""Query of a forecast, its series and times, read from rows, times or a horizon."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import add_spans
from tsode.core.timeline import Timeline, coarsest_ticks, kind_of_times, typical_gap
from tsode.errors import DataError, ParameterError
from tsode.frames.durations import read_duration
from tsode.frames.index import native_times
from tsode.frames.meeting import check_meeting
from tsode.frames.panel import Layout, Panel
from tsode.frames.table import ID_COL, TIME_COL, open_table

__all__ = ["Query", "check_kind", "read_query", "read_times"]

_MOST_POINTS = 200


@dataclass(frozen=True, eq=False)
class Query:
    """Query times of each series.

    Parameters
    ----------
    ids : list of label
        Each once; all are ids of the panel.
    times : list of array[m]
        Native times, sorted; a time that is asked for twice stands twice.
    rows : array, int
        Where the answer to each time goes, with the series set end to end: `write_frame`'s `rows`.
    layout : Layout
        Of the answer.
    index : pd.Index or None
        Index of the rows asked for: `write_frame`'s `index`.
    """

    ids: list[Hashable]
    times: list[np.ndarray]
    rows: np.ndarray
    layout: Layout
    index: pd.Index | None = None

    def values_in(self, panel: Panel) -> list[np.ndarray]:
        """What `panel` holds at these times, which are among its own: one array (m c) a series."""
        place_of = {key: place for place, key in enumerate(panel.ids)}
        places = [place_of[key] for key in self.ids]
        return [panel.values[k][np.searchsorted(panel.times[k], times)] for k, times in zip(places, self.times)]


def read_query(
    panel: Panel,
    timeline: Timeline,
    data: Any = None,
    *,
    times: Any = None,
    horizon: Any = None,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> Query:
    """Read a query about the series in `panel`; exactly one of `data`, `times` and `horizon` is given.

    Parameters
    ----------
    panel : Panel
        The history to forecast from.
    timeline : Timeline
        Fitted on times of the same kind.
    data : container of rows, optional
        As in `read_panel`; only ids and times are looked at. The answer has its kind, order and index.
    times : time, list of times, or dict of id to these, optional
        Strings, Timestamps, datetime64, an Index or Series of times, or numbers: for every series, or per id. Strings
        without an offset are in the time zone of the series.
    horizon : duration or list of durations, optional
        A list asks for exactly these leads after each series' last time; a single duration for 1 to 200 evenly spaced
        times up to and including it, as near to the series' own median gap as divides it.
    id_col, time_col : label
        Columns of `data`.

    Raises
    ------
    ParameterError, DataError
        If the query cannot be read, or is about an unknown series or another kind of time.
    """
    given = [name for name, value in (("X", data), ("times", times), ("horizon", horizon)) if value is not None]
    if len(given) != 1:
        raise ParameterError(f"Give exactly one of X, times and horizon, not {' and '.join(given) or 'none'}.")
    if data is not None:
        return _read_rows(panel, data, id_col, time_col)
    if horizon is not None:
        return _arrange(panel.ids, _read_horizon(panel, timeline, horizon), panel.layout)
    if not isinstance(times, Mapping):
        return _arrange(panel.ids, [read_times(times, panel)] * len(panel), panel.layout)
    if not times:
        raise DataError("times= is empty: give at least one time.")
    _check_ids(list(times), panel)
    return _arrange(list(times), [read_times(of_series, panel) for of_series in times.values()], panel.layout)


def _arrange(ids: Sequence[Hashable], times: Sequence[np.ndarray], layout: Layout, index: Any = None) -> Query:
    """Sort the times of each series, and remember where each stood."""
    orders = [np.argsort(t, kind="stable") for t in times]
    starts = np.cumsum([0] + [len(t) for t in times[:-1]])
    rows = np.concatenate([start + order for start, order in zip(starts, orders)]).astype(np.intp)
    return Query(list(ids), [t[order] for t, order in zip(times, orders)], rows, layout, index)


def _read_rows(panel: Panel, data: Any, id_col: Hashable, time_col: Hashable) -> Query:
    if isinstance(data, pd.Index) and not isinstance(data, pd.MultiIndex):
        data = pd.DataFrame(index=data)
    table = open_table(data, id_col, time_col)
    if not len(table.times):
        raise DataError("X has no rows: give one row for each time to forecast.")
    check_kind(table.times, table.layout.time_dtype, panel, "X")
    ids = table.ids
    if table.layout.kind in ("series", "wide"):
        if len(panel) > 1:
            raise DataError(
                f"X says when but not for which of the {len(panel)} series: add the column {id_col!r}, "
                "or pass times= to ask it of every series."
            )
        ids = list(panel.ids)
    _check_ids(ids, panel)
    order = np.lexsort((table.times, table.codes))
    cuts = np.searchsorted(table.codes[order], np.arange(1, len(ids)))
    return Query(ids, np.split(table.times[order], cuts), order, table.layout, table.index)


def read_times(times: Any, panel: Panel, name: str = "times=") -> np.ndarray:
    """Read one time or a list, strings too, as native times of the kind that the series in `panel` have."""
    if np.ndim(times) == 0:
        times = [times]
    if np.ndim(times) > 1 or isinstance(times, pd.MultiIndex):
        raise DataError(f"{name} takes a list of times, or a dict of id to times: pass rows of ids and times as X.")
    index = times if isinstance(times, pd.Index) else pd.Index(times)
    if not len(index):
        raise DataError(f"{name} is empty: give at least one time.")
    if index.dtype.kind not in "mMfiu" and any(isinstance(t, str) for t in index):
        index = _parse_times(index, panel.time_kind, panel.layout.tz, name)
    native, dtype = native_times(index, name)
    check_kind(native, dtype, panel, name)
    return native


def _parse_times(index: pd.Index, kind: str, tz: Any, name: str) -> pd.Index:
    if kind not in ("datetime", "timedelta"):
        raise DataError(
            f"{name} holds strings such as {index[0]!r}, but the series has numbers as times: pass numbers."
        )
    try:
        if kind == "timedelta":
            return pd.TimedeltaIndex(index)
        # As pandas does when it slices: a string without an offset is local time, an object without one is a mistake.
        local = [pd.Timestamp(t).tz_localize(tz) if _is_local(t) else pd.Timestamp(t) for t in index]
        return pd.DatetimeIndex([t if t.tz is None else t.tz_convert(tz or "UTC") for t in local])
    except (ValueError, TypeError) as error:
        hint = (
            "" if tz is None else f" A clock change in {tz} is got round by an offset, like '2024-03-31 03:30+02:00'."
        )
        raise DataError(f"{name} cannot be read as {kind}s: {str(error).rstrip('.')}.{hint}") from error


def _is_local(time: Any) -> bool:
    return isinstance(time, str) and pd.Timestamp(time).tz is None


def check_kind(native: np.ndarray, dtype: Any, panel: Panel, where: str) -> None:
    """Raise a `DataError` unless these are times of the kind that the series in `panel` have."""
    kind, wanted = kind_of_times(native), panel.time_kind
    if kind != wanted and not {kind, wanted} <= {"float", "int"}:
        names = {"datetime": "datetimes", "timedelta": "timedeltas"}
        ahead = ", or horizon= for a time ahead" if where in ("X", "times=") else ""
        raise DataError(
            f"{where} has {names.get(kind, 'numbers')} as times, but the series has {names.get(wanted, 'numbers')}: "
            f"pass {names.get(wanted, 'numbers')}{ahead}."
        )
    tz, native_tz = panel.layout.tz, getattr(dtype, "tz", None)
    if (tz is None) != (native_tz is None):
        fix = "`.tz_localize(None)`" if tz is None else f"`.tz_localize({str(tz)!r})`"
        raise DataError(
            f"{where} has times {_in_zone(native_tz)}, but the series has times {_in_zone(tz)}: "
            f"convert them with {fix}."
        )


def _in_zone(tz: Any) -> str:
    return "without a time zone" if tz is None else f"in {tz}"


def _check_ids(ids: Sequence[Hashable], panel: Panel) -> None:
    remedy = "Pass the history of other series as context=."
    check_meeting(ids, panel.ids, "There is no history of series {}", of="the histories", remedy=remedy)


def _read_horizon(panel: Panel, timeline: Timeline, horizon: Any) -> list[np.ndarray]:
    is_list = np.ndim(horizon) == 1
    leads = [_read_lead(value, panel.time_kind, timeline) for value in (horizon if is_list else [horizon])]
    if not leads:
        raise ParameterError("horizon=[] is empty: give at least one lead.")
    shared_gap = typical_gap(panel.times)
    lasts, spans = [], []
    for label, last, times in zip(panel.ids, panel.last_times, panel.times):
        if last is None:
            raise DataError(f"Series {label!r} has no rows for a horizon to start from: pass times=.")
        if isinstance(leads[0], np.timedelta64):
            # In the coarsest tick a horizon of centuries does not run over the end of stamps in nanoseconds.
            ticks, tick = coarsest_ticks(np.atleast_1d(last))
            last = ticks.view(f"{timeline.kind}64[{tick}]")[0]
        lasts.append(last)
        if is_list:
            spans.append(np.array(leads))
        else:
            gap = typical_gap([times])
            spans.append(_spread(leads[0], shared_gap if gap is None else gap))
    if panel.time_kind != "float":
        return [last + until for last, until in zip(lasts, spans)]
    lengths = [len(until) for until in spans]
    total = add_spans(np.repeat(lasts, lengths), np.concatenate(spans), dtype=panel.layout.time_dtype)
    return np.split(total, np.cumsum(lengths)[:-1])


def _read_lead(value: Any, kind: str, timeline: Timeline) -> Any:
    """A duration as int, float or np.timedelta64 in its coarsest tick."""
    span = read_duration(value, kind)
    if timeline.duration(span, otherwise=" or times=") <= 0:
        raise ParameterError(f"horizon={value!r} must be positive: pass times= to ask about the past.")
    if kind in ("datetime", "timedelta"):
        ticks, tick = coarsest_ticks(np.atleast_1d(np.timedelta64(span)))
        return ticks.view(f"m8[{tick}]")[0]
    return int(span) if kind == "int" and float(span).is_integer() else float(span)


def _spread(lead: Any, gap: Any) -> np.ndarray:
    n = 1 if gap is None else int(min(max(np.rint(lead / gap), 1), _MOST_POINTS))
    if isinstance(lead, float):
        return add_spans(np.zeros(n), np.asarray(lead), np.arange(1, n + 1), n)
    if isinstance(lead, int):
        return np.array(_share(lead, n))
    unit = np.datetime_data(lead.dtype if gap is None else np.promote_types(lead.dtype, gap.dtype))[0]
    return np.array(_share(int(lead.astype(f"m8[{unit}]").astype(np.int64)), n), dtype=f"m8[{unit}]")


def _share(ticks: int, n: int) -> list[int]:
    """The whole ticks nearest to 1/n, 2/n, ... of `ticks`."""
    return [(2 * k * ticks + n) // (2 * n) for k in range(1, n + 1)]
