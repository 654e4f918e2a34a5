"""Tables beside the data (events, constants, known covariates, histories), whose ids and times are of every kind.

A forecaster is fitted once with each kind of ids and times. It is then asked with a table that says the same in other
words, which must change no number, or with one that does not fit the data, which must be refused by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tests.hostile.times import Make
from tests.registries import small
from tsode import EventTable, JumpODEForecaster
from tsode.errors import TsodeError

__all__ = ["CHANGES", "IDS", "TABLE_TIMES", "check_table", "draw_table"]

IDS: dict[str, Callable[[int], Hashable]] = {
    "words": lambda k: ("ann", "bob", "cid")[k],
    "capitals": lambda k: ("A1", "B2", "C3")[k],
    "numbers": lambda k: k + 1,
    "long numbers": lambda k: 2**53 + 1 + k,
    "digits": lambda k: f"0{k + 1}",
    "days": lambda k: pd.Timestamp("2024-01-01") + pd.Timedelta(k, "D"),
    "tuples": lambda k: ("ward", k),
}
"""Kinds of ids: place of a series -> its id."""


def _datetimes(start: str, tick: str, tz: str | None = None) -> Make:
    return lambda ticks: pd.DatetimeIndex(pd.Timestamp(start, tz=tz) + pd.Timedelta(tick) * np.asarray(ticks))


TABLE_TIMES: dict[str, Make] = {
    "datetimes": _datetimes("2024-02-28T20", "6min"),
    "datetimes over a change of clocks": _datetimes("2024-03-30T20", "20min", "Europe/Berlin"),
    "durations": lambda ticks: pd.TimedeltaIndex(pd.Timedelta("7s") * np.asarray(ticks)),
    "whole numbers": lambda ticks: pd.Index(3 * np.asarray(ticks), dtype="int64"),
    "tenths": lambda ticks: pd.Index([float(Decimal("0.1") * int(tick)) for tick in ticks], dtype="float64"),
    "decimals": lambda ticks: pd.Index([float(Decimal("2.4") * int(tick)) for tick in ticks], dtype="float64"),
}
"""Kinds of times, made from whole ticks."""

N_SERIES, N_TICKS = 3, 40
Table = pd.DataFrame
Change = Callable[[Table, str, str, np.random.Generator], Any]


def _ids(kind: str, places: Any) -> pd.Series:
    made = np.empty(len(places), dtype=object)
    made[:] = [IDS[kind](int(place)) for place in places]
    return pd.Series(made).infer_objects()


@cache
def tables(ids: str, times: str) -> dict[str, Table]:
    """The data and the plain tables: ``frame``, ``events``, ``static``, ``known``, ``context``."""
    rng = np.random.default_rng([len(ids), len(times)])
    at = np.concatenate([np.sort(rng.choice(N_TICKS, 14, replace=False)) for _ in range(N_SERIES)])
    place = np.repeat(np.arange(N_SERIES), 14)
    frame = pd.DataFrame({"unique_id": _ids(ids, place), "ds": TABLE_TIMES[times](at), "y": rng.normal(size=len(at))})
    doses = np.repeat(np.arange(N_SERIES), 4)
    # each series has a regimen of four doses, some ticks apart, which `_regimen` writes in one row
    ticks = np.concatenate([start + gap * np.arange(4) for start, gap in ((1, 9), (3, 3), (0, 12))])
    events = pd.DataFrame({"unique_id": _ids(ids, doses), "ds": TABLE_TIMES[times](ticks), "amount": 1.0 + doses})
    static = pd.DataFrame({"unique_id": _ids(ids, range(N_SERIES)), "age": [30.0, 41.0, 57.0], "ward": list("xyx")})
    known = pd.DataFrame(
        {"unique_id": _ids(ids, doses), "ds": TABLE_TIMES[times](np.tile([0, 10, 25, 60], 3)), "rate": ticks / 10.0}
    )
    context = frame.assign(y=frame["y"] + 0.5)
    return {"frame": frame, "events": events, "static": static, "known": known, "context": context}


@cache
def _fitted(ids: str, times: str) -> JumpODEForecaster:
    data = tables(ids, times)
    # a plain one, for it is asked more than 1,000 times, and tables are read the same for all
    plain = {"n_modes": 2, "n_hidden": 4, "n_members": 1, "zero_input_response": False}
    made = small(JumpODEForecaster, **plain, dtype="float64")
    return made.fit(data["frame"], **{name: data[name] for name in ("events", "static", "known")})


@cache
def _plain_answer(ids: str, times: str, table: str) -> np.ndarray:
    return _ask(ids, times, table, tables(ids, times)[table])


def _ask(ids: str, times: str, name: str, table: Any) -> np.ndarray:
    asked = tables(ids, times)["frame"][["unique_id", "ds"]].groupby("unique_id", sort=False).tail(3)
    given = {name: table}
    if name == "context" and isinstance(table, pd.DataFrame) and "unique_id" in table:
        asked = asked[asked["unique_id"].isin(set(tables(ids, times)["frame"]["unique_id"]))]
    return _fitted(ids, times).predict(asked, **given)["y"].to_numpy()


# -- the same in other words -------------------------------------------------------------------------------------------


def _shuffled(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
    return table.iloc[rng.permutation(len(table))][rng.permutation(table.columns)]


def _dtype_of_ids(dtype: str) -> Change:
    def change(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
        is_text = ids in ("words", "capitals", "digits")
        is_number = ids in ("numbers", "long numbers")
        if (dtype in ("string", "str") and not is_text) or (dtype in ("Int64", "uint64") and not is_number):
            return table
        return table.assign(unique_id=table["unique_id"].astype(dtype))

    return change


def _other_container(table: Table, ids: str, times: str, rng: np.random.Generator) -> Any:
    if ids == "tuples" or "clocks" in times:
        return table
    return nw.from_native(table).lazy("polars").collect().to_native()


def _event_table(table: Table, ids: str, times: str, rng: np.random.Generator) -> Any:
    return EventTable(table) if "amount" in table else table


def _regimen(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
    """Repeats in one row instead of a row each."""
    if "amount" not in table:
        return table
    first, second = table.iloc[0::4].reset_index(drop=True), table.iloc[1::4].reset_index(drop=True)
    every = [_gap(times, start, end) for start, end in zip(first["ds"], second["ds"])]
    return first.assign(every=pd.Series(every, dtype=object).infer_objects(), n_more=3)


def _gap(times: str, start: Any, end: Any) -> Any:
    """A whole number of ticks, as a user writes it: 2.4 and not 2.4000000000000004."""
    if times not in ("tenths", "decimals"):
        return end - start
    return float(Decimal(repr(float(end))) - Decimal(repr(float(start))))


def _objects(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
    return table.assign(**{name: table[name].astype(object) for name in ("unique_id", "ds") if name in table})


def _other_zone(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
    if "ds" not in table or "clocks" not in times:
        return table
    return table.assign(ds=table["ds"].dt.tz_convert("America/St_Johns"))


# -- what does not fit the data ----------------------------------------------------------------------------------------


def _other_ids(make: Callable[[Any], Any]) -> Change:
    def change(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
        made = np.empty(len(table), dtype=object)
        made[:] = [make(key) for key in table["unique_id"]]
        return table.assign(unique_id=made)

    return change


def _as_other_type(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdigit() else f"{key} " if isinstance(key, str) else str(key)


def _in_other_letters(key: Any) -> str:
    return str(key).swapcase() if str(key).swapcase() != str(key) else f"{key}_"


def _as_floats(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table:
    return table.assign(unique_id=table["unique_id"].astype("float64")) if ids == "numbers" else table


def _every_month(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table | None:
    if "amount" not in table:
        return None
    month = pd.Series([np.timedelta64(1, "M")] * len(table), index=table.index, dtype=object)
    return table.assign(every=month, n_more=2)


def _other_kind_of_times(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table | None:
    if "ds" not in table:
        return None
    is_number = table["ds"].dtype.kind in "if"
    return table.assign(ds=pd.Timestamp("2024-03-01") if is_number else 3.5)


def _of_events(**columns: Any) -> Change:
    return lambda table, ids, times, rng: table.assign(**columns) if "amount" in table else None


def _without(column: str) -> Change:
    def change(table: Table, ids: str, times: str, rng: np.random.Generator) -> Table | None:
        return table.rename(columns={column: column.capitalize()}) if column in table else None

    return change


@dataclass(frozen=True)
class TableChange:
    """A change of a table, and whether it must then be answered as before or refused."""

    is_same: bool
    change: Change


CHANGES: dict[str, TableChange] = {
    "nothing": TableChange(True, lambda table, ids, times, rng: table.copy()),
    "another order of rows and columns": TableChange(True, _shuffled),
    "ids as objects": TableChange(True, _dtype_of_ids("object")),
    "ids as categories": TableChange(True, _dtype_of_ids("category")),
    "ids as string": TableChange(True, _dtype_of_ids("string")),
    "ids as Int64": TableChange(True, _dtype_of_ids("Int64")),
    "ids as uint64": TableChange(True, _dtype_of_ids("uint64")),
    "ids as floats": TableChange(True, _as_floats),
    "ids and times as objects": TableChange(True, _objects),
    "a polars frame": TableChange(True, _other_container),
    "an EventTable": TableChange(True, _event_table),
    "repeats in one row": TableChange(True, _regimen),
    "another time zone": TableChange(True, _other_zone),
    "an index that says nothing": TableChange(
        True, lambda table, ids, times, rng: table.set_axis(rng.integers(0, 9, len(table)), axis=0)
    ),
    "ids of another type": TableChange(False, _other_ids(_as_other_type)),
    "ids with a blank": TableChange(False, _other_ids(lambda key: f" {key}")),
    "ids in other letters": TableChange(False, _other_ids(_in_other_letters)),
    "ids as bytes": TableChange(False, _other_ids(lambda key: str(key).encode())),
    "times of another kind": TableChange(False, _other_kind_of_times),
    "times under another name": TableChange(False, _without("ds")),
    "amounts under another name": TableChange(False, _without("amount")),
    "an amount that is NaN": TableChange(False, _of_events(amount=np.nan)),
    "an infinite amount": TableChange(False, _of_events(amount=np.inf)),
    "an amount in words": TableChange(False, _of_events(amount="much")),
    "repeats without a number": TableChange(False, _of_events(every=1)),
    "repeats in calendar months": TableChange(False, _of_events(every="1MS", n_more=2)),
    "repeats in a number of months": TableChange(False, _every_month),
    "half a repeat": TableChange(False, _of_events(every=1, n_more=2.5)),
    "repeats that go back": TableChange(False, _of_events(every=-1, n_more=2)),
}
"""By name."""


def draw_table(rng: np.random.Generator) -> tuple[str, str, str, str]:
    """Ids, times, table and change."""
    ids, times, change = (str(rng.choice(list(names))) for names in (IDS, TABLE_TIMES, CHANGES))
    return ids, times, str(rng.choice(["events", "static", "known", "context"])), change


def check_table(ids: str, times: str, table: str, change: str, seed: int) -> bool:
    """Ask with a changed table; whether it was answered.

    Raises
    ------
    AssertionError
        If what says the same is answered by other numbers or refused, or what does not fit is answered.
    Exception
        Any other than those of tsode, and any warning.
    """
    made = CHANGES[change]
    unchanged = tables(ids, times)[table]
    given = made.change(unchanged, ids, times, np.random.default_rng(seed))
    if given is None or given is unchanged:  # there is no such column to change
        return True
    where = f"{change} in {table} of {ids} and {times}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = _plain_answer(ids, times, table)
        try:
            answer = _ask(ids, times, table, given)
        except TsodeError as error:
            refusal = str(error)
        else:
            refusal = ""
    if refusal:
        assert not made.is_same, f"{where} says the same, but is refused: {refusal}"
        return False
    assert made.is_same, f"{where} does not fit the data, but is answered."
    gap = np.abs(answer - plain).max()
    assert gap <= 1e-12 * np.abs(plain).max(), f"{where} says the same, but changes the answer by {gap:.3g}."
    return True
