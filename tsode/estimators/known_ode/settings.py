"""Settings by which data of a known system are read: in their own units, with doses as they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.array_inputs import is_series_like
from tsode.estimators.forecasters.known_system import SystemSettings
from tsode.estimators.known_ode.occasions import OccasionTables
from tsode.estimators.known_ode.schedules import ScheduleEncoder
from tsode.frames.covariates import CovariateCoder
from tsode.frames.inputs import EventEncoder
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel
from tsode.frames.static import StaticColumn
from tsode.frames.times import read_times

__all__ = ["KnownSettings", "read_starts"]


class _AnythingSeen(SystemSettings):
    """Settings of data of which nothing may have been seen: then the prior stands."""

    def check_seen(self, panel: Panel) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class KnownSettings(SystemSettings):
    """Settings of a known system; `observed` are its channels, `states` what doses go to, `occasion` a known column."""

    observed: Sequence[Hashable] = ()
    states: Sequence[Hashable] = ()
    occasion: Hashable = None

    def read(self, X: Any, y: Any = None) -> Panel:
        names = list(self.observed)
        target = None if y is not None or is_series_like(X) else names
        panel = _AnythingSeen(
            **{one.name: getattr(self, one.name) for one in fields(SystemSettings)} | {"target": target}
        ).read(X, y)
        if len(panel.channels) == 1 == len(names):
            return replace(panel, channels=names)
        missing = [name for name in names if name not in panel.channels]
        if missing:
            raise DataError(
                f"observed= names the channel {missing[0]!r}, which the data do not have."
                f"{guess_label(missing[0], panel.channels)} Channels of the data: {list(panel.channels)}."
            )
        places = [panel.channels.index(name) for name in names]
        return replace(panel, channels=names, values=[values[:, places] for values in panel.values])

    def unit(self, horizon: Any, panel: Panel) -> Any:
        if self.time_unit == "auto" and panel.time_kind in ("datetime", "timedelta"):
            raise ParameterError(
                f"The rates are per unit of time, and the times are {panel.time_kind}s, which do not say how long that "
                "is: pass time_unit='1h' or the like."
            )
        return super().unit(horizon, panel)

    def rate_unit(self, time_unit: Any) -> Any:
        return time_unit if isinstance(time_unit, np.timedelta64) else None

    def fit_covariates(
        self, panel: Panel, static: Any, known: Any, others: Sequence[Hashable]
    ) -> CovariateCoder | None:
        """As they stand in the data: numbers are not standardised, and what is missing is not filled in."""
        coder = super().fit_covariates(panel, static, known, others)
        if coder is None:
            return None
        plain = tuple(StaticColumn(one.name, one.categories, keeps_missing=True) for one in coder.static)
        return replace(coder, static=plain, steps=tuple(name for name in coder.known if name == self.occasion))

    def plain_events(self, events: Any) -> Any:
        tables = OccasionTables(self.occasion, self.id_col, self.time_col)
        return events if self.occasion is None else tables.without(events)

    def fit_events(self, rows: pd.DataFrame | None, horizon: Any, time_unit: Any) -> EventEncoder:
        return ScheduleEncoder.of(self.states, time_unit)

    def restore_events(self, state: dict[str, Any]) -> EventEncoder:
        if state != {"is_schedule": True}:
            raise ValueError("its events are none of a known system")
        return ScheduleEncoder.of(self.states, None)  # the unit follows, see `KnownODEForecaster._keep`


def read_starts(initial_time: Any, panel: Panel, reader: Any) -> dict[Hashable, float]:
    """When series begin in their initial states, in model time, as far as `initial_time` says."""
    if initial_time is None:
        return {}
    if isinstance(initial_time, dict):
        times, keys = list(initial_time.values()), list(initial_time)
    else:
        times, keys = [initial_time] * len(panel.ids), list(panel.ids)
    native = read_times(times, panel, "initial_time=")
    return dict(zip(keys, reader.timeline.to_model(native).tolist()))
