"""Fitted forecaster: reads a question, runs the model over the histories, writes the answer."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from tsode._random import new_generator
from tsode._threads import one_thread
from tsode.core.batch import IrregularBatch
from tsode.errors import DataError, NotFittedError, ParameterError
from tsode.estimators.forecasters.array_inputs import join_values
from tsode.estimators.forecasters.history import Checkpoint, resumed_batches
from tsode.estimators.forecasters.predictive import (
    METRICS,
    Predictive,
    failed_rows,
    interval_columns,
    mean_columns,
    quantile_columns,
    raise_failed,
    sample_columns,
    spread_columns,
)
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.scenarios import compare
from tsode.estimators.settings import find_dtype, read_levels
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.frames.write import write_frame
from tsode.likelihoods.base import Likelihood
from tsode.models.base import ForecastModel

__all__ = ["FittedForecaster"]


class FittedForecaster(BaseEstimator):
    """Questions to a forecaster, once `BaseForecaster.fit` has set the attributes listed here."""

    id_col: Hashable
    time_col: Hashable
    duplicates: str
    dtype: str

    is_baseline: ClassVar[bool] = False
    """Whether tables of scores hold it beside every other forecaster."""
    reads_events: ClassVar[bool] = False
    """Whether `events` in fit are learned from; if not, they are an error."""
    has_linear_inputs: ClassVar[bool] = False
    """Whether the effect of an event grows with its amount."""
    reads_covariates: ClassVar[bool] = False
    """Whether `static` and `known` in fit are learned from; if not, they are an error."""

    channels_: list[Hashable]
    calendar_: list[str]
    horizon_: Any
    last_times_: dict[Hashable, Any]
    time_unit_: Any
    n_features_in_: int
    module_: ForecastModel
    reader_: DataReader
    _panel: Panel
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
            Ask for these times of every series. A series named here, or in `X`, that has events and no observation
            yet is forecast from an empty history.
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
        query, answers = self._predict(X, times, horizon, context, events, static, known)
        return self.reader_.write(query, mean_columns(self.channels_, answers), X)

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
        query, answers = self._predict(X, times, horizon, context, events, static, known)
        return self.reader_.write(query, quantile_columns(self.channels_, answers, levels), X)

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
        query, answers = self._predict(X, times, horizon, context, events, static, known)
        return self.reader_.write(query, interval_columns(self.channels_, answers, levels), X)

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
        query, answers = self._predict(X, times, horizon, context, events, static, known)
        return self.reader_.write(query, spread_columns(self.channels_, answers), X)

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
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        if "sample" in self.channels_:
            raise DataError("A channel is named 'sample', as the column that numbers the samples: rename the channel.")
        paths = self._paths(query, panel, int(n_samples), new_generator(random_state))
        columns = sample_columns(self.channels_, paths)
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
        if not isinstance(scenarios, Mapping) or not scenarios:
            raise ParameterError(
                f"scenarios takes a dict of name to events, but is {scenarios!r}: "
                "pass {'base': events, 'more': other}."
            )
        query, panel = self._read_query(X, times, horizon, context, None, static, known, list(scenarios.values()))
        levels = read_levels(level, "level", 100.0)
        seed = int(new_generator(random_state).initial_seed())
        panels = {name: self.reader_.with_events(panel, events, self._panel) for name, events in scenarios.items()}
        # the same seed for all: their paths share their noise
        return compare(
            query,
            panels,
            self.channels_,
            levels,
            self._forecast,
            lambda asked, which: self._paths(asked, which, int(n_samples), new_generator(seed)),
        )

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
        panel = self.reader_.with_tables(self.reader_.read(X, beside=self._panel), self._panel, events, static, known)
        query = self.reader_.query_of(panel, X)
        filled = [
            np.where(np.isnan(x), answer.mean, x)
            for x, answer in zip(query.values_in(panel), self._forecast(query, panel, impute=True))
        ]
        return self.reader_.write(query, {name: [x[:, c] for x in filled] for c, name in enumerate(self.channels_)}, X)

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
        reader = self.reader_
        reader.check_width(X, type(self).__name__)
        rows = X if y is None else join_values(X, y, self.id_col, self.time_col)
        truth = reader.read(rows, beside=self._panel)
        history = self._panel if context is None else self._panel.merge(reader.read(context, beside=self._panel))
        query = reader.query_of(truth, rows)
        if len(truth) == 1 and len(history) == 1 and not truth.layout.has_ids:
            history = replace(history, ids=list(truth.ids))
        panel = reader.with_tables(truth.merge(history), self._panel, events, static, known)
        answers = self._forecast(query, panel)
        lengths, n_targets = [len(times) for times in query.times], len(self.channels_)
        weight = _check_sample_weight(sample_weight, sum(lengths))[query.rows]
        total = count = 0.0
        for x, answer, row_weight in zip(query.values_in(truth), answers, np.split(weight, np.cumsum(lengths)[:-1])):
            seen = ~np.isnan(x[:, :n_targets])
            total += float((row_weight[:, None] * answer.error(x, metric)[:, :n_targets])[seen].sum())
            count += float((row_weight[:, None] * seen).sum())
        if not count:
            raise DataError("X has no observed value to score: give rows with values, of which some have weight.")
        return -total / count

    # -- inside ----------------------------------------------------------------------------------------------------

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        cycles = getattr(self, "calendar_", [])
        return super().__repr__(N_CHAR_MAX) + (f"  # calendar: {', '.join(cycles)}" if cycles else "")

    def _check_fitted(self) -> None:
        if not hasattr(self, "module_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit(X) first.")

    def _read_query(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any = None, known: Any = None,
        scenarios: Sequence[Any] = (),
    ) -> tuple[Query, Panel]:  # fmt: skip
        """Read what is asked, and the histories to answer it from."""
        self._check_fitted()
        self.reader_.check_width(X, type(self).__name__)
        tables = [events, *scenarios]
        query, panel = self.reader_.read_query(X, times, horizon, context, self._panel, tables)
        return query, self.reader_.with_tables(panel, self._panel, events, static, known)

    def _predict(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any, known: Any
    ) -> tuple[Query, list[Predictive]]:
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        return query, self._forecast(query, panel)

    def _forecast(self, query: Query, panel: Panel, impute: bool = False) -> list[Predictive]:
        """Predictive distributions of every series asked for, in the data's own units."""
        answers: dict[int, Predictive] = {}
        failed: dict[int, int] = {}
        scaler = self.reader_.scaler
        shift, scale = (torch.from_numpy(np.array(part)) for part in (scaler.shift, scaler.scale))
        with one_thread(), torch.no_grad():
            for rows, batch, query_times, state in self._batches(query, panel, {} if impute else self._checkpoints):
                if impute:
                    forecast = self.module_.fill(batch, query_times)
                else:
                    forecast = self.module_.forecast(batch, query_times, **state)
                family = forecast.family
                assert isinstance(family, Likelihood)
                failed |= failed_rows(forecast, rows)
                params = family.affine(forecast.params.cpu().double(), shift, scale)
                for place, row in enumerate(rows):
                    answers[row] = Predictive(family, params[place, : len(query.times[row])])
        raise_failed(query, failed)
        return [answers[row] for row in range(len(query.ids))]

    def _paths(self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator) -> list[np.ndarray]:
        """Joint paths (s m c) of every series asked for, in the data's own units."""
        paths: dict[int, np.ndarray] = {}
        failed: dict[int, int] = {}
        with one_thread(), torch.no_grad():
            for rows, batch, query_times, state in self._batches(query, panel, self._checkpoints):
                failed |= failed_rows(
                    self.module_.forecast(batch, query_times, **state), rows
                )  # samples bring no status
                drawn = self.module_.sample(batch, query_times, n_samples, generator, **state).cpu().double().numpy()
                for place, row in enumerate(rows):
                    paths[row] = self.reader_.scaler.inverse(drawn[:, place, : len(query.times[row])])
        raise_failed(query, failed)
        return [paths[row] for row in range(len(query.ids))]

    def _batches(
        self, query: Query, panel: Panel, reached: Mapping[Hashable, Checkpoint]
    ) -> Iterator[tuple[list[int], IrregularBatch, Tensor, dict[str, Any]]]:
        return resumed_batches(self.reader_, query, panel, reached, *self._dtype_and_device)

    @property
    def _dtype_and_device(self) -> tuple[torch.dtype, torch.device]:
        return find_dtype(self.dtype), next(iter(self.module_.state_dict().values())).device


def _check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,) or not (np.isfinite(weight) & (weight >= 0.0)).all():
        raise DataError(
            f"sample_weight must hold a number of at least 0 for each of the {n_rows} rows of X, but has shape "
            f"{weight.shape}: give one weight a row."
        )
    return weight
