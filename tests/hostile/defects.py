"""Defects of a frame, wrong or only unusual, and what a forecaster must make of each."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["DEFECTS", "Defect", "canonical", "plain_times"]

Spoil = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]

FRAMES = ("long frame", "long frame, other names", "wide frame with a time column")
INDEXED = ("wide frame", "long frame indexed by time", "MultiIndex frame")
LISTS = ("list of Series", "list of frames")
PANDAS = ("Series", *FRAMES, *INDEXED, *LISTS, "rows and values")
IDS_IN_ROWS = ("long frame", "long frame, other names", "long frame indexed by time", "MultiIndex frame")
WITH_IDS = (*IDS_IN_ROWS, "list of Series")
ALL = (*PANDAS, "polars frame", "Arrow table", "NumPy arrays")


@dataclass(frozen=True)
class Defect:
    """A change of a canonical frame, or of the container made of it.

    Parameters
    ----------
    verdict : {"forecast", "error", "either"}
        What a forecaster must do: forecast as from the `canonical` frame, name the defect, or one of these.
    spoil : callable
        Frame with the columns ``unique_id``, ``ds`` and channels, generator -> such a frame.
    finish : callable
        First argument of `fit` -> another.
    containers : tuple of str
        Where it can occur.
    arguments : dict
        Parameters of the forecaster.
    labels : callable
        Labels of the channels -> as they are after `finish`.
    """

    verdict: str
    spoil: Spoil = lambda frame, rng: frame
    finish: Callable[[Any], Any] = lambda data: data
    containers: tuple[str, ...] = ALL
    arguments: dict[str, Any] = field(default_factory=dict)
    labels: Callable[[list[Hashable]], list[Hashable]] = lambda channels: channels


def canonical(frame: pd.DataFrame, channels: list[Hashable] | None = None) -> pd.DataFrame:
    """What a frame says (of these channels), in its simplest form, worked out row by row.

    Series are numbered as they appear; times are without zone and rows without values left out; values are float64,
    and rows of one time one row.
    """
    names = _names(frame) if channels is None else channels
    ids, times = frame["unique_id"].tolist(), plain_times(frame["ds"])
    place = {key: number for number, key in enumerate(dict.fromkeys(ids))}
    codes, uniques = pd.factorize(times, sort=True)
    columns = [[np.nan if pd.isna(value) else float(value) for value in frame[name].tolist()] for name in names]
    seen: dict[tuple[int, int], list[float]] = {}
    for key, code, values in zip(ids, codes.tolist(), zip(*columns)):
        if not np.isnan(values).all():
            known = seen.setdefault((place[key], code), [np.nan] * len(names))
            known[:] = [new if np.isnan(old) else old for old, new in zip(known, values)]
    keys = sorted(seen)
    whole = pd.DataFrame([seen[key] for key in keys], columns=pd.Index(names, tupleize_cols=False))
    whole.insert(0, "ds", uniques[[code for _, code in keys]])
    whole.insert(0, "unique_id", [number for number, _ in keys])
    return whole


def plain_times(times: Any) -> pd.Index:
    """Times of a kind in `TIMES` as NumPy holds them, without a zone."""
    index = pd.Index(times)
    if index.dtype == object:
        index = index.infer_objects()
        index = pd.DatetimeIndex(index) if index.dtype == object else index
    if index.dtype.kind == "M":
        stamps = pd.DatetimeIndex(index)
        return stamps if stamps.tz is None else stamps.tz_convert("UTC").tz_localize(None)
    return index if isinstance(index.dtype, np.dtype) else pd.Index(index.to_numpy(np.dtype(f"{index.dtype.kind}8")))


# -- of rows -----------------------------------------------------------------------------------------------------------


def _names(frame: pd.DataFrame) -> list[Hashable]:
    return [name for name in frame.columns if name not in ("unique_id", "ds")]


def _shuffle(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def _blank(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rows without values, at times of others and of their own."""
    more = frame.iloc[rng.integers(0, len(frame), 3)].copy()
    more = more.assign(**{str(name): np.nan for name in _names(frame)})
    return _shuffle(pd.concat([frame, more], ignore_index=True), rng)


