"""The scikit-learn shell: read a frame, fit a model, keep it in a file. Asking it is in `tsode.estimators.asking`."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from tsode._random import new_generator, seeded_initialisation
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.asking import FittedForecaster
from tsode.estimators.persistence import load_estimator, save_estimator
from tsode.estimators.rows import join_values
from tsode.estimators.settings import find_device, find_dtype, find_horizon
from tsode.estimators.translate import Translator
from tsode.frames.inputs import InputCoder, Inputs
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.times import read_duration
from tsode.models.base import ForecastModel
from tsode.training.splits import Split, split_for_validation
from tsode.training.threads import one_thread
from tsode.training.windows import Series

__all__ = ["BaseForecaster"]


class BaseForecaster(FittedForecaster):
    """What all forecasters share.

    A subclass stores its parameters in ``__init__`` (among them those listed here), builds a `ForecastModel` in
    ``_build`` and fits it in ``_train``.

    Attributes
    ----------
    channels_ : list
        Labels of the channels, in order.
    horizon_ : np.timedelta64 or float
        Longest lead the model was trained for, in the data's own time.
    time_unit_ : np.timedelta64 or float
        One unit of model time.
    last_times_ : dict
        Last observed time of each series, by id.
    module_ : ForecastModel
        The fitted model, in scaled units and model time.
    history_ : DataFrame
        Training history, one row an epoch.
    n_iter_ : int
        Epochs done.
    n_features_in_, feature_names_in_ : int, array
        Channels, as scikit-learn names them; for an array `X`, the number of its columns.
    """

    id_col: Hashable
    time_col: Hashable
    target: Any
    duplicates: str
    horizon: Any
    time_unit: Any
    scale: str
    device: str
    dtype: str
    random_state: Any
    warm_start: bool
    validation_fraction: float

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, n_channels: int, n_inputs: int) -> ForecastModel:
        """A fresh model for scaled data in model time, of which `n_inputs` columns say what is put in."""

    @abstractmethod
    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        """Fit `module` in place and return the rows of its history."""

    # -- fit -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, events: Any = None, validation: Any = None) -> Self:
        """Learn from irregular series.

        Parameters
        ----------
        X : Series, DataFrame or list of Series
            A Series or wide frame indexed by time, a long frame (`id_col`, `time_col`, channels), a frame with the
            index levels id and time, or a list of Series. Any spacing; NaN = not observed. With `y`: when (and, in a
            long frame, for whom) each value of `y` was observed.
        y : Series, DataFrame or array, optional
            Values row-aligned with `X`; then value columns of `X` are not read. A plain array `X` gives the times in
            its first column.
        events : DataFrame or EventTable, optional
            Events at known times (doses, infusions, resets, marks) of the series in `X` and `validation`, one row an
            event; see `tsode.frames.events.EventTable`. Their effect is learned. Those of other series are kept for
            later forecasts. Pass an `EventTable` through scikit-learn's metadata routing: it is never cut to the rows
            of a split, as a frame of the length of `X` would be.
        validation : same kinds as X, optional
            Series to validate on, instead of a share of `X`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If the data cannot be read; the message says what to change.
        """
        self._check_parameters()
        is_refit = self.warm_start and hasattr(self, "module_")
        panel = self._read(X if y is None else join_values(X, y, self.id_col, self.time_col))
        horizon = find_horizon(self.horizon, panel)
        if is_refit:
            if panel.channels != self.channels_:
                raise DataError(
                    f"warm_start continues on the same channels {self.channels_}, but came {panel.channels}: "
                    "set warm_start=False to start anew."
                )
            unit, scaler = self.time_unit_, self._scaler
        else:
            unit = self._model_unit(horizon, panel)
            scaler = _fit_scaler(panel, self._scaling())
        timeline = Timeline.fit(panel.times, unit=unit)
        coder = self._coder if is_refit else None
        inputs: dict[Hashable, Inputs] = {}
        if events is not None:
            rows_of_events = self._read_events(events, panel)
            coder = InputCoder.fit(rows_of_events, self.has_linear_inputs) if not is_refit else self._known_inputs()
            inputs = coder.encode(rows_of_events)
            panel = replace(panel, inputs=inputs)
        translator = Translator(timeline, scaler, len(coder.columns) if coder else 0)
        held_out = None
        if validation is not None:
            held_out = translator.series(replace(self._read_context(validation, panel.channels), inputs=inputs))
        self._learn_from(panel, translator, horizon, held_out, is_refit)
        self._coder, self.time_unit_ = coder, unit
        self._is_array, self._is_squeezed = isinstance(X, np.ndarray), y is not None and np.ndim(y) == 1
        self.channels_ = list(panel.channels)
        self.n_features_in_ = len(panel.channels)
        if self._is_array:
            self.n_features_in_ = X.shape[1] if X.ndim == 2 else 1
        self.feature_names_in_ = np.array(panel.channels, dtype=object)
        return self

    def _learn_from(
        self, panel: Panel, translator: Translator, horizon: Any, held_out: list[Series] | None, goes_on: bool
    ) -> None:
        """Train a model, a new one or from the weights there are, and keep it with the histories."""
        generator = new_generator(self.random_state)
        reach = translator.timeline.duration(horizon)
        series = translator.series(panel)
        if held_out is None:
            split = self._split(series, reach, generator)
        else:
            split = Split(series, _check_validation(held_out), None)
        with one_thread(), seeded_initialisation(generator):
            if goes_on:  # a copy: a fit that fails leaves the weights as they were
                module = copy.deepcopy(self.module_)
            else:
                module = self._build(len(panel.channels), translator.n_inputs)
                module = module.to(self._torch_device(), self._torch_dtype())
            rows = self._train(module, split, reach, generator)
        self._panel, self._timeline, self._scaler = panel, translator.timeline, translator.scaler
        self._checkpoints = {}
        self.module_ = module.eval()
        self.horizon_ = horizon
        self.last_times_ = dict(zip(panel.ids, panel.last_times))
        self.history_ = pd.DataFrame(rows)
        self.n_iter_ = max(1, len(rows))

    def _continue(self, panel: Panel) -> None:
        timeline = Timeline.fit(panel.times, unit=self.time_unit_)
        translator = replace(self._translator(), timeline=timeline)
        self._learn_from(panel, translator, self.horizon_, None, goes_on=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _check_parameters(self) -> None:
        if not isinstance(self.validation_fraction, float) or not 0.0 < self.validation_fraction < 1.0:
            raise ParameterError(
                f"validation_fraction is a share, in (0, 1), but is {self.validation_fraction!r}: try 0.1."
            )
        self._torch_dtype()
        self._torch_device()

    def _model_unit(self, horizon: Any, panel: Panel) -> Any:
        """One unit of model time, in the data's own time."""
        return horizon if self.time_unit == "auto" else read_duration(self.time_unit, panel.time_kind, "time_unit")

    def _scaling(self) -> str:
        return "standard" if self.scale == "auto" else self.scale

    def _torch_dtype(self) -> torch.dtype:
        return find_dtype(self.dtype)

    def _torch_device(self) -> torch.device:
        return find_device(self.device)

    def _read(self, X: Any) -> Panel:
        panel = read_panel(
            X, id_col=self.id_col, time_col=self.time_col, target=self.target, duplicates=self.duplicates
        )
        never = [name for c, name in enumerate(panel.channels) if all(np.isnan(v[:, c]).all() for v in panel.values)]
        if never:
            raise DataError(
                f"The channels {never} hold no observed value, so nothing can be learned about them: drop them, or "
                f"choose the channels with target={[name for name in panel.channels if name not in never]}."
            )
        return panel

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        """What to train on and what to validate on."""
        return split_for_validation(series, self.validation_fraction, horizon, generator)

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write parameters, weights and history to one file (safetensors with a JSON header); all or nothing."""
        self._check_fitted()
        save_estimator(self, path)

    @classmethod
    def load(cls, path: Any, device: str = "cpu") -> Self:
        """Read a fitted forecaster back. Nothing in a file can run code.

        Parameters
        ----------
        path : path
        device : str
            Where to put the weights; the machine that saved them does not matter.
        """
        return load_estimator(cls, path, device)


def _fit_scaler(panel: Panel, method: str) -> ChannelScaler:
    with np.errstate(all="ignore"):
        scaler = ChannelScaler.fit(panel.values, method)
        is_usable = np.isfinite(scaler.shift) & np.isfinite(scaler.scale) & np.isfinite(1.0 / scaler.scale)
    for name, usable in zip(panel.channels, is_usable):
        if not usable:
            raise DataError(
                f"The values of {name!r} are too large or too close together for float64 to take their standard "
                "deviation: bring the channel to another unit, or mend the values that stand out."
            )
    return scaler


def _check_validation(series: list[Series]) -> list[Series]:
    usable = [one for one in series if len(one.times) > 1]
    if not usable:
        raise DataError("validation= has no series with two observation times: give longer series, or none.")
    return usable
