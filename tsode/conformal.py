"""Conformal intervals: recalibrated on data held out of training, so that they hold their share whatever the model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from tsode._random import new_generator
from tsode.errors import DataError, NotFittedError, ParameterError
from tsode.estimators.forecasters.base import BaseForecaster
from tsode.estimators.forecasters.predictive import interval_measure
from tsode.estimators.forecasters.reach_report import untold
from tsode.estimators.forecasters.supports import ends_of
from tsode.estimators.parameters import at_least, check_parameters
from tsode.estimators.settings import read_levels
from tsode.frames.panel import Panel
from tsode.frames.write import write_long

__all__ = ["ConformalForecaster", "conformal_margin"]

FEWEST_SERIES = 20


def conformal_margin(scores: np.ndarray, groups: np.ndarray, level: float) -> float:
    """By how much intervals must grow to hold a new value with the chance of `level` at least.

    Each of k groups has the weight 1 / (k + 1), spread evenly over its scores, and so has the group to come, at
    infinity: exact in finite samples if groups are exchangeable, however the scores in one of them depend on each other
    (Lee, Barber & Willett 2023, "Distribution-free inference with hierarchical data"). With one score in each group it
    is the ``ceil((k + 1) level / 100)``-th smallest of split conformal prediction.

    Parameters
    ----------
    scores : array[n]
    groups : array[n], int
    level : per cent

    Returns
    -------
    float
        Infinite where too few groups are there for the level.
    """
    if not len(scores):
        return math.inf
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum(1.0 / count[group[order]]) / (len(count) + 1.0)
    # rounding of the sums must not ask for one score more
    place = int(np.searchsorted(weight, level / 100.0 - 1e-12))
    return float(scores[order][place]) if place < len(scores) else math.inf


class ConformalForecaster(BaseEstimator):
    """A forecaster whose intervals are widened or narrowed, by lead time and channel, to hold their share.

    The forecaster is fitted on a part of the data. Of the rest its intervals are scored by how far outside of them, in
    widths, a value came (Sesia & Candès 2020, CQR-r), and new intervals are moved by the matching quantile of those
    scores. With 20 series or more, whole ones are held out, and the promise is exact: of a new series of the same
    population, cut as those were, an interval of 80 % holds a value with a chance of 80 % or more. With fewer, the last
    part of each is held out, and its values count as exchangeable with those to come: in time, an approximation.

    Parameters
    ----------
    forecaster : forecaster
        Cloned, never changed.
    share : float
        Of the series, or of the span of each, that is held out.
    n_bins : int
        Parts of the horizon, of equal length, with a correction of their own. A bin with values of fewer than 19
        held-out series leaves 95 % intervals infinite: take fewer bins, or a larger share.
    n_cuts : int
        Times from which each held-out series is forecast, evenly in the middle of its span.
    random_state : int, generator or None
        Which series are held out.

    Attributes
    ----------
    forecaster_ : forecaster
        Fitted on the training part; its history is all of the data.
    by_series_ : bool
        Whether whole series were held out.
    lead_edges_ : array
        Between the bins of lead times, in model time.
    """

    def __init__(
        self,
        forecaster: Any,
        *,
        share: float = 0.3,
        n_bins: int = 3,
        n_cuts: int = 3,
        random_state: Any = None,
    ) -> None:
        self.forecaster = forecaster
        self.share = share
        self.n_bins = n_bins
        self.n_cuts = n_cuts
        self.random_state = random_state

    @property
    def id_col(self) -> Hashable:
        """That of the forecaster."""
        return self.forecaster.id_col

    @property
    def time_col(self) -> Hashable:
        """That of the forecaster."""
        return self.forecaster.time_col

    @property
    def target(self) -> Any:
        """That of the forecaster."""
        return self.forecaster.target

    @property
    def duplicates(self) -> str:
        """That of the forecaster."""
        return self.forecaster.duplicates

    def fit(self, X: Any, y: None = None, *, events: Any = None, static: Any = None, known: Any = None) -> Self:
        """Fit the forecaster on a part of the data, and keep the rest to calibrate its intervals on.

        Events and covariates are those of all series; see the forecaster's ``fit``.
        """
        if not isinstance(self.forecaster, BaseForecaster):
            raise ParameterError(f"forecaster must be a forecaster of tsode, but is {self.forecaster!r}.")
        check_parameters(self)
        if not 0.0 < self.share < 1.0:
            raise ParameterError(f"share must lie between 0 and 1, but is {self.share!r}: try 0.3.")
        for name in ("n_bins", "n_cuts"):
            at_least(1)(name, getattr(self, name), 3)
        generator = new_generator(self.random_state)
        panel = self.forecaster.reader_settings().read(X)
        usable = [row for row, times in enumerate(panel.times) if len(times) > 1]
        self.by_series_ = len(usable) >= FEWEST_SERIES
        if self.by_series_:
            seed = int(generator.initial_seed())
            drawn = np.random.default_rng(seed).permutation(usable)
            held = set(drawn[: max(1, round(self.share * len(usable)))].tolist())
            train = panel.select([row for row in range(len(panel)) if row not in held])
            rows, shares = sorted(held), (np.arange(self.n_cuts) + 1.0) / (self.n_cuts + 1.0)
        else:
            kept = 1.0 - self.share
            sizes = [int(np.sum(t <= t[0] + (t[-1] - t[0]) * kept)) if len(t) else 0 for t in panel.times]
            train = panel.part(range(len(panel)), [slice(size) for size in sizes])
            rows, shares = usable, np.linspace(1.0 - self.share, 1.0, self.n_cuts, endpoint=False)
        tables = {"events": events, "static": static, "known": known}
        self.forecaster_ = clone(self.forecaster).fit(write_long(train, self.id_col, self.time_col), **tables)
        self._held_out = self._cut_held_out(panel, rows, shares)
        if not self._held_out:
            raise DataError("Nothing of the data held out lies within one horizon of a cut: give longer series.")
        # bins that look at no held-out series keep these exchangeable with the one to come
        reach = self.forecaster_.reader_.timeline.duration(self.forecaster_.horizon_)
        self.lead_edges_ = reach * np.arange(1, self.n_bins) / self.n_bins
        self._scored = {level: self._score(level) for level in (80.0, 95.0)}
        self.forecaster_ = self.forecaster_.with_history(X)
        return self

    def predict(self, X: Any = None, **query: Any) -> Any:
        """Forecast the mean, as the forecaster does."""
        self._check_fitted()
        return self.forecaster_.predict(X, **query)

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
        """Forecast the mean and calibrated central intervals; see the forecaster's ``predict_interval``.

        An interval is infinite, or reaches to the ends of the channel's support, where too little was held out for its
        level.
        """
        self._check_fitted()
        levels = read_levels(level, "level", 100.0)
        fitted = self.forecaster_
        query, panel = fitted._read_query(X, times, horizon, context, events, static, known)
        measure = interval_measure(fitted.channels_, levels)
        table = fitted._measure(query, panel, measure)
        place = {key: row for row, key in enumerate(panel.ids)}
        bins = np.concatenate(
            [
                self._bin(
                    fitted.reader_.timeline.to_model(t) - _last_before(panel, place[key], t, fitted.reader_.timeline)
                )
                for key, t in zip(query.ids, query.times)
            ]
        )
        ends = ends_of(fitted)
        row_of = {label: row for row, label in enumerate(measure.labels)}
        for share in levels:
            margins = self._margins(share)
            for c, name in enumerate(fitted.channels_):
                low, high = (table[row_of[f"{name}-{side}-{share:g}"]] for side in ("lo", "hi"))
                grow = margins[c, bins] * _width(low, high)
                np.clip(low - grow, *ends[c], out=low)  # no value lies beyond them, so none is lost
                np.clip(high + grow, *ends[c], out=high)
        return fitted.reader_.write(query, measure.labels, table, X)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "forecaster_"):
            raise NotFittedError("This ConformalForecaster is not fitted yet: call fit(X) first.")

    def _cut_held_out(self, panel: Panel, rows: list[int], shares: np.ndarray) -> list[tuple[Any, ...]]:
        """For each share of the spans: contexts and future rows of all series, with values, leads and groups."""
        timeline = self.forecaster_.reader_.timeline
        reach = timeline.duration(self.forecaster_.horizon_)
        parts = []
        for share in shares:
            cut_rows, past, ahead, leads = [], [], [], []
            for row in rows:
                model = timeline.to_model(panel.times[row])
                seen = ~np.isnan(panel.values[row]).all(axis=1)
                cut = model[0] + share * (model[-1] - model[0])
                middle, end = np.searchsorted(model, [cut, cut + reach], side="right")
                if seen[:middle].any() and middle < end:
                    cut_rows.append(row)
                    past.append(slice(0, middle))
                    ahead.append(slice(middle, end))
                    leads.append(model[middle:end] - model[:middle][seen[:middle]][-1])
            if not cut_rows:
                continue
            context, future = (panel.part(cut_rows, slices) for slices in (past, ahead))
            frames = [write_long(part, self.id_col, self.time_col) for part in (context, future)]
            groups = np.repeat(cut_rows, [len(lead) for lead in leads])
            parts.append((*frames, np.concatenate(future.values), np.concatenate(leads), groups))
        return parts

    def _score(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores (n c), bins (n) and groups (n) of all that was held out."""
        parts = []
        names = self.forecaster_.channels_
        for context, future, truth, lead, groups in self._held_out:
            with untold():
                answer = self.forecaster_.predict_interval(future, context=context, level=level)
            low, high = (answer[[f"{name}-{side}-{level:g}" for name in names]].to_numpy() for side in ("lo", "hi"))
            truth = truth[:, : len(names)]  # past covariates come last
            score = np.maximum(low - truth, truth - high) / _width(low, high)
            parts.append((score, self._bin(lead), groups))
        score, bins, groups = (np.concatenate(columns) for columns in zip(*parts))
        return score, bins, groups if self.by_series_ else np.arange(len(groups))

    def _margins(self, level: float) -> np.ndarray:
        """Margin of each channel and bin (c q), in widths of the interval."""
        score, bins, groups = self._scored[level] if level in self._scored else self._score(level)
        margins = np.empty((score.shape[1], self.n_bins))
        for c in range(score.shape[1]):
            for q in range(self.n_bins):
                is_in_bin = (bins == q) & ~np.isnan(score[:, c])
                margins[c, q] = conformal_margin(score[is_in_bin, c], groups[is_in_bin], level)
        return margins

    def _bin(self, lead: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.lead_edges_, lead, side="right")


def _width(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Never 0: one that is can still be widened."""
    return np.maximum(high - low, 1e-12 * (1.0 + np.abs(low)))


def _last_before(panel: Panel, row: int, times: np.ndarray, timeline: Any) -> np.ndarray:
    """Model time of the last row with anything seen before each time; the time itself where there is none."""
    seen = timeline.to_model(panel.times[row][~np.isnan(panel.values[row]).all(axis=1)])
    query_times = timeline.to_model(times)
    behind = np.searchsorted(seen, query_times)
    return np.where(behind > 0, seen[np.maximum(behind - 1, 0)] if len(seen) else query_times, query_times)
