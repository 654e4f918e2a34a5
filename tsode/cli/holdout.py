"""Held-out data: forecasts by a forecaster and by the baselines, and their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from tsode.backtest import end_cutoffs, score_table
from tsode.backtest.scores import REFERENCE, baselines
from tsode.cli.models import command_name
from tsode.core.time_sums import add_spans
from tsode.errors import DataError, ParameterError
from tsode.estimators import BaseForecaster
from tsode.frames.durations import read_duration
from tsode.frames.labels import labels
from tsode.frames.read import read_panel
from tsode.frames.standard_errors import columns_beside
from tsode.frames.write import write_long

__all__ = ["HeldOut", "hold_out", "hold_out_after", "tidy"]

SHARE_OF_SPAN = 0.2
"""Horizon, as a share of the median span of the series, where none is given."""
MOST_HELD_OUT = 0.25
"""Share of the median span that several cutoffs may hold out, where their number is not given."""
MOST_CUTOFFS = 5


@dataclass(frozen=True)
class HeldOut:
    """Forecasts of held-out data and their scores.

    Parameters
    ----------
    name : str
        Of the forecaster that is judged.
    forecaster : BaseForecaster
        Fitted on nothing that is scored.
    frame : DataFrame
        All data, long, one row a time.
    cutoffs : dict of id to list of times
        When each tested series was forecast from.
    scores : DataFrame
        One row a channel and model: ``n`` values that were forecast, ``mae`` and ``rmse`` of the mean, ``crps``,
        ``skill`` (share of the CRPS of the last value that is saved), and which per cent ``in 80 %`` and ``in 95 %``
        intervals.
    horizon : duration or float
    tables : dict
        ``events``, ``static`` and ``known`` of fit, as far as there are.
    """

    name: str
    forecaster: Any
    frame: pd.DataFrame
    cutoffs: dict[Any, list[Any]]
    scores: pd.DataFrame
    horizon: Any
    tables: dict[str, Any]

    @property
    def columns(self) -> dict[str, Any]:
        """The names of the columns of ids and times."""
        return {"id_col": self.forecaster.id_col, "time_col": self.forecaster.time_col}

    @property
    def summary(self) -> str:
        """A sentence that says how many forecasts stand behind the scores, and of what."""
        low, *_, high = sorted(map(len, self.cutoffs.values())) * 2
        often = f"{low} to {high} times" if low < high else "one time" if high == 1 else f"{high} times"
        return f"{self.name}: {len(self.cutoffs)} series, each forecast from {often}, {tidy(self.horizon)} ahead."

    def rounds(self) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Rows up to a cutoff of their series and those within a horizon after it: first cutoffs, second ones, ..."""
        ids, times = (self.frame[name] for name in self.columns.values())
        for k in range(max(map(len, self.cutoffs.values()))):
            cut = ids.map({key: cutoffs[k] for key, cutoffs in self.cutoffs.items() if k < len(cutoffs)})
            yield self.frame[times <= cut], self.frame[(times > cut) & (times <= cut + self.horizon)]


def hold_out(
    forecaster: BaseForecaster,
    name: str,
    frame: pd.DataFrame,
    *,
    horizon: Any = None,
    n_cutoffs: int | None = None,
    share: float | None = None,
    seed: int = 0,
    **tables: Any,
) -> HeldOut:
    """Fit on what is not held out, forecast the ends of the series, and score.

    Parameters
    ----------
    forecaster : BaseForecaster
        Not fitted.
    name : str
    frame : DataFrame
        Long; without an id column, one series.
    horizon : duration or float, optional
        The default is a fifth of the median span of the series.
    n_cutoffs : int, optional
        How many horizons at the end of each series are forecast, each from its own beginning. The default is as many as
        make up a quarter of the median span, one at least and five at most.
    share : float, optional
        Share of the series that fit sees nothing of; None: fit sees what comes before the first cutoff of each.
    seed : int
        Of the choice of series.
    **tables
        ``events``, ``static`` and ``known``, as in fit.
    """
    frame = _read(forecaster, frame)
    id_col: Any = forecaster.id_col
    time_col: Any = forecaster.time_col
    spans = frame.groupby(id_col, sort=False)[time_col].agg(np.ptp)
    if not (spans > 0 * spans).any():
        raise DataError("No series has two times, so nothing can be held out at its end: give longer series.")
    horizon = _horizon(horizon, spans)
    if n_cutoffs is None:
        n_cutoffs = int(np.clip(MOST_HELD_OUT * spans.median() / horizon, 1, MOST_CUTOFFS))
    cutoffs = end_cutoffs(frame, horizon, n_cutoffs=n_cutoffs, id_col=id_col, time_col=time_col)
    if share is not None:
        n_held = round(share * len(cutoffs)) if 0.0 < share < 1.0 else 0
        if not 1 <= n_held < len(cutoffs):
            raise ParameterError(
                f"A share of {share} of {len(cutoffs)} series leaves none to score or none to learn from: give another "
                "--hold-out, or leave it out to score the end of every series."
            )
        drawn = np.random.default_rng(seed).permutation(len(cutoffs))[:n_held]
        cutoffs = {key: cutoffs[key] for k, key in enumerate(cutoffs) if k in drawn}
        train = frame[~frame[id_col].isin(list(cutoffs))]
    else:
        train = frame[~(frame[time_col] > frame[id_col].map({key: times[0] for key, times in cutoffs.items()}))]
    forecaster.set_params(horizon=horizon)
    forecaster.fit(train, **tables)
    return _score(forecaster, name, frame, cutoffs, train, horizon, tables)


