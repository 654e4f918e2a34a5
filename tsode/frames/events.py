"""Events at known times (doses, infusions, resets, marks) as users write them: one row an event, repeats as one row."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tsode.core.time_sums import divide, shift_times
from tsode.errors import DataError, TsodeWarning
from tsode.frames.durations import read_duration
from tsode.frames.foreign import native_to_pandas
from tsode.frames.index import native_times, restore_times
from tsode.frames.labels import guess_label
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["KINDS", "EventTable", "open_rows", "read_event_rows", "read_events"]

KINDS = ("add", "set", "multiply", "reset", "reset_add", "mark", "rate")
_NEEDS_AMOUNT = ("add", "set", "multiply", "reset_add")
_NUMBERS = ("amount", "rate", "n_more", "steady_state", "priority")
_SPANS = ("duration", "every", "lag")
_COLUMNS = ("kind", "target", "amount", "duration", "rate", "every", "n_more", "steady_state", "lag", "priority")


class EventTable:
    """Events at known times, as one object that scikit-learn does not split.

    scikit-learn's metadata routing would cut a frame of events that has as many rows as the data along with them. An
    `EventTable` has no length and cannot be cut. Every argument `events=` takes a frame or one of these.

    Parameters
    ----------
    frame : DataFrame
        One row an event, with the columns

        - `id_col`: of which series; may be left out where there is one series,
        - `time_col`: when, in the kind of time of the series,
        - ``kind``: "add" (default where there is an amount), "set", "multiply", "reset" (all states to zero),
          "reset_add" (reset, then add), "mark" (something happened; default where there is no amount) or "rate"
          (an input at a constant rate),
        - ``target``: name of the state or channel that is changed, or of what was given; None = the first,
        - ``amount``: what is added, set or multiplied by,
        - ``duration`` or ``rate``: the amount is not given at once but as an infusion over this time, or at this rate
          per unit of time; an input of kind "rate" with neither amount nor duration goes on to the end,
        - ``every`` and ``n_more``: given again this often, at this interval,
        - ``steady_state``: True (or 1) if it has been given at the interval ``every`` for ever before, so that the
          state is the periodic one; 2 if that is to be added to the state there is. An input of kind "rate" without an
          interval has gone on for ever; it goes on to the end, or with a ``duration`` of 0 ends at this time,
        - ``lag``: what is added arrives so much later, repeats too; of a steady state the doses before it did so as
          well, and at its time the state is that of the interval they have got to,
        - ``priority``: order at one time, smallest first (default 0); then the order of rows decides.

        All but the time may be left out, and so may entries (None or NaN).
    id_col, time_col : label

    Examples
    --------
    >>> import pandas as pd
    >>> doses = EventTable(pd.DataFrame({"unique_id": ["a"], "ds": [0.0], "amount": [100.0], "every": 12, "n_more": 2}))
    >>> doses.expand()["ds"].tolist()
    [0.0, 12.0, 24.0]
    """

    def __init__(self, frame: pd.DataFrame, id_col: Hashable = ID_COL, time_col: Hashable = TIME_COL) -> None:
        self._frame = open_rows(frame, "events=")
        self.id_col, self.time_col = id_col, time_col

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the events as they were given."""
        return self._frame.copy()

    @property
    def ids(self) -> list[Hashable]:
        """The series there are events of, in order of appearance; empty where there is no id column."""
        return pd.unique(self._frame[self.id_col].dropna()).tolist() if self.id_col in self._frame else []

    def expand(self) -> pd.DataFrame:
        """The events with every repeat as a row of its own, in the order in which they are applied."""
        rows, time_dtype = read_event_rows(self._frame, None, self.id_col, self.time_col)
        rows = _expand(rows, time_dtype)
        table = self._frame.iloc[rows["row"].to_numpy()].reset_index(drop=True)
        table[self.time_col] = restore_times(rows["time"].to_numpy(), time_dtype)
        if "steady_state" in table:
            table["steady_state"] = rows["steady_state"].astype(np.int64)
        for name in {"every", "lag"} & set(table.columns):
            table[name] = table[name].where(rows["steady_state"] > 0)
        return table.drop(columns=["n_more"], errors="ignore")

    def __repr__(self) -> str:
        return f"EventTable({len(self._frame)} rows)"


