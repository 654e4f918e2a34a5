"""Covariates of series in the units of the data -> features that a model reads at any time."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from tsode.core.covariates import HARMONICS, CovariatePath, SeriesCovariates
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.frames.calendar import CYCLES, turns
from tsode.frames.categories import find_categories, is_of_numbers, spread_categories, spread_labels
from tsode.frames.index import restore_times
from tsode.frames.known_ids import bare
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.leftovers import drop_row_numbers, without_leftovers
from tsode.frames.meeting import check_rows_about
from tsode.frames.panel import CovariateRecord, Panel
from tsode.frames.read import choose_channels, read_table
from tsode.frames.scaling import ChannelScaler
from tsode.frames.static import StaticColumn, encode_static, fit_static, read_static
from tsode.frames.table import Table, open_table
from tsode.frames.tidy import refuse_tidy
from tsode.frames.times import check_kind
from tsode.frames.unsplit import unwrap

__all__ = ["CovariateCoder", "CovariateTable", "read_known"]

PATHS = ("linear", "last")
SHARES = (1 / 16, 1 / 4, 1.0)  # of the horizon: time constants of the moving averages


@dataclass(frozen=True)
class CovariateTable:
    """Covariates that are known ahead, as read from a table: native times and values (k p) by id."""

    channels: list[Hashable]
    rows: dict[Hashable, tuple[np.ndarray, np.ndarray]]
    levels: Mapping[Hashable, tuple[Hashable, ...]]  # of the columns of categories, each of which has several channels


def read_known(
    known: Any,
    panel: Panel,
    id_col: Hashable,
    time_col: Hashable,
    names: Sequence[Hashable] | None = None,
    levels: Mapping[Hashable, tuple[Hashable, ...]] | None = None,
    others: Collection[Hashable] = (),
) -> CovariateTable:
    """Read a table of covariates along time; one without ids holds for every series of `panel`.

    `names` and `levels` are the columns and categories of fit, where there was one; `others` are further series that
    are known.

    Raises
    ------
    DataError
        If it cannot be read, or a covariate has no value in some series.
    """
    known = unwrap(known)
    try:
        opened = open_table(known, id_col, time_col)
        columns = opened.columns
        if names is None:
            columns = drop_row_numbers(columns)
        elif isinstance(known, pd.Series):
            columns = columns.set_axis(list(names), axis=1) if len(names) == 1 else columns
        else:
            columns = columns[choose_channels(columns, list(names))]
        if levels is None:
            levels = _find_levels(replace(opened, columns=columns), panel)
        columns = spread_categories(columns, levels, "known=", [opened.ids[code] for code in opened.codes])
        table = read_table(replace(opened, columns=columns), has_settings=False)
    except DataError as error:
        raise DataError(f"known= cannot be read. {error}") from error
    table = table if names is not None else without_leftovers(table)
    if names is not None and len(columns.columns) != len(_spread(names, levels)):
        raise DataError(f"fit knew the covariates {list(names)}, but known= has {opened.columns.columns.tolist()}.")
    for times in table.times:
        check_kind(times, table.layout.time_dtype, panel, "known=")
    if table.layout.has_ids:
        check_rows_about(table.ids, panel, others, "known=")
    for key, values in zip(table.ids, table.values):
        empty = np.isnan(values).all(axis=0)
        if empty.any():
            where = f" for series {key!r}" if table.layout.has_ids else ""
            name = _column_of(table.channels[int(empty.argmax())], levels)
            raise DataError(f"known= has no value of {name!r}{where}: give at least one.")
    rows = dict(zip(table.ids, zip(table.times, table.values)))
    if not table.layout.has_ids:
        rows = dict.fromkeys(panel.ids, rows[table.ids[0]])
    return CovariateTable(table.channels, rows, levels)


@dataclass(frozen=True)
class CovariateCoder:
    """Coder of covariates, learned from those in fit: data units in, model units out.

    Parameters
    ----------
    static : tuple of StaticColumn
    known : tuple of label
        Covariates that are known ahead; of a column of categories, (column, category) for each.
    scaler : ChannelScaler
        Of these.
    path : {"linear", "last"}
        Between two of their times: on a straight line, or the value before.
    cycles : tuple of str
        Names in `tsode.frames.calendar.CYCLES`.
    levels : dict of label to tuple of label
        Columns of categories among those that are known ahead, and these. A category holds up to the next row.
    steps : tuple of label
        Columns of numbers that hold up to the next row too, whatever the path.
    """

    static: tuple[StaticColumn, ...]
    known: tuple[Hashable, ...]
    scaler: ChannelScaler
    path: str
    cycles: tuple[str, ...]
    levels: Mapping[Hashable, tuple[Hashable, ...]] = field(default_factory=dict)
    steps: tuple[Hashable, ...] = ()

    @classmethod
    def fit(
        cls, static: pd.DataFrame | None, known: CovariateTable | None, path: str, cycles: tuple[str, ...]
    ) -> CovariateCoder | None:
        """Learn categories and scales; None where there is no covariate."""
        if path not in PATHS:
            raise ParameterError(f"known_path={path!r} is not known: choose {' or '.join(map(repr, PATHS))}.")
        if static is None and known is None and not cycles:
            return None
        columns = () if static is None else fit_static(static)
        values = [] if known is None else [values for _, values in known.rows.values()]
        channels = () if known is None else tuple(known.channels)
        scaler = ChannelScaler.fit(values or [np.zeros((1, 0))])
        return cls(columns, channels, scaler, path, cycles, {} if known is None else known.levels)

    @property
    def known_columns(self) -> list[Hashable]:
        """Columns of the table of what is known ahead."""
        return list(dict.fromkeys(_column_of(label, self.levels) for label in self.known))

    @property
    def n_static(self) -> int:
        return sum(column.width for column in self.static)

    @property
    def n_features(self) -> int:
        """Number of features that a model reads."""
        return self.n_static + len(self.known) * (1 + len(SHARES)) + 2 * len(HARMONICS) * len(self.cycles)

    def read(
        self, static: Any, known: Any, panel: Panel, before: Mapping[Hashable, CovariateRecord], id_col: Hashable,
        time_col: Hashable,
    ) -> dict[Hashable, CovariateRecord]:  # fmt: skip
        """Records that these tables change in those of `before`, of the series in `panel` and of others.

        Rows of `known` replace those that a series had from the first of them on.

        Raises
        ------
        DataError
            If a table cannot be read.
        """
        if static is not None and not self.static:
            raise DataError("fit saw no static covariates: leave out static=, or fit with them.")
        if known is not None and not self.known:
            raise DataError("fit saw no covariates that are known ahead: leave out known=, or fit with them.")
        records: dict[Hashable, CovariateRecord] = {}
        if static is not None:
            frame = read_static(static, panel.ids, id_col, before)
            for key, constants in encode_static(self.static, frame).items():
                records[key] = replace(before.get(key, CovariateRecord()), static=constants)
        if known is not None:
            table = read_known(known, panel, id_col, time_col, self.known_columns, self.levels, before)
            for key, (times, values) in table.rows.items():
                old = records.get(key) or before.get(key, CovariateRecord())
                records[key] = replace(old, **_joined(old, times, values))
        return records

    def check_complete(self, records: Mapping[Hashable, CovariateRecord], ids: Sequence[Hashable]) -> None:
        """Raise a DataError if a series of these ids lacks covariates that the model was fitted with."""
        for name, is_wanted in (("static", bool(self.static)), ("known", bool(self.known))):
            field = "times" if name == "known" else name
            lacking = [key for key in ids if key not in records or getattr(records[key], field) is None]
            if is_wanted and lacking:
                shown = ", ".join(map(repr, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
                kind = "static covariates" if name == "static" else "covariates that are known ahead"
                raise DataError(
                    f"The model was fitted with {kind}, but there are none for series {shown}: give them in {name}=."
                )

    def series(self, record: CovariateRecord | None, timeline: Timeline, horizon: float) -> SeriesCovariates:
        """Covariates of one series in model units; `horizon` is in model time."""
        path, static = CovariatePath.nothing(), np.zeros(0)
        if record is not None and record.times is not None and record.values is not None:
            constants = [share * horizon for share in SHARES]
            values = self.scaler.transform(record.values)
            path = CovariatePath.through(timeline.to_model(record.times), values, constants, self._holds)
        if record is not None and record.static is not None:
            static = record.static
        return SeriesCovariates(static, path, turns(self.cycles, timeline))

    @property
    def _holds(self) -> np.ndarray:
        """Which of the columns hold their value up to the next row: array[p], bool."""
        spread = {label for name in self.levels for label in spread_labels(name, self.levels)} | set(self.steps)
        return np.array([self.path == "last" or label in spread for label in self.known], dtype=bool)

    def check_reach(self, key: Hashable, record: CovariateRecord | None, until: np.ndarray, panel: Panel) -> None:
        """Refuse to draw a straight line beyond the last known value.

        Raises
        ------
        DataError
            If a time in `until` is after it.
        """
        if self._holds.all() or record is None or record.times is None:
            return
        if (until > record.times[-1]).any():
            end, needed = (restore_times(t, panel.layout.time_dtype)[0] for t in (record.times[-1:], until))
            of_series = f" of series {key!r}" if panel.layout.has_ids else ""
            raise DataError(
                f"known={self.known_columns}{of_series} ends at {end}, but is needed up to {needed}: give later rows "
                "in known=, or fit with known_path='last' to hold the last value."
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "static": [column.to_dict() for column in self.static],
            "known": [encode_label(name) for name in self.known],
            "scaler": self.scaler.to_dict(),
            "path": self.path,
            "cycles": list(self.cycles),
            "levels": [[encode_label(name), [*map(encode_label, kinds)]] for name, kinds in self.levels.items()],
            "steps": [encode_label(name) for name in self.steps],
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> CovariateCoder:
        """Undo `to_dict`.

        Raises
        ------
        ValueError
            If `state` is nothing that `to_dict` gives.
        """
        if state["path"] not in PATHS or not set(state["cycles"]) <= CYCLES.keys():
            raise ValueError(f"{state['path']!r} or {state['cycles']!r} is no path or calendar of covariates")
        return cls(
            tuple(StaticColumn.from_dict(column) for column in state["static"]),
            tuple(decode_label(name) for name in state["known"]),
            ChannelScaler.from_dict(state["scaler"]),
            str(state["path"]),
            tuple(state["cycles"]),
            # files of before had numbers alone
            {decode_label(name): tuple(map(decode_label, kinds)) for name, kinds in state.get("levels", [])},
            tuple(map(decode_label, state.get("steps", []))),
        )


def _find_levels(table: Table, panel: Panel) -> dict[Hashable, tuple[Hashable, ...]]:
    """Columns of categories, and these.

    Raises
    ------
    DataError
        If they are the ids of the series, in a table that has no ids.
    """
    columns = table.columns
    levels = {name: find_categories(columns[name], "known=") for name in columns if not is_of_numbers(columns[name])}
    refuse_tidy(table, [name for name in columns if name not in levels], False)
    ids = set(map(bare, panel.ids)) if panel.layout.has_ids and not table.layout.has_ids else set()
    for name, kinds in levels.items():
        if set(map(bare, kinds)) <= ids:
            raise DataError(
                f"Column {name!r} holds ids of series: rename it as the column of ids is called in the data."
            )
    return levels


def _spread(names: Sequence[Hashable], levels: Mapping[Hashable, Sequence[Hashable]]) -> list[Hashable]:
    return [label for name in names for label in spread_labels(name, levels)]


def _column_of(label: Hashable, levels: Mapping[Hashable, Sequence[Hashable]]) -> Hashable:
    """The column of a table that this came from."""
    return next((name for name in levels if label in spread_labels(name, levels)), label)


def _joined(old: CovariateRecord, times: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of before up to the first new one, and then the new ones."""
    if old.times is None or old.values is None:
        return {"times": times, "values": values}
    kept = old.times < times[0]
    return {
        "times": np.concatenate([old.times[kept], times]),
        "values": np.concatenate([old.values[kept], values]),
    }
