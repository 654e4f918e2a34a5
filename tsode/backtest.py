"""Forecasts from the past as they would have been made then: splits by time, backtests, tables of scores."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tsode import metrics as scores
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.baselines import ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.estimators.rows import array_rows
from tsode.estimators.settings import read_levels
from tsode.frames.events import EventTable
from tsode.frames.index import restore_times
from tsode.frames.labels import labels
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.table import ID_COL, TIME_COL, open_table
from tsode.frames.times import read_duration, read_times
from tsode.frames.write import write_long

__all__ = ["CutoffSplit", "backtest", "score_table"]

BASELINES = {made.__name__: made for made in (ConstantForecaster, LastValueForecaster, DriftForecaster)}
REFERENCE = LastValueForecaster.__name__
# central intervals whose 20 bounds are the middles of 20 equal parts of (0, 1): the midpoint rule for the CRPS
GRID = tuple(range(5, 100, 10))
METRICS = ("mae", "rmse", "crps", "coverage", "interval")


class CutoffSplit:
    """Train on the rows up to each cutoff, test on those within a horizon after it: a splitter for scikit-learn.

    `TimeSeriesSplit` cuts by number of rows; with several series, or uneven spacing, that is no point in time. Rows of
    series that have no row up to the cutoff are left out of the test: nothing is known to forecast them from.

    Parameters
    ----------
    cutoffs : time or list of times, optional
        In the kind of the data's times; strings for datetimes.
    every : duration or number, optional
        Instead of `cutoffs`: one cutoff every so often, back from one horizon before the last time as far as the
        middle of the data's time span.
    horizon : duration or number
        How far after a cutoff its test reaches, its end included: "7D" for datetimes, a number for numeric time.
    id_col, time_col : label
        Columns of a long frame. Wide frames, Series, frames with index levels id and time, and arrays with times in the
        first column are read as the forecasters read them.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": list("aaabb"), "ds": [0.0, 1.0, 2.5, 0.5, 2.0], "y": 1.0})
    >>> [(train.tolist(), test.tolist()) for train, test in CutoffSplit(cutoffs=[1.0], horizon=1.0).split(frame)]
    [([0, 1, 3], [4])]
    """

    def __init__(
        self,
        cutoffs: Any = None,
        *,
        every: Any = None,
        horizon: Any,
        id_col: Hashable = ID_COL,
        time_col: Hashable = TIME_COL,
    ) -> None:
        self.cutoffs = cutoffs
        self.every = every
        self.horizon = horizon
        self.id_col = id_col
        self.time_col = time_col

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers of each train and test set, earliest cutoff first.

        Parameters
        ----------
        X : rows of ids and times
        y : ignored
        groups : array[n], optional
            Of which series each row is, instead of an id in `X`.

        Raises
        ------
        DataError
            If a cutoff has no row before it or none to test on.
        """
        panel, codes = self._open(X, groups)
        times = panel.times[0]
        horizon = _read_span(self.horizon, panel, "horizon")
        for cutoff in _find_cutoffs(panel, self.cutoffs, self.every, horizon):
            is_past = times <= cutoff
            is_known = np.isin(codes, codes[is_past])
            test = np.flatnonzero(~is_past & is_known & (times <= cutoff + horizon))
            if not len(test):
                _refuse_cutoff(panel, cutoff, self.horizon, is_past.any())
            yield np.flatnonzero(is_past), test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of cutoffs; with `every` they depend on `X`."""
        if self.every is None and self.cutoffs is not None:
            return 1 if np.ndim(self.cutoffs) == 0 else len(self.cutoffs)
        if X is None:
            raise ParameterError("With every=, the number of cutoffs depends on the data: pass X.")
        panel, _ = self._open(X, groups)
        return len(_find_cutoffs(panel, self.cutoffs, self.every, _read_span(self.horizon, panel, "horizon")))

    def __repr__(self) -> str:
        given = {"cutoffs": self.cutoffs, "every": self.every}
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        return f"CutoffSplit({shown}, horizon={self.horizon!r})"

    def _open(self, X: Any, groups: Any) -> tuple[Panel, np.ndarray]:
        """All times as one series, and the code of the series of each row."""
        if isinstance(X, np.ndarray) and X.dtype != object:
            X = array_rows(X[:, :1] if X.ndim == 2 else X, self.time_col)
        elif isinstance(X, pd.Index) and not isinstance(X, pd.MultiIndex):
            X = pd.DataFrame(index=X)
        table = open_table(X, self.id_col, self.time_col)
        if table.layout.kind == "list":
            raise DataError("A list of series has no rows to split: join it into one long frame first.")
        if not len(table.times):
            raise DataError("X has no rows to split.")
        codes = table.codes
        if groups is not None:
            if len(groups) != len(codes):
                raise DataError(f"groups has {len(groups)} entries, but X has {len(codes)} rows.")
            codes = pd.factorize(np.asarray(groups))[0]
        return Panel([0], [table.times], [np.zeros((len(table.times), 1))], ["y"], table.layout), codes


def backtest(
    estimator: Any,
    frame: Any,
    *,
    cutoffs: Any = None,
    every: Any = None,
    horizon: Any,
    level: float | Sequence[float] = (80, 95),
    refit: bool = False,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Forecast from each cutoff on, with what was known up to it, beside what came.

    Parameters
    ----------
    estimator : forecaster, or dict of name to forecaster
        Cloned, never changed.
    frame : same kinds as X in fit
    cutoffs, every, horizon
        When to forecast from and how far, see `CutoffSplit`.
    level : per cent or list of per cents
        Of the intervals.
    refit : bool
        Fit at every cutoff. By default fitted once, on the rows up to the first cutoff; at later ones the rows that
        have come since are context.
    events : DataFrame or EventTable, optional
        Events at known times, see ``fit``. Fit is given those up to its cutoff; a forecast knows all up to its time.
    static, known
        Covariates, see ``fit``; what is known ahead is known at every cutoff. Estimators that read none go without.

    Returns
    -------
    DataFrame
        One row for each series, time and cutoff at which a channel was seen: ``unique_id``, ``ds``, ``cutoff``, ``y``,
        and for each estimator ``Name`` (the mean), ``Name-lo-80``, ``Name-hi-80``, ...: what
        `utilsforecast.evaluation.evaluate` reads. With several channels their name is folded into the id, as
        ``"id/channel"``, so that no score mixes units.

    Raises
    ------
    DataError
        If a cutoff has no row before it or none to test on.
    """
    given = {"events": events, "static": static, "known": known}
    found, channels = _run(_named(estimator), frame, cutoffs, every, horizon, level, refit, given)
    if len(channels) > 1:
        found["unique_id"] = found["unique_id"].astype(str) + "/" + found["channel"].astype(str)
    return found.drop(columns="channel")


