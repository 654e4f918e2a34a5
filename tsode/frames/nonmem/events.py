"""NONMEM event tables (ID, TIME, EVID, AMT, CMT, RATE, II, ADDL, SS, ALAG, F) <-> `EventTable`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.time_sums import add_spans, shift_times
from tsode.errors import DataError
from tsode.frames.events import EventTable, read_event_rows, read_events
from tsode.frames.nonmem.records import find_compartments, read_numbers, read_records
from tsode.frames.table import ID_COL, TIME_COL

__all__ = [
    "events_from_nonmem",
    "observations_from_nonmem",
    "record_events",
    "spread_channels",
    "tidy_endpoint",
    "to_nonmem",
]

_KINDS = {1: "add", 2: "mark", 3: "reset", 4: "reset_add", 5: "set", 6: "multiply"}
_EVIDS = {kind: evid for evid, kind in _KINDS.items()} | {"rate": 1}


def events_from_nonmem(frame: Any, *, states: Sequence[Hashable] | None = None) -> EventTable:
    """Read the events of a table with NONMEM's columns; observations are left out.

    Parameters
    ----------
    frame : DataFrame or polars frame
        ``ID``, ``TIME`` and, as far as there are, ``EVID`` (0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose,
        5 replace, 6 multiply; without it a row with an amount is a dose), ``AMT``, ``CMT``, ``RATE``, ``II``, ``ADDL``,
        ``SS``, and the lag time and bioavailability of a dose: ``ALAG`` and ``F``, or ``ALAG1``, ``F1``, ``ALAG2``,
        ``F2``, ... of doses into that compartment. Empty cells may be "."; other columns are not read. Rows of an ID
        are in the order of time.
    states : sequence of label, optional
        Names of the compartments 1, 2, ...; default: their numbers counted from 0, as `tsode.solve` takes them.

    Returns
    -------
    EventTable
        With the columns ``unique_id`` and ``ds``. As in NONMEM,

        - additional doses of a reset and dose reset nothing, and a reset is not late where its dose is,
        - a reset and a dose with ``SS=1`` cancel the additional and late doses of earlier records,
        - records of one time happen in their order, additional and late doses after them,
        - a constant infusion in steady state (``AMT=0``, ``II=0``) ends at its time; without a rate it is the steady
          state of what the field itself produces,
        - an infusion keeps its rate, and lasts as long as what is available of its amount.

        Where a reset starts the clock again, the times after it are moved on by a power of ten that is more than all
        times span, so that they never go back: 6 in the second period becomes 106.

    Raises
    ------
    DataError
        If a row cannot be read: a rate or duration that the model estimates (``RATE`` -1 or -2), a compartment that is
        switched off, a dose without an amount, an amount that is no dose's, a time that goes back.

    References
    ----------
    Beal, Sheiner, Boeckmann and Bauer, *NONMEM Users Guides*, part VI, chapter V. EVID 5 and 6: rxode2.
    """
    records, table = read_records(frame)
    return EventTable(record_events(records, table, states).drop(columns="record"))


def observations_from_nonmem(
    frame: Any, *, endpoint: str | None = "auto", side: bool = False, states: Sequence[Hashable] | None = None
) -> pd.DataFrame:
    """Read the observations of a table with NONMEM's columns: rows with ``EVID`` 0 and without ``MDV`` 1.

    Parameters
    ----------
    frame : DataFrame or polars frame
        Times are moved on where a reset starts the clock again, as in `events_from_nonmem`.
    endpoint : str or None
        Column that says what is observed, of whose values each is a channel: "DVID", "CMT", or another. "auto" is
        ``DVID`` if observations have several, else ``CMT`` if they have several. None: one channel.
    side : bool
        Add the column ``side``: how many of the events of its time an observation comes after, by the order of
        records. Give it to `tsode.solve` as `side`.
    states : sequence of label, optional
        As in `events_from_nonmem`, where CMT has names; read with `side` alone.

    Returns
    -------
    DataFrame
        ``unique_id``, ``ds`` and ``DV``: the native long format. With several endpoints ``DV_1``, ``DV_2``, ... (by the
        values of `endpoint`), observations of one time in one row.

    Raises
    ------
    DataError
        If there is no column ``DV``, or a row cannot be read.
    """
    records, frame = read_records(frame)
    if "DV" not in frame.columns:
        raise DataError(f"There is no column 'DV' to observe. The columns are {list(frame.columns)}.")
    table = pd.DataFrame({ID_COL: records["ID"], TIME_COL: records["TIME"]})
    if side:
        table["side"] = _count_before(record_events(records, frame, states), records)
    table["DV"] = read_numbers(frame, "DV", missing=np.nan)
    is_seen = ((records["EVID"] == 0) & (read_numbers(frame, "MDV") == 0)).to_numpy()
    table = table[is_seen].reset_index(drop=True)
    kinds = _find_endpoints(frame[is_seen], endpoint)
    if kinds is None:
        return table
    known = sorted(set(kinds), key=lambda kind: (len(kind), kind) if isinstance(kind, str) else (0, str(kind)))
    return spread_channels(table, kinds, {kind: f"DV_{kind}" for kind in known})


def to_nonmem(
    events: Any,
    *,
    states: Sequence[Hashable] | None = None,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Write events in NONMEM's columns; `events_from_nonmem` reads the same events from them.

    Repeats are written as ``ADDL``, unless NONMEM would cancel some, reset at the first alone, or apply them in another
    order: then as rows. There is a column ``ALAG`` where a steady state has a lag.

    Parameters
    ----------
    events : DataFrame, polars frame or EventTable
        Times are numbers.
    states : sequence of label, optional
        Names of the compartments 1, 2, ...; needed where targets are names.
    id_col, time_col : label

    Raises
    ------
    DataError
        If an event has no counterpart: an input without end, a negative one, a time that is no number.
    """
    table = events if isinstance(events, EventTable) else EventTable(events, id_col, time_col)
    rows, time_dtype = read_event_rows(table.frame, None, table.id_col, table.time_col)
    if rows["time"].dtype.kind not in "fiu":
        raise DataError("NONMEM's TIME is a number: turn the times of the events into numbers first.")
    # What is late without a steady state is written when it arrives.
    late = rows["lag"].where(rows["steady_state"] == 0)
    rows = rows.assign(time=shift_times(rows["time"].to_numpy(), late.to_numpy(), 1, time_dtype))
    rows["lag"] = rows["lag"].where(rows["steady_state"] > 0)
    short = _write(rows.sort_values(["series", "time", "priority", "row"], kind="stable"), states)
    wanted, written = read_events(table, None), read_events(events_from_nonmem(short, states=states), None)
    return short if _are_same(wanted, written, states) else _write(wanted.assign(n_more=0.0), states)


