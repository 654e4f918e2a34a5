"""NONMEM event tables (ID, TIME, EVID, AMT, CMT, RATE, II, ADDL, SS) <-> `EventTable`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.events import EventTable, read_event_rows, read_events
from tsode.frames.labels import guess_label
from tsode.frames.table import ID_COL, TIME_COL

__all__ = ["events_from_nonmem", "observations_from_nonmem", "to_nonmem"]

_KINDS = {1: "add", 2: "mark", 3: "reset", 4: "reset_add", 5: "set", 6: "multiply"}
_EVIDS = {kind: evid for evid, kind in _KINDS.items()} | {"rate": 1}


def events_from_nonmem(frame: pd.DataFrame, *, states: Sequence[Hashable] | None = None) -> EventTable:
    """Read the events of a table with NONMEM's columns; observations are left out.

    Parameters
    ----------
    frame : DataFrame
        ``ID``, ``TIME`` and, as far as there are, ``EVID`` (0 observation, 1 dose, 2 other, 3 reset, 4 reset and dose,
        5 replace, 6 multiply; without it a row with an amount is a dose), ``AMT``, ``CMT``, ``RATE``, ``II``, ``ADDL``
        and ``SS``. Empty cells may be "."; other columns are not read. Rows of an ID are in the order of time.
    states : sequence of label, optional
        Names of the compartments 1, 2, ...; default: their numbers counted from 0, as `tsode.solve` takes them.

    Returns
    -------
    EventTable
        With the columns ``unique_id`` and ``ds``. As in NONMEM, a reset and a dose with ``SS=1`` cancel the additional
        doses of earlier records, and a constant infusion in steady state (``AMT=0``, ``II=0``) ends at its time.

    Raises
    ------
    DataError
        If a row cannot be read: a rate or duration that the model estimates (``RATE`` -1 or -2), a compartment that is
        switched off, a time that goes back.

    References
    ----------
    Beal, Sheiner, Boeckmann and Bauer, *NONMEM Users Guides*, part VI, chapter V. EVID 5 and 6: rxode2.
    """
    table = _read_columns(frame)
    is_event = table["EVID"] != 0
    later = _cancelling_times(table)[is_event.to_numpy()]
    table = table[is_event].reset_index(drop=True)
    unknown = ~table["EVID"].isin(list(_KINDS))
    if unknown.any():
        raise DataError(f"EVID={table['EVID'][unknown].iloc[0]:g} is not known: NONMEM's are 0 to 4, and 5 and 6 here.")
    is_dose = table["EVID"].isin([1, 4])
    is_constant = is_dose & (table["AMT"] == 0) & (table["RATE"] > 0)
    for dose in table[is_dose].to_dict("records"):
        _check_dose(dose)
    kept = np.floor((later - table["TIME"]) / table["II"].where(table["II"] > 0) * (1 - 1e-12))
    is_valued = table["EVID"].isin([1, 4, 5, 6])
    return EventTable(
        pd.DataFrame(
            {
                ID_COL: table["ID"],
                TIME_COL: table["TIME"],
                "kind": table["EVID"].map(_KINDS).mask(is_constant, "rate"),
                "target": _to_targets(table["CMT"], states),
                "amount": table["AMT"].where(is_valued & ~is_constant),
                "rate": table["RATE"].where(is_dose & (table["RATE"] > 0)),
                "duration": pd.Series(np.where(is_constant, 0.0, np.nan), table.index),
                "every": table["II"].where(is_dose & (table["II"] > 0)),
                "n_more": table["ADDL"].where(is_dose, 0).clip(upper=kept.fillna(np.inf)).astype(np.int64),
                "steady_state": table["SS"].where(is_dose, 0).replace(3, 1).astype(np.int64),
            }
        )
    )


def observations_from_nonmem(frame: pd.DataFrame) -> pd.DataFrame:
    """Read the observations of a table with NONMEM's columns: rows with ``EVID`` 0 and without ``MDV`` 1.

    Returns
    -------
    DataFrame
        ``unique_id``, ``ds`` and ``DV``: the native long format.

    Raises
    ------
    DataError
        If there is no column ``DV``, or a row cannot be read.
    """
    table = _read_columns(frame)
    if "DV" not in frame.columns:
        raise DataError(f"There is no column 'DV' to observe. The columns are {list(frame.columns)}.")
    seen = (table["EVID"] == 0) & (_read_numbers(frame, "MDV") == 0)
    values = _read_numbers(frame, "DV", missing=np.nan)
    return pd.DataFrame({ID_COL: table["ID"], TIME_COL: table["TIME"], "DV": values})[seen].reset_index(drop=True)


def to_nonmem(
    events: Any,
    *,
    states: Sequence[Hashable] | None = None,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Write events in NONMEM's columns; `events_from_nonmem` reads the same events from them.

    Repeats are written as ``ADDL``, unless NONMEM would cancel some or apply them in another order: then as rows.

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
    rows, _ = read_event_rows(table.frame, None, table.id_col, table.time_col)
    short = _write(rows.sort_values(["series", "time", "priority", "row"], kind="stable"), states)
    wanted, written = read_events(table, None), read_events(events_from_nonmem(short, states=states), None)
    return short if _are_same(wanted, written, states) else _write(wanted.assign(n_more=0.0), states)


def _read_columns(frame: pd.DataFrame) -> pd.DataFrame:
    for name in ("ID", "TIME"):
        if name not in frame.columns:
            raise DataError(
                f"There is no column {name!r}.{guess_label(name, list(frame.columns))} NONMEM's names are in capitals; "
                f"the columns are {list(frame.columns)}."
            )
    numbers = {name: _read_numbers(frame, name) for name in ("TIME", "AMT", "RATE", "II", "ADDL", "SS")}
    table = pd.DataFrame({"ID": frame["ID"].to_numpy()} | numbers)
    table["CMT"] = frame["CMT"].to_numpy() if "CMT" in frame.columns else np.zeros(len(frame))
    is_dose = (table["AMT"] != 0) | (table["RATE"] != 0)
    table["EVID"] = _read_numbers(frame, "EVID") if "EVID" in frame.columns else is_dose.astype(np.float64)
    back = table["TIME"].groupby(table["ID"]).diff() < 0
    if back.any():
        row = int(back.to_numpy().argmax())
        label = table["ID"].tolist()[row]
        raise DataError(
            f"TIME goes back to {table['TIME'][row]:g} in ID {label!r} at row {row}: sort the table, or let the times "
            "after a reset go on from those before it."
        )
    return table


def _read_numbers(frame: pd.DataFrame, name: str, missing: float = 0.0) -> np.ndarray:
    if name not in frame.columns:
        return np.full(len(frame), missing)
    column = frame[name].astype(object)
    text = column.map(lambda entry: entry.strip() if isinstance(entry, str) else entry)
    try:
        numbers = pd.to_numeric(text.where(~text.isin([".", ""])), errors="raise").to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"The column {name} must hold numbers, but {error}.") from error
    if name == "TIME" and not np.isfinite(numbers).all():
        raise DataError(f"There is no TIME at row {int((~np.isfinite(numbers)).argmax())}.")
    return np.where(np.isnan(numbers), missing, numbers)


def _cancelling_times(table: pd.DataFrame) -> np.ndarray:
    """Time of the next record of the same ID, in the order of rows, that cancels additional doses; inf if none."""
    cancels = table["EVID"].isin([3, 4]) | ((table["EVID"] == 1) & table["SS"].isin([1, 3]))
    following = table["TIME"].where(cancels).groupby(table["ID"]).shift(-1)
    return following.groupby(table["ID"]).bfill().fillna(np.inf).to_numpy()


def _check_dose(dose: Mapping[Hashable, Any]) -> None:
    where = f"of ID {dose['ID']!r} at TIME {dose['TIME']:g}"
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
    if dose["ADDL"] > 0 and not dose["II"] > 0:
        raise DataError(f"ADDL={dose['ADDL']:g} {where} needs an interval II.")
    if dose["SS"] not in (0, 1, 2, 3):
        raise DataError(f"SS={dose['SS']:g} {where} must be 0, 1, 2 or 3.")
    if dose["RATE"] > 0 and dose["AMT"] == 0 and not (dose["SS"] and dose["II"] == 0):
        raise DataError(f"An infusion of AMT=0 {where} must be one in steady state, with SS=1 and II=0.")


def _to_targets(compartments: pd.Series, states: Sequence[Hashable] | None) -> np.ndarray:
    targets = np.empty(len(compartments), dtype=object)
    for k, entry in enumerate(compartments):
        if states is not None and entry in states:
            targets[k] = entry
            continue
        number = pd.to_numeric(entry, errors="coerce")
        if pd.isna(number) and not (pd.isna(entry) or entry in (".", "")):
            raise DataError(f"CMT={entry!r} is no state: pass states= with the names of the compartments.")
        if number < 0 or number % 1 > 0:
            raise DataError(f"CMT={entry!r}: compartments are counted from 1, and cannot be switched off.")
        if pd.isna(number) or number == 0:
            continue
        if states is not None and number > len(states):
            raise DataError(f"CMT={entry!r}, but states= names {len(states)} compartments: {list(states)}.")
        targets[k] = int(number) - 1 if states is None else states[int(number) - 1]
    return targets


def _write(rows: pd.DataFrame, states: Sequence[Hashable] | None) -> pd.DataFrame:
    if rows["time"].dtype.kind not in "fiu":
        raise DataError("NONMEM's TIME is a number: turn the times of the events into numbers first.")
    is_endless = (rows["kind"] == "rate") & ~np.isfinite(rows["duration"])
    if (is_endless | (rows["rate"] < 0)).any():
        label = rows["id"][is_endless | (rows["rate"] < 0)].iloc[0]
        raise DataError(
            f"Series {label!r} has an input without end, or a negative one, which NONMEM does not know: give it a "
            "duration."
        )
    is_dose = rows["kind"].isin(["add", "reset_add", "rate"])
    return pd.DataFrame(
        {
            "ID": pd.Index(rows["id"].tolist(), tupleize_cols=False),
            "TIME": rows["time"].to_numpy(),
            "EVID": rows["kind"].map(_EVIDS).to_numpy(),
            "AMT": rows["amount"].to_numpy(),
            "CMT": [_find_compartment(target, states) for target in rows["target"]],
            "RATE": rows["rate"].to_numpy(),
            "II": rows["every"]
            .where(is_dose & ((rows["n_more"] > 0) | (rows["steady_state"] > 0)))
            .fillna(0.0)
            .to_numpy(),
            "ADDL": rows["n_more"].to_numpy(dtype=np.int64),
            "SS": rows["steady_state"].to_numpy(dtype=np.int64),
        }
    )


def _find_compartment(target: Any, states: Sequence[Hashable] | None) -> int:
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
    numbers = ["time", "amount", "rate", "steady_state"]
    return bool(
        (a["id"] == b["id"]).all()
        and (a["kind"].replace("rate", "add") == b["kind"].replace("rate", "add")).all()
        and np.allclose(a[numbers].astype(float), b[numbers].astype(float), rtol=1e-12, atol=0)
        and [_find_compartment(x, states) for x in a["target"]] == [_find_compartment(x, states) for x in b["target"]]
    )
