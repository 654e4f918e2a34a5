"""Backtests: forecasts from the past as they would have been made then, beside what came."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from tsode.backtest.following import Following
from tsode.backtest.seasons import with_season
from tsode.backtest.splits import Cutoffs, find_rounds, read_span, refuse_cutoff, shift_time
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.history import append_rows
from tsode.estimators.forecasters.reach_report import untold
from tsode.estimators.parameters import check_boolean
from tsode.estimators.settings import read_levels
from tsode.frames.events import EventTable
from tsode.frames.growing_panel import GrowingPanel
from tsode.frames.index import restore_times
from tsode.frames.labels import labels
from tsode.frames.meeting import check_rows_about
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.standard_errors import columns_beside
from tsode.frames.table import ID_COL, TIME_COL
from tsode.frames.write import write_long

__all__ = ["backtest", "by_name", "cut_rounds", "reading_of", "run_rounds"]


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
    context: Any = None,
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
        series, such as `end_cutoffs` gives; series that are not in it are learned from whole, and not forecast.
    level : per cent or list of per cents
        Of the intervals.
    refit : bool
        Fit at every cutoff. By default fitted once, on the rows up to the first cutoff; at later ones the rows that
        have come since are context.
    prefit : bool
        The estimators are fitted: they forecast as they are, and are never fitted here. Whether fit has seen what is
        forecast is not checked.
    train : same kinds as X in fit, optional
        What to fit on, instead of the rows up to a cutoff.
    context : same kinds as X in fit, optional
        Further histories, of the series in `frame` or of others: up to a cutoff they are known as those in `frame`
        are, but no forecast of their rows is made. At a time that is in both, the row in `frame` stands.
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
    check_boolean("prefit", prefit)
    named = by_name(estimator)
    rows, channels = run_rounds(
        named, frame, cutoffs, every, horizon, level, refit, tuple(named) if prefit else (), train, context, events,
        {"static": static, "known": known},
    )  # fmt: skip
    if len(channels) > 1:
        rows["unique_id"] = rows["unique_id"].astype(str) + "/" + rows["channel"].astype(str)
    return rows.drop(columns="channel")


def by_name(estimators: Any) -> dict[str, Any]:
    """Forecasters by name; a single one has the name of its class.

    Raises
    ------
    ParameterError
        If one is no forecaster.
    """
    named = dict(estimators) if isinstance(estimators, Mapping) else {type(estimators).__name__: estimators}
    for name, estimator in named.items():
        if not hasattr(estimator, "predict_interval"):
            raise ParameterError(
                f"{name!r} is a {type(estimator).__name__}, which has no predict_interval: give a forecaster."
            )
    return named


def reading_of(forecaster: Any) -> dict[str, Any]:
    """How a forecaster reads frames, as arguments of `read_panel` and of other forecasters."""
    names = ("id_col", "time_col", "target", "duplicates")
    return {name: getattr(forecaster, name) for name in names if hasattr(forecaster, name)}


def run_rounds(
    named: dict[str, Any],
    frame: Any,
    cutoffs: Any,
    every: Any,
    horizon: Any,
    level: Any,
    refit: bool,
    prefit: Collection[str],
    train: Any,
    context: Any,
    events: Any,
    covariates: dict[str, Any],
    optional: Collection[str] = (),
) -> tuple[pd.DataFrame, list[Hashable]]:
    """The rows of `backtest` with the channel in a column of its own, and the channels.

    Forecasters in `optional` are told the season that others have found; where none is known, they have no columns.
    """
    check_boolean("refit", refit)
    levels = read_levels(level, "level", 100.0)
    first: Any = next(iter(named.values()))
    reading = reading_of(first)
    id_col, time_col = reading.get("id_col", ID_COL), reading.get("time_col", TIME_COL)
    if reading.get("target") is not None:
        reading["target"] = [*labels(reading["target"]), *columns_beside(first)]
    panel = read_panel(frame, **reading)
    panel = panel.select([row for row, times in enumerate(panel.times) if len(times)])
    whole = panel if context is None else _with_context(panel, read_panel(context, **reading))
    lead = read_span(horizon, panel, "horizon")
    fitted = {name: named[name] for name in prefit}
    named = dict(named)
    parts: list[pd.DataFrame] = []
    following: dict[str, Following] = {}
    for cutoff_of in find_rounds(panel, cutoffs, every, lead):
        past, ahead = cut_rounds(whole, panel, cutoff_of, lead)
        if not len(ahead):
            if not isinstance(cutoffs, Mapping):
                refuse_cutoff(panel, cutoff_of(panel.ids[0]), horizon, len(past) > 0)
            continue
        history, future = (write_long(part, id_col, time_col) for part in (past, ahead))
        answers = {}
        for name, estimator in list(named.items()):
            tables = dict(covariates) if getattr(estimator, "reads_covariates", False) else {}
            tables["events"] = events if getattr(estimator, "reads_events", False) else None
            tables = {key: table for key, table in tables.items() if table is not None}
            if name in following:
                with untold():
                    answers[name] = following[name].along(past).predict_interval(future, level=levels)
                continue
            if name not in fitted or (refit and name not in prefit):
                past_tables = dict(tables)
                if "events" in tables:
                    past_tables["events"] = _events_until(events, cutoff_of, panel, id_col, time_col)
                is_optional = name in optional
                others = [fitted[other] for other in named if other in fitted and other != name]
                fresh = with_season(estimator, others) if is_optional else clone(estimator)
                try:
                    fitted[name] = fresh.fit(history if train is None else train, **past_tables)
                except ParameterError:
                    if not is_optional:
                        raise
                    del named[name]
                    continue
            with untold():
                answers[name] = fitted[name].predict_interval(future, context=history, level=levels, **tables)
            follower = Following(fitted[name], id_col, time_col)
            if (not refit or name in prefit) and not tables and follower.is_possible:
                following[name] = follower
        cut = np.array([cutoff_of(key) for key, times in zip(ahead.ids, ahead.times) for _ in times])
        channels = [name for name in panel.channels if all(name in answer.columns for answer in answers.values())]
        parts += [_beside(future, answers, name, id_col, time_col, levels, cut, panel) for name in channels]
    if not parts:
        raise DataError(
            "No series in cutoffs= has an observed row up to a cutoff of its own and another within "
            f"horizon={horizon!r} after it."
        )
    rows = pd.concat(parts, ignore_index=True)
    bounds = [f"-{side}-{share:g}" for side in ("lo", "hi") for share in levels]
    left_out = [f"{name}{bound}" for name in optional if name not in named for bound in ("", *bounds)]
    return rows.drop(columns=left_out, errors="ignore"), channels


def _beside(
    future: pd.DataFrame,
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
        "unique_id": future[id_col],
        "ds": future[time_col],
        "cutoff": restore_times(cut, panel.layout.time_dtype),
        "channel": np.repeat(np.array([channel], dtype=object), len(future)),
        "y": future[channel],
    }
    for name, answer in answers.items():
        columns[name] = answer[channel].to_numpy()
        for share in levels:
            for side in ("lo", "hi"):
                columns[f"{name}-{side}-{share:g}"] = answer[f"{channel}-{side}-{share:g}"].to_numpy()
    return pd.DataFrame(columns)[future[channel].notna().to_numpy()]


def _with_context(panel: Panel, context: Panel) -> Panel:
    """The panel with the rows of the context at further times."""
    if context.time_kind != panel.time_kind:
        raise DataError(
            f"The times of context= are {context.time_kind} numbers, dates or durations, those of the data "
            f"{panel.time_kind}: give both in one kind."
        )
    check_rows_about(context.ids, panel, (), "context=")
    times_of = dict(zip(panel.ids, panel.times))
    is_new = [~np.isin(times, times_of.get(key, times[:0])) for key, times in zip(context.ids, context.times)]
    return append_rows(GrowingPanel.of(panel), context.part(range(len(context)), is_new), "error")[0].plain()


def cut_rounds(whole: Panel, panel: Panel, cutoff_of: Cutoffs, lead: Any) -> tuple[Panel, Panel]:
    """The whole of the series up to their cutoff, and what of those in the panel comes after it within `lead`."""
    past, past_rows, ahead, ahead_rows = [], [], [], []
    for row, (key, times, values) in enumerate(zip(whole.ids, whole.times, whole.values)):
        cutoff = cutoff_of(key)
        end = len(times) if cutoff is None else int(np.searchsorted(times, cutoff, side="right"))
        if (~np.isnan(values[:end])).any():
            past_rows.append(row)
            past.append(slice(0, end))
    known = {whole.ids[row] for row in past_rows}
    ends: dict[Any, Any] = {}  # most series share their cutoff
    for row, (key, times, values) in enumerate(zip(panel.ids, panel.times, panel.values)):
        cutoff = cutoff_of(key)
        if cutoff is None or key not in known:
            continue
        if cutoff not in ends:
            ends[cutoff] = shift_time(panel, cutoff, lead)
        start, end = np.searchsorted(times, [cutoff, ends[cutoff]], side="right")
        if (~np.isnan(values[start:end])).any():
            ahead_rows.append(row)
            ahead.append(slice(start, end))
    return whole.part(past_rows, past), panel.part(ahead_rows, ahead)


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
