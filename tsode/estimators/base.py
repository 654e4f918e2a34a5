"""The scikit-learn shell: read a frame, fit a model, forecast, write a frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
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
from tsode.estimators.persistence import load_estimator, save_estimator
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

ROWS_AT_ONCE = 256  # series in one batch of a forecast: bounds memory, changes no number


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
        Channels, as scikit-learn names them.
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
        panel = self._read(X if y is None else _join(X, y, self.id_col, self.time_col))
        horizon = self._native_horizon(panel)
        unit = horizon if self.time_unit == "auto" else read_duration(self.time_unit, panel.time_kind, "time_unit")
        timeline = Timeline.fit(panel.times, unit=unit)
        scaler = ChannelScaler.fit(panel.values, "standard" if self.scale == "auto" else self.scale)
        if is_refit:
            if panel.channels != self.channels_:
                raise DataError(
                    f"warm_start continues on the same channels {self.channels_}, but came {panel.channels}: "
                    "set warm_start=False to start anew."
                )
            timeline, scaler = replace(timeline, unit=self._timeline.unit), self._scaler
        self._panel, self._timeline, self._scaler = panel, timeline, scaler
        self._row_of = {key: row for row, key in enumerate(panel.ids)}
        self.channels_ = list(panel.channels)
        self.horizon_, self.time_unit_ = horizon, unit
        self.last_times_ = dict(zip(panel.ids, panel.last_times))
        self.n_features_in_ = len(panel.channels)
        self.feature_names_in_ = np.array(panel.channels, dtype=object)
        reach = timeline.duration(horizon)
        series = self._to_model(panel)
        if validation is None:
            split = split_for_validation(series, self.validation_fraction, reach, generator)
        else:
            split = Split(series, self._to_model(self._read(validation)), None)
        with one_thread(), seeded_initialisation(generator):
            if not is_refit:
                self.module_ = self._build(len(panel.channels)).to(self._torch_device(), self._torch_dtype())
            rows = self._train(self.module_, split, reach, generator)
        self.module_.eval()
        self.history_ = pd.DataFrame(rows)
        self.n_iter_ = max(1, len(rows))
        return self

    def _check_parameters(self) -> None:
        if not 0.0 < self.validation_fraction < 1.0:
            raise ParameterError(
                f"validation_fraction is a share, in (0, 1), but is {self.validation_fraction!r}: try 0.1."
            )
        self._torch_dtype()
        self._torch_device()

    def _torch_dtype(self) -> torch.dtype:
        known = {"float32": torch.float32, "float64": torch.float64}
        if self.dtype not in known:
            raise ParameterError(f"dtype must be 'float32' or 'float64', but is {self.dtype!r}.")
        return known[self.dtype]

    def _torch_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.device(self.device)
        except RuntimeError as error:
            raise ParameterError(
                f"device={self.device!r} is not known to torch: try 'auto', 'cpu' or 'cuda'."
            ) from error

    def _read(self, X: Any) -> Panel:
        return read_panel(X, id_col=self.id_col, time_col=self.time_col, target=self.target, duplicates=self.duplicates)

    def _native_horizon(self, panel: Panel) -> Any:
        """The training horizon in the data's own time."""
        if not (isinstance(self.horizon, str) and self.horizon == "auto"):
            horizon = read_duration(self.horizon, panel.time_kind)
            Timeline.fit(panel.times).duration(horizon)  # raises if it is of another kind or not positive
            return horizon
        spans = [t[-1] - t[0] for t in panel.times if len(t) > 1]
        if not spans:
            one = np.timedelta64(1, "D") if panel.time_kind in ("datetime", "timedelta") else 1.0
            return one  # no series has two times: only a baseline can use this
        median = np.sort(np.array(spans))[len(spans) // 2]
        if panel.time_kind in ("datetime", "timedelta"):
            return max(median / 2, np.timedelta64(1, np.datetime_data(median.dtype)[0]))
        return float(median) / 2.0

    def _to_model(self, panel: Panel) -> list[Series]:
        """Series in model time and scaled units, without rows in which nothing was seen."""
        series = []
        for times, values in zip(panel.times, panel.values):
            seen = ~np.isnan(values).all(axis=1)
            series.append(Series(self._timeline.to_model(times[seen]), self._scaler.transform(values[seen])))
        return series

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
            In the kind of `X`, or else of the data in fit; in the data's own units. An array if fit was given arrays.
        """
        query, answer = self._answer(X, times, horizon, context)
        return self._write(query, {name: [a.mean[:, c] for a in answer] for c, name in enumerate(self.channels_)})

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
        levels = _check_levels(quantiles, "quantiles", 1.0)
        query, answer = self._answer(X, times, horizon, context)
        at = [a.quantiles(levels) for a in answer]
        columns: dict[Hashable, list[np.ndarray]] = {
            f"{name}-q-{level:g}": [values[:, c, q] for values in at]
            for c, name in enumerate(self.channels_)
            for q, level in enumerate(levels)
        }
        return self._write(query, columns)

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
        levels = _check_levels([level] if isinstance(level, int | float) else level, "level", 100.0)
        query, answer = self._answer(X, times, horizon, context)
        low = [a.quantiles([0.5 - share / 200.0 for share in levels]) for a in answer]
        high = [a.quantiles([0.5 + share / 200.0 for share in levels]) for a in answer]
        columns: dict[Hashable, list[np.ndarray]] = {}
        for c, name in enumerate(self.channels_):
            columns[name] = [a.mean[:, c] for a in answer]
            for q, share in enumerate(levels):
                columns[f"{name}-lo-{share:g}"] = [values[:, c, q] for values in low]
                columns[f"{name}-hi-{share:g}"] = [values[:, c, q] for values in high]
        return self._write(query, columns)

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
            The kind of `predict`, with a column ``sample`` (0, 1, ...) and a row for each sample and time.
        """
        if not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ParameterError(f"n_samples must be a whole number of at least 1, but is {n_samples!r}.")
        query, panel = self._ask(X, times, horizon, context)
        generator = new_generator(random_state)
        paths: dict[int, np.ndarray] = {}
        with one_thread(), torch.no_grad():
            for rows, batch, query_times in self._batches(query, panel):
                drawn = self.module_.sample(batch, query_times, int(n_samples), generator).cpu().double().numpy()
                for place, row in enumerate(rows):
                    paths[row] = self._scaler.inverse(drawn[:, place, : len(query.times[row])])
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
        answer = self._forecast(query, panel, impute=True)
        columns: dict[Hashable, list[np.ndarray]] = {name: [] for name in self.channels_}
        for row, key in enumerate(query.ids):
            place = panel.ids.index(key)
            at = np.searchsorted(panel.times[place], query.times[row])
            observed = panel.values[place][at]
            for c, name in enumerate(self.channels_):
                columns[name].append(np.where(np.isnan(observed[:, c]), answer[row].mean[:, c], observed[:, c]))
        return self._write(query, columns)

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
        known = ("nll", "crps", "mse", "mae")
        if metric not in known:
            raise ParameterError(f"metric={metric!r} is not known: choose one of {', '.join(known)}.")
        self._check_fitted()
        rows = X if y is None else _join(X, y, self.id_col, self.time_col)
        truth = self._read_context(rows)
        history = self._panel if context is None else _merge(self._panel, self._read_context(context))
        query = read_query(truth, self._timeline, rows, id_col=self.id_col, time_col=self.time_col)
        if len(truth) == 1 and len(history) == 1 and not _has_ids(truth):
            history = replace(history, ids=list(truth.ids))
        answer = self._forecast(query, _merge(truth, history))
        total, count = 0.0, 0
        for row, key in enumerate(query.ids):
            place = truth.ids.index(key)
            x = truth.values[place][np.searchsorted(truth.times[place], query.times[row])]
            seen = ~np.isnan(x)
            total += float(answer[row].score(x, metric)[seen].sum())
            count += int(seen.sum())
        if not count:
            raise DataError("X has no observed value to score: give rows with values.")
        return -total / count

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit(X) first.")

    def _read_context(self, X: Any) -> Panel:
        panel = read_panel(
            X,
            id_col=self.id_col,
            time_col=self.time_col,
            target=self.channels_ if not _is_series_like(X) else None,
            duplicates=self.duplicates,
            require_values=False,
        )
        if len(panel.channels) != len(self.channels_):
            raise DataError(
                f"fit saw the channels {self.channels_}, but here are {panel.channels}: give the same columns."
            )
        return panel

    def _ask(self, X: Any, times: Any, horizon: Any, context: Any) -> tuple[Query, Panel]:
        """Read what is asked, and the histories to answer it from."""
        self._check_fitted()
        panel = self._panel if context is None else self._read_context(context)
        if X is None and times is None and horizon is None:
            horizon = self.horizon_
        if X is not None and context is not None:
            panel = _merge(self._panel, panel)
        if X is not None and isinstance(X, np.ndarray):
            X = _array_rows(X, self.time_col)
        query = read_query(
            panel, self._timeline, X, times=times, horizon=horizon, id_col=self.id_col, time_col=self.time_col
        )
        return query, panel

    def _answer(self, X: Any, times: Any, horizon: Any, context: Any) -> tuple[Query, list[_Answer]]:
        query, panel = self._ask(X, times, horizon, context)
        return query, self._forecast(query, panel)

    def _forecast(self, query: Query, panel: Panel, impute: bool = False) -> list[_Answer]:
        """Predictive distributions of every series asked for, in the data's own units."""
        answers: list[_Answer | None] = [None] * len(query.ids)
        shift, scale = (torch.from_numpy(np.array(a)) for a in (self._scaler.shift, self._scaler.scale))
        with one_thread(), torch.no_grad():
            for rows, batch, query_times in self._batches(query, panel):
                forecast = self._fill(batch, query_times) if impute else self.module_.forecast(batch, query_times)
                self._check_status(forecast, [query.ids[row] for row in rows])
                family = forecast.family
                assert isinstance(family, Likelihood)
                params = family.affine(forecast.params.cpu().double(), shift, scale)
                for place, row in enumerate(rows):
                    answers[row] = _Answer(family, params[place, : len(query.times[row])])
        return [answer for answer in answers if answer is not None]

    def _fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """The distribution from which missing entries are filled: filtered, unless a model can smooth."""
        return self.module_.forecast(batch, query_times, side="right")

    def _batches(self, query: Query, panel: Panel) -> list[tuple[list[int], IrregularBatch, Tensor]]:
        """Rows of the query with their histories, series of like length together."""
        place_of = {key: place for place, key in enumerate(panel.ids)}
        chosen = self._to_model(panel.select([place_of[key] for key in query.ids]))
        asked = [self._timeline.to_model(t) for t in query.times]
        order = sorted(range(len(chosen)), key=lambda row: len(chosen[row].times))
        batches = []
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = [row for row in order[start : start + ROWS_AT_ONCE] if len(asked[row])]
            if not rows:
                continue
            batch = IrregularBatch.from_arrays(
                [chosen[row].times for row in rows], [chosen[row].values for row in rows], self._torch_dtype()
            )
            # short questions are padded with their own last time
            width = max(len(asked[row]) for row in rows)
            padded = np.stack([np.pad(asked[row], (0, width - len(asked[row])), mode="edge") for row in rows])
            device = next(iter(self.module_.state_dict().values())).device
            batches.append((rows, batch.to(device), torch.from_numpy(padded).to(device)))
        return batches

    def _check_status(self, forecast: Forecast, ids: Sequence[Hashable]) -> None:
        """Raise one named error for all series whose solve failed."""
        status = forecast.status.cpu()
        finite = torch.isfinite(forecast.params).flatten(1).all(dim=1).cpu()
        status = torch.where(finite, status, torch.maximum(status, torch.full_like(status, int(Status.NON_FINITE))))
        failed = [(key, Status(int(s))) for key, s in zip(ids, status) if int(s)]
        if failed:
            names = ", ".join(repr(key) for key, _ in failed[:5]) + (", ..." if len(failed) > 5 else "")
            raise SolverError(f"The forecast of series {names} {failed[0][1].meaning}.")

    def _write(self, query: Query, columns: dict[Hashable, list[np.ndarray]]) -> Any:
        return write_frame(query.layout, query.ids, query.times, columns, rows=query.rows, index=query.index)

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


class _Answer:
    """Predictive distribution of one series at its times, in the data's own units."""

    def __init__(self, family: Likelihood, params: Tensor) -> None:
        self.family = family
        self.params = params

    @property
    def mean(self) -> np.ndarray:
        return self.family.mean(self.params).numpy()

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Array[m c q]."""
        p = torch.tensor(list(levels), dtype=torch.float64)
        return self.family.quantile(self.params[..., None, :], p).numpy()

    def score(self, x: np.ndarray, metric: str) -> np.ndarray:
        truth = torch.from_numpy(np.nan_to_num(x))
        if metric == "nll":
            return -self.family.log_prob(self.params, truth).numpy()
        if metric == "crps":
            return self.family.crps(self.params, truth).numpy()
        if metric == "mse":
            return (x - self.mean) ** 2
        return np.abs(x - self.quantiles([0.5])[..., 0])


def _merge(panel: Panel, over: Panel) -> Panel:
    """Series of both; where an id is in both, the one in `over` stands."""
    kept = [row for row, key in enumerate(panel.ids) if key not in set(over.ids)]
    below = panel.select(kept)
    return replace(
        over,
        ids=[*below.ids, *over.ids],
        times=[*below.times, *over.times],
        values=[*below.values, *over.values],
    )


def _check_levels(levels: Sequence[float], name: str, top: float) -> list[float]:
    numbers = [float(level) for level in levels]
    if not numbers or not all(0.0 < level < top for level in numbers):
        raise ParameterError(
            f"{name} must lie between 0 and {top:g}, but is {list(levels)!r}: pass e.g. {name}={[top * 0.8]}."
        )
    return numbers


def _has_ids(panel: Panel) -> bool:
    return panel.layout.kind not in ("series", "wide")


def _is_series_like(X: Any) -> bool:
    return isinstance(X, pd.Series) or (isinstance(X, list) and bool(X) and isinstance(X[0], pd.Series))


def _array_rows(X: np.ndarray, time_col: Hashable) -> pd.DataFrame:
    """The scikit-learn reading of a plain array: a row is one observation of one path, the first column its time."""
    if X.ndim != 2 or X.shape[1] != 1:
        raise DataError(
            f"An array X gives times in its one column, so it must have shape (n, 1), but has {X.shape}: "
            "give a DataFrame where there is more to say."
        )
    return pd.DataFrame(index=pd.Index(np.array(X[:, 0], dtype=float), name=time_col))


def _join(X: Any, y: Any, id_col: Hashable, time_col: Hashable) -> Any:
    """Put the values `y` beside the times in `X`."""
    frame = _array_rows(X, time_col) if isinstance(X, np.ndarray) else X
    if not isinstance(frame, pd.DataFrame | pd.Index):
        raise DataError(f"With y, X must be a DataFrame, an Index or an array of times, but is a {type(X).__name__}.")
    frame = pd.DataFrame(index=frame) if isinstance(frame, pd.Index) else frame
    columns = [column for column in (id_col, time_col) if column in frame.columns]
    if isinstance(y, pd.DataFrame):
        values = pd.DataFrame(y.to_numpy(copy=True), columns=y.columns)
    else:
        name = y.name if isinstance(y, pd.Series) and y.name is not None else "y"
        values = pd.DataFrame(np.array(y), columns=[name] if np.ndim(y) == 1 else None)
    if len(values) != len(frame):
        raise DataError(f"y has {len(values)} rows, but X has {len(frame)}: they must be aligned row by row.")
    values.index = frame.index
    return pd.concat([frame[columns], values], axis=1)
