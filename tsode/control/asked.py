"""Question of a plan as users ask it: the series, its times, its slots, and the tables that candidates make."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.control.actions import Doses
from tsode.control.scene import Clock, weights_of
from tsode.control.slots import Slots, read_slots
from tsode.errors import DataError, ParameterError, UnreadActionError
from tsode.estimators.forecasters.scenarios import of_rows
from tsode.frames.events import EventTable, open_rows, read_events
from tsode.frames.index import restore_times
from tsode.frames.inputs import DosingInputs
from tsode.frames.panel import Panel
from tsode.frames.times import Query, read_times

__all__ = ["Asked", "Tables", "read_asked"]

_N_TIMES = 96  # of a plan that is asked for by its length
_N_BETWEEN = 6  # parts that the time between two stops has at least
_JUST_AFTER = 1e-6  # of the length of a plan: when the effect of a dose at once is looked at


@dataclass(frozen=True, eq=False)
class Tables:
    """What was told beside the actions, as users write it.

    Parameters
    ----------
    context, events, static, known
        As in `predict`.
    """

    context: Any = None
    events: Any = None
    static: Any = None
    known: Any = None


@dataclass(frozen=True, eq=False)
class Asked:
    """One series, and what may be done.

    Parameters
    ----------
    forecaster : forecaster
    series : label
    query : Query
        Times at which the plan is looked at.
    panel : Panel
        Histories.
    tables : Tables
    slots : Slots
    clock : Clock
    now, until : float
        Beginning and end of the plan, in model time.
    """

    forecaster: Any
    series: Any
    query: Query
    panel: Panel
    tables: Tables
    slots: Slots
    clock: Clock
    now: float
    until: float

    @property
    def id_col(self) -> Any:
        return self.forecaster.reader_.settings.id_col if self.panel.layout.has_ids else None

    @property
    def time_col(self) -> Any:
        return self.forecaster.reader_.settings.time_col

    def planned(self, amounts: np.ndarray, shifts: np.ndarray | None, keep_all: bool = False) -> pd.DataFrame:
        """Rows of a table of events, of the planned doses alone."""
        return self.slots.events(amounts, shifts, self.series, self.id_col, self.time_col, keep_all)

    def events(self, amounts: np.ndarray, shifts: np.ndarray | None) -> pd.DataFrame | None:
        """All events: those given, and the planned doses; None if there are neither."""
        given, planned = _frame_of(self.tables.events), self.planned(amounts, shifts)
        if given is None:
            return planned if self.slots.n_doses else None
        if isinstance(self.tables.events, EventTable):
            names = {self.tables.events.id_col: self.id_col, self.tables.events.time_col: self.time_col}
            given = given.rename(columns={old: new for old, new in names.items() if new is not None})
        if self.id_col is not None and self.id_col not in given.columns:
            given[self.id_col] = self.series
        parts = [part for part in (given, planned) if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else given

    def known(self, amounts: np.ndarray) -> Any:
        """The table of what is known along time with the planned values; the one given where no input is planned."""
        planned = self.slots.known(amounts, self.series, self.id_col, self.time_col)
        if planned is None:
            return self.tables.known
        keys = [self.time_col] if self.id_col is None else [self.id_col, self.time_col]
        columns = [name for name in planned.columns if name not in keys]
        coder = self.forecaster.reader_.covariates
        given = self.tables.known
        if given is None:
            given = self._known_before(list(coder.known), float(self.slots.times[self.slots.n_doses :].min()))
        given = open_rows(given, "known=", "pd.DataFrame({'ds': ..., 'inflow': ...})").copy()
        own = given if self.id_col is None else given[given[self.id_col] == self.series]
        is_later = own.index[(own[self.time_col] >= planned[self.time_col].min()).to_numpy()]
        given = given.astype(dict.fromkeys(columns, "float64"))
        given.loc[is_later, columns] = np.nan
        both = planned.set_index(keys).combine_first(given.set_index(keys)).reset_index()
        return both.sort_values(keys, ignore_index=True)

    def _known_before(self, names: list[Hashable], first: float) -> pd.DataFrame:
        """What fit knew of the series up to the first planned value, which replaces what comes after it."""
        record = self.panel.covariates.get(self.series)
        if record is None or record.times is None or record.values is None:
            raise DataError(f"Nothing is known along time of series {self.series!r}: give known= up to the plan.")
        table: dict[Hashable, Any] = {} if self.id_col is None else {self.id_col: [self.series] * len(record.times)}
        table[self.time_col] = restore_times(record.times, self.panel.layout.time_dtype)
        return pd.DataFrame(table | {name: record.values[:, place] for place, name in enumerate(names)})

    def panel_under(self, events: pd.DataFrame | None, known: Any) -> Panel:
        """Histories with these tables."""
        reader, history = self.forecaster.reader_, self.forecaster._panel
        told = self.panel if events is None else reader.with_events(self.panel, events, history)
        if known is None:
            return told  # type: ignore[no-any-return]
        return reader.with_covariates(told, self.tables.static, known, self.panel.covariates)  # type: ignore[no-any-return]

    def inputs(self) -> DosingInputs | None:
        """Doses of all slots as the forecaster reads them, each of amount 1."""
        if not self.slots.n_doses:
            return None
        ones = self.planned(np.ones(len(self.slots)), None, keep_all=True)
        doses = [action for action in self.slots.actions if isinstance(action, Doses)]
        try:
            told = self.forecaster.reader_.with_events(self.panel, ones, self.forecaster._panel)
        except DataError as error:
            raise UnreadActionError(
                f"The model does not read {' or '.join(action.what for action in doses)}: {error}"
            ) from error
        return told.inputs.get(self.series)  # type: ignore[no-any-return]

    def native_times(self) -> np.ndarray:
        return self.query.times[0]


def _frame_of(events: Any) -> pd.DataFrame | None:
    if events is None:
        return None
    return events.frame if isinstance(events, EventTable) else open_rows(events).copy()


def read_asked(
    forecaster: Any, actions: Any, X: Any, times: Any, horizon: Any, tables: Tables, series: Hashable,
    drop_past: bool = False,
) -> Asked:  # fmt: skip
    """Read a question; see `tsode.control.plan`."""
    query, panel = forecaster._read_query(X, times, horizon, tables.context, tables.events, tables.static, tables.known)
    reader = forecaster.reader_
    timeline, settings = reader.timeline, reader.settings
    if series is None and len(query.ids) > 1:
        shown = ", ".join(map(repr, query.ids[:5])) + (", ..." if len(query.ids) > 5 else "")
        raise ParameterError(f"A plan is for one series, but there are {len(query.ids)} ({shown}): name it in series=.")
    series = query.ids[0] if series is None else series
    if series not in query.ids:
        raise DataError(f"series={series!r} is none of those that are asked about: {query.ids[:5]}.")
    query = of_rows(query, [query.ids.index(series)])
    row = panel.ids.index(series)
    asked = timeline.to_model(query.times[0])
    if not len(asked):
        raise DataError("A plan needs at least one time to look at: give times= or horizon=.")
    seen = timeline.to_model(panel.times[row][~np.isnan(panel.values[row]).all(axis=1)])
    now, until = float(seen[-1]) if len(seen) else float(asked[0]), float(asked[-1])
    if not until > now:
        raise ParameterError("The times of a plan must go beyond the last row of its series.")
    given = _events_of(tables.events, panel, series, settings, reader)
    states = getattr(reader.events, "states", ())
    slots = read_slots(actions, panel, timeline, now, until, given, states[0] if states else None, drop_past)
    is_exact = X is not None or (times is not None and len(asked) > 1)
    grid = np.unique(asked[asked >= now]) if is_exact else _grid(now, until, slots)
    native = np.unique(timeline.to_native(grid))
    grid = timeline.to_model(native)
    unit = float(timeline.unit) if timeline.kind in ("float", "int") else 1.0
    clock = Clock(
        torch.from_numpy(grid), torch.from_numpy((grid - now) * unit), torch.from_numpy(weights_of(grid)),
        lambda time: float(timeline.to_model(read_times(time, panel, "between="))[0]),
    )  # fmt: skip
    query = replace(query, times=[native], rows=np.arange(len(native)))
    return Asked(forecaster, series, query, panel, tables, slots, clock, now, until)


def _grid(now: float, until: float, slots: Slots) -> np.ndarray:
    """Times from now on: even ones, some between any two stops, and those just before and after doses and their ends.

    The largest level after an infusion is where it ends, and after a dose at once where it begins.
    """
    even = np.linspace(now, until, _N_TIMES + 1)[1:]
    at = slots.times[slots.is_dose]
    ends = at + slots.lengths()[slots.is_dose]
    stops = np.unique(np.concatenate([[now, until], at, ends]))
    stops = stops[(stops >= now) & (stops <= until)]
    between = stops[:-1, None] + np.diff(stops)[:, None] * np.arange(1, _N_BETWEEN) / _N_BETWEEN
    after = np.concatenate([stops, at + _JUST_AFTER * (until - now)])
    found = np.unique(np.concatenate([even, between.ravel(), after]))
    return found[(found > now) & (found <= until)]


def _events_of(events: Any, panel: Panel, series: Hashable, settings: Any, reader: Any) -> pd.DataFrame | None:
    """Events of the series that were given."""
    if events is None:
        inputs = panel.inputs.get(series)
        if inputs is not None and len(inputs.times):
            raise DataError(
                f"Series {series!r} had events in fit, of which the forecaster keeps no table: pass them as events=, "
                "so that the plan comes after them."
            )
        return None
    rows = read_events(
        settings.plain_events(events), panel.ids, id_col=settings.id_col, time_col=settings.time_col,
        time_unit=settings.rate_unit(reader.time_unit),
    )  # fmt: skip
    return rows[rows["id"] == series]