def read_events(
    data: Any,
    ids: Sequence[Hashable] | None,
    *,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
    time_unit: np.timedelta64 | None = None,
) -> pd.DataFrame:
    """Read events, every repeat as a row of its own, in the order in which they are applied.

    Parameters
    ----------
    data : DataFrame, polars frame or EventTable
        See `EventTable`, whose own names of columns stand.
    ids : sequence of label or None
        The series there are: events without an id column belong to the only one. None: not checked.
    id_col, time_col : label
    time_unit : np.timedelta64, optional
        What a rate is per, where times are a clock's; without it a rate is refused there.

    Returns
    -------
    DataFrame
        Columns ``id``, ``time`` (native), ``kind``, ``target`` (object; None = the first), ``amount`` (float; 0 where
        not given), ``duration`` (timedelta64, or float and inf without end; missing for what happens at once, and for
        an input without end where times are a clock's), ``rate`` (of what has a duration, per unit of the times; NaN
        where these are a clock's and no `time_unit` was given), ``steady_state``, ``every`` and ``lag`` (of a steady
        state, which holds at ``time``; all else stands at the time it arrives), ``priority``. Sorted by id (in order
        of appearance), time, priority and row. Events of other series than `ids` are left in. ``attrs["time_dtype"]``
        is that of the times given.

    Raises
    ------
    DataError
        If the events cannot be read; the message says which row and how to mend it.
    """
    if isinstance(data, EventTable):
        data, id_col, time_col = data._frame, data.id_col, data.time_col
    rows, time_dtype = read_event_rows(open_rows(data, "events="), ids, id_col, time_col, time_unit)
    rows = _expand(rows, time_dtype).drop(columns=["series", "row", "n_more"])
    rows.attrs["time_dtype"] = time_dtype
    return rows


def read_event_rows(
    frame: pd.DataFrame,
    ids: Sequence[Hashable] | None,
    id_col: Hashable,
    time_col: Hashable,
    time_unit: np.timedelta64 | None = None,
) -> tuple[pd.DataFrame, Any]:
    """The rows of `read_events` before repeats become rows of their own, and the dtype of the times.

    Further columns are ``row`` of the frame, ``series`` (a code) and ``n_more``; the order is that of the frame.
    """
    _check_columns(frame, id_col, time_col)
    # An empty frame has columns of no dtype.
    index = pd.Index(frame[time_col]) if len(frame) else pd.Index([], dtype=_empty_dtype(frame[time_col]))
    times, time_dtype = native_times(index, f"The time column {time_col!r} of the events")
    n = len(frame)
    labels = _read_ids(frame, ids, id_col)
    rows = pd.DataFrame({"id": labels, "time": times, "row": np.arange(n)})
    is_clock = times.dtype.kind in "mM"
    for name in _NUMBERS:
        rows[name] = _read_numbers(frame, name)
    for name in _SPANS:
        rows[name] = _read_spans(frame, name, is_clock)
    is_given = {
        name: frame[name].notna().to_numpy() if name in frame else np.zeros(n, dtype=bool)
        for name in ("amount", "rate", "duration", "every", "n_more", "steady_state", "lag")
    }
    # as objects: pandas would make a column of strings of them, in which None is a NaN that equals nothing
    rows["target"] = pd.Series(_read_labels(frame, "target"), index=rows.index, dtype=object)
    rows["kind"] = _read_kinds(frame, is_given["amount"] | is_given["rate"])
    # A constant input of no amount has no end: tables without empty cells write it so.
    is_said = (rows["kind"] != "rate").to_numpy() | (rows["amount"] != 0.0).to_numpy()
    is_given["amount"] = is_given["amount"] & is_said
    names = list(is_given)
    is_given_of = zip(*(is_given[name].tolist() for name in names))
    for k, (row, given) in enumerate(zip(rows.drop(columns="target").to_dict("records"), is_given_of)):
        _check_row(row, k, dict(zip(names, given)))
    rows = _with_infusions(rows, is_given, is_clock, time_unit).assign(series=pd.factorize(labels)[0])
    _warn_of_stacked_inputs(rows)
    return rows, time_dtype


