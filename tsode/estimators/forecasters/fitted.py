"""Fitted forecaster: reads a question, runs the model over the histories, writes the answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator

from tsode._random import new_generator
from tsode.errors import DataError, NotFittedError, ParameterError
from tsode.estimators.crossings.predicts import PredictsCrossings
from tsode.estimators.forecasters.answers import SAMPLE_WIDTH, draw_paths, draw_signals, forecasts
from tsode.estimators.forecasters.array_inputs import check_sample_weight, join_values
from tsode.estimators.forecasters.pieces import Piece, pieces
from tsode.estimators.forecasters.predictive import (
    METRICS,
    Measure,
    Predictive,
    interval_measure,
    mean_measure,
    quantile_measure,
    spread_measure,
)
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.scenarios import ComparesScenarios
from tsode.estimators.forecasters.status_of_forecasts import TellsStatus
from tsode.estimators.settings import find_dtype, read_levels
from tsode.estimators.signal import Signal
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.frames.write import write_table
from tsode.models.base import ForecastModel, HasSignal
from tsode.models.filters.base import MarginalModel

__all__ = ["FittedForecaster"]


class FittedForecaster(ComparesScenarios, PredictsCrossings, TellsStatus, BaseEstimator):
    """Questions to a forecaster, once `BaseForecaster.fit` has set the attributes listed here."""

    id_col: Hashable
    time_col: Hashable
    duplicates: str
    dtype: str

    is_baseline: ClassVar[bool] = False
    """Whether tables of scores hold it beside every other forecaster."""
    is_bounded: ClassVar[bool] = True
    """Whether forecasts stay near the data however far ahead."""
    reads_events: ClassVar[bool] = False
    """Whether `events` in fit are learned from; if not, they are an error."""
    has_linear_inputs: ClassVar[bool] = False
    """Whether the effect of an event grows with its amount."""
    holds_rates: ClassVar[bool] = False
    """Whether an infusion acts as long as it runs, rather than when it starts and ends."""
    reads_covariates: ClassVar[bool] = False
    """Whether `static` and `known` in fit are learned from; if not, they are an error."""

    channels_: list[Hashable]
    calendar_: list[str]
    horizon_: Any
    time_unit_: Any
    n_features_in_: int
    module_: ForecastModel
    reader_: DataReader

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
            Ask for these times of every series. One named here, or in `X`, may have events and no history yet.
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
        return self._predict(mean_measure, X, times, horizon, context, events, static, known)

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
        measure = partial(quantile_measure, levels=read_levels(quantiles, "quantiles", 1.0))
        return self._predict(measure, X, times, horizon, context, events, static, known)

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
        measure = partial(interval_measure, levels=read_levels(level, "level", 100.0))
        return self._predict(measure, X, times, horizon, context, events, static, known)

    @property
    def _spread_measure(self) -> Callable[[Sequence[Hashable]], Measure]:
        """The parts that `predict_spread` tells."""
        return spread_measure

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
        (law of total variance), and ``channel-sd`` is that of the distribution which all other answers are of.
        Epistemic is what would be known with more series: what the members of an ensemble disagree about and, in
        `JumpODEForecaster`, what the data leave unknown of its readouts and of its expert (Laplace's approximation).

        It foretells the size of an error better than its place: on panels of 10, 30 and 100 Ornstein-Uhlenbeck paths it
        was 0.6, 2.1 and 0.8 times the squared distance of means from those of one who knows the law, with rank
        correlations over forecasts of 0.5, 0.3 and 0.2 (`tests/benchmarks/epistemic.py`, three seeds). It does not hold
        what no parameters of the model could say, and off the range of training it falls behind the errors.

        Of a population (``random_effects=``) the epistemic part is split too: ``channel-sd-individual`` is what the
        series may have of its own, ``channel-sd-population`` what is not known of what all share, to first order in
        it; the squares of both add up to that of ``channel-sd-epistemic``.

        The whole history of a series is run over, whatever came by `update`. See `predict` for the parameters.
        """
        asked = copy.copy(self)
        if isinstance(getattr(self, "module_", None), MarginalModel):
            asked._checkpoints = None  # a state does not tell what else parameters would have made of the history
        return asked._predict(asked._spread_measure, X, times, horizon, context, events, static, known)

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
        n, lengths = int(n_samples), np.array([len(t) for t in query.times])
        starts = n * (np.cumsum(lengths) - lengths)
        table, report = np.empty((len(self.channels_), n * int(lengths.sum()))), ReachReport(self.reader_, self.module_)
        for rows, paths in self._paths(query, panel, n, new_generator(random_state), report):
            for row, drawn in zip(rows, paths):
                table[:, starts[row] : starts[row] + n * lengths[row]] = drawn.transpose(2, 0, 1).reshape(
                    len(table), -1
                )
        report.warn(query.ids, stacklevel=3)
        times_again = [np.tile(t, n) for t in query.times]
        number = {"sample": np.concatenate([np.repeat(np.arange(n), m) for m in lengths])}
        return write_table(query.layout, query.ids, times_again, self.channels_, table, first=number)

    def impute(
        self, X: Any, *, events: Any = None, static: Any = None, known: Any = None,
        level: float | Sequence[float] | None = None,
    ) -> Any:  # fmt: skip
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
        level : per cent or list of per cents, optional
            Adds central intervals of what was not observed, in columns ``channel-lo-80``, ``channel-hi-80``: of the
            observation that would have been made there. Where one was made, both ends are that observation.
        """
        self._check_fitted()
        levels = [] if level is None else read_levels(level, "level", 100.0)
        panel = self.reader_.with_tables(self.reader_.read(X, beside=self._panel), self._panel, events, static, known)
        query = self.reader_.query_of(panel, X)
        measure = interval_measure(self.channels_, levels) if levels else mean_measure(self.channels_)
        table = self._measure(query, panel, measure, impute=True)
        seen = np.concatenate([x[:, : len(self.channels_)] for x in query.values_in(panel)]).T
        for columns, observed in zip(np.split(table, len(seen)), seen):
            np.copyto(columns, observed, where=~np.isnan(observed))
        return self.reader_.write(query, measure.labels, table, X)

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
        values, n_targets = query.values_in(truth), len(self.channels_)
        x = np.concatenate([of_series[:, :n_targets] for of_series in values])
        error = Measure(self.channels_, lambda answer: answer.error(x[answer.at], metric), 8 * n_targets)
        table = self._measure(query, panel, error, must_hold=True)
        weight = check_sample_weight(sample_weight, len(x))[query.rows]
        total = count = 0.0
        for rows in np.split(np.arange(len(x)), np.cumsum(list(map(len, values)))[:-1]):
            seen, row_weight = ~np.isnan(x[rows]), weight[rows, None]
            total += float((row_weight * table[:, rows].T)[seen].sum())
            count += float((row_weight * seen).sum())
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

    def _ids_of_static(self, static: Any) -> list[Hashable]:
        """Series that can be asked about for nothing but their row in a table of covariates."""
        return []

    def _read_query(
        self, X: Any, times: Any, horizon: Any, context: Any, events: Any, static: Any = None, known: Any = None,
        scenarios: Sequence[Any] = (),
    ) -> tuple[Query, Panel]:  # fmt: skip
        """Read what is asked, and the histories to answer it from."""
        self._check_fitted()
        self.reader_.check_width(X, type(self).__name__)
        tables = [events, *scenarios]
        new = self._ids_of_static(static)
        query, panel = self.reader_.read_query(X, times, horizon, context, self._panel, tables, new)
        return query, self.reader_.with_tables(panel, self._panel, events, static, known)

    def _predict(
        self, measure_of: Callable[[Sequence[Hashable]], Measure], X: Any, times: Any, horizon: Any, context: Any,
        events: Any, static: Any, known: Any,
    ) -> Any:  # fmt: skip
        query, panel = self._read_query(X, times, horizon, context, events, static, known)
        measure, report = measure_of(self.channels_), ReachReport(self.reader_, self.module_)
        table = self._measure(query, panel, measure, report=report)
        report.warn(query.ids, stacklevel=4)
        return self.reader_.write(query, measure.labels, table, X)

    def _measure(
        self,
        query: Query,
        panel: Panel,
        measure: Measure,
        impute: bool = False,
        must_hold: bool = False,
        report: ReachReport | None = None,
    ) -> np.ndarray:
        """A row for each label of the measure: array[k n] at all query times, the series set end to end."""
        table = np.empty((len(measure.labels), sum(map(len, query.times))))
        answers = self._forecast(query, panel, impute, measure.n_numbers, must_hold, report)
        for answer in answers:
            table[:, answer.at] = measure.of(answer).T
        return table

    def _forecast(
        self,
        query: Query,
        panel: Panel,
        impute: bool = False,
        n_numbers: int = 0,
        must_hold: bool = False,
        report: ReachReport | None = None,
    ) -> Iterator[Predictive]:
        """Predictive distributions at all query times, piece by piece, in the data's own units.

        `n_numbers` is what the caller makes of one query time. Series whose solve fails are NaN and named in a warning,
        or an error where no other is asked for, or if all `must_hold`.
        """
        reached = None if impute else self._checkpoints
        asked = pieces(
            self.reader_, query, panel, self.module_, *self._dtype_and_device, reached=reached, extra=n_numbers,
            is_whole=impute and self.module_.can_smooth,
        )  # fmt: skip
        return forecasts(self.reader_, query, self.module_, asked, impute, must_hold, report)

    def _paths(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, report: ReachReport | None = None
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Joint paths (s m c) of all series asked for, some series at a time, in the data's own units."""
        asked = self._joint_pieces(query, panel, n_samples)
        return draw_paths(self.reader_, query, self.module_, asked, n_samples, generator, report)

    def _signals(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, of: str = "signal",
        report: ReachReport | None = None,
    ) -> Iterator[tuple[list[int], list[Signal]]]:  # fmt: skip
        """Joint paths without the noise of observations, as `_paths`; with it where the two cannot be told apart."""
        if of == "signal" and isinstance(self.module_, HasSignal):
            asked = self._joint_pieces(query, panel, n_samples)
            yield from draw_signals(self.reader_, query, self.module_, asked, n_samples, generator, report)
            return
        for rows, paths in self._paths(query, panel, n_samples, generator, report):
            yield rows, [Signal(path, None, "observation") for path in paths]

    def _new_report(self) -> ReachReport:
        return ReachReport(self.reader_, self.module_)

    def _joint_pieces(self, query: Query, panel: Panel, n_samples: int) -> Iterator[Piece]:
        width = SAMPLE_WIDTH * len(self.reader_.channels)
        return pieces(
            self.reader_, query, panel, self.module_, *self._dtype_and_device, reached=self._checkpoints,
            extra=width * n_samples, is_joint=True,
        )  # fmt: skip

    @property
    def _dtype_and_device(self) -> tuple[torch.dtype, torch.device]:
        return find_dtype(self.dtype), next(iter(self.module_.state_dict().values())).device
