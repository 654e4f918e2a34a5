"""Seasonal naive forecaster: a baseline that repeats what was seen a whole number of periods ago."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.forecasters.baselines import BaselineForecaster
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.seasons import find_periods
from tsode.frames.panel import Panel
from tsode.models.base import ForecastModel
from tsode.models.seasonal_naive import SeasonalNaiveModel

__all__ = ["SeasonalNaiveForecaster"]


@dataclass(kw_only=True, eq=False, repr=False)
class SeasonalNaiveForecaster(BaselineForecaster):
    """Repeat what each channel was a whole number of periods ago; the spread grows with their number.

    The forecast at a time is the value one period before it, or as many periods as it takes to come to a time that was
    seen before the forecast's own: on the straight line between the observations around that time, or the first one
    where it lies before all. A channel that was never seen gets the mean over all series.

    Parameters
    ----------
    period : "auto", duration or float
        In the data's own time, such as ``"1D"``, ``"365.25D"``, or ``12.0`` where times are numbers. "auto": of
        datetimes and durations, a day, a week or a year (365.2425 days), whichever errs least on the data themselves
        among those that the typical series spans twice, with two typical gaps in a period; of numbers, one unit, if
        the typical series spans two and has three typical gaps in it.
    horizon, device, dtype, time_unit, random_state, verbose, id_col, time_col, target, duplicates
        As in `LastValueForecaster`.

    Attributes
    ----------
    period_ : np.timedelta64 or float
        The period, in the data's own time.

    Raises
    ------
    ParameterError
        In ``fit``, with "auto" if no period is known of the data; otherwise if `period` is longer than the data.

    Examples
    --------
    >>> import pandas as pd
    >>> from tsode import SeasonalNaiveForecaster
    >>> series = pd.Series([1.0, 5.0, 3.0, 7.0], index=[0.0, 2.0, 3.0, 4.5])
    >>> SeasonalNaiveForecaster(period=4.0).fit(series).predict(times=[5.0, 6.5]).tolist()
    [3.0, 4.0]
    """

    period: Any = "auto"

    def build_model(self, n_channels: int) -> SeasonalNaiveModel:
        return SeasonalNaiveModel(n_channels)

    def _tell(self, module: ForecastModel, panel: Panel, reader: DataReader) -> None:
        assert isinstance(module, SeasonalNaiveModel)
        module.candidates = find_periods(self.period, panel, reader.timeline)

    def _keep(self, reader: DataReader, panel: Panel, module: ForecastModel, history: Any, n_iter: int) -> None:
        assert isinstance(module, SeasonalNaiveModel)
        super()._keep(reader, panel, module, history, n_iter)
        self.period_ = reader.timeline.span(module.period.cpu().numpy())[()]

    def _restore(self, header: Header, tensors: Tensors, device: Any) -> None:
        super()._restore(header, tensors, device)
        if not self.period_ > 0 * self.period_:
            raise ValueError(f"its period {self.period_} is not positive")
