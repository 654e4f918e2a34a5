"""Baselines as forecasters: constant, last value, drift."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.models.baselines import BaselineModel, ConstantModel, DriftModel, LastValueModel
from tsode.training.windows import Split, make_window

__all__ = ["BaselineForecaster", "ConstantForecaster", "DriftForecaster", "LastValueForecaster"]

N_CUTS = 20
PADDED_AT_ONCE = 2**22  # events of a batch with its padding: one long series must not pad many short ones


@dataclass(kw_only=True, eq=False, repr=False)
class BaselineForecaster(BaseForecaster):
    """Base of the baselines: location by a rule, spread by lead time from errors on the data itself.

    A subclass gives the rule in ``build_model``. One with parameters of its own is decorated as this class is, and
    declares them as fields.

    Parameters
    ----------
    horizon : "auto", duration or float
        Longest lead for which the spread is estimated; "auto" is half the median span.
    device, dtype, time_unit, random_state, verbose
        As in `JumpODEForecaster`; nothing here is random.
    id_col, time_col, target, duplicates
        How to read frames, as in `JumpODEForecaster`.
    """

    dtype: str = "float64"

    is_baseline = True
    is_bounded = False

    @abstractmethod
    def build_model(self, n_channels: int) -> BaselineModel:
        """The rule, with the parameters of this forecaster, for so many channels."""

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        return Split(series, [], None)  # nothing is selected, so all series serve

    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> BaselineModel:
        return self.build_model(n_channels)

    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        assert isinstance(module, BaselineModel)
        device, dtype = self._torch_device(), self._torch_dtype()
        usable = [series for series in split.train if len(series.times)]
        chosen, cuts = [], []
        shares = np.linspace(0.1, 0.95, max(2, min(N_CUTS, 2000 // len(usable)))).tolist()
        for series in usable:
            first, span = float(series.times[0]), series.span
            chosen += [series] * len(shares)
            cuts += [first + share * span for share in shares]
        longest, size = max(len(series.times) for series in usable), len(usable)
        if len(usable) * longest > PADDED_AT_ONCE:  # series of like length together
            usable.sort(key=lambda series: len(series.times))
            size = max(1, PADDED_AT_ONCE // longest)
        wholes = [collate(usable[start : start + size], dtype).to(device) for start in range(0, len(usable), size)]
        windows = []
        for start in range(0, len(chosen), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            window = make_window(chosen[part], cuts[part], horizon, 10**9, max_targets=64, dtype=dtype).to(device)
            windows.append((window.context, window.targets))
        module.fit(wholes, windows)
        return []


class ConstantForecaster(BaselineForecaster):
    """Forecast the mean of each series' own past; a channel it never saw gets the mean over all series."""

    def build_model(self, n_channels: int) -> BaselineModel:
        return ConstantModel(n_channels)


class LastValueForecaster(BaselineForecaster):
    """Carry the value last seen of each channel forward; the spread grows with the time since."""

    def build_model(self, n_channels: int) -> BaselineModel:
        return LastValueModel(n_channels)


class DriftForecaster(BaselineForecaster):
    """Extend the straight line through the first and last value of each channel."""

    def build_model(self, n_channels: int) -> BaselineModel:
        return DriftModel(n_channels)
