"""Containers that forecasters read, built from one canonical long frame, and answers read back from them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

__all__ = ["CONTAINERS", "Container", "Rows"]


@dataclass(frozen=True)
class Rows:
    """An answer taken apart: one entry of `ids` and `times`, and one row of `values`, an answer.

    Parameters
    ----------
    ids : list of label or None
        None where the container has none.
    times : pd.Index
    values : DataFrame
    """

    ids: list[Hashable] | None
    times: pd.Index
    values: pd.DataFrame


@dataclass(frozen=True)
class Container:
    """One kind of container.

    Parameters
    ----------
    build : callable
        A frame with the columns ``unique_id``, ``ds`` and channels -> the arguments of `fit`.
    read : callable
        An answer of this kind -> `Rows`.
    is_kind : callable
        Whether an answer is of this kind.
    rows : callable
        A frame with the columns ``unique_id`` and ``ds`` -> the `X` of `predict`.
    arguments : dict
        Parameters of the forecaster that read it.
    has_ids, has_channels : bool
        Whether it holds several series, and several channels.
    """

    build: Callable[[pd.DataFrame], tuple[Any, ...]]
    read: Callable[[Any], Rows]
    is_kind: Callable[[Any], bool]
    rows: Callable[[pd.DataFrame], Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    has_ids: bool = True
    has_channels: bool = True


def _channels(frame: pd.DataFrame) -> list[Hashable]:
    return [name for name in frame.columns if name not in ("unique_id", "ds")]


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("ds")[_channels(frame)]


def _series(frame: pd.DataFrame) -> pd.Series:
    return _wide(frame).iloc[:, 0] if _channels(frame) else pd.Series(np.nan, index=pd.Index(frame["ds"]))


def _parts(frame: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    return [(key, frame[[one == key for one in frame["unique_id"]]]) for key in dict.fromkeys(frame["unique_id"])]


def _renamed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"unique_id": "patient", "ds": "when"})


def _polars(frame: pd.DataFrame) -> Any:
    converted = nw.from_native(frame).to_polars()
    converted.columns = list(frame.columns)  # a name that is empty does not come through
    return converted


def _arrow(frame: pd.DataFrame) -> Any:
    return nw.from_native(frame).to_arrow()


def _is(library: str) -> Callable[[Any], bool]:
    return lambda answer: type(answer).__module__.startswith(library)


def _is_frame(answer: Any) -> bool:
    return isinstance(answer, pd.DataFrame) and not isinstance(answer.index, pd.MultiIndex)


def _read_columns(id_col: str | None, time_col: str | None) -> Callable[[Any], Rows]:
    def read(answer: Any) -> Rows:
        frame = nw.from_native(answer).to_pandas()
        times = frame.index if time_col is None else pd.Index(frame[time_col])
        ids = None if id_col is None else frame[id_col].tolist()
        return Rows(ids, times, frame.drop(columns=[name for name in (id_col, time_col) if name is not None]))

    return read


def _read_levels(answer: Any) -> Rows:
    frame = answer.to_frame() if isinstance(answer, pd.Series) else answer
    ids, times = (answer.index.get_level_values(level) for level in (0, 1))
    return Rows(ids.tolist(), times, frame)


def _read_list(answer: Any) -> Rows:
    filled = [part for part in answer if len(part)]
    ids: list[Hashable] = [place for place, part in enumerate(answer) for _ in range(len(part))]
    return Rows(ids, filled[0].index.append([part.index for part in filled[1:]]), pd.concat(filled))


CONTAINERS: dict[str, Container] = {
    "Series": Container(
        lambda frame: (_series(frame),), _read_columns(None, None), lambda answer: isinstance(answer, pd.Series),
        lambda frame: pd.Series(0.0, index=pd.Index(frame["ds"])), has_ids=False, has_channels=False,
    ),
    "wide frame": Container(
        lambda frame: (_wide(frame),), _read_columns(None, None), _is_frame,
        lambda frame: pd.DataFrame(index=pd.Index(frame["ds"])), has_ids=False,
    ),
    "wide frame with a time column": Container(
        lambda frame: (frame[["ds", *_channels(frame)]],), _read_columns(None, "ds"), _is_frame,
        lambda frame: frame[["ds"]], has_ids=False,
    ),
    "long frame": Container(
        lambda frame: (frame,), _read_columns("unique_id", "ds"), _is_frame, lambda frame: frame,
    ),
    "long frame, other names": Container(
        lambda frame: (_renamed(frame),), _read_columns("patient", "when"), _is_frame, _renamed,
        {"id_col": "patient", "time_col": "when"},
    ),
    "long frame indexed by time": Container(
        lambda frame: (frame.set_index("ds"),), _read_columns("unique_id", None), _is_frame,
        lambda frame: frame.set_index("ds"),
    ),
    "MultiIndex frame": Container(
        lambda frame: (frame.set_index(["unique_id", "ds"]),), _read_levels,
        lambda answer: isinstance(answer, pd.DataFrame) and isinstance(answer.index, pd.MultiIndex),
        lambda frame: frame.set_index(["unique_id", "ds"]),
    ),
    "list of Series": Container(
        lambda frame: ([_series(part).rename(key) for key, part in _parts(frame)],), _read_list,
        lambda answer: isinstance(answer, list) and all(isinstance(part, pd.Series) for part in answer),
        lambda frame: [pd.Series(0.0, pd.Index(part["ds"]), name=key) for key, part in _parts(frame)],
        has_channels=False,
    ),
    "list of frames": Container(
        lambda frame: ([_wide(part) for _, part in _parts(frame)],), _read_list,
        lambda answer: isinstance(answer, list) and all(isinstance(part, pd.DataFrame) for part in answer),
        lambda frame: [pd.DataFrame(index=pd.Index(part["ds"])) for _, part in _parts(frame)],
    ),
    "polars frame": Container(
        lambda frame: (_polars(frame),), _read_columns("unique_id", "ds"), _is("polars"), _polars,
    ),
    "Arrow table": Container(
        lambda frame: (_arrow(frame),), _read_columns("unique_id", "ds"), _is("pyarrow"), _arrow,
    ),
    "NumPy arrays": Container(
        lambda frame: (frame["ds"].to_numpy()[:, None], frame[_channels(frame)].to_numpy()), _read_columns(None, None),
        lambda answer: isinstance(answer, np.ndarray), lambda frame: frame["ds"].to_numpy()[:, None], has_ids=False,
    ),
    "rows and values": Container(
        lambda frame: (frame[["unique_id", "ds"]], frame[_channels(frame)]), _read_columns("unique_id", "ds"),
        _is_frame, lambda frame: frame,
    ),
}  # fmt: skip
"""By name."""
