"""The scikit-learn shell: read a frame, fit a model, forecast, write a frame."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tsode._random import new_generator, seeded_initialisation
from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.status import Status
from tsode.core.timeline import Timeline
from tsode.errors import DataError, NotFittedError, ParameterError, SolverError
from tsode.estimators.answer import METRICS, Answer
from tsode.estimators.persistence import load_estimator, save_estimator
from tsode.estimators.rows import array_rows, join_values
from tsode.estimators.settings import find_device, find_dtype, find_horizon, read_levels
from tsode.estimators.translate import Translator, merge_panels, values_at
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.times import Query, read_duration, read_query
from tsode.frames.write import write_frame
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel
from tsode.training.splits import Split, split_for_validation
from tsode.training.threads import one_thread
from tsode.training.windows import Series

__all__ = ["BaseForecaster"]


class BaseForecaster(BaseEstimator):
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

    channels_: list[Hashable]
    time_unit_: Any
    module_: ForecastModel
    _panel: Panel
    _timeline: Timeline
    _scaler: ChannelScaler
    _is_array: bool
    _is_squeezed: bool

    # -- what a subclass gives -------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, n_channels: int) -> ForecastModel:
        """A fresh model for scaled data in model time."""

    @abstractmethod
    def _train(
        self, module: torch.nn.Module, split: Split, horizon: float, generator: torch.Generator
    ) -> list[dict[str, float]]:
        """Fit `module` in place and return the rows of its history."""

    # -- fit -------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, validation: Any = None) -> Self:
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
        generator = new_generator(self.random_state)
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
            scaler = ChannelScaler.fit(panel.values, self._scaling())
        timeline = Timeline.fit(panel.times, unit=unit)
        reach = timeline.duration(horizon)
        translator = Translator(timeline, scaler)
        series = translator.series(panel)
        if validation is None:
            split = self._split(series, reach, generator)
        else:
            held_out = translator.series(self._read_context(validation, panel.channels))
            split = Split(series, _check_validation(held_out), None)
        with one_thread(), seeded_initialisation(generator):
            if is_refit:  # a copy: a fit that fails leaves the weights as they were
                module = copy.deepcopy(self.module_)
            else:
                module = self._build(len(panel.channels)).to(self._torch_device(), self._torch_dtype())
            rows = self._train(module, split, reach, generator)
        self._panel, self._timeline, self._scaler = panel, timeline, scaler
        self._is_array, self._is_squeezed = isinstance(X, np.ndarray), y is not None and np.ndim(y) == 1
        self.module_ = module.eval()
        self.channels_ = list(panel.channels)
        self.horizon_, self.time_unit_ = horizon, unit
        self.last_times_ = dict(zip(panel.ids, panel.last_times))
        self.n_features_in_ = len(panel.channels)
        if self._is_array:
            self.n_features_in_ = X.shape[1] if X.ndim == 2 else 1
        self.feature_names_in_ = np.array(panel.channels, dtype=object)
        self.history_ = pd.DataFrame(rows)
        self.n_iter_ = max(1, len(rows))
        return self

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

    # -- forecast --------------------------------------------------------------------------------------------------

    def predict(self, X: Any = None, *, times: Any = None, horizon: Any = None, context: Any = None) -> Any:
        """Forecast the mean of every channel.

        A forecast at a time uses the observations strictly before it, from the history of its series.

        Parameters
        ----------
        X : rows, optional
            When and for whom: ids and times as in fit. Value columns are not read.
        times : list of times, or dict of id to times, optional
            Ask for these times of every series.
        horizon : duration or list of durations, optional
            Ask up to this long after the last observation of each series, evenly spaced; a list asks for exactly
            these leads. With none of the three, the training horizon is asked for.
        context : same kinds as X in fit, optional
            Histories to forecast from, of new or known series; the default is what was given to fit.

        Returns
        -------
        Series, DataFrame or list
            In the kind of `X`, or else of the data in fit; in the data's own units. An array where `X` is an array,
            of the shape of the `y` in fit.
        """
        query, answer = self._answer(X, times, horizon, context)
        columns = {name: [a.mean[:, c] for a in answer] for c, name in enumerate(self.channels_)}
        return self._write(query, columns, X)

    def predict_quantiles(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    ) -> Any:
        """Forecast quantiles; columns are named ``channel-q-0.1``. See `predict`."""
        levels = read_levels(quantiles, "quantiles", 1.0)
        query, answer = self._answer(X, times, horizon, context)
        at = [a.quantiles(levels) for a in answer]
        columns: dict[Hashable, list[np.ndarray]] = {
            f"{name}-q-{level:g}": [values[:, c, q] for values in at]
            for c, name in enumerate(self.channels_)
            for q, level in enumerate(levels)
        }
        return self._write(query, columns, X)

    def predict_interval(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        level: float | Sequence[float] = (80, 95),
    ) -> Any:
        """Forecast the mean and central intervals; columns are named ``channel-lo-80``, ``channel-hi-80``.

        Parameters
        ----------
        level : per cent or list of per cents
            Share of observations that an interval should hold. See `predict` for the others.
        """
        levels = read_levels(level, "level", 100.0)
        query, answer = self._answer(X, times, horizon, context)
        low = [a.quantiles([0.5 - share / 200.0 for share in levels]) for a in answer]
        high = [a.quantiles([0.5 + share / 200.0 for share in levels]) for a in answer]
        columns: dict[Hashable, list[np.ndarray]] = {}
        for c, name in enumerate(self.channels_):
            columns[name] = [a.mean[:, c] for a in answer]
            for q, share in enumerate(levels):
                columns[f"{name}-lo-{share:g}"] = [values[:, c, q] for values in low]
                columns[f"{name}-hi-{share:g}"] = [values[:, c, q] for values in high]
        return self._write(query, columns, X)

    def sample(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> Any:
        """Draw joint paths of future observations.

        One sample is one path: its values at different times, and of different channels, belong together. Filters
        draw them as the forecast's own marginals tied by a Markov process of forecast errors, whose memory, noise
        share and correlation between channels were fitted on held-out forecasts; a linear SDE draws them from its
        exact joint law; baselines from a random walk with their spread.

        Parameters
        ----------
        n_samples : int
        random_state : int, generator or None
            See `predict` for the others.

        Returns
        -------
        DataFrame or list
            The kind of `predict`, with a column ``sample`` (0, 1, ...) and a row for each sample and time: by series,
            then sample, then time.
        """
        if not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ParameterError(f"n_samples must be a whole number of at least 1, but is {n_samples!r}.")
        query, panel = self._ask(X, times, horizon, context)
        if "sample" in self.channels_:
            raise DataError("A channel is named 'sample', as the column that numbers the samples: rename the channel.")
        generator = new_generator(random_state)
        paths: dict[int, np.ndarray] = {}
        failed: dict[int, int] = {}
        with one_thread(), torch.no_grad():
            for rows, batch, query_times in self._batches(query, panel):
                failed |= _failed(self.module_.forecast(batch, query_times), rows)  # samples bring no status
                drawn = self.module_.sample(batch, query_times, int(n_samples), generator).cpu().double().numpy()
                for place, row in enumerate(rows):
                    paths[row] = self._scaler.inverse(drawn[:, place, : len(query.times[row])])
        _raise_failed(query, failed)
        counts = [len(t) for t in query.times]
        columns: dict[Hashable, list[np.ndarray]] = {
            "sample": [np.repeat(np.arange(n_samples), count) for count in counts]
        }
        for c, name in enumerate(self.channels_):
            columns[name] = [paths[row][:, :, c].reshape(-1) for row in range(len(counts))]
        times_again = [np.tile(t, n_samples) for t in query.times]
        return write_frame(query.layout, query.ids, times_again, columns)

    def impute(self, X: Any) -> Any:
        """Fill the entries of `X` that are NaN; what was observed stays as it is.

        Filters fill from the past and from the other channels at the same time, not from the future;
        `LinearSDEForecaster` smooths, so it uses what came later as well.

        Parameters
        ----------
        X : same kinds as in fit
            Its own observed values are the history.
        """
        self._check_fitted()
        panel = self._read_context(X)
        query = read_query(panel, self._timeline, X, id_col=self.id_col, time_col=self.time_col)
        filled = [
            np.where(np.isnan(x), answer.mean, x)
            for x, answer in zip(values_at(panel, query), self._forecast(query, panel, impute=True))
        ]
        return self._write(query, {name: [x[:, c] for x in filled] for c, name in enumerate(self.channels_)}, X)

    def score(self, X: Any, y: Any = None, *, context: Any = None, metric: str = "nll") -> float:
        """Score forecasts of the values in `X`; greater is better, so errors are negated.

        Series that fit has seen are forecast from their history there (or from `context`). A series that is neither
        in fit nor in `context` is its own history: each of its rows is forecast from the rows before it.

        Parameters
        ----------
        X : same kinds as in fit
        y : values, optional
            As in fit.
        metric : {"nll", "crps", "mse", "mae"}
            Negative log likelihood in nats of the data's own units, continuous ranked probability score, mean
            squared error, mean absolute error of the median; means over all observed values.
        """
        if metric not in METRICS:
            raise ParameterError(f"metric={metric!r} is not known: choose one of {', '.join(METRICS)}.")
        self._check_fitted()
        self._check_width(X)
        rows = X if y is None else join_values(X, y, self.id_col, self.time_col)
        truth = self._read_context(rows)
        history = self._panel if context is None else merge_panels(self._panel, self._read_context(context))
        query = read_query(truth, self._timeline, rows, id_col=self.id_col, time_col=self.time_col)
        if len(truth) == 1 and len(history) == 1 and not _has_ids(truth):
            history = replace(history, ids=list(truth.ids))
        answers = self._forecast(query, merge_panels(truth, history))
        total, count = 0.0, 0
        for x, answer in zip(values_at(truth, query), answers):
            seen = ~np.isnan(x)
            total += float(answer.error(x, metric)[seen].sum())
            count += int(seen.sum())
        if not count:
            raise DataError("X has no observed value to score: give rows with values.")
        return -total / count

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit(X) first.")

    def _check_width(self, X: Any) -> None:
        width = X.shape[1] if isinstance(X, np.ndarray) and X.ndim == 2 else 1
        wanted = self.n_features_in_ if self._is_array else 1
        if isinstance(X, np.ndarray) and width != wanted:
            name = type(self).__name__
            raise DataError(f"X has {width} features, but {name} is expecting {wanted} features as input, as in fit.")

    def _read_context(self, X: Any, channels: list[Hashable] | None = None) -> Panel:
        """Read a panel with these channels (the fitted ones)."""
        channels = self.channels_ if channels is None else channels
        panel = read_panel(
            X,
            id_col=self.id_col,
            time_col=self.time_col,
            target=channels if not _is_series_like(X) else None,
            duplicates=self.duplicates,
            require_values=False,
        )
        if len(panel.channels) != len(channels):
            raise DataError(f"fit saw the channels {channels}, but here are {panel.channels}: give the same columns.")
        return panel

    def _ask(self, X: Any, times: Any, horizon: Any, context: Any) -> tuple[Query, Panel]:
        """Read what is asked, and the histories to answer it from."""
        self._check_fitted()
        self._check_width(X)
        panel = self._panel if context is None else self._read_context(context)
        if X is None and times is None and horizon is None:
            horizon = self.horizon_
        if X is not None and context is not None and _has_ids(panel):
            panel = merge_panels(self._panel, panel)
        if isinstance(X, np.ndarray):
            X = array_rows(X, self.time_col)
        query = read_query(
            panel, self._timeline, X, times=times, horizon=horizon, id_col=self.id_col, time_col=self.time_col
        )
        return query, panel

    def _answer(self, X: Any, times: Any, horizon: Any, context: Any) -> tuple[Query, list[Answer]]:
        query, panel = self._ask(X, times, horizon, context)
        return query, self._forecast(query, panel)

    def _forecast(self, query: Query, panel: Panel, impute: bool = False) -> list[Answer]:
        """Predictive distributions of every series asked for, in the data's own units."""
        answers: dict[int, Answer] = {}
        failed: dict[int, int] = {}
        shift, scale = (torch.from_numpy(np.array(a)) for a in (self._scaler.shift, self._scaler.scale))
        with one_thread(), torch.no_grad():
            for rows, batch, query_times in self._batches(query, panel):
                forecast = self._fill(batch, query_times) if impute else self.module_.forecast(batch, query_times)
                family = forecast.family
                assert isinstance(family, Likelihood)
                failed |= _failed(forecast, rows)
                params = family.affine(forecast.params.cpu().double(), shift, scale)
                for place, row in enumerate(rows):
                    answers[row] = Answer(family, params[place, : len(query.times[row])])
        _raise_failed(query, failed)
        return [answers[row] for row in range(len(query.ids))]

    def _fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """The distribution from which missing entries are filled: filtered, unless a model can smooth."""
        return self.module_.forecast(batch, query_times, side="right")

    def _batches(self, query: Query, panel: Panel) -> Iterator[tuple[list[int], IrregularBatch, Tensor]]:
        device = next(iter(self.module_.state_dict().values())).device
        return Translator(self._timeline, self._scaler).batches(query, panel, self._torch_dtype(), device)

    def _write(self, query: Query, columns: dict[Hashable, list[np.ndarray]], X: Any) -> Any:
        """Results in the kind of container that asked: `X` as the user gave it."""
        frame = write_frame(query.layout, query.ids, query.times, columns, rows=query.rows, index=query.index)
        if self._is_squeezed and isinstance(frame, pd.DataFrame) and frame.shape[1] == 1:
            frame = frame.iloc[:, 0]
        return frame.to_numpy() if isinstance(X, np.ndarray) else frame

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


def _check_validation(series: list[Series]) -> list[Series]:
    usable = [one for one in series if len(one.times) > 1]
    if not usable:
        raise DataError("validation= has no series with two observation times: give longer series, or none.")
    return usable


def _failed(forecast: Forecast, rows: Sequence[int]) -> dict[int, int]:
    """Rows of the query whose solve failed -> `Status`."""
    is_broken = ~torch.isfinite(forecast.params).flatten(1).all(dim=1)
    status = forecast.status.clamp(min=is_broken * int(Status.NON_FINITE)).tolist()
    return {row: outcome for row, outcome in zip(rows, status) if outcome}


def _raise_failed(query: Query, failed: dict[int, int]) -> None:
    """Raise one named error for all rows of the query whose solve failed."""
    if failed:
        ids = [repr(query.ids[row]) for row in sorted(failed)]
        names = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
        raise SolverError(f"The forecast of series {names} {Status(max(failed.values())).meaning}.")


def _has_ids(panel: Panel) -> bool:
    return panel.layout.kind not in ("series", "wide")


def _is_series_like(X: Any) -> bool:
    return isinstance(X, pd.Series) or (isinstance(X, list) and bool(X) and isinstance(X[0], pd.Series))