def record_events(records: pd.DataFrame, frame: pd.DataFrame, states: Sequence[Hashable] | None) -> pd.DataFrame:
    """Columns of an `EventTable`, and the ``record`` that each row is of.

    Parameters
    ----------
    records, frame : DataFrame
        From `tsode.frames.nonmem.records.read_records`.
    states : sequence of label or None
        As in `events_from_nonmem`.
    """
    table = records.assign(later=_cancelling_times(records))
    # What earlier records left for a time, additional and late doses, comes after its own records.
    is_new = table["TIME"].groupby(table["ID"]).diff() != 0
    table["priority"] = -is_new.groupby(table["ID"]).cumsum()
    for name, missing in (("ALAG", 0.0), ("F", 1.0)):
        table[name] = _of_compartment(frame, name, table["CMT"], states, missing)
    _check_records(table)
    rows = [row for record in table[table["EVID"] != 0].to_dict("index").items() for row in _to_rows(*record)]
    columns = [ID_COL, TIME_COL, "kind", "CMT", "amount", "rate", "duration", "every", "n_more", "steady_state", "lag",
               "priority", "record"]  # fmt: skip
    events = pd.DataFrame(rows, columns=columns).rename(columns={"CMT": "target"})
    events["target"] = pd.Series(find_compartments(events["target"], states), index=events.index, dtype=object)
    return events


