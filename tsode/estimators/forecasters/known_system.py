"""Known system: how data are read where its matrices are given in the data's own units."""

from __future__ import annotations

from typing import Any

from tsode.errors import ParameterError
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.frames.panel import Panel
from tsode.frames.times import read_times

__all__ = ["SystemSettings", "read_start"]


class SystemSettings(ReaderSettings):
    """Settings of a given system, whose unit of time is not the horizon."""

    def unit(self, horizon: Any, panel: Panel) -> Any:
        if self.time_unit != "auto":
            return super().unit(horizon, panel)
        if panel.time_kind in ("datetime", "timedelta"):
            raise ParameterError(
                f"The matrices in system= say nothing about the length of one unit of time, but the series has "
                f"{panel.time_kind}s: pass time_unit='1h' or the like."
            )
        return 1.0


def read_start(initial_time: Any, panel: Panel, reader: DataReader) -> float:
    """The initial time in model time."""
    native = read_times(initial_time, panel, "initial_time=")
    if len(native) != 1:
        raise ParameterError(f"initial_time= takes one time, but is {initial_time!r}.")
    return float(reader.timeline.to_model(native)[0])
