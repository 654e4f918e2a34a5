"""Forecasts from the past as they would have been made then: splits by time, backtests, tables of scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tsode import metrics as scores
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.array_inputs import array_rows
from tsode.estimators.forecasters.baselines import ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.estimators.settings import read_levels
from tsode.frames.events import EventTable
from tsode.frames.index import restore_times
from tsode.frames.labels import guess_label, labels
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.table import ID_COL, TIME_COL, open_table
from tsode.frames.times import read_duration, read_times
from tsode.frames.write import write_long

__all__ = ["CutoffSplit", "backtest", "end_cutoffs", "score_table"]

BASELINES = {made.__name__: made for made in (ConstantForecaster, LastValueForecaster, DriftForecaster)}
REFERENCE = LastValueForecaster.__name__
# central intervals whose 20 bounds are the middles of 20 equal parts of (0, 1): the midpoint rule for the CRPS
GRID = tuple(range(5, 100, 10))
METRICS = ("mae", "rmse", "crps", "coverage", "interval")
NOT_ERRORS = ("n", "coverage")  # nothing to divide by that of the last value

Cutoffs = Callable[[Hashable], Any]
"""Native time at which a series is cut, by its id; None = it is not."""


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
    prefit: bool = False,
    train: Any = None,
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
        When to forecast from and how far, see `CutoffSplit`. `cutoffs` may also be a dict of id to the times of that
        series, such as `end_cutoffs` gives; series that are not in it are learned from whole, and not asked about.
    level : per cent or list of per cents
        Of the intervals.
    refit : bool
        Fit at every cutoff. By default fitted once, on the rows up to the first cutoff; at later ones the rows that
        have come since are context.
    prefit : bool
        The estimators are fitted: they are asked as they are, and never fitted here. Whether they have seen what they
        are asked about is not known here.
    train : same kinds as X in fit, optional
        What to fit on, instead of the rows up to a cutoff.
    events : DataFrame or EventTable, optional
        Events at known times, see ``fit``. Fit is given those up to its cutoff; a forecast knows all up to its time.
    static : DataFrame, optional
    known : same kinds as X in fit, optional
        Constants of the series, and covariates that are known ahead: given whole to fit and to forecasts, of those
        forecasters that read them.

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
    named = _named(estimator)
    found, channels = _run(
        named, frame, cutoffs, every, horizon, level, refit, tuple(named) if prefit else (), train, events,
        {"static": static, "known": known},
    )  # fmt: skip
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
    level: float | Sequence[float] = 80,
    refit: bool = False,
    prefit: bool = False,
    train: Any = None,
    events: Any = None,
    static: Any = None,
    known: Any = None,
) -> pd.DataFrame:
    """Score forecasters beside the baselines, which are always in the table, made for the same horizon.

    Parameters
    ----------
    estimators : forecaster, or dict of name to forecaster
    frame, cutoffs, every, horizon, refit, prefit, train, events, static, known
        See `backtest`. With `prefit`, the baselines are still fitted here.
    metrics : sequence of {"mae", "mse", "rmse", "crps", "coverage", "interval", "n"}
        Of the mean forecast: absolute and squared errors. Of the distribution: the continuous ranked probability score,
        from 20 quantiles; the share of truths in the interval of `level`, and its interval score. "n": how many truths.
    level : per cent or list of per cents
        With several, there are columns ``coverage-80``, ``coverage-95``, ... instead of one, and so for "interval".

    Returns
    -------
    DataFrame
        Index levels ``channel`` and ``model``; a column for each metric and, but for the coverage and the count,
        ``metric-rel``: the same divided by that of the last value carried forward. Below 1 is better than that.
    """
    unknown = [name for name in metrics if name not in (*METRICS, "mse", "n")]
    if unknown:
        raise ParameterError(f"metrics={unknown} are not known: choose among {', '.join((*METRICS, 'mse', 'n'))}.")
    shares = read_levels(level, "level", 100.0)
    named = _named(estimators)
    taken = [name for name in named if name in BASELINES and type(named[name]) is not BASELINES[name]]
    if taken:
        raise ParameterError(f"{taken} are names of baselines, which are in the table anyway: choose other names.")
    first = next(iter(named.values()), None)
    shared = ("id_col", "time_col", "target", "duplicates")
    reading: dict[str, Any] = {name: getattr(first, name) for name in shared if hasattr(first, name)}
    reading["horizon"] = horizon  # their spread is that of leads up to it
    named |= {name: made(**reading) for name, made in BASELINES.items() if name not in named}
    levels = sorted({*shares, *map(float, GRID)}) if "crps" in metrics else shares
    fitted, covariates = tuple(_named(estimators)) if prefit else (), {"static": static, "known": known}
    found, channels = _run(named, frame, cutoffs, every, horizon, levels, refit, fitted, train, events, covariates)
    columns: dict[str, tuple[str, float]] = {}
    for metric in metrics:
        of_level = shares if metric in ("coverage", "interval") else shares[:1]
        columns |= {metric if len(of_level) == 1 else f"{metric}-{share:g}": (metric, share) for share in of_level}
    rows = []
    for channel in channels:
        own = found[found["channel"] == channel]
        if not len(own):
            continue
        for name in named:
            values = {column: _score(own, name, *asked) for column, asked in columns.items()}
            rows.append({"channel": channel, "model": name} | values)
    table = pd.DataFrame(rows).set_index(["channel", "model"])
    for column, (metric, _) in columns.items():
        if metric not in NOT_ERRORS:
            reference = table[column].xs(REFERENCE, level="model")
            table[f"{column}-rel"] = table[column] / reference.reindex(table.index, level="channel")
    return table


def end_cutoffs(
    frame: Any,
    horizon: Any,
    *,
    n_cutoffs: int = 1,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
    target: Any = None,
    duplicates: str = "error",
) -> dict[Hashable, list[Any]]:
    """Cutoffs at the end of each series: one horizon before its last observation, two before it, ...

    For series that each have a time of their own (patients, devices), where no one time cuts all of them.

    Parameters
    ----------
    frame : same kinds as X in fit
    horizon : duration or number
    n_cutoffs : int
        Of each series.
    id_col, time_col, target, duplicates
        How to read `frame`, as in the forecasters.

    Returns
    -------
    dict of id to list of times
        For `backtest` and `score_table`: earliest first, for series with an observation up to the first of them.
        Series that are shorter are left out.

    Raises
    ------
    DataError
        If no series is long enough.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": list("aabb"), "ds": [0.0, 10.0, 4.0, 6.0], "y": 1.0})
    >>> end_cutoffs(frame, 5.0)
    {'a': [5.0]}
    """
    panel = read_panel(frame, id_col=id_col, time_col=time_col, target=target, duplicates=duplicates)
    lead = _read_span(horizon, panel, "horizon")
    found = {}
    for key, times, values in zip(panel.ids, panel.times, panel.values):
        seen = times[~np.isnan(values).all(axis=1)]
        if len(seen) and seen[0] <= seen[-1] - n_cutoffs * lead:
            native = np.array([seen[-1] - k * lead for k in range(n_cutoffs, 0, -1)])
            found[key] = list(restore_times(native, panel.layout.time_dtype))
    if not found:
        what = f"horizon={horizon!r}" if n_cutoffs == 1 else f"{n_cutoffs} times horizon={horizon!r}"
        raise DataError(f"No series is longer than {what}, so none can be forecast from its past: give a shorter one.")
    return found


def _score(rows: pd.DataFrame, name: str, metric: str, level: float) -> float:
    truth = rows["y"].to_numpy()
    if metric == "n":
        return len(truth)
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
    prefit: Collection[str],
    train: Any,
    events: Any,
    covariates: dict[str, Any],
) -> tuple[pd.DataFrame, list[Hashable]]:
    """The rows of `backtest` with the channel in a column of its own, and the channels."""
    levels = read_levels(level, "level", 100.0)
    first: Any = next(iter(named.values()))
    id_col, time_col = getattr(first, "id_col", ID_COL), getattr(first, "time_col", TIME_COL)
    target = getattr(first, "target", None)
    if target is not None:
        target = [*labels(target), *labels(getattr(first, "past_covariates", None))]
    panel = read_panel(
        frame, id_col=id_col, time_col=time_col, target=target, duplicates=getattr(first, "duplicates", "error")
    )
    panel = panel.select([row for row, times in enumerate(panel.times) if len(times)])
    lead = _read_span(horizon, panel, "horizon")
    fitted = {name: named[name] for name in prefit}
    parts = []
    for cutoff_of in _find_rounds(panel, cutoffs, every, lead):
        past, ahead = _cut(panel, cutoff_of, lead)
        if not len(ahead):
            if not isinstance(cutoffs, Mapping):
                _refuse_cutoff(panel, cutoff_of(panel.ids[0]), horizon, len(past) > 0)
            continue
        context, asked = (write_long(one, id_col, time_col) for one in (past, ahead))
        answers = {}
        for name, estimator in named.items():
            given = dict(covariates) if getattr(estimator, "reads_covariates", False) else {}
            given["events"] = events if getattr(estimator, "reads_events", False) else None
            given = {key: value for key, value in given.items() if value is not None}
            if name not in fitted or (refit and name not in prefit):
                told = dict(given)
                if "events" in given:
                    told["events"] = _events_until(events, cutoff_of, panel, id_col, time_col)
                fitted[name] = clone(estimator).fit(context if train is None else train, **told)
            answers[name] = fitted[name].predict_interval(asked, context=context, level=levels, **given)
        cut = np.array([cutoff_of(key) for key, times in zip(ahead.ids, ahead.times) for _ in times])
        channels = [name for name in panel.channels if all(name in answer.columns for answer in answers.values())]
        parts += [_beside(asked, answers, name, id_col, time_col, levels, cut, panel) for name in channels]
    if not parts:
        raise DataError(
            "No series in cutoffs= has an observed row up to a cutoff of its own and another within "
            f"horizon={horizon!r} after it."
        )
    return pd.concat(parts, ignore_index=True), channels


def _beside(
    asked: pd.DataFrame,
    answers: dict[str, pd.DataFrame],
    channel: Hashable,
    id_col: Hashable,
    time_col: Hashable,
    levels: Sequence[float],
    cut: np.ndarray,
    panel: Panel,
) -> pd.DataFrame:
    """Truth and forecasts of one channel, where it was seen."""
    columns: dict[str, Any] = {
        "unique_id": asked[id_col],
        "ds": asked[time_col],
        "cutoff": restore_times(cut, panel.layout.time_dtype),
        "channel": np.repeat(np.array([channel], dtype=object), len(asked)),
        "y": asked[channel],
    }
    for name, answer in answers.items():
        columns[name] = answer[channel].to_numpy()
        for share in levels:
            for side in ("lo", "hi"):
                columns[f"{name}-{side}-{share:g}"] = answer[f"{channel}-{side}-{share:g}"].to_numpy()
    return pd.DataFrame(columns)[asked[channel].notna().to_numpy()]


def _cut(panel: Panel, cutoff_of: Cutoffs, lead: Any) -> tuple[Panel, Panel]:
    """Series up to their cutoff, and what of the same ones comes after it within `lead`."""
    past, ahead, known, later = [], [], [], []
    for row, (key, times, values) in enumerate(zip(panel.ids, panel.times, panel.values)):
        cutoff = cutoff_of(key)
        end = None if cutoff is None else cutoff + lead
        middle, last = [len(times)] * 2 if cutoff is None else np.searchsorted(times, [cutoff, end], side="right")
        is_seen = bool((~np.isnan(values[:middle])).any())
        if is_seen:
            known.append(row)
            past.append(slice(0, middle))
        if is_seen and (~np.isnan(values[middle:last])).any():
            later.append(row)
            ahead.append(slice(middle, last))
    return panel.part(known, past), panel.part(later, ahead)


def _read_span(value: Any, panel: Panel, name: str) -> Any:
    """A positive duration in native time."""
    span = read_duration(value, panel.time_kind, name)
    if Timeline.fit(panel.times).duration(span, name) <= 0:
        raise ParameterError(f"{name}={value!r} must be positive.")
    return span.to_timedelta64() if isinstance(span, pd.Timedelta) else span


def _find_rounds(panel: Panel, cutoffs: Any, every: Any, horizon: Any) -> list[Cutoffs]:
    """The cutoffs of each round of a backtest, earliest first."""
    if not isinstance(cutoffs, Mapping) or every is not None:
        return [_for_all(cutoff) for cutoff in _find_cutoffs(panel, cutoffs, every, horizon)]
    for key in cutoffs:
        if key not in panel.ids:
            raise DataError(f"cutoffs= has the series {key!r}, which has no rows.{guess_label(key, panel.ids)}")
    own = {key: np.unique(read_times(times, panel, "cutoffs=")) for key, times in cutoffs.items()}
    n_rounds = max(map(len, own.values()), default=0)
    return [{key: times[k] for key, times in own.items() if k < len(times)}.get for k in range(n_rounds)]


def _for_all(cutoff: Any) -> Cutoffs:
    return lambda key: cutoff


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


def _events_until(events: Any, cutoff_of: Cutoffs, panel: Panel, id_col: Hashable, time_col: Hashable) -> EventTable:
    """The events that start up to the cutoff of their series."""
    if not isinstance(events, EventTable):
        events = EventTable(events, id_col, time_col)
    frame = events.expand()
    keys = frame[events.id_col] if events.id_col in frame.columns else [panel.ids[0]] * len(frame)
    cut = {key: cutoff for key in set(keys) if (cutoff := cutoff_of(key)) is not None}
    last = dict(zip(cut, restore_times(np.array(list(cut.values())), panel.layout.time_dtype))) if cut else {}
    is_past = [key not in last or time <= last[key] for key, time in zip(keys, frame[events.time_col])]
    return EventTable(frame[np.array(is_past, dtype=bool)], events.id_col, events.time_col)
