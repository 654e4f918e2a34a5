"""Fitted forecaster: reads a question, runs the model over the histories, writes the answer."""

from __future__ import annotations

import datetime
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tsode._random import new_generator
from tsode._threads import one_thread
from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.series import Series
from tsode.core.status import Status
from tsode.core.timeline import Timeline
from tsode.errors import DataError, NotFittedError, ParameterError, SolverError
from tsode.estimators.forecasters.array_inputs import array_rows, join_values
from tsode.estimators.forecasters.history import Checkpoint
from tsode.estimators.forecasters.predictive import METRICS, Predictive, quantiles_of_all
from tsode.estimators.forecasters.reader import Translator, merge_panels, values_at
from tsode.estimators.forecasters.scenarios import compare
from tsode.estimators.forecasters.updating import go_on
from tsode.estimators.settings import find_dtype, read_levels
from tsode.frames.covariates import CovariateCoder
from tsode.frames.events import read_events
from tsode.frames.inputs import EventEncoder
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.times import Query, check_kind, read_query
from tsode.frames.write import write_frame
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel
from tsode.models.filters.state import FilterState

__all__ = ["FittedForecaster"]


class FittedForecaster(BaseEstimator):
    """Questions to a forecaster, once `BaseForecaster.fit` has set the attributes listed here."""

    id_col: Hashable
    time_col: Hashable
    duplicates: str
    dtype: str

    reads_events: bool = False
    """Whether `events` in fit are learned from; if not, they are an error."""
    has_linear_inputs: bool = False
    """Whether the effect of an event grows with its amount."""
    reads_covariates: bool = False
    """Whether `static` and `known` in fit are learned from; if not, they are an error."""

    channels_: list[Hashable]
    calendar_: list[str]
    horizon_: Any
    last_times_: dict[Hashable, Any]
    time_unit_: Any
    n_features_in_: int
    module_: ForecastModel
    _panel: Panel
    _timeline: Timeline
    _scaler: ChannelScaler
    _coder: EventEncoder | None
    _covariates: CovariateCoder | None
    _is_array: bool
    _is_squeezed: bool
    _checkpoints: Mapping[Hashable, Checkpoint]

    def predict(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
    ) -> Any:
        """Forecast the mean of every channel.

        A forecast at a time uses the observations strictly before it, from the history of its series, and the events
        strictly before it.

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
        events : DataFrame or EventTable, optional
            All events at known times, past and to come, of the series that are asked about; the default is what was
            given to fit. See `fit`.
        static : DataFrame, optional
            Constants of new series, or other ones of known series; the default is what was given to fit. See `fit`.
        known : same kinds as X in fit, optional
            Covariates that are known ahead, of new series, or from some time on: from the first of its rows on they
            replace those given to fit. See `fit`.

        Returns
        -------
        Series, DataFrame or list
            In the kind of `X`, or else of the data in fit; in the data's own units. An array where `X` is an array,
            of the shape of the `y` in fit.
        """
        query, answer = self._answer(X, times, horizon, context, events, static, known)
        columns = {name: [a.mean[:, c] for a in answer] for c, name in enumerate(self.channels_)}
        return self._write(query, columns, X)

    def predict_quantiles(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    ) -> Any:
        """Forecast quantiles; columns are named ``channel-q-0.1``. See `predict`."""
        levels = read_levels(quantiles, "quantiles", 1.0)
        query, answer = self._answer(X, times, horizon, context, events, static, known)
        _check_labels(self.channels_, [f"-q-{level:g}" for level in levels])
        at = quantiles_of_all(answer, levels)
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
        events: Any = None,
        static: Any = None,
        known: Any = None,
        level: float | Sequence[float] = (80, 95),
    ) -> Any:
        """Forecast the mean and central intervals; columns are named ``channel-lo-80``, ``channel-hi-80``.

        Parameters
        ----------
        level : per cent or list of per cents
            Share of observations that an interval should hold. See `predict` for the others.
        """
        levels = read_levels(level, "level", 100.0)
        query, answer = self._answer(X, times, horizon, context, events, static, known)
        _check_labels(self.channels_, ["", *(f"-{side}-{share:g}" for share in levels for side in ("lo", "hi"))])
        low = quantiles_of_all(answer, [0.5 - share / 200.0 for share in levels])
        high = quantiles_of_all(answer, [0.5 + share / 200.0 for share in levels])
        columns: dict[Hashable, list[np.ndarray]] = {}
        for c, name in enumerate(self.channels_):
            columns[name] = [a.mean[:, c] for a in answer]
            for q, share in enumerate(levels):
                columns[f"{name}-lo-{share:g}"] = [values[:, c, q] for values in low]
                columns[f"{name}-hi-{share:g}"] = [values[:, c, q] for values in high]
        return self._write(query, columns, X)

    def predict_spread(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
    ) -> Any:
        """Forecast standard deviations, and what they are made of.

        The square of ``channel-sd`` is the sum of the squares of ``channel-sd-aleatoric`` and ``channel-sd-epistemic``
        (law of total variance). Aleatoric is what the members of an ensemble hold for noise on average; epistemic is
        what their means disagree about, which grows away from the data and is 0 for a single model. See `predict` for
        the parameters.
        """
        query, answer = self._answer(X, times, horizon, context, events, static, known)
        _check_labels(self.channels_, ["-sd", "-sd-aleatoric", "-sd-epistemic"])
        columns: dict[Hashable, list[np.ndarray]] = {}
        for c, name in enumerate(self.channels_):
            both = [tuple(part[:, c] for part in a.variances) for a in answer]
            columns[f"{name}-sd"] = [np.sqrt(total) for total, _ in both]
            columns[f"{name}-sd-aleatoric"] = [np.sqrt(np.maximum(total - part, 0.0)) for total, part in both]
            columns[f"{name}-sd-epistemic"] = [np.sqrt(part) for _, part in both]
        return self._write(query, columns, X)

    def sample(
        self,
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        n_samples: int = 100,
        random_state: Any = None,
    ) -> Any:
        """Draw joint paths of future observations.

        One sample is one path: its values at different times, and of different channels, belong together. Filters
        draw them as the forecast's own marginals tied by a Markov process of forecast errors, whose memory, noise
        share and correlation between channels were fitted on held-out forecasts; a linear SDE draws them from its
        exact joint law; a latent model draws a latent path for each, read out with independent noise; baselines from
        a random walk with their spread.

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
        query, panel = self._ask(X, times, horizon, context, events, static, known)
        if "sample" in self.channels_:
            raise DataError("A channel is named 'sample', as the column that numbers the samples: rename the channel.")
        paths = self._paths(query, panel, int(n_samples), new_generator(random_state))
        counts = [len(t) for t in query.times]
        columns: dict[Hashable, list[np.ndarray]] = {
            "sample": [np.repeat(np.arange(n_samples), count) for count in counts]
        }
        for c, name in enumerate(self.channels_):
            columns[name] = [paths[row][:, :, c].reshape(-1) for row in range(len(counts))]
        times_again = [np.tile(t, n_samples) for t in query.times]
        return write_frame(query.layout, query.ids, times_again, columns)

    def what_if(
        self,
        scenarios: Mapping[str, Any],
        X: Any = None,
        *,
        times: Any = None,
        horizon: Any = None,
        context: Any = None,
        static: Any = None,
        known: Any = None,
        level: float | Sequence[float] = (80,),
        n_samples: int = 200,
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Forecast under several event tables, and by how much they differ from the first.

        The differences are paired: all scenarios share the same random numbers, so that the band of a difference
        holds what the events change and not what would have been uncertain anyway. A series whose events are the same
        in two scenarios has a difference of exactly zero.

        What is reported is how forecasts differ between series in which these events happen. It may be read as the
        effect of causing them only if, in the data of fit, events were given for reasons that the model sees (they
        were randomised, or decided from the observed history alone); if such histories had some chance of every
        compared table; and if an event does the same whoever decides it. Doses that go to the sicker patient, for
        reasons that are not in the data, look harmful here as they do in any regression.

        Parameters
        ----------
        scenarios : dict of name to events
            All events of the series, past and to come, as in `predict`; None stands for those given to fit. The first
            is what the others are compared with.
        X, times, horizon, context, static, known
            See `predict`.
        level : per cent or list of per cents
            Of the bands.
        n_samples : int
            Paths from which the bands of differences are taken.
        random_state : int, generator or None

        Returns
        -------
        DataFrame
            A row for each scenario, series and time, whatever the container of the data: the ids and times, then
            ``scenario``, and for each channel its mean ``channel``, its band ``channel-lo-80``, ``channel-hi-80``,
            the difference of means ``channel-diff`` and the band of paired differences ``channel-diff-lo-80``,
            ``channel-diff-hi-80``.
        """
        query, panel = self._ask(X, times, horizon, context, None, static, known)
        return compare(self, scenarios, query, panel, int(n_samples), level, random_state)

    def impute(self, X: Any, *, events: Any = None, static: Any = None, known: Any = None) -> Any:
        """Fill the entries of `X` that are NaN; what was observed stays as it is.

        `LinearSDEForecaster` and `LatentODEForecaster` smooth: they fill from what came before, at the same time and
        after. All others filter: they fill from the past and from the other channels at the same time, never from the
        future.

        Parameters
        ----------
        X : same kinds as in fit
            Its own observed values are the history.
        events, static, known
            See `predict`.
        """
        self._check_fitted()
        panel = self._given(self._read_context(X), events, static, known)
        query = read_query(panel, self._timeline, X, id_col=self.id_col, time_col=self.time_col)
        filled = [
            np.where(np.isnan(x), answer.mean, x)
            for x, answer in zip(values_at(panel, query), self._forecast(query, panel, impute=True))
        ]
        return self._write(query, {name: [x[:, c] for x in filled] for c, name in enumerate(self.channels_)}, X)

    def score(
        self,
        X: Any,
        y: Any = None,
        *,
        context: Any = None,
        events: Any = None,
        static: Any = None,
        known: Any = None,
        metric: str = "nll",
        sample_weight: Any = None,
    ) -> float:
        """Score forecasts of the values in `X`; greater is better, so errors are negated.

        Series that fit has seen are forecast from their history there (or from `context`). A series that is neither
        in fit nor in `context` is its own history: each of its rows is forecast from the rows before it.

        Parameters
        ----------
        X : same kinds as in fit
        y : values, optional
            As in fit.
        events, static, known
            See `predict`.
        metric : {"nll", "crps", "mse", "mae"}
            Negative log likelihood in nats of the data's own units, continuous ranked probability score, mean
            squared error, mean absolute error of the median; means over all observed values.
        sample_weight : array[n], optional
            Weight of each row of `X` in the mean.
        """
        if metric not in METRICS:
            raise ParameterError(f"metric={metric!r} is not known: choose one of {', '.join(METRICS)}.")
        self._check_fitted()
        self._check_width(X)
        rows = X if y is None else join_values(X, y, self.id_col, self.time_col)
        truth = self._read_context(rows)
        history = self._panel if context is None else merge_panels(self._panel, self._read_context(context))
        query = read_query(truth, self._timeline, rows, id_col=self.id_col, time_col=self.time_col)
        if len(truth) == 1 and len(history) == 1 and not truth.layout.has_ids:
            history = replace(history, ids=list(truth.ids))
        answers = self._forecast(query, self._given(merge_panels(truth, history), events, static, known))
        lengths, n_targets = [len(times) for times in query.times], len(self.channels_)
        weight = _check_sample_weight(sample_weight, sum(lengths))[query.rows]
        total = count = 0.0
        for x, answer, own in zip(values_at(truth, query), answers, np.split(weight, np.cumsum(lengths)[:-1])):
            seen = ~np.isnan(x[:, :n_targets])
            total += float((own[:, None] * answer.error(x, metric)[:, :n_targets])[seen].sum())
            count += float((own[:, None] * seen).sum())
        if not count:
            raise DataError("X has no observed value to score: give rows with values, of which some have weight.")
        return -total / count

    # -- going on --------------------------------------------------------------------------------------------------

    def update(
        self, X: Any, y: Any = None, *, events: Any = None, static: Any = None, known: Any = None, refit: bool = False
    ) -> Self:
        """Append new rows to the history, so that forecasts go on from them; nothing is learned unless `refit`.

        Forecasts are those from the whole history. A filter of one pass (`JumpODEForecaster`) keeps its state in each
        series, so that a row costs the same however long the history is; the first update runs over the histories once.
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
        go_on(self, X, y, events, static, known, refit)
        return self

    @abstractmethod
    def _continue(self, panel: Panel) -> None:
        """Train on from the present weights, on these histories."""

    # -- inside ----------------------------------------------------------------------------------------------------

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        cycles = getattr(self, "calendar_", [])
        return super().__repr__(N_CHAR_MAX) + (f"  # calendar: {', '.join(cycles)}" if cycles else "")

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
        channels = self._panel.channels if channels is None else channels
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

    def _read_events(self, events: Any, panel: Panel) -> pd.DataFrame:
        """Read events of the series in `panel`, and of others."""
        if not self.reads_events:
            raise DataError(
                f"{type(self).__name__} does not read events: leave out events=, or use a forecaster that does, such "
                "as JumpODEForecaster."
            )
        rows = read_events(events, panel.ids, id_col=self.id_col, time_col=self.time_col)
        if len(rows):
            check_kind(rows["time"].to_numpy(), rows.attrs["time_dtype"], panel, "events=")
        return rows

    def _known_inputs(self) -> EventEncoder:
        if self._coder is None:
            raise DataError("fit saw no events, so their effect is not known: leave out events=, or fit with events.")
        return self._coder

    def _given(self, panel: Panel, events: Any, static: Any, known: Any) -> Panel:
        """The panel with these events and covariates, or those of fit."""
        return self._with_known(self._with_events(panel, events), static, known)

    def _with_known(self, panel: Panel, static: Any, known: Any) -> Panel:
        """The panel with these covariates, or those of fit."""
        if self._covariates is None:
            for name, table in (("static", static), ("known", known)):
                if table is not None:
                    raise DataError(f"fit saw no covariates: leave out {name}=, or fit with them.")
            return panel
        found = self._covariates.read(static, known, panel, self._panel.known, self.id_col, self.time_col)
        return replace(panel, known=found)

    def _with_events(self, panel: Panel, events: Any) -> Panel:
        """The panel with these events, or those of fit."""
        if events is None:
            return replace(panel, inputs=self._panel.inputs)
        return replace(panel, inputs=self._known_inputs().encode(self._read_events(events, panel)))

    def _ask(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any = None, known: Any = None
    ) -> tuple[Query, Panel]:
        """Read what is asked, and the histories to answer it from."""
        self._check_fitted()
        self._check_width(X)
        panel = self._panel if context is None else self._read_context(context)
        if X is None and times is None and horizon is None:
            horizon = self.horizon_
        if X is not None and context is not None and panel.layout.has_ids:
            panel = merge_panels(self._panel, panel)
        if isinstance(X, str | int | float | datetime.timedelta | np.timedelta64):
            raise ParameterError(f"X takes rows of ids and times, but is {X!r}: pass horizon={X!r} for a time ahead.")
        if isinstance(X, np.ndarray):
            X = array_rows(X, self.time_col)
        query = read_query(
            panel, self._timeline, X, times=times, horizon=horizon, id_col=self.id_col, time_col=self.time_col
        )
        return query, self._given(panel, events, static, known)

    def _answer(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any, known: Any
    ) -> tuple[Query, list[Predictive]]:
        query, panel = self._ask(X, times, horizon, context, events, static, known)
        return query, self._forecast(query, panel)

    def _forecast(self, query: Query, panel: Panel, impute: bool = False) -> list[Predictive]:
        """Predictive distributions of every series asked for, in the data's own units."""
        answers: dict[int, Predictive] = {}
        failed: dict[int, int] = {}
        shift, scale = (torch.from_numpy(np.array(a)) for a in (self._scaler.shift, self._scaler.scale))
        with one_thread(), torch.no_grad():
            for rows, batch, query_times, state in self._resumed(query, panel, impute):
                if impute:
                    forecast = self.module_.fill(batch, query_times)
                else:
                    forecast = self.module_.forecast(batch, query_times, **state)
                family = forecast.family
                assert isinstance(family, Likelihood)
                failed |= _failed(forecast, rows)
                params = family.affine(forecast.params.cpu().double(), shift, scale)
                for place, row in enumerate(rows):
                    answers[row] = Predictive(family, params[place, : len(query.times[row])])
        _raise_failed(query, failed)
        return [answers[row] for row in range(len(query.ids))]

    def _paths(self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator) -> list[np.ndarray]:
        """Joint paths (s m c) of every series asked for, in the data's own units."""
        paths: dict[int, np.ndarray] = {}
        failed: dict[int, int] = {}
        with one_thread(), torch.no_grad():
            for rows, batch, query_times, state in self._resumed(query, panel):
                failed |= _failed(self.module_.forecast(batch, query_times, **state), rows)  # samples bring no status
                drawn = self.module_.sample(batch, query_times, n_samples, generator, **state).cpu().double().numpy()
                for place, row in enumerate(rows):
                    paths[row] = self._scaler.inverse(drawn[:, place, : len(query.times[row])])
        _raise_failed(query, failed)
        return [paths[row] for row in range(len(query.ids))]

    def _batches(self, query: Query, panel: Panel) -> Iterator[tuple[list[int], IrregularBatch, Tensor]]:
        self._check_reach(query, panel)
        return self._translator().batches(query, panel, *self._place())

    def _check_reach(self, query: Query, panel: Panel) -> None:
        if self._covariates is not None:
            for key, times in zip(query.ids, query.times):
                self._covariates.check_reach(key, panel.known.get(key), times[-1:], panel)

    def _resumed(
        self, query: Query, panel: Panel, is_whole: bool = False
    ) -> Iterator[tuple[list[int], IrregularBatch, Tensor, dict[str, Any]]]:
        """As `_batches`, but of series with a checkpoint before all query times, only what comes after it.

        The last entry holds the states to go on from, as arguments of the model, or nothing.
        """
        translator, place_of = self._translator(), {key: place for place, key in enumerate(panel.ids)}
        self._check_reach(query, panel)
        known: Mapping[Hashable, Checkpoint] = {} if is_whole else getattr(self, "_checkpoints", {})
        whole: dict[int, Series] = {}
        ahead: dict[int, Series] = {}
        for row, (key, times) in enumerate(zip(query.ids, query.times)):
            place, reached = place_of[key], known.get(key)
            if reached is not None and reached.fits(panel, place) and reached.is_before(times, translator):
                ahead[row] = reached.ahead(translator)
            else:
                history = panel.times[place], panel.values[place], panel.inputs.get(key), panel.known.get(key)
                whole[row] = translator.one(*history)
        for part in translator.together(whole, query, *self._place()):
            yield *part, {}
        for rows, batch, query_times in translator.together(ahead, query, *self._place()):
            yield rows, batch, query_times, {"state": FilterState.stack([known[query.ids[row]].state for row in rows])}

    def _place(self) -> tuple[torch.dtype, torch.device]:
        return find_dtype(self.dtype), next(iter(self.module_.state_dict().values())).device

    def _translator(self) -> Translator:
        n_inputs = len(self._coder.columns) if self._coder else 0
        reach = self._timeline.duration(self.horizon_)
        return Translator(self._timeline, self._scaler, n_inputs, self._covariates, reach)

    def _write(self, query: Query, columns: dict[Hashable, list[np.ndarray]], X: Any) -> Any:
        """Results in the kind of container that asked: `X` as the user gave it."""
        frame = write_frame(query.layout, query.ids, query.times, columns, rows=query.rows, index=query.index)
        if self._is_squeezed and isinstance(frame, pd.DataFrame) and frame.shape[1] == 1:
            frame = frame.iloc[:, 0]
        return frame.to_numpy() if isinstance(X, np.ndarray) else frame


def _check_labels(channels: Sequence[Hashable], endings: Sequence[str]) -> None:
    """Raise a DataError if columns of two channels would have one label, so that one would hide the other."""
    taken: dict[Hashable, Hashable] = {}
    for name in channels:
        for label in dict.fromkeys(f"{name}{ending}" if ending else name for ending in endings):
            if taken.setdefault(label, name) is not name:
                raise DataError(
                    f"The channels {taken[label]!r} and {name!r} would both have an answer {label!r}: "
                    "rename one of them."
                )


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


def _check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,) or not (np.isfinite(weight) & (weight >= 0.0)).all():
        raise DataError(
            f"sample_weight must hold a number of at least 0 for each of the {n_rows} rows of X, but has shape "
            f"{weight.shape}: give one weight a row."
        )
    return weight


def _is_series_like(X: Any) -> bool:
    return isinstance(X, pd.Series) or (isinstance(X, list) and bool(X) and isinstance(X[0], pd.Series))
