"""Settings of a data reader: the parameters of a forecaster that say how its data are read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.estimators.forecasters.array_inputs import join_values
from tsode.estimators.settings import find_unit
from tsode.frames.calendar import choose_cycles
from tsode.frames.covariates import CovariateCoder, read_known
from tsode.frames.durations import read_duration
from tsode.frames.inputs import EventEncoder
from tsode.frames.labels import labels
from tsode.frames.leftovers import without_leftovers
from tsode.frames.panel import Panel, with_last
from tsode.frames.read import read_panel
from tsode.frames.standard_errors import check_standard_errors
from tsode.frames.static import read_static

__all__ = ["ReaderSettings"]


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """Parameters of a forecaster that say how its data are read.

    Parameters
    ----------
    id_col, time_col, target, duplicates, horizon, time_unit, known_path, calendar, support
        As in `JumpODEForecaster`.
    past : list of label
        Channels that are read, but not forecast.
    errors : list of label
        Those among them that are standard errors of others.
    scale : {"standard", "robust", "none"}
    can_rescale : bool
        Whether the user has a say in it.
    has_linear_inputs : bool
        Whether the effect of an event grows with its amount.
    holds_rates : bool
        Whether an infusion acts as long as it runs, rather than when it starts and ends.
    refusals : dict of table to str
        Why "events", "static" or "known" is not read, and what to do; a table that is read has no entry.
    """

    id_col: Hashable
    time_col: Hashable
    target: Any
    duplicates: str
    horizon: Any
    time_unit: Any
    known_path: str
    calendar: Any
    past: list[Hashable]
    errors: Sequence[Hashable] = ()
    scale: str
    can_rescale: bool
    has_linear_inputs: bool
    holds_rates: bool
    refusals: Mapping[str, str]
    support: Any = "real"

    def read(self, X: Any, y: Any = None) -> Panel:
        """Read data to learn from; past covariates come last.

        Raises
        ------
        DataError
            If the data cannot be read, or hold a channel of which nothing was observed.
        """
        if y is not None and self.past:
            what = "noise_col names" if self.errors else "past_covariates are"
            raise DataError(f"{what} columns of X, but with y= those are not read: leave out y=.")
        target = self.target
        if self.past and target is not None:
            target = [*labels(target), *self.past]
        panel = read_panel(
            X if y is None else join_values(X, y, self.id_col, self.time_col),
            id_col=self.id_col,
            time_col=self.time_col,
            target=target,
            duplicates=self.duplicates,
        )
        if target is None and y is None:
            panel = without_leftovers(panel)
        if self.past:
            panel = with_last(panel, self.past, "noise_col" if self.errors else "past_covariates")
            check_standard_errors(panel, self.errors)
        self.check_seen(panel)
        return panel

    def check_seen(self, panel: Panel) -> None:
        """Raise a DataError if nothing was seen of a channel."""
        never = [name for c, name in enumerate(panel.channels) if all(np.isnan(v[:, c]).all() for v in panel.values)]
        if never:
            raise DataError(
                f"The channels {never} hold no observed value, so nothing can be learned about them: drop them, or "
                f"choose the channels with target={[name for name in panel.channels if name not in never]}."
            )

    def unit(self, horizon: Any, panel: Panel) -> Any:
        """One unit of model time, in the data's own time."""
        if self.time_unit == "auto":
            return find_unit(horizon, panel)
        return read_duration(self.time_unit, panel.time_kind, "time_unit")

    def rate_unit(self, time_unit: Any) -> Any:
        """What a rate in an event table is per, where times are a clock's; None: it needs a duration."""
        return None

    def plain_events(self, events: Any) -> Any:
        """A table of events without columns that are of something else."""
        return events

    def fit_events(self, rows: pd.DataFrame, horizon: Any, time_unit: Any) -> EventEncoder:
        """Learn the columns of events."""
        return EventEncoder.fit(rows, self.has_linear_inputs, (horizon, time_unit) if self.holds_rates else None)

    def restore_events(self, state: dict[str, Any]) -> EventEncoder:
        """Columns of events as a file holds them."""
        return EventEncoder.from_dict(state)

    def refuse(self, **tables: Any) -> None:
        """Raise a DataError if a table is given that is not read."""
        for name, table in tables.items():
            if table is not None and name in self.refusals:
                raise DataError(self.refusals[name])

    def fit_covariates(
        self, panel: Panel, static: Any, known: Any, others: Sequence[Hashable]
    ) -> CovariateCoder | None:
        """Learn categories and scales of covariates; None where there is nothing to know, or it is not read.

        Tables may be of `others` than the series in `panel`.
        """
        if "known" in self.refusals:
            return None
        return CovariateCoder.fit(
            None if static is None else read_static(static, panel.ids, self.id_col, others),
            None if known is None else read_known(known, panel, self.id_col, self.time_col, others=others),
            self.known_path,
            choose_cycles(self.calendar, panel),
        )
