"""Panel of irregular series side by side, and the layout of the container they came in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.timeline import kind_of_times
from tsode.errors import DataError
from tsode.frames.inputs import DosingInputs
from tsode.frames.labels import check_zone_name, decode_label, encode_label

__all__ = ["CovariateRecord", "Layout", "Panel", "with_last"]

SERIES_AT_ONCE = 1024  # looked at together: fast where series are short, and little memory where they are long


@dataclass(frozen=True)
class Layout:
    """Layout of a container, from which results are written in its kind.

    Parameters
    ----------
    kind : {"series", "wide", "long", "multiindex", "list"}
        "wide" is a frame that holds one series; "list" is one Series or wide frame a series.
    id_col, time_col : label or None
        Names of the id and time columns, levels or index.
    time_in_index : bool
        Whether times are in the index rather than in a column.
    id_dtype, time_dtype : pandas or NumPy dtype
        Of ids (None where there are none) and times, with the time zone.
    column_names : tuple of label
        Names of the levels of the columns.
    is_squeezed : bool
        Whether one channel is a Series rather than a frame of one column.
    is_unnamed : bool
        Whether such a Series has no name.
    ids_are_names : bool
        Whether the ids are the names of the Series in a list.
    backend : {"pandas", "polars", "pyarrow"}
        Library of the container.
    """

    kind: str
    id_col: Hashable = None
    time_col: Hashable = None
    time_in_index: bool = True
    id_dtype: Any = None
    time_dtype: Any = field(default_factory=lambda: np.dtype(np.float64))
    column_names: tuple[Hashable, ...] = (None,)
    is_squeezed: bool = False
    is_unnamed: bool = False
    ids_are_names: bool = False
    backend: str = "pandas"

    @property
    def has_ids(self) -> bool:
        """Whether the container tells series apart."""
        return self.kind not in ("series", "wide")

    @property
    def ids_are_given(self) -> bool:
        """Whether the ids are the user's, and not places in a list."""
        return self.has_ids and (self.kind != "list" or self.ids_are_names)

    @property
    def tz(self) -> Any:
        """Time zone of the times, or None."""
        return getattr(self.time_dtype, "tz", None)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON.

        Raises
        ------
        DataError
            If a name is of a type that JSON cannot hold.
        """
        return {
            **vars(self),
            "id_col": encode_label(self.id_col),
            "time_col": encode_label(self.time_col),
            "id_dtype": _encode_dtype(self.id_dtype),
            "time_dtype": _encode_dtype(self.time_dtype),
            "column_names": [encode_label(name) for name in self.column_names],
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Layout:
        """Undo `to_dict`."""
        return cls(
            **{
                **state,
                "id_col": decode_label(state["id_col"]),
                "time_col": decode_label(state["time_col"]),
                "id_dtype": _decode_dtype(state["id_dtype"]),
                "time_dtype": _decode_dtype(state["time_dtype"]),
                "column_names": tuple(decode_label(name) for name in state["column_names"]),
            }
        )


@dataclass(frozen=True, eq=False)
class CovariateRecord:
    """Covariates of one series, in the units of the data.

    Parameters
    ----------
    static : array[s] or None
        Constants, as numbers.
    times : array[k] or None
        Native times of the covariates that are known ahead, sorted.
    values : array[k p] or None
        Of these; NaN = not given at that time.
    """

    static: np.ndarray | None = None
    times: np.ndarray | None = None
    values: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """Series with their own times, as plain arrays.

    Parameters
    ----------
    ids : sequence of label
        One a series; ``[0]`` where the data have none.
    times : sequence of array[n]
        Sorted and distinct: datetime64 (UTC without a zone), timedelta64, float64 or int64.
    values : sequence of array[n c], float64
        NaN = not observed.
    channels : list of label
        Column labels.
    layout : Layout
        The container they came in.
    inputs : dict of id to DosingInputs
        Inputs at known times.
    covariates : dict of id to CovariateRecord
        Constants, and covariates that are known ahead.
    """

    ids: Sequence[Hashable]
    times: Sequence[np.ndarray]
    values: Sequence[np.ndarray]
    channels: list[Hashable]
    layout: Layout
    inputs: Mapping[Hashable, DosingInputs] = field(default_factory=dict)
    covariates: Mapping[Hashable, CovariateRecord] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_channels(self) -> int:
        return len(self.channels)

    @property
    def time_kind(self) -> str:
        """Kind of the times: "datetime", "timedelta", "float" or "int"."""
        return kind_of_times(self.times[0])

    @property
    def seen_times(self) -> Sequence[np.ndarray]:
        """Times of each series at which something was seen; all times if nothing was anywhere."""
        seen = [times[rows] for times, rows in zip(self.times, self.rows_seen)]
        return seen if any(map(len, seen)) else self.times

    @property
    def rows_seen(self) -> list[np.ndarray]:
        """Whether anything was seen in each row of each series: array[n], bool."""
        ends = np.cumsum([len(times) for times in self.times])
        seen: list[np.ndarray] = []
        for start in range(0, len(self), SERIES_AT_ONCE):
            values = self.values[start : start + SERIES_AT_ONCE]
            is_seen = ~np.isnan(np.concatenate(values)).all(axis=1)
            before = ends[start - 1] if start else 0
            seen += np.split(is_seen, ends[start : start + len(values) - 1] - before)
        return seen

    @property
    def last_times(self) -> list[Any]:
        """Time of each series' last row with anything seen; of its last row if nothing was; None if it has no row."""
        last: list[Any] = []
        for times, rows in zip(self.times, self.rows_seen):
            seen = times if len(rows) and rows[-1] else times[rows]
            last.append(seen[-1] if len(seen) else times[-1] if len(times) else None)
        return last

    def select(self, rows: Sequence[int] | np.ndarray) -> Panel:
        """The series at `rows`, in that order."""
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            times=[self.times[i] for i in rows],
            values=[self.values[i] for i in rows],
        )

    def merge(self, over: Panel) -> Panel:
        """Series of both; where an id is in both, the one in `over` stands."""
        taken = set(over.ids)
        below = self.select([row for row, key in enumerate(self.ids) if key not in taken])
        return replace(
            over,
            ids=[*below.ids, *over.ids],
            times=[*below.times, *over.times],
            values=[*below.values, *over.values],
            inputs={**self.inputs, **over.inputs},
            covariates={**self.covariates, **over.covariates},
        )

    def with_empty(self, ids: Sequence[Hashable], like: Panel) -> Panel:
        """The panel with a series of no row for each of these ids; its times are as those of `like`."""
        if not ids:
            return self
        times = (self.times or like.times)[0][:0]
        return replace(
            self,
            ids=[*self.ids, *ids],
            times=[*self.times, *[times] * len(ids)],
            values=[*self.values, *[np.empty((0, self.n_channels))] * len(ids)],
        )

    def part(self, rows: Sequence[int], slices: Sequence[slice | np.ndarray]) -> Panel:
        """The series at `rows`, each cut to its own slice (or mask) of observations."""
        chosen = self.select(rows)
        times = [t[kept] for t, kept in zip(chosen.times, slices)]
        return replace(chosen, times=times, values=[v[kept] for v, kept in zip(chosen.values, slices)])


def _encode_dtype(dtype: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        return {"categories": [encode_label(c) for c in dtype.categories.tolist()], "ordered": dtype.ordered}
    return None if dtype is None else str(dtype)


def _decode_dtype(state: Any) -> Any:
    if isinstance(state, dict):
        return pd.CategoricalDtype([decode_label(c) for c in state["categories"]], ordered=state["ordered"])
    return None if state is None else pd.api.types.pandas_dtype(check_zone_name(state))


def with_last(panel: Panel, past: Sequence[Hashable], parameter: str) -> Panel:
    """The panel with the channels in `past` moved to the end."""
    unknown = [name for name in past if name not in panel.channels]
    first = [name for name in panel.channels if name not in past]
    if unknown or not first:
        raise DataError(
            f"{parameter} names {unknown[0]!r}, but the columns are {panel.channels}."
            if unknown
            else f"{parameter}={list(past)} leaves no channel to forecast: name fewer."
        )
    order = [panel.channels.index(name) for name in (*first, *past)]
    return replace(panel, channels=[*first, *past], values=[values[:, order] for values in panel.values])