def _to_rows(record: Hashable, row: Mapping[Hashable, Any]) -> list[dict[str, Any]]:
    """The events of a record: one, none if it is cancelled before it arrives, or a reset and what is not part of it."""
    is_dose = row["EVID"] in (1, 4)
    kind, is_constant = _KINDS[int(row["EVID"])], is_dose and _is_constant(row)
    event = {ID_COL: row["ID"], TIME_COL: row["TIME"], "kind": kind, "priority": row["priority"], "record": record}
    if not is_dose:
        # What changes no compartment has none, whatever is in the column.
        amount, target = (row["AMT"], row["CMT"]) if row["EVID"] in (5, 6) else (np.nan, None)
        return [event | {"CMT": target, "amount": amount, "n_more": 0, "steady_state": 0}]
    n_doses = int(row["ADDL"]) + 1
    if np.isfinite(row["later"]):
        arrival = add_spans(np.array([row["TIME"]]), np.array([row["ALAG"]]))
        arrivals = add_spans(np.repeat(arrival, n_doses), np.array(row["II"]), np.arange(n_doses))
        n_doses = int(max((arrivals < row["later"]).sum(), row["ALAG"] == 0))
    if not n_doses and row["SS"]:
        raise DataError(
            f"The dose with SS={row['SS']:g} of ID {row['ID']!r} at TIME {row['TIME']:g} is so late (ALAG="
            f"{row['ALAG']:g}) that a reset at {row['later']:g} comes before it: give the dose after the reset."
        )
    dose = event | {
        "CMT": row["CMT"],
        "amount": np.nan if is_constant else row["AMT"] * row["F"],
        "rate": row["RATE"] if is_constant or row["RATE"] > 0 else np.nan,
        "duration": 0.0 if is_constant else np.nan,
        "every": row["II"] if (row["SS"] and not is_constant) or n_doses > 1 else np.nan,
        "n_more": max(n_doses - 1, 0),
        "steady_state": 1 if row["SS"] == 3 else int(row["SS"]),
        "lag": row["ALAG"] if row["ALAG"] and not is_constant else np.nan,
    }
    if is_constant:
        dose["kind"] = "rate"
    if row["EVID"] == 1 or not (row["ADDL"] or row["ALAG"] or is_constant):
        return [dose] * bool(n_doses)
    reset = event | {"kind": "reset", "CMT": None, "amount": np.nan, "n_more": 0, "steady_state": 0}
    return [reset] + [dose | {"kind": "rate" if is_constant else "add"}] * bool(n_doses)


def _is_constant(row: Mapping[Hashable, Any]) -> bool:
    """Whether a dose is an input in steady state that has no amount: a rate, or nothing but what the field produces."""
    if row["RATE"] > 0:
        return not np.nan_to_num(row["AMT"])
    return row["AMT"] == 0 and row["SS"] > 0 and row["II"] == 0


def _cancelling_times(table: pd.DataFrame) -> np.ndarray:
    """Time of the next record of the same ID, in the order of rows, that cancels additional doses; inf if none."""
    cancels = table["EVID"].isin([3, 4]) | ((table["EVID"] == 1) & table["SS"].isin([1, 3]))
    following = table["TIME"].where(cancels).groupby(table["ID"]).shift(-1)
    return following.groupby(table["ID"]).bfill().fillna(np.inf).to_numpy()


def _of_compartment(
    frame: pd.DataFrame, name: str, compartments: pd.Series, states: Sequence[Hashable] | None, missing: float
) -> np.ndarray:
    """Numbers of the column `name`, or where there is one of ``name1``, ``name2``, ... of that compartment."""
    values = read_numbers(frame, name, missing)
    places = {state: k + 1 for k, state in enumerate(states or [])}
    numbers = np.array(pd.to_numeric(compartments.map(lambda entry: places.get(entry, entry)), errors="coerce"))
    numbers = np.where(numbers > 0, numbers, 1)
    for column in frame.columns:
        number = str(column).removeprefix(name)
        if str(column).startswith(name) and number.isdigit():
            own = read_numbers(frame, column, np.nan)
            values = np.where((numbers == int(number)) & ~np.isnan(own), own, values)
    return values


