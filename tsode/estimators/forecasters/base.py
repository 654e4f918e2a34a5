"""Base of all forecasters: read a frame, fit a model, keep both. Questions are in `fitted`."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from tsode._random import new_generator, seeded_initialisation
from tsode._threads import one_thread
from tsode.core.series import Series
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.files.forecasters import describe_forecaster, restore_forecaster
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.saved import SavedEstimator
from tsode.estimators.forecasters.array_inputs import join_values
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.reader import Translator, merge_panels
from tsode.estimators.settings import find_device, find_dtype, find_horizon
from tsode.frames.calendar import choose_cycles
from tsode.frames.covariates import CovariateCoder, read_known
from tsode.frames.inputs import DosingInputs, EventEncoder
from tsode.frames.labels import labels
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.static import read_static
from tsode.frames.times import read_duration
from tsode.models.base import ForecastModel
from tsode.training.splits import Split, split_for_validation

__all__ = ["BaseForecaster"]


class BaseForecaster(FittedForecaster, SavedEstimator):
    """What all forecasters share.

    A subclass stores its parameters in ``__init__`` (among them those listed here), builds a `ForecastModel` in
    ``_build`` and fits it in ``_train``.

    Attributes
    ----------
    channels_ : list
        Labels of the channels that are forecast, in order.
    calendar_ : list of str
        Cycles of the calendar that the model is told: "day", "week", "year".
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
    calendar: Any = None
    known_path: str = "linear"

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> ForecastModel:
        """A fresh model for scaled data in model time, with so many columns of what is put in, and of what is known."""

    @abstractmethod
    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        """Fit `module` in place and return the rows of its history."""

    # -- fit -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        validation: Any = None,
    ) -> Self:
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
        static : DataFrame, optional
            Constants of the series, one row each: indexed by id, or with the column `id_col` (of a single series also
            a Series or dict). Numbers are standardised; each value of any other column is a category of its own;
            missing ones count as the mean, or as no category. Wrap it, or `known`, as `tsode.Unsplit` for
            scikit-learn's metadata routing.
        known : same kinds as X, optional
            Covariates along time that are known ahead (a planned dose rate, a weather forecast, a price). Without ids
            they hold for every series. Between their times they are straight lines, or hold their last value, by
            `known_path`; before their first time they stand still. They drive states of their own, ``dw/dt =
            (u(t) - w) / tau``, that observations do not move and the jump and the readout read.
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
        if y is not None and self._past():
            raise DataError("past_covariates are columns of X, but with y= those are not read: leave out y=.")
        panel = self._read(X if y is None else join_values(X, y, self.id_col, self.time_col))
        horizon = find_horizon(self.horizon, panel)
        if is_refit:
            if panel.channels != self._panel.channels:
                raise DataError(
                    f"warm_start continues on the same channels {self._panel.channels}, but came {panel.channels}: "
                    "set warm_start=False to start anew."
                )
            unit, scaler = self.time_unit_, self._scaler
        else:
            unit = self._model_unit(horizon, panel)
            scaler = _fit_scaler(panel, self._scaling())
        timeline = Timeline.fit(panel.seen_times, unit=unit)
        coder = self._coder if is_refit else None
        inputs: dict[Hashable, DosingInputs] = {}
        if events is not None:
            rows_of_events = self._read_events(events, panel)
            coder = EventEncoder.fit(rows_of_events, self.has_linear_inputs) if not is_refit else self._known_inputs()
            inputs = coder.encode(rows_of_events)
            panel = replace(panel, inputs=inputs)
        covariates = self._covariates if is_refit else self._fit_covariates(panel, static, known)
        n_inputs, reach = len(coder.columns) if coder else 0, timeline.duration(horizon)
        translator = Translator(timeline, scaler, n_inputs, covariates, reach)
        held_out = None if validation is None else self._read_context(validation, panel.channels)
        every = panel if held_out is None else merge_panels(panel, held_out)
        if covariates is not None:
            before = self._panel.known if is_refit else {}
            every = replace(every, known=covariates.read(static, known, every, before, self.id_col, self.time_col))
            for key, times in zip(every.ids, every.times):
                covariates.check_reach(key, every.known.get(key), times[-1:], panel)
        panel = replace(panel, known=every.known)
        held_out = None if held_out is None else replace(held_out, inputs=inputs, known=every.known)
        self._learn_from(
            panel, translator, horizon, None if held_out is None else translator.series(held_out), is_refit
        )
        self._coder, self._covariates, self.time_unit_ = coder, covariates, unit
        self.calendar_ = list(covariates.cycles) if covariates else []
        self._is_array, self._is_squeezed = isinstance(X, np.ndarray), y is not None and np.ndim(y) == 1
        self.channels_ = [name for name in panel.channels if name not in self._past()]
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
        split = replace(split, n_targets=len(panel.channels) - len(self._past()))
        with one_thread(), seeded_initialisation(generator):
            if goes_on:  # a copy: a fit that fails leaves the weights as they were
                module = copy.deepcopy(self.module_)
            else:
                n_features = translator.coder.n_features if translator.coder else 0
                module = self._build(len(panel.channels), translator.n_inputs, n_features)
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
        timeline = Timeline.fit(panel.seen_times, unit=self.time_unit_)
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

    def _past(self) -> list[Hashable]:
        """Labels of the channels that are looked at, but not forecast."""
        return labels(getattr(self, "past_covariates", None))

    def _fit_covariates(self, panel: Panel, static: Any, known: Any) -> CovariateCoder | None:
        if not self.reads_covariates:
            for name, table in (("static", static), ("known", known)):
                if table is not None:
                    raise DataError(
                        f"{type(self).__name__} does not read covariates: leave out {name}=, or use a forecaster that "
                        "does, such as JumpODEForecaster."
                    )
            return None
        return CovariateCoder.fit(
            None if static is None else read_static(static, panel.ids, self.id_col),
            None if known is None else read_known(known, panel, self.id_col, self.time_col),
            self.known_path,
            choose_cycles(self.calendar, panel),
        )

    def _read(self, X: Any) -> Panel:
        past, target = self._past(), self.target
        if past and target is not None:
            target = [*labels(target), *past]
        panel = read_panel(X, id_col=self.id_col, time_col=self.time_col, target=target, duplicates=self.duplicates)
        if past:
            panel = _with_last(panel, past)
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

    def _describe(self) -> tuple[Header, Tensors]:
        return describe_forecaster(self)

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        restore_forecaster(self, header, tensors, device)


def _with_last(panel: Panel, past: Sequence[Hashable]) -> Panel:
    """The panel with the channels in `past` moved to the end."""
    unknown = [name for name in past if name not in panel.channels]
    first = [name for name in panel.channels if name not in past]
    if unknown or not first:
        raise DataError(
            f"past_covariates names {unknown[0]!r}, but the columns are {panel.channels}."
            if unknown
            else f"past_covariates={list(past)} leaves no channel to forecast: name fewer."
        )
    order = [panel.channels.index(name) for name in (*first, *past)]
    return replace(panel, channels=[*first, *past], values=[values[:, order] for values in panel.values])


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