def _check_columns(frame: pd.DataFrame, id_col: Hashable, time_col: Hashable) -> None:
    if time_col not in frame.columns:
        raise DataError(
            f"The events have no time column {time_col!r}.{guess_label(time_col, list(frame.columns))} "
            f"The columns are {list(frame.columns)}."
        )
    if "side" in frame.columns:
        raise DataError("Events have no side: pass side='after' to what reads the state, and drop the column 'side'.")
    for name in frame.columns:
        if name not in (id_col, time_col, *_COLUMNS):
            guess = guess_label(name, [id_col, time_col, *_COLUMNS])
            raise DataError(
                f"The events have a column {name!r} that says nothing to a model.{guess} "
                f"Known: {', '.join(_COLUMNS)}. Drop it, or rename it."
            )


def _empty_dtype(column: pd.Series) -> Any:
    return np.float64 if column.dtype == object else column.dtype


def open_rows(data: Any, name: str) -> pd.DataFrame:
    """A frame of rows, from pandas or another library, as a pandas frame numbered from 0; `name` is for messages."""
    if isinstance(data, pd.DataFrame):
        frame = data
    else:
        native = nw.from_native(data, eager_only=True, pass_through=True)
        if not isinstance(native, nw.DataFrame):
            raise DataError(
                f"{name} takes a frame with one row an event, but is a {type(data).__name__}: "
                "pass pd.DataFrame({'unique_id': ..., 'ds': ..., 'kind': ..., 'amount': ...})."
            )
        frame = native_to_pandas(native)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"The events have the column {repeated[0]!r} more than once: rename or drop one of them.")
    return frame.reset_index(drop=True)


def _read_ids(frame: pd.DataFrame, ids: Sequence[Hashable] | None, id_col: Hashable) -> np.ndarray:
    labels = np.empty(len(frame), dtype=object)
    if id_col in frame.columns:
        labels[:] = frame[id_col].tolist()
        missing = frame[id_col].isna().to_numpy()
        if missing.any():
            raise DataError(f"The events have no id at row {int(missing.argmax())}: name the series, or drop the row.")
    elif ids is not None and len(ids) > 1:
        raise DataError(
            f"The events do not say of which of the {len(ids)} series they are: add the column {id_col!r}, "
            "or name it with id_col=."
        )
    else:
        labels[:] = [ids[0] if ids else 0] * len(frame)
    return labels


def _read_numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in frame.columns:
        return np.zeros(len(frame))
    try:
        numbers = pd.to_numeric(frame[name].astype(object).where(frame[name].notna(), 0.0)).to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"The column {name!r} of the events must hold numbers, but {error}.") from error
    is_finite = np.isfinite(numbers)
    if not is_finite.all():
        raise DataError(f"The column {name!r} of the events is infinite at row {int(is_finite.argmin())}.")
    return numbers


def _read_spans(frame: pd.DataFrame, name: str, is_clock: bool) -> np.ndarray:
    """Durations as timedelta64 where times are a clock's, else float64; NaT or NaN where there is none."""
    spans = np.full(len(frame), np.timedelta64("NaT", "ns")) if is_clock else np.full(len(frame), np.nan)
    for row, value in enumerate(frame[name].tolist() if name in frame.columns else []):
        if pd.isna(value):
            continue
        span = read_duration(value, "datetime" if is_clock else "float", name)
        is_span = isinstance(span, np.timedelta64 | datetime.timedelta)
        if is_clock != is_span or not (is_span or isinstance(span, Real)):
            wanted = "a duration such as '12h'" if is_clock else "a number in the unit of the times"
            raise DataError(f"{name}={value!r} at row {row} of the events must be {wanted}, as the times are.")
        if not is_span and not np.isfinite(span):
            raise DataError(f"{name}={value!r} at row {row} of the events must be finite: leave it out for no end.")
        spans[row] = pd.Timedelta(span).to_timedelta64() if is_clock else float(span)
    return spans