def _check_records(table: pd.DataFrame) -> None:
    for row in table.to_dict("records"):
        where = f"of ID {row['ID']!r} at TIME {row['TIME']:g} ({row['place']})"
        if row["EVID"] in (1, 4):
            _check_dose(row, where)
        elif row["EVID"] in (0, 2, 3) and (np.nan_to_num(row["AMT"]) or row["RATE"]):
            name = "AMT" if np.nan_to_num(row["AMT"]) else "RATE"
            meant = 4 if row["EVID"] == 3 else 1
            raise DataError(
                f"EVID={row['EVID']:g} {where} is no dose, but {name}={row[name]:g}: empty the cell, or set "
                f"EVID={meant}."
            )
        elif row["EVID"] in (5, 6) and np.isnan(row["AMT"]):
            raise DataError(f"EVID={row['EVID']:g} {where} needs an AMT to set or multiply by.")
        elif row["EVID"] == 2 and pd.to_numeric(row["CMT"], errors="coerce") < 0:
            raise DataError(f"CMT={row['CMT']!r} {where}: compartments are counted from 1, and cannot be switched off.")


def _check_dose(dose: Mapping[Hashable, Any], where: str) -> None:
    if dose["RATE"] in (-1, -2):
        quantity = "rate" if dose["RATE"] == -1 else "duration"
        raise DataError(
            f"RATE={dose['RATE']:g} {where} means that the model estimates the {quantity}, which an event cannot say: "
            "give the rate, or put the input into the field."
        )
    if dose["RATE"] < 0:
        raise DataError(f"RATE={dose['RATE']:g} {where} must not be negative.")
    if dose["ADDL"] < 0:
        raise DataError(f"ADDL={dose['ADDL']:g} {where} must not be negative: for a steady state set SS=1.")
    if dose["ADDL"] % 1 > 0:
        raise DataError(f"ADDL={dose['ADDL']:g} {where} must be a whole number of additional doses.")
    is_constant = _is_constant(dose)
    if is_constant and dose["ADDL"]:
        raise DataError(f"ADDL={dose['ADDL']:g} {where} must be 0 for an infusion in steady state without an end.")
    if dose["ADDL"] > 0 and not dose["II"] > 0:
        raise DataError(f"ADDL={dose['ADDL']:g} {where} needs an interval II.")
    if dose["II"] > 0 and dose["is_unsaid"]:
        raise DataError(f"II={dose['II']:g} {where} says no number of doses: give ADDL or SS, or drop it.")
    if dose["SS"] not in (0, 1, 2, 3):
        raise DataError(f"SS={dose['SS']:g} {where} must be 0, 1, 2 or 3.")
    if dose["ALAG"] < 0 or dose["F"] < 0:
        name = "ALAG" if dose["ALAG"] < 0 else "F"
        raise DataError(f"{name}={dose[name]:g} {where} must not be negative.")
    if is_constant and not (dose["SS"] and dose["II"] == 0):
        raise DataError(
            f"An infusion of AMT=0 {where} must be one in steady state, with SS=1 and II=0. Where rows say the rate of "
            "each interval, AMT is that rate times the length of the interval."
        )
    if np.isnan(dose["AMT"]) and not is_constant:
        raise DataError(f"The dose (EVID={dose['EVID']:g}) {where} has no AMT: fill it in, or drop the row.")
    if dose["SS"] and not is_constant and not dose["II"] > 0:
        raise DataError(f"SS={dose['SS']:g} {where} needs an interval II.")


def _count_before(events: pd.DataFrame, records: pd.DataFrame) -> np.ndarray:
    """Number of events at the time of each record that records before it have set off."""
    is_late = events["lag"].notna() & (events["steady_state"] == 0)
    count = events["record"][~is_late].value_counts().reindex(records.index, fill_value=0)
    return count.groupby([records["ID"], records["TIME"]]).cumsum().to_numpy()