def _split(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One row for each value."""
    names = _names(frame)
    parts = [frame.assign(**{str(other): np.nan for other in names if other != name}) for name in names]
    return _shuffle(pd.concat(parts, ignore_index=True), rng)


def _cast(dtype: Any) -> Spoil:
    return lambda frame, rng: frame.assign(**{str(name): frame[name].astype(dtype) for name in _names(frame)})


def _objects(make: Callable[[float], Any]) -> Spoil:
    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        made = {
            str(name): pd.Series([None if np.isnan(x) else make(x) for x in frame[name]], dtype=object, name=name)
            for name in _names(frame)
        }
        return frame.assign(**made)

    return spoil


def _whole(dtype: str) -> Spoil:
    """Whole numbers, where nothing is missing."""
    return lambda frame, rng: frame.assign(
        **{str(name): np.rint(frame[name].fillna(3.0)).astype(dtype) for name in _names(frame)}
    )


def _ids(make: Callable[[int], Any], dtype: Any = object) -> Spoil:
    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        codes, _ = pd.factorize(frame["unique_id"])
        return frame.assign(unique_id=pd.Series([make(int(code)) for code in codes], dtype=dtype))

    return spoil


def _rename(*labels: Hashable) -> Spoil:
    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        new = [*labels, *(f"c{k}" for k in range(len(frame.columns)))][: len(_names(frame))]
        return frame.set_axis(pd.Index(["unique_id", "ds", *new], tupleize_cols=False), axis=1)

    return spoil


def _value(value: Any, dtype: Any = None) -> Spoil:
    """One value of the first channel is another one."""

    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        name = _names(frame)[0]
        column = frame[name].astype(dtype or frame[name].dtype)
        column.iloc[int(rng.integers(len(frame)))] = value
        return frame.assign(**{str(name): column})

    return spoil


def _scale(factor: float) -> Spoil:
    return lambda frame, rng: frame.assign(**{str(name): factor * frame[name] for name in _names(frame)})


def _constant(value: float) -> Spoil:
    return lambda frame, rng: frame.assign(**{str(_names(frame)[0]): value})


def _column(**columns: Any) -> Spoil:
    return lambda frame, rng: frame.assign(**columns)


def _some_ids(value: Any) -> Spoil:
    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        ids = frame["unique_id"].astype(object)
        ids.iloc[int(rng.integers(len(frame)))] = value
        return frame.assign(unique_id=ids)

    return spoil


def _many_channels(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    more = pd.DataFrame(rng.normal(size=(len(frame), 150)), columns=[f"c{k}" for k in range(150)])
    return pd.concat([frame, more.where(rng.random(more.shape) < 0.5).fillna({"c0": 0.0})], axis=1)


def _repeat(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A second value of a channel at the time of another."""
    seen = np.flatnonzero(frame[_names(frame)[0]].notna())
    return pd.concat([frame, frame.iloc[[int(rng.choice(seen))]]], ignore_index=True)


def _first_rows(n: int) -> Spoil:
    def spoil(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        kept = frame.groupby("unique_id", sort=False).head(n).reset_index(drop=True)
        return kept.assign(**{str(name): kept[name].fillna(1.5) for name in _names(kept)})

    return spoil


def _one_time(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    first = frame.drop_duplicates("unique_id")
    return first.assign(ds=frame["ds"].iloc[[0] * len(first)].set_axis(first.index))


def _lone(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The last channel has one value."""
    name = _names(frame)[-1]
    return frame.assign(**{str(name): np.where(np.arange(len(frame)) == len(frame) // 2, 2.0, np.nan)})


def _never(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return frame.assign(**{str(_names(frame)[-1]): np.nan})


# -- of containers -----------------------------------------------------------------------------------------------------


class _Subclass(pd.DataFrame):
    @property
    def _constructor(self) -> type[_Subclass]:
        return _Subclass


def _read_only(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        frozen = data.copy()
        frozen.flags.writeable = False
        return frozen
    values = {name: np.array(data[name]) if data[name].dtype == np.float64 else data[name] for name in data.columns}
    for column in values.values():
        if isinstance(column, np.ndarray):
            column.flags.writeable = False
    return pd.DataFrame(values, index=data.index, copy=False)


def _strided(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return np.repeat(data, 2, axis=0)[::2]
    return pd.concat([data, data]).iloc[: len(data)].iloc[::-1].iloc[::-1]


def _no_duplicates(data: Any) -> Any:
    return data.set_flags(allows_duplicate_labels=False)


def _with_attributes(data: Any) -> Any:
    parts = data if isinstance(data, list) else [data]
    for part in parts:
        part.attrs["weights"] = np.arange(3)
    return data


def _index_named(name: Hashable) -> Callable[[Any], Any]:
    return lambda data: data.rename_axis(index=name)


def _index(make: Callable[[int], Any]) -> Callable[[Any], Any]:
    return lambda data: data.set_axis(make(len(data)), axis=0)


def _twice(data: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([data, data.iloc[:, -1:]], axis=1)


def _named(label: str) -> Callable[[Any], Any]:
    """The first channel has another name."""

    def finish(data: Any) -> Any:
        if isinstance(data, list):
            return [finish(part) for part in data]
        return data.rename(label) if isinstance(data, pd.Series) else data.rename(columns={"a": label})

    return finish


def _levels(data: Any) -> Any:
    return data.set_index(pd.Index(range(len(data)), name="visit"), append=True)


def _column_levels(data: pd.DataFrame) -> pd.DataFrame:
    return data.set_axis(pd.MultiIndex.from_product([["lab"], data.columns]), axis=1)


OWN_INDEX = FRAMES  # whose index says nothing
NAMED = ("Series", "MultiIndex frame", "list of frames")  # whose channels alone have names

DEFECTS: dict[str, Defect] = {
    # only unusual: the same forecasts as from the canonical frame
    "none": Defect("forecast"),
    "shuffled": Defect("forecast", _shuffle),
    "rows without values": Defect("forecast", _blank),
    "a row for each value": Defect("forecast", _split),
    "float32": Defect("forecast", _cast("float32")),
    "float16": Defect("forecast", _cast("float16"), containers=(*PANDAS, "NumPy arrays")),
    "Float64 with NA": Defect("forecast", _cast("Float64")),
    "double[pyarrow]": Defect("forecast", _cast("double[pyarrow]"), containers=PANDAS),
    "Int64 with NA": Defect(
        "forecast",
        lambda frame, rng: _cast("Int64")(frame.round({"a": 0, "b": 0}), rng),
        containers=(*PANDAS, "polars frame"),
    ),
    "int8": Defect("forecast", _whole("int8")),
    "decimals": Defect("forecast", _objects(lambda x: Decimal(repr(float(x)))), containers=PANDAS),
    "objects": Defect("forecast", _objects(float), containers=PANDAS),
    "bools with None": Defect("forecast", _objects(lambda x: bool(x > 0)), containers=PANDAS),
    "a constant channel": Defect("forecast", _constant(7.0)),
    "a channel seen once": Defect("forecast", _lone),
    "ids of numbers": Defect("forecast", _ids(lambda k: 10 - k, "int64"), containers=(*WITH_IDS, "polars frame")),
    "ids like numbers": Defect("forecast", _ids(lambda k: ["01", "1", "1.0", "1e0"][k]), containers=WITH_IDS),
    "ids of mixed types": Defect("forecast", _ids(lambda k: [1, "1", ("1",), 1.5][k]), containers=WITH_IDS),
    "ids that are tuples": Defect("forecast", _ids(lambda k: ("ward", k)), containers=WITH_IDS),
    "ids that are dates": Defect(
        "forecast", _ids(lambda k: datetime.date(2024, 1, 1 + k)), containers=(*WITH_IDS, "rows and values")
    ),
    "ids that end alike": Defect("forecast", _ids(lambda k: ["a", " a", "a ", "A"][k]), containers=WITH_IDS),
    "ids of digits too long for a number": Defect(
        "forecast", _ids(lambda k: str(10**20 + k)), containers=(*WITH_IDS, "polars frame")
    ),
    "ids of numbers too long for a float": Defect(
        "forecast", _ids(lambda k: 2**60 + k, "int64"), containers=(*WITH_IDS, "polars frame")
    ),
    "ids of Int64": Defect("forecast", _ids(lambda k: k, "Int64"), containers=(*WITH_IDS, "polars frame")),
    "ids in other scripts": Defect("forecast", _ids(lambda k: ["", " ", "é", "\u0928\u092e\n"][k])),
    "ids of unused categories": Defect(
        "forecast",
        lambda frame, rng: frame.assign(
            unique_id=pd.Categorical(frame["unique_id"], categories=["z", *sorted(set(frame["unique_id"]))[::-1]])
        ),
        containers=("long frame", "long frame indexed by time", "MultiIndex frame"),
    ),
    "channels in other scripts": Defect("forecast", _rename("", "µ g/L", "a\nb")),
    "channels with names of columns": Defect("forecast", _rename("index", "level_0", "value"), containers=PANDAS),
    "channels with names of answers": Defect("either", _rename("a", "a-lo-80", "a-hi-95"), containers=PANDAS),
    "a channel named sample": Defect("forecast", _rename("sample", "scenario")),
    "channels that are numbers": Defect("forecast", _rename(0, 1, 2), containers=PANDAS),
    "channels 1 and '1'": Defect("either", _rename(1, "1", 1.5), containers=PANDAS),
    "channels that are tuples": Defect("forecast", _rename(("a", 1), ("a", 2), ("b",)), containers=("wide frame",)),
    "a channel named as the time": Defect(
        "either", finish=_named("ds"), labels=lambda channels: ["ds", *channels[1:]], containers=NAMED
    ),
    "a channel named as the id": Defect(
        "either", finish=_named("unique_id"), labels=lambda channels: ["unique_id", *channels[1:]], containers=NAMED
    ),
    "read-only": Defect("forecast", finish=_read_only, containers=(*OWN_INDEX, "wide frame", "NumPy arrays")),
    "strided": Defect("forecast", finish=_strided, containers=(*OWN_INDEX, *INDEXED, "NumPy arrays")),
    "a subclass": Defect("forecast", finish=_Subclass, containers=(*OWN_INDEX, *INDEXED)),
    "no duplicate labels allowed": Defect("forecast", finish=_no_duplicates, containers=(*OWN_INDEX, "wide frame")),
    "an index named as the time": Defect("forecast", finish=_index_named("ds"), containers=OWN_INDEX),
    "an index named as the id": Defect("forecast", finish=_index_named("unique_id"), containers=OWN_INDEX),
    "an index of one label": Defect("forecast", finish=_index(lambda n: [0] * n), containers=OWN_INDEX),
    "an index of NaN": Defect("forecast", finish=_index(lambda n: [np.nan] * n), containers=OWN_INDEX),
    "attributes that are arrays": Defect("forecast", finish=_with_attributes, containers=PANDAS),
    "a column of text beside target=": Defect(
        "forecast", containers=("long frame",), arguments={"target": ["a"]}, spoil=_column(note="x")
    ),
    # at the edge: a right answer or an error
    "one row a series": Defect("either", _first_rows(1)),
    "two rows a series": Defect("either", _first_rows(2)),
    "one time": Defect("either", _one_time),
    "values of 1e300": Defect("either", _scale(1e300)),
    "values of 1e-300": Defect("either", _scale(1e-300)),
    "values of 1e-320": Defect("either", _scale(1e-320)),
    "one value of 1e308": Defect("either", _value(1e308)),
    "one value of 1e100": Defect("either", _value(1e100)),
    "values far from zero": Defect("either", lambda frame, rng: frame.assign(a=frame["a"] + 1e12)),
    "a series never seen": Defect(
        "either",
        lambda frame, rng: pd.concat([frame, frame.iloc[:1].assign(unique_id="zz", a=np.nan, b=np.nan)[frame.columns]]),
        containers=WITH_IDS,
    ),
    "columns of several levels": Defect(
        "either",
        finish=_column_levels,
        containers=(*OWN_INDEX, *INDEXED),
        labels=lambda channels: [("lab", name) for name in channels],
    ),
    "a hundred and fifty channels": Defect("either", _many_channels, containers=("long frame", "wide frame")),
    "one value of 1e6": Defect("either", _value(1e6)),
    "one value of -1e12": Defect("either", _value(-1e12)),
    # wrong: an error that names it
    "no rows": Defect("error", lambda frame, rng: frame.iloc[:0]),
    "no channels": Defect("error", lambda frame, rng: frame[["unique_id", "ds"]], containers=(*FRAMES, *INDEXED)),
    "nothing seen": Defect("error", _scale(np.nan)),
    "a channel never seen": Defect("error", _never),
    "an infinite value": Defect("error", _value(np.inf)),
    "minus infinity": Defect("error", _value(-np.inf)),
    "two values at one time": Defect("error", _repeat),
    "a channel of text": Defect("error", _column(a="high"), containers=(*PANDAS, "polars frame", "Arrow table")),
    "a channel of text and numbers": Defect("error", _value("high", object), containers=PANDAS),
    "a channel of categories": Defect("error", _cast("category"), containers=PANDAS),
    "a channel of complex numbers": Defect("error", _cast("complex128"), containers=(*PANDAS, "NumPy arrays")),
    "a channel of dates": Defect("error", _column(a=pd.Timestamp("2024-01-01"))),
    "a channel of durations": Defect("error", _column(a=pd.Timedelta("1h"))),
    "a channel of lists": Defect("error", _value([1.0], object), containers=PANDAS),
    "an id None": Defect("error", _some_ids(None), containers=(*IDS_IN_ROWS, "rows and values")),
    "an id NaN": Defect("error", _some_ids(np.nan), containers=IDS_IN_ROWS),
    "ids that are lists": Defect("error", _ids(lambda k: [k]), containers=("long frame", "long frame indexed by time")),
    "a column twice": Defect("error", finish=_twice, containers=(*FRAMES, *INDEXED)),
    "an index of three levels": Defect("error", finish=_levels, containers=("MultiIndex frame",)),
    "levels the wrong way round": Defect(
        "either", finish=lambda data: data.swaplevel(), containers=("MultiIndex frame",)
    ),
    "a lazy frame": Defect("error", finish=lambda data: data.lazy(), containers=("polars frame",)),
    "a dict": Defect("error", finish=lambda data: data.to_dict("list"), containers=("long frame",)),
    "records": Defect("error", finish=lambda data: data.to_dict("records"), containers=("long frame",)),
    "a plain array": Defect("error", finish=lambda data: data.to_numpy(), containers=("long frame", "wide frame")),
    "nothing": Defect("error", finish=lambda data: None, containers=("long frame", "Series")),
    "a generator": Defect("error", finish=iter, containers=("list of Series",)),
    "Series and frames": Defect(
        "error", finish=lambda data: [*data, data[0].to_frame()], containers=("list of Series",)
    ),
    "values of another length": Defect("error", finish=lambda data: data[:-1], containers=("NumPy arrays",)),
    "an array of three axes": Defect("error", finish=lambda data: data[None], containers=("NumPy arrays",)),
    "a grouped frame": Defect("error", finish=lambda data: data.groupby("unique_id"), containers=("long frame",)),
}
"""By name: what is only unusual, what is at the edge, what is wrong."""