def _read_labels(frame: pd.DataFrame, name: str) -> np.ndarray:
    labels = np.empty(len(frame), dtype=object)
    if name in frame.columns:
        labels[:] = [None if pd.isna(x) else x for x in frame[name].tolist()]
    return labels


def _read_kinds(frame: pd.DataFrame, has_amount: np.ndarray) -> np.ndarray:
    kinds = np.where(has_amount, "add", "mark").astype(object)
    for row, kind in enumerate(_read_labels(frame, "kind")):
        if kind is None:
            continue
        if kind not in KINDS:
            raise DataError(
                f"kind={kind!r} at row {row} of the events is not known.{guess_label(kind, KINDS)} "
                f"Known: {', '.join(KINDS)}."
            )
        kinds[row] = kind
    return kinds


def _check_row(row: Mapping[Hashable, Any], k: int, is_given: Mapping[str, bool]) -> None:
    kind, n_more, state = row["kind"], row["n_more"], row["steady_state"]
    every, duration, rate, lag = row["every"], row["duration"], row["rate"], row["lag"]
    has_amount, has_rate, has_duration, has_every = (is_given[name] for name in ("amount", "rate", "duration", "every"))
    zero = 0 * duration if has_duration else 0 * every
    where = f"at row {k} of the events"
    if kind in _NEEDS_AMOUNT and not (has_amount or (has_rate and has_duration)):
        raise DataError(f"kind={kind!r} {where} needs an amount: fill it in, or use kind='mark' for a mere sign.")
    if kind == "rate" and not (has_rate or (has_amount and has_duration)):
        raise DataError(f"kind='rate' {where} needs a rate, or an amount and a duration.")
    if kind in ("set", "multiply", "reset", "mark") and ((has_rate and rate != 0.0) or has_duration):
        raise DataError(f"kind={kind!r} {where} happens at once: drop its rate and duration, or use kind='add'.")
    if rate < 0.0 and kind != "rate":
        raise DataError(f"rate={rate:g} {where} must be positive: rates that a model estimates are not supported.")
    ends_now = kind == "rate" and has_duration and duration == zero and state and not has_amount
    if has_duration and (duration < zero or (kind == "rate" and duration == zero and not ends_now)):
        raise DataError(f"duration={duration} {where} must be positive.")
    if has_amount and has_rate and row["amount"] * rate < 0.0:
        raise DataError(f"amount={row['amount']:g} and rate={rate:g} {where} must have one sign.")
    if has_amount and has_rate and rate != 0.0 and has_duration:
        raise DataError(f"amount, rate and duration {where} say one thing twice: drop one of them.")
    if n_more < 0 or n_more != int(n_more):
        raise DataError(f"n_more={n_more:g} {where} must be a whole number of repeats, 0 or more.")
    is_endless = kind == "rate" and not has_amount and (not has_duration or ends_now)
    if has_every and every != zero and not (is_given["n_more"] or is_given["steady_state"]):
        raise DataError(
            f"every={every} {where} says no number of repeats: give n_more, or steady_state=1 (given for ever "
            "before), or drop it."
        )
    if (n_more or (state and not is_endless)) and not (has_every and every > zero):
        raise DataError(f"n_more and steady_state {where} need a positive interval: fill in `every`.")
    if is_given["lag"] and lag != 0 * lag:
        if lag < 0 * lag:
            raise DataError(f"lag={lag} {where} must not be negative: what is added arrives later.")
        if kind not in ("add", "rate"):
            raise DataError(f"lag {where} is of what is added, but kind is {kind!r}: give a reset a row of its own.")
        if state and is_endless:
            raise DataError(f"lag {where} says nothing of an input that has gone on for ever: drop it.")
    if state not in (0.0, 1.0, 2.0):
        raise DataError(f"steady_state={state:g} {where} must be True (1), False (0), or 2 to add to the state.")
    if state and kind not in ("add", "reset_add", "rate"):
        raise DataError(f"steady_state {where} is of doses that are added, but kind is {kind!r}.")