def _find_endpoints(frame: pd.DataFrame, endpoint: str | None) -> np.ndarray | None:
    """Which channel each observation is of; None where there is one channel."""
    if endpoint is None:
        return None
    if endpoint != "auto" and endpoint not in frame.columns:
        raise DataError(f"There is no column {endpoint!r} to tell endpoints by. The columns are {list(frame.columns)}.")
    for name in ("DVID", "CMT") if endpoint == "auto" else (endpoint,):
        if name in frame.columns:
            kinds = frame[name].map(tidy_endpoint).to_numpy(dtype=object)
            if endpoint != "auto" or len(set(kinds)) > 1:
                return kinds
    return None


def tidy_endpoint(entry: Any) -> Any:
    """Name of an endpoint: 1 of "1", 1.0 and True alike."""
    number = pd.to_numeric(entry, errors="coerce")
    return entry if pd.isna(number) else f"{number:g}"


def spread_channels(table: pd.DataFrame, kinds: np.ndarray, names: Mapping[Any, Hashable]) -> pd.DataFrame:
    """One channel an endpoint; observations of one time in one row, but for those of the same endpoint.

    Parameters
    ----------
    table : DataFrame
        With the column ``DV``; the others tell rows apart.
    kinds : array
        Endpoint of each row.
    names : mapping
        Channel of each endpoint.
    """
    keys = [name for name in table.columns if name != "DV"]
    table = table.assign(kind=kinds)
    table["again"] = table.groupby([*keys, "kind"], dropna=False).cumcount()
    row = table.groupby([*keys, "again"], sort=False, dropna=False).ngroup()
    wide = table.drop_duplicates([*keys, "again"])[keys].reset_index(drop=True)
    for kind, name in names.items():
        channel = np.full(len(wide), np.nan)
        channel[row[kinds == kind]] = table["DV"][kinds == kind]
        wide[name] = channel
    return wide


def _write(rows: pd.DataFrame, states: Sequence[Hashable] | None) -> pd.DataFrame:
    is_endless = (rows["kind"] == "rate") & ~np.isfinite(rows["duration"])
    if (is_endless | (rows["rate"] < 0)).any():
        label = rows["id"][is_endless | (rows["rate"] < 0)].iloc[0]
        raise DataError(
            f"Series {label!r} has an input without end, or a negative one, which NONMEM does not know: give it a "
            "duration."
        )
    is_repeated = rows["kind"].isin(["add", "reset_add", "rate"]) & ((rows["n_more"] > 0) | (rows["steady_state"] > 0))
    table = {
        "ID": pd.Index(rows["id"].tolist(), tupleize_cols=False),
        "TIME": rows["time"].to_numpy(),
        "EVID": rows["kind"].map(_EVIDS).to_numpy(),
        "AMT": rows["amount"].to_numpy(),
        "CMT": [_to_compartment(target, states) for target in rows["target"]],
        "RATE": rows["rate"].to_numpy(),
        "II": rows["every"].where(is_repeated).fillna(0.0).to_numpy(),
        "ADDL": rows["n_more"].to_numpy(dtype=np.int64),
        "SS": rows["steady_state"].to_numpy(dtype=np.int64),
    }
    if rows["lag"].notna().any():
        table["ALAG"] = rows["lag"].fillna(0.0).to_numpy()
    return pd.DataFrame(table)


def _to_compartment(target: Any, states: Sequence[Hashable] | None) -> int:
    if target is None:
        return 1
    if states is not None and target in states:
        return list(states).index(target) + 1
    if isinstance(target, int | float) and target == target // 1 and target >= 0:
        return int(target) + 1
    raise DataError(f"The target {target!r} is no compartment: pass states= with the names of the compartments.")


def _are_same(a: pd.DataFrame, b: pd.DataFrame, states: Sequence[Hashable] | None) -> bool:
    if len(a) != len(b):
        return False
    numbers = ["time", "amount", "rate", "steady_state", "lag"]
    has_target = ~a["kind"].isin(["mark", "reset"])
    places = [[_to_compartment(target, states) for target in x["target"][has_target]] for x in (a, b)]
    return bool(
        (a["id"] == b["id"]).all()
        and (a["kind"].replace("rate", "add") == b["kind"].replace("rate", "add")).all()
        and np.allclose(a[numbers].astype(float), b[numbers].astype(float), rtol=1e-12, atol=0, equal_nan=True)
        and places[0] == places[1]
    )