def score_table(
    estimators: Any,
    frame: Any,
    *,
    cutoffs: Any = None,
    every: Any = None,
    horizon: Any,
    metrics: Sequence[str] = METRICS,
    level: float = 80,
    refit: bool = False,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Score forecasters beside the baselines, which are always in the table.

    Parameters
    ----------
    estimators : forecaster, or dict of name to forecaster
    frame, cutoffs, every, horizon, refit, events, static, known
        See `backtest`.
    metrics : sequence of {"mae", "mse", "rmse", "crps", "coverage", "interval"}
        Of the mean forecast: absolute and squared errors. Of the distribution: the continuous ranked probability score,
        from 20 quantiles; the share of truths in the interval of `level`, and its interval score.
    level : per cent

    Returns
    -------
    DataFrame
        Index levels ``channel`` and ``model``; a column for each metric and, but for the coverage, ``metric-rel``: the
        same divided by that of the last value carried forward. Below 1 is better than that.
    """
    unknown = [name for name in metrics if name not in (*METRICS, "mse")]
    if unknown:
        raise ParameterError(f"metrics={unknown} are not known: choose among {', '.join((*METRICS, 'mse'))}.")
    (share,) = read_levels(level, "level", 100.0)
    named = _named(estimators)
    taken = [name for name in named if name in BASELINES and type(named[name]) is not BASELINES[name]]
    if taken:
        raise ParameterError(f"{taken} are names of baselines, which are in the table anyway: choose other names.")
    first = next(iter(named.values()), None)
    shared = ("id_col", "time_col", "target", "duplicates")
    reading = {name: getattr(first, name) for name in shared if hasattr(first, name)}
    named |= {name: made(**reading) for name, made in BASELINES.items() if name not in named}
    levels = sorted({share, *map(float, GRID)}) if "crps" in metrics else [share]
    given = {"events": events, "static": static, "known": known}
    found, channels = _run(named, frame, cutoffs, every, horizon, levels, refit, given)
    rows = []
    for channel in channels:
        own = found[found["channel"] == channel]
        if not len(own):
            continue
        for name in named:
            rows.append({"channel": channel, "model": name} | {m: _score(own, name, m, share) for m in metrics})
    table = pd.DataFrame(rows).set_index(["channel", "model"])
    for metric in metrics:
        if metric != "coverage":
            reference = table[metric].xs(REFERENCE, level="model")
            table[f"{metric}-rel"] = table[metric] / reference.reindex(table.index, level="channel")
    return table


def _score(rows: pd.DataFrame, name: str, metric: str, level: float) -> float:
    truth = rows["y"].to_numpy()
    if metric in ("mae", "mse", "rmse"):
        return float(getattr(scores, metric)(truth, rows[name].to_numpy()))
    if metric == "crps":
        sides = [(f"{name}-{side}-{share:g}", share) for share in GRID for side in ("lo", "hi")]
        p = np.array([0.5 + (-1 if "-lo-" in column else 1) * share / 200.0 for column, share in sides])
        return scores.crps_from_quantiles(truth, rows[[column for column, _ in sides]].to_numpy(), p)
    low, high = (rows[f"{name}-{side}-{level:g}"].to_numpy() for side in ("lo", "hi"))
    if metric == "coverage":
        return scores.coverage(truth, low, high)
    return scores.interval_score(truth, low, high, level)


def _named(estimators: Any) -> dict[str, Any]:
    named = dict(estimators) if isinstance(estimators, Mapping) else {type(estimators).__name__: estimators}
    for name, estimator in named.items():
        if not hasattr(estimator, "predict_interval"):
            raise ParameterError(
                f"{name!r} is a {type(estimator).__name__}, which has no predict_interval: give a forecaster."
            )
    return named


def _run(
    named: dict[str, Any],
    frame: Any,
    cutoffs: Any,
    every: Any,
    horizon: Any,
    level: Any,
    refit: bool,
    tables: Mapping[str, Any],
) -> tuple[pd.DataFrame, list[Hashable]]:
    """The rows of `backtest` with the channel in a column of its own, and the channels."""
    levels = read_levels(level, "level", 100.0)
    first: Any = next(iter(named.values()))
    id_col, time_col = getattr(first, "id_col", ID_COL), getattr(first, "time_col", TIME_COL)
    past, target = labels(getattr(first, "past_covariates", None)), getattr(first, "target", None)
    if target is not None:
        target = [*labels(target), *past]
    panel = read_panel(
        frame, id_col=id_col, time_col=time_col, target=target, duplicates=getattr(first, "duplicates", "error")
    )
    channels = [name for name in panel.channels if name not in past]
    panel = panel.select([row for row, times in enumerate(panel.times) if len(times)])
    lead = _read_span(horizon, panel, "horizon")
    when = _find_cutoffs(panel, cutoffs, every, lead)
    fitted: dict[str, Any] = {}
    parts = []
    for cutoff in when:
        before, ahead = _cut(panel, cutoff, cutoff + lead)
        if not len(ahead):
            _refuse_cutoff(panel, cutoff, horizon, len(before) > 0)
        context, asked = (write_long(one, id_col, time_col) for one in (before, ahead))
        answers = {}
        for name, estimator in named.items():
            given = {key: table for key, table in tables.items() if table is not None and _reads(estimator, key)}
            if refit or name not in fitted:
                first_given = dict(given)
                if "events" in given:
                    first_given["events"] = _events_until(given["events"], cutoff, panel, id_col, time_col)
                fitted[name] = clone(estimator).fit(context, **first_given)
            answers[name] = fitted[name].predict_interval(asked, context=context, level=levels, **given)
        parts += [_beside(asked, answers, name, id_col, time_col, levels, cutoff, panel) for name in channels]
    return pd.concat(parts, ignore_index=True), channels


def _reads(estimator: Any, table: str) -> bool:
    return bool(getattr(estimator, "reads_events" if table == "events" else "reads_covariates", False))


def _beside(
    asked: pd.DataFrame,
    answers: dict[str, pd.DataFrame],
    channel: Hashable,
    id_col: Hashable,
    time_col: Hashable,
    levels: Sequence[float],
    cutoff: Any,
    panel: Panel,
) -> pd.DataFrame:
    """Truth and forecasts of one channel, where it was seen."""
    columns: dict[str, Any] = {
        "unique_id": asked[id_col],
        "ds": asked[time_col],
        "cutoff": restore_times(np.repeat(np.atleast_1d(cutoff), len(asked)), panel.layout.time_dtype),
        "channel": np.repeat(np.array([channel], dtype=object), len(asked)),
        "y": asked[channel],
    }
    for name, answer in answers.items():
        columns[name] = answer[channel].to_numpy()
        for share in levels:
            for side in ("lo", "hi"):
                columns[f"{name}-{side}-{share:g}"] = answer[f"{channel}-{side}-{share:g}"].to_numpy()
    return pd.DataFrame(columns)[asked[channel].notna().to_numpy()]


def _cut(panel: Panel, cutoff: Any, end: Any) -> tuple[Panel, Panel]:
    """Series up to `cutoff`, and what of the same ones comes after it up to `end`."""
    past, ahead, known, later = [], [], [], []
    for row, times in enumerate(panel.times):
        middle, last = np.searchsorted(times, [cutoff, end], side="right")
        is_seen = bool((~np.isnan(panel.values[row][:middle])).any())
        if is_seen:
            known.append(row)
            past.append(slice(0, middle))
        if is_seen and (~np.isnan(panel.values[row][middle:last])).any():
            later.append(row)
            ahead.append(slice(middle, last))
    return panel.part(known, past), panel.part(later, ahead)


def _read_span(value: Any, panel: Panel, name: str) -> Any:
    """A positive duration in native time."""
    span = read_duration(value, panel.time_kind, name)
    if Timeline.fit(panel.times).duration(span, name) <= 0:
        raise ParameterError(f"{name}={value!r} must be positive.")
    return span.to_timedelta64() if isinstance(span, pd.Timedelta) else span


def _find_cutoffs(panel: Panel, cutoffs: Any, every: Any, horizon: Any) -> list[Any]:
    """Native times, increasing."""
    if (cutoffs is None) == (every is None):
        raise ParameterError("Give exactly one of cutoffs= and every=.")
    if cutoffs is not None:
        return list(np.unique(read_times(cutoffs, panel, "cutoffs=")))
    step = _read_span(every, panel, "every")
    pooled = np.concatenate(panel.times)
    first, last = pooled.min(), pooled.max()
    cutoff, found = last - horizon, []
    while cutoff - first >= (last - first) / 2:
        found.append(cutoff)
        cutoff = cutoff - step
    if not found:
        raise DataError(
            f"No cutoff lies in the second half of the data with a whole horizon after it: the data span {last - first}"
            f", the horizon is {horizon}. Give a shorter horizon, or cutoffs=."
        )
    return found[::-1]


def _refuse_cutoff(panel: Panel, cutoff: Any, horizon: Any, has_past: bool) -> None:
    pooled = np.concatenate(panel.times)
    first, last, at = restore_times(np.array([pooled.min(), pooled.max(), cutoff]), panel.layout.time_dtype)
    what = f"within horizon={horizon!r} after it of a series that has one up to it" if has_past else "up to it"
    raise DataError(f"The cutoff {at} has no observed row {what}; the data go from {first} to {last}.")


def _events_until(events: Any, cutoff: Any, panel: Panel, id_col: Hashable, time_col: Hashable) -> EventTable:
    """The events that start up to `cutoff`."""
    if not isinstance(events, EventTable):
        events = EventTable(events, id_col, time_col)
    frame = events.expand()
    at = restore_times(np.atleast_1d(cutoff), panel.layout.time_dtype)[0]
    return EventTable(frame[frame[events.time_col] <= at], events.id_col, events.time_col)
