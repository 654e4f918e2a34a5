"""Data reader of a forecaster: the user's tables to series in model units, and answers back to tables."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from tsode.core.series import Series
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.array_inputs import array_rows, is_series_like, join_values
from tsode.estimators.forecasters.new_series import ask_with_new, ids_of_events
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.forecasters.supports import fit_scales
from tsode.estimators.settings import find_horizon
from tsode.frames.covariates import CovariateCoder
from tsode.frames.ends import Ends
from tsode.frames.events import read_events
from tsode.frames.inputs import DosingInputs, EventEncoder
from tsode.frames.meeting import check_new_series, check_rows_about
from tsode.frames.outliers import warn_of_outliers
from tsode.frames.panel import CovariateRecord, Panel
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.standard_errors import check_standard_errors
from tsode.frames.times import Query, check_kind, read_query
from tsode.frames.write import write_table

__all__ = ["DataReader"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DataReader:
    """Map between the user's tables and the series of a model, as fit has found it.

    Parameters
    ----------
    settings : ReaderSettings
    channels : list of label
        Those read, past covariates last.
    timeline : Timeline
    scaler : ChannelScaler
    horizon, time_unit
        Longest lead trained for, and one unit of model time, in the data's own time.
    events : EventEncoder or None
        Columns of the events in fit; None = there were none.
    covariates : CovariateCoder or None
    ends : Ends or None
        Of the channels' scales, beyond which no forecast goes; None where none was found, or looked for.
    is_array, is_squeezed : bool
        Whether `X` in fit was an array, and `y` had one axis.
    n_features_in : int
        Columns of `X` in fit, as scikit-learn counts them.
    """

    settings: ReaderSettings
    channels: list[Hashable]
    timeline: Timeline
    scaler: ChannelScaler
    horizon: Any
    time_unit: Any
    events: EventEncoder | None = None
    covariates: CovariateCoder | None = None
    ends: Ends | None = None
    is_array: bool = False
    is_squeezed: bool = False
    n_features_in: int = 0

    # -- fit -------------------------------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        settings: ReaderSettings,
        X: Any,
        y: Any,
        *,
        events: Any,
        static: Any,
        known: Any,
        validation: Any,
        before: tuple[DataReader, Panel] | None = None,
    ) -> tuple[Self, Panel, Panel | None]:
        """Read the tables given to a forecaster's ``fit``.

        Parameters
        ----------
        settings : ReaderSettings
        X, y, events, static, known, validation
            As given to fit.
        before : (DataReader, Panel) or None
            Of an earlier fit that goes on: its units, scales, columns and covariates stay.

        Returns
        -------
        reader : DataReader
        panel : Panel
            To learn from.
        held_out : Panel or None
            To validate on.
        """
        settings.refuse(events=events, static=static, known=known)
        panel = settings.read(X, y)
        horizon = find_horizon(settings.horizon, panel)
        old, history = before or (None, None)
        time_unit = settings.unit(horizon, panel) if old is None else old.time_unit
        timeline = Timeline.fit(panel.seen_times, unit=time_unit)
        if old is None:
            scaler, mapped = fit_scales(panel, settings.scale, settings.support, settings.past, timeline, horizon)
            if settings.scale == "standard":
                warn_of_outliers(mapped, settings.can_rescale)
        elif old.channels != panel.channels:
            raise DataError(
                f"warm_start continues on the same channels {old.channels}, but came {panel.channels}: "
                "set warm_start=False to start anew."
            )
        else:
            (scaler := old.scaler).check(panel)
        is_array = isinstance(X, np.ndarray)
        reader = cls(
            settings=settings,
            channels=panel.channels,
            timeline=timeline,
            scaler=scaler,
            horizon=horizon,
            time_unit=time_unit,
            events=None if old is None else old.events,
            is_array=is_array,
            is_squeezed=y is not None and np.ndim(y) == 1,
            n_features_in=(X.shape[1] if X.ndim == 2 else 1) if is_array else len(panel.channels),
        )
        held_out = None if validation is None else reader.read(validation, beside=panel, name="validation=")
        every = panel if held_out is None else panel.merge(held_out)
        if events is not None:
            rows = reader._read_events(events, panel, every)
            if old is None:
                reader = replace(reader, events=settings.fit_events(rows, horizon, time_unit))
            panel = replace(panel, inputs=reader._event_encoder().encode(rows))
        covariates = settings.fit_covariates(panel, static, known, every.ids) if old is None else old.covariates
        reader = replace(reader, covariates=covariates)
        every = reader.with_covariates(every, static, known, {} if history is None else history.covariates)
        reader.check_reach(every.ids, every.times, every)
        panel = replace(panel, covariates=every.covariates)
        if held_out is not None:
            held_out = replace(held_out, inputs=panel.inputs, covariates=every.covariates)
        return reader, panel, held_out

    @property
    def targets(self) -> list[Hashable]:
        """Channels that are forecast."""
        return [name for name in self.channels if name not in self.settings.past]

    @property
    def n_inputs(self) -> int:
        """Width of the inputs of the model."""
        return len(self.events.columns) if self.events else 0

    @property
    def rates(self) -> dict[str, int]:
        """How many of the inputs, the last ones, are rates that are held; nothing where none is."""
        return {"n_rates": self.events.n_rates} if self.events and self.events.n_rates else {}

    @property
    def n_features(self) -> int:
        """Width of the covariates that the model reads."""
        return self.covariates.n_features if self.covariates else 0

    # -- tables to panels ------------------------------------------------------------------------------------------

    def read(self, X: Any, y: Any = None, *, beside: Panel, name: str = "X") -> Panel:
        """Read histories or new rows with the channels of fit; `beside` holds the series that they may go on from."""
        settings = self.settings
        panel = read_panel(
            X if y is None else join_values(X, y, settings.id_col, settings.time_col),
            id_col=settings.id_col,
            time_col=settings.time_col,
            target=self.channels if y is not None or not is_series_like(X) else None,
            duplicates=settings.duplicates,
            require_values=False,
        )
        if len(panel.channels) != len(self.channels):
            raise DataError(
                f"fit saw the channels {self.channels}, but here are {panel.channels}: give the same columns."
            )
        check_new_series(panel, beside, name)
        check_standard_errors(panel, settings.errors)
        self.scaler.check(panel)
        return panel

    def check_width(self, X: Any, name: str) -> None:
        """Raise a DataError if `X` is an array of another width than in the fit of the estimator of this `name`."""
        width = X.shape[1] if isinstance(X, np.ndarray) and X.ndim == 2 else 1
        wanted = self.n_features_in if self.is_array else 1
        if isinstance(X, np.ndarray) and width != wanted:
            raise DataError(f"X has {width} features, but {name} is expecting {wanted} features as input, as in fit.")

    def encode_events(self, events: Any, panel: Panel, history: Panel) -> dict[Hashable, DosingInputs]:
        """Read events of the series in `panel`, and of others, as inputs; some must be of series that are known."""
        self.settings.refuse(events=events)
        return self._event_encoder().encode(self._read_events(events, panel, history))

    def with_events(self, panel: Panel, events: Any, history: Panel) -> Panel:
        """The panel with these events, or those of `history`."""
        return replace(panel, inputs=history.inputs if events is None else self.encode_events(events, panel, history))

    def with_covariates(
        self, panel: Panel, static: Any, known: Any, before: Mapping[Hashable, CovariateRecord]
    ) -> Panel:
        """The panel with these covariates, and those of `before` where a table says nothing."""
        changed = self.read_covariates(panel, static, known, before)
        if self.covariates is None:
            return panel
        panel = replace(panel, covariates={**before, **changed})
        self.check_complete(panel)
        return panel

    def read_covariates(
        self, panel: Panel, static: Any, known: Any, before: Mapping[Hashable, CovariateRecord]
    ) -> dict[Hashable, CovariateRecord]:
        """What these tables change in the covariates of `before`."""
        if self.covariates is not None:
            return self.covariates.read(static, known, panel, before, self.settings.id_col, self.settings.time_col)
        for name, table in (("static", static), ("known", known)):
            if table is not None:
                raise DataError(f"fit saw no covariates: leave out {name}=, or fit with them.")
        return {}

    def check_complete(self, panel: Panel) -> None:
        """Raise a DataError if a series lacks covariates that fit had."""
        if self.covariates is not None:
            self.covariates.check_complete(panel.covariates, panel.ids)

    def with_tables(self, panel: Panel, history: Panel, events: Any, static: Any, known: Any) -> Panel:
        """The panel with these events and covariates, or those of `history`."""
        return self.with_covariates(self.with_events(panel, events, history), static, known, history.covariates)

    def read_query(
        self, X: Any, times: Any, horizon: Any, context: Any, history: Panel, events: Sequence[Any],
        others: Sequence[Hashable] = (),
    ) -> tuple[Query, Panel]:  # fmt: skip
        """Read what is asked, and the observations to answer it from: those of `context`, or of `history`.

        A series that is named in the question and has none, but events in one of these tables or is one of `others`,
        has an empty history.
        """
        panel = history if context is None else self.read(context, beside=history, name="context=")
        if X is None and times is None and horizon is None:
            horizon = self.horizon
        if X is not None and context is not None and panel.layout.has_ids:
            panel = history.merge(panel)
        if isinstance(X, str | int | float | datetime.timedelta | np.timedelta64):
            raise ParameterError(f"X takes rows of ids and times, but is {X!r}: pass horizon={X!r} for a time ahead.")
        if isinstance(X, np.ndarray):
            X = array_rows(X, self.settings.time_col)
        told: list[Hashable] = []
        if panel.layout.has_ids and (X is not None or isinstance(times, Mapping)):  # which name series
            own = [self.settings.plain_events(table) for table in events]
            told = ids_of_events(own, history, self.settings.id_col, self.settings.time_col)
            told += [key for key in others if key not in told]
        return ask_with_new(lambda asked: self.query_of(asked, X, times=times, horizon=horizon), panel, history, told)

    def query_of(self, panel: Panel, X: Any = None, *, times: Any = None, horizon: Any = None) -> Query:
        """What is asked of the series in `panel`, see `tsode.frames.times.read_query`."""
        return read_query(
            panel, self.timeline, X, times=times, horizon=horizon, id_col=self.settings.id_col,
            time_col=self.settings.time_col,
        )  # fmt: skip

    def check_reach(self, ids: Sequence[Hashable], times: Sequence[np.ndarray], panel: Panel) -> None:
        """Raise a DataError if covariates of a series end before the last of its `times`."""
        if self.covariates is not None:
            for key, until in zip(ids, times):
                self.covariates.check_reach(key, panel.covariates.get(key), until[-1:], panel)

    # -- panels to series ------------------------------------------------------------------------------------------

    @property
    def reach(self) -> float:
        """The horizon in model time."""
        return self.timeline.duration(self.horizon)

    def series(self, panel: Panel) -> list[Series]:
        """Series in model time and scaled units, without rows in which nothing was seen."""
        if self.n_inputs or self.covariates is not None or len({times.dtype for times in panel.times}) != 1:
            return [
                self.series_of(times, values, panel.inputs.get(key), panel.covariates.get(key))
                for key, times, values in zip(panel.ids, panel.times, panel.values)
            ]
        # all at once, which takes a fraction of the time where there are many short series
        seen = panel.rows_seen
        cuts = np.cumsum([np.count_nonzero(rows) for rows in seen])[:-1]
        rows = np.concatenate(seen)
        times = np.split(self.timeline.to_model(np.concatenate(panel.times)[rows]), cuts)
        values = np.split(self.scaler.transform(np.concatenate(panel.values)[rows]), cuts)
        nothing = np.empty(0), np.empty((0, 0))
        return [Series(t, x, *nothing) for t, x in zip(times, values)]

    def series_of(
        self,
        times: np.ndarray,
        values: np.ndarray,
        inputs: DosingInputs | None,
        record: CovariateRecord | None = None,
    ) -> Series:
        """One of `series`."""
        seen = ~np.isnan(values).all(axis=1)
        doses = inputs if self.n_inputs else None
        return Series(
            self.timeline.to_model(times[seen]),
            self.scaler.transform(values[seen]),
            np.empty(0) if doses is None else self.timeline.to_model(doses.times),
            np.empty((0, self.n_inputs)) if doses is None else doses.values,
            None if self.covariates is None else self.covariates.series(record, self.timeline, self.reach),
            **self.rates,
        )

    # -- answers to tables -----------------------------------------------------------------------------------------

    def write(self, query: Query, labels: Sequence[Hashable], table: np.ndarray, X: Any) -> Any:
        """Results in the kind of container that asked: `X` as the user gave it.

        `table` (columns, query times of all series set end to end) becomes memory of the result.
        """
        frame = write_table(query.layout, query.ids, query.times, labels, table, rows=query.rows, index=query.index)
        if self.is_squeezed and isinstance(frame, pd.DataFrame) and frame.shape[1] == 1:
            frame = frame.iloc[:, 0]
        return frame.to_numpy() if isinstance(X, np.ndarray) else frame

    # -- inside ----------------------------------------------------------------------------------------------------

    def _read_events(self, events: Any, panel: Panel, history: Panel) -> pd.DataFrame:
        settings = self.settings
        rows = read_events(
            settings.plain_events(events), panel.ids, id_col=settings.id_col, time_col=settings.time_col,
            time_unit=settings.rate_unit(self.time_unit),
        )  # fmt: skip
        check_rows_about(rows["id"], panel, history.ids, "events=")
        if len(rows):
            check_kind(rows["time"].to_numpy(), rows.attrs["time_dtype"], panel, "events=")
        return rows

    def _event_encoder(self) -> EventEncoder:
        if self.events is None:
            raise DataError("fit saw no events, so their effect is not known: leave out events=, or fit with events.")
        return self.events