def hold_out_after(
    forecaster: BaseForecaster,
    name: str,
    frame: pd.DataFrame,
    *,
    horizon: Any = None,
    n_cutoffs: int | None = None,
    **tables: Any,
) -> HeldOut:
    """Score a forecaster that is fitted on what came after its history, as it is.

    Series of its history are forecast from the end of that history on, others from a horizon before their end.

    Parameters
    ----------
    forecaster : BaseForecaster
        Fitted.
    name : str
    frame : DataFrame
        The rows that are new, or all rows: of series in the history, those that are not later are left out.
    horizon : duration or float, optional
        The default is that of the forecaster.
    n_cutoffs : int, optional
        At most so many times of each series are forecast from, five by default: evenly spaced, one horizon apart at
        least.
    **tables
        ``events``, ``static`` and ``known`` to come, as in predict; the default is what was given to fit.

    Raises
    ------
    DataError
        If nothing in `frame` is later than the history, and no series in it is new.
    """
    id_col: Any = forecaster.id_col
    time_col: Any = forecaster.time_col
    max_cutoffs = n_cutoffs or MOST_CUTOFFS
    history = write_long(forecaster._panel, id_col, time_col).dropna(subset=forecaster.channels_, how="all")
    frame = _read(forecaster, frame, key=forecaster._panel.ids[0])
    last = history.groupby(id_col, sort=False)[time_col].max()
    new = frame[~(frame[time_col] <= frame[id_col].map(last))]
    horizon = _horizon(forecaster.horizon_ if horizon is None else horizon, new[time_col] - new[time_col].min())
    first = new.groupby(id_col, sort=False)[time_col].min()
    cutoffs: dict[Any, list[Any]] = {}
    for key, end in new.groupby(id_col, sort=False)[time_col].max().items():
        begin = last.get(key, end - horizon)
        if key not in last and begin < first[key]:
            continue  # a new series with nothing to forecast from
        n_steps = min(max_cutoffs, int(np.ceil((end - begin) / horizon)))
        step = max(horizon, (end - begin) / n_steps)
        cutoffs[key] = [begin + k * step for k in range(n_steps)]
        if isinstance(begin, Real):
            span, parts = (horizon, 1) if step == horizon else (end - begin, n_steps)
            cutoffs[key] = add_spans(np.full(n_steps, begin), np.asarray(span), np.arange(n_steps), parts).tolist()
    if not cutoffs:
        raise DataError(
            "The data have no row that is later than the history of the model, and no new series longer than "
            f"horizon={tidy(horizon)!r}, so nothing can be scored."
        )
    return _score(forecaster, name, pd.concat([history, new], ignore_index=True), cutoffs, history, horizon, tables)


def tidy(time: Any) -> str:
    """A time or a duration, without the clock of a whole day."""
    if time is None:
        return ""
    if isinstance(time, np.timedelta64):
        time = pd.Timedelta(time)
    return f"{time:.4g}" if isinstance(time, float) else str(time).removesuffix(" 00:00:00")


def _read(forecaster: Any, frame: pd.DataFrame, key: Any = "series") -> pd.DataFrame:
    """The data as a long frame with ids, the channels of the forecaster, and one row a time with something seen."""
    id_col, time_col = forecaster.id_col, forecaster.time_col
    if id_col not in frame.columns:
        frame = frame.assign(**{id_col: key})
    target = forecaster._panel.channels if hasattr(forecaster, "channels_") else forecaster.target
    if target is not None:
        target = list(dict.fromkeys([*labels(target), *columns_beside(forecaster)]))
    panel = read_panel(frame, id_col=id_col, time_col=time_col, target=target, duplicates=forecaster.duplicates)
    return write_long(panel, id_col, time_col).dropna(subset=panel.channels, how="all", ignore_index=True)


def _horizon(horizon: Any, spans: pd.Series) -> Any:
    is_clock = spans.dtype.kind == "m"
    if horizon is None:
        horizon = SHARE_OF_SPAN * spans.median()
        return pd.Timedelta(horizon).floor("s") or pd.Timedelta(horizon) if is_clock else float(horizon)
    span = pd.Timedelta(read_duration(horizon, "timedelta")) if is_clock else horizon
    if not span > 0 * span:
        raise ParameterError(f"--horizon must be positive and finite, but is {horizon}.")
    return span


def _score(
    forecaster: Any,
    name: str,
    frame: pd.DataFrame,
    cutoffs: dict[Any, list[Any]],
    train: Any,
    horizon: Any,
    tables: dict[str, Any],
) -> HeldOut:
    class_names = {command_name(key): key for key in baselines()}
    table = score_table(
        {class_names.get(name, name): forecaster},
        frame,
        cutoffs=cutoffs,
        horizon=horizon,
        metrics=("n", "mae", "rmse", "crps", "coverage"),
        level=(80, 95),
        prefit=True,
        train=train,
        **tables,
    ).reset_index()
    others = sorted(
        (other for other in class_names if other != name), key=lambda other: class_names[other] != REFERENCE
    )
    shown = table["model"].replace({key: other for other, key in class_names.items()})
    table["model"] = pd.Categorical(shown, [name, *others])
    table["skill"] = 1.0 - table["crps-rel"]
    table[["in 80 %", "in 95 %"]] = 100.0 * table[["coverage-80", "coverage-95"]]
    table = table.sort_values("model", kind="stable", ignore_index=True).astype({"model": object})
    scores = table[["model", "channel", "n", "mae", "rmse", "crps", "skill", "in 80 %", "in 95 %"]]
    return HeldOut(name, forecaster, frame, cutoffs, scores, horizon, tables)
