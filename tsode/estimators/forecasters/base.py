"""Base of all forecasters: read a frame, fit a model, keep both. Questions are in `fitted`."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch

from tsode._isolation import isolated
from tsode._random import OwnDraws, new_generator
from tsode.core.series import Series
from tsode.core.timeline import Timeline
from tsode.errors import DataError
from tsode.estimators.files.model_file import Header, Tensors
from tsode.estimators.files.saved import SavedEstimator
from tsode.estimators.forecasters.covariate_parameters import ReadsCovariates
from tsode.estimators.forecasters.ends import learn_ends
from tsode.estimators.forecasters.file_state import describe_forecaster, restore_forecaster
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.history import append_inputs, append_rows, checkpoints
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.reader_settings import ReaderSettings
from tsode.estimators.forecasters.supports import HasSupport
from tsode.estimators.memory import check_memory, told_of_memory
from tsode.estimators.parameters import (
    Check,
    at_least,
    callables,
    check_boolean,
    labels_rows,
    not_negative,
    or_value,
    positive,
    read_by,
    share,
)
from tsode.estimators.settings import find_device, find_dtype
from tsode.frames.growing import GrowingDict
from tsode.frames.labels import labels
from tsode.frames.panel import Panel
from tsode.frames.times import check_kind
from tsode.models.base import ForecastModel
from tsode.training.loop import TrainingPlan
from tsode.training.reach import learn_reach, reset_reach
from tsode.training.windows import Split, split_for_validation

__all__ = ["BaseForecaster", "Callback", "LearnedForecaster"]

Callback = Callable[[dict[str, float]], bool | None]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseForecaster(FittedForecaster, SavedEstimator):
    """What all forecasters share.

    A subclass declares its parameters as fields of a dataclass, with their ``checks`` beside them, builds a
    `ForecastModel` in ``_build`` and fits it in ``_train``. Fields of its bases are its own too.

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

    horizon: Any = "auto"
    time_unit: Any = "auto"
    device: str = "auto"
    dtype: str = "float32"
    random_state: Any = None
    verbose: bool | int = 0
    id_col: Hashable = "unique_id"
    time_col: Hashable = "ds"
    target: Any = None
    duplicates: str = "error"

    # parameters of those that learn, as they stand for the others; without a type they are no fields here
    scale, support = "auto", "real"
    warm_start = False
    validation_fraction = 0.1
    past_covariates = None
    known_path = "linear"
    calendar = None

    checks: ClassVar[dict[str, Check]] = {
        "dtype": read_by(find_dtype),
        "device": read_by(find_device),
        "verbose": not_negative,
        **dict.fromkeys(("id_col", "time_col"), labels_rows),
    }

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, n_channels: int, n_inputs: int, n_features: int) -> ForecastModel:
        """A fresh model for scaled data in model time, with so many inputs (of rates at the end) and covariates."""

    def _build_for(self, split: Split, n_channels: int, n_inputs: int, n_features: int, **rates: int) -> ForecastModel:
        """A fresh model for these series; as any other, unless a subclass says so."""
        return self._build(n_channels, n_inputs, n_features, **rates)

    @abstractmethod
    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        """Fit `module` in place and return the rows of its history."""

    def _train_fresh(
        self, module: ForecastModel, split: Split, reader: DataReader, generator: torch.Generator
    ) -> tuple[ForecastModel, list[dict[str, float]]]:
        """Fit a fresh model, or others that a parameter leaves to choose from: the one to keep, and its history."""
        return module, self._train(module, split, reader.reach, generator)

    def _build_like(self, weights: Mapping[str, Any], *widths: int, **rates: int) -> ForecastModel:
        """A fresh model of the kind that has such weights."""
        return self._build(*widths, **rates)

    def _tell(self, module: ForecastModel, panel: Panel, reader: DataReader) -> None:
        """Tell a fresh model what it is to know of the data's own times; nothing, unless a subclass says so."""

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
            `known_path`; categories, as in `static`, hold theirs; before their first time they stand still. They drive
            states of their own, ``dw/dt = (u(t) - w) / tau``, that observations do not move and the jump and the
            readout read.
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
        before = (self.reader_, self._panel) if self.warm_start and hasattr(self, "module_") else None
        reader, panel, held_out = DataReader.fit(
            self.reader_settings(), X, y, events=events, static=static, known=known, validation=validation,
            before=before,
        )  # fmt: skip
        self._learn_from(panel, reader, held_out, goes_on=before is not None)
        return self

    def update(
        self, X: Any, y: Any = None, *, events: Any = None, static: Any = None, known: Any = None, refit: bool = False
    ) -> Self:
        """Append new rows to the history, so that forecasts go on from them; nothing is learned unless `refit`.

        Forecasts are those from the whole history. A filter of one pass (`JumpODEForecaster`) keeps its state in each
        series, so that a row costs the same however long the history is and however many series there are; the first
        update runs over the histories once. Structural components keep theirs in series of 1,000 rows or more, from fit
        on, as many as 256 MB hold, unless each series has parameters of its own.
        A row that is no later than what a state has behind it has its series run over again. All others run over the
        history at each forecast.

        Parameters
        ----------
        X, y : same kinds as in fit
            Rows that are new, of known or new series.
        events : DataFrame or EventTable, optional
            Events that are new, past or to come, beside those that are known. See `fit`.
        static, known
            Covariates of new series, and later rows of covariates that are known ahead. See `predict`. A series that
            gets such has its history run over again.
        refit : bool
            Continue training on the whole history, from the weights, scaling, horizon and unit of time as they are.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If the rows cannot be read, or hold a second value of one channel at one time of one series (unless
            ``duplicates="mean"``). Then nothing has changed.
        """
        self._check_fitted()
        check_boolean("refit", refit)
        reader, before = self.reader_, self._histories
        reader.check_width(X, type(self).__name__)
        new = reader.read(X, y, beside=before)
        if new.layout.has_ids != before.layout.has_ids:
            this, those = ("have", "has none") if new.layout.has_ids else ("have no", "has some")
            raise DataError(f"The new rows {this} ids, but the data in fit {those}: give them in the same form.")
        for times in new.times:
            check_kind(times, new.layout.time_dtype, before, "update")
        panel, first = append_rows(before, new, self.duplicates)
        began = {key: [time] for key, time in first.items()}
        if events is not None:
            inputs, first = append_inputs(panel.inputs, reader.encode_events(events, panel, panel))
            panel = replace(panel, inputs=inputs)
            for key, time in first.items():
                began.setdefault(key, []).append(time)
        told = reader.read_covariates(panel, static, known, before.covariates)
        panel = replace(panel, covariates=panel.covariates.changed(told))
        # all series only where their states are not known yet, or their times are of other ticks now
        resumes, is_recast = self.module_.can_resume, panel.times[0].dtype != before.times[0].dtype
        is_of_all = refit or is_recast or (resumes and self._checkpoints is None)
        looked_at = panel.plain() if is_of_all else panel.select(panel.rows_of([*new.ids, *began, *told]))
        reader.check_complete(looked_at)
        if refit:
            timeline = Timeline.fit(looked_at.seen_times, unit=reader.time_unit)
            self._learn_from(looked_at, replace(reader, timeline=timeline), None, goes_on=True)
        elif resumes:
            reached = GrowingDict() if self._checkpoints is None else self._checkpoints
            with isolated(), torch.no_grad():
                further = checkpoints(self.module_, looked_at, reader, reached, began, *self._dtype_and_device)
            self._checkpoints = reached.changed(further)
        touched = panel.select(panel.rows_of(began))
        self._histories = panel
        self._last_times = self._last_times.changed(dict(zip(touched.ids, touched.last_times)))
        return self

    def with_history(self, X: Any) -> Self:
        """A copy with other histories to forecast from; nothing is learned, and events and covariates stay.

        Parameters
        ----------
        X : same kinds as in fit
            Instead of the rows in fit; forecasts without ``context`` go on from these.
        """
        self._check_fitted()
        panel = self.reader_.read(X, beside=self._panel)
        other = copy.copy(self)
        other._keep_histories(replace(panel, inputs=self._panel.inputs, covariates=self._panel.covariates))
        return other

    @isolated()
    def _learn_from(self, panel: Panel, reader: DataReader, held_out: Panel | None, goes_on: bool) -> None:
        """Train a model, a new one or from the weights there are, and keep it with the histories."""
        generator = new_generator(self.random_state)
        series = reader.series(panel)
        if held_out is None:
            split = self._split(series, reader.reach, generator)
        else:
            split = Split(series, _check_validation(reader.series(held_out)), None)
        split = replace(split, n_targets=len(reader.targets))
        draws = OwnDraws(generator)
        if goes_on:  # a copy: a fit that fails leaves the weights as they were
            module = copy.deepcopy(self.module_)
        else:
            with draws:
                widths = len(reader.channels), reader.n_inputs, reader.n_features
                module = self._build_for(split, *widths, **reader.rates)
            module = module.to(self._torch_device(), self._torch_dtype())
            self._tell(module, panel, reader)
        with draws.in_training(module), told_of_memory(self, len(reader.channels)):
            reset_reach(module)
            if goes_on:
                rows = self._train(module, split, reader.reach, generator)
            else:
                module, rows = self._train_fresh(module, split, reader, generator)
            learn_reach(module, [*split.train, *split.valid], reader.reach)
        reader = replace(reader, ends=learn_ends(module, reader, [panel] if held_out is None else [panel, held_out]))
        self._keep(reader, panel, module, rows, max(1, len(rows)))
        if module.can_resume and module.state_width:  # running over long histories again is dear
            with torch.no_grad():
                reached = checkpoints(module, panel, reader, {}, {}, *self._dtype_and_device)
            self._checkpoints = GrowingDict(reached)

    def _keep(self, reader: DataReader, panel: Panel, module: ForecastModel, history: Any, n_iter: int) -> None:
        """Set what stands under Attributes, from a fit or from a file."""
        self._keep_histories(panel)
        self.reader_, self.module_ = reader, module.eval()
        self.channels_, self.horizon_, self.time_unit_ = reader.targets, reader.horizon, reader.time_unit
        self.calendar_ = list(reader.covariates.cycles) if reader.covariates else []
        self.history_, self.n_iter_ = pd.DataFrame(history), n_iter
        self.n_features_in_ = reader.n_features_in
        self.feature_names_in_ = np.array(reader.channels, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def reader_settings(self) -> ReaderSettings:
        """How data are read, by the parameters."""
        refusals = {
            name: f"{type(self).__name__} does not read {what}: leave out {name}=, or use a forecaster that does, such "
            "as JumpODEForecaster."
            for names, what, is_read in (
                (("events",), "events", self.reads_events), (("static", "known"), "covariates", self.reads_covariates),
            )
            for name in names
            if not is_read
        }  # fmt: skip
        return ReaderSettings(
            id_col=self.id_col,
            time_col=self.time_col,
            target=self.target,
            duplicates=self.duplicates,
            horizon=self.horizon,
            time_unit=self.time_unit,
            known_path=self.known_path,
            calendar=self.calendar,
            past=labels(self.past_covariates),
            scale="standard" if self.scale == "auto" else self.scale,
            can_rescale="scale" in self.get_params(deep=False),
            has_linear_inputs=self.has_linear_inputs,
            holds_rates=self.holds_rates,
            refusals=refusals,
            support=self.support,
        )

    def _torch_dtype(self) -> torch.dtype:
        return find_dtype(self.dtype)

    def _torch_device(self) -> torch.device:
        return find_device(self.device)

    def _split(self, series: list[Series], horizon: float, generator: torch.Generator) -> Split:
        """What to train on and what to validate on."""
        return split_for_validation(series, self.validation_fraction, horizon, generator)

    # -- files -----------------------------------------------------------------------------------------------------

    def _describe(self) -> tuple[Header, Tensors]:
        return describe_forecaster(self)

    def _restore(self, header: Header, tensors: Tensors, device: torch.device) -> None:
        restore_forecaster(self, header, tensors, device)


@dataclass(kw_only=True, eq=False, repr=False)
class LearnedForecaster(HasSupport, ReadsCovariates, BaseForecaster):
    """Base of the forecasters that are trained, with the parameters that `JumpODEForecaster` describes."""

    max_context: int = 128
    max_epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-2
    early_stopping: bool = True
    patience: int = 4
    max_seconds: float | None = None
    validation_fraction: float = 0.1
    warm_start: bool = False
    callbacks: Sequence[Callback] | None = None

    checks: ClassVar[dict[str, Check]] = {
        "validation_fraction": share("(", ")", float),
        **dict.fromkeys(("max_context", "max_epochs", "batch_size", "patience"), at_least(1)),
        "learning_rate": positive,
        "max_seconds": or_value(None, positive),
        "callbacks": callables,
    }

    def _check_memory(self, module: torch.nn.Module, n_series: int, n_events: int, n_queries: int = 0) -> None:
        """Refuse steps that would not fit: of at most so many series, each with so many events and targets."""
        if self._torch_device().type != "cpu":
            return
        assert isinstance(module, ForecastModel)
        n_paths = getattr(self, "n_train_samples", 1)
        width = self._torch_dtype().itemsize * n_paths * module.step_width(n_events, n_queries)
        check_memory(self, lambda batch_size: min(batch_size, n_series) * width, module.n_channels)

    def _plan(self, weight_decay: float) -> TrainingPlan:
        return TrainingPlan(
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            weight_decay=weight_decay,
            patience=self.patience if self.early_stopping else None,
            max_seconds=self.max_seconds,
        )


def _check_validation(series: list[Series]) -> list[Series]:
    usable = [whole for whole in series if len(whole.times) > 1]
    if not usable:
        raise DataError("validation= has no series with two observation times: give longer series, or none.")
    return usable