def _with_infusions(
    rows: pd.DataFrame, is_given: dict[str, np.ndarray], is_clock: bool, time_unit: np.timedelta64 | None
) -> pd.DataFrame:
    """Fill in amount, rate or duration where it follows from the two others."""
    amounts, rates, durations = (rows[name].to_numpy(copy=True) for name in ("amount", "rate", "duration"))
    # Lengths of time as numbers, for the arithmetic of rates.
    unit: Any = pd.Timedelta(1, "ns") if time_unit is None else pd.Timedelta(time_unit)
    for k, kind in enumerate(rows["kind"]):
        has_duration = is_given["duration"][k] and durations[k] != 0 * durations[k]
        is_amount_enough = kind != "rate" or (is_given["amount"][k] and has_duration)
        has_rate = is_given["rate"][k] and not (rates[k] == 0.0 and is_amount_enough)  # 0 says "none" there
        length = (pd.Timedelta(durations[k]) / unit if is_clock else durations[k]) if has_duration else np.inf
        if has_rate and is_clock and time_unit is None:
            raise DataError(
                f"rate at row {k} of the events has no unit of time where times are datetimes: "
                "give the amount and its duration ('4h') instead."
            )
        if has_rate and is_given["amount"][k] and rates[k] != 0.0:
            length = divide(float(amounts[k]), float(rates[k]))
        elif has_rate:
            amounts[k] = rates[k] * length if has_duration else 0.0
        elif has_duration:
            rates[k] = np.nan if is_clock and time_unit is None else amounts[k] / length
        else:
            rates[k], length = 0.0, np.nan
        if kind == "rate" and is_given["duration"][k] and not has_duration:
            pass  # a steady state that ends now: its duration is 0
        elif not is_clock:
            durations[k] = length
        elif np.isfinite(length) and not has_duration:
            durations[k] = (unit * length).to_timedelta64()
        elif not has_duration:
            durations[k] = np.timedelta64("NaT")
    return rows.assign(amount=amounts, rate=rates, duration=durations)


def _warn_of_stacked_inputs(rows: pd.DataFrame) -> None:
    """Inputs without end that add up, as rows of a pump's rate at every sampling time do."""
    is_endless = (rows["kind"] == "rate") & (rows["duration"].isna() | (rows["duration"] == np.inf))
    inputs = rows[is_endless & (rows["steady_state"] == 0)]
    if inputs.empty:
        return
    key = [inputs["series"], inputs["target"].map(str), np.sign(inputs["rate"])]
    count = (1 + inputs["n_more"]).groupby(key).transform("sum")
    if (count > 1).any():
        label, n_inputs = inputs["id"][count > 1].iloc[0], int(count[count > 1].iloc[0])
        warnings.warn(
            f"Series {label!r} has {n_inputs} inputs of kind 'rate' without an end, which add up. Where each row says "
            "the rate of one sampling interval, give its length as duration=; where each sets a new rate, give the "
            "change.",
            TsodeWarning,
            stacklevel=4,
        )


def _expand(rows: pd.DataFrame, time_dtype: Any) -> pd.DataFrame:
    """Every repeat as a row of its own, in the order in which they are applied; those of a steady state are plain."""
    order = ["series", "time", "priority", "row"]
    count = rows["n_more"].to_numpy(dtype=np.int64)
    at = np.repeat(np.arange(len(rows)), count + 1)
    number = np.arange(len(at)) - np.repeat(np.cumsum(count + 1) - (count + 1), count + 1)
    long = rows.iloc[at].reset_index(drop=True)
    is_repeat = number > 0
    is_steady = ~is_repeat & (long["steady_state"] > 0).to_numpy()
    times = shift_times(long["time"].to_numpy(), long["lag"].where(~is_steady).to_numpy(), 1, time_dtype)
    times = shift_times(times, long["every"].where(is_repeat).to_numpy(), number, time_dtype)
    long = long.assign(time=times, steady_state=long["steady_state"].where(is_steady, 0.0))
    long = long.assign(**{name: long[name].where(is_steady) for name in ("every", "lag")})
    return long.sort_values(order, kind="stable", ignore_index=True)
