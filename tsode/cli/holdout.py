"""Forecasts of held-out data by a forecaster and by the baselines, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, ParameterError
from tsode.estimators import BaseForecaster, ConstantForecaster, DriftForecaster, LastValueForecaster
from tsode.frames.times import read_duration
from tsode.metrics import coverage, crps_from_quantiles, mae, rmse

__all__ = ["BASELINES", "QUANTILES", "HeldOut", "holdout"]

BASELINES: dict[str, type[BaseForecaster]] = {
    "last-value": LastValueForecaster,
    "constant": ConstantForecaster,
    "drift": DriftForecaster,
}
QUANTILES = np.arange(1, 40) / 40  # both ends of the 80 and the 95 % interval are among them
SHARE_OF_SPAN = 0.2
"""Horizon, as a share of the median span of the series, where none is given."""


@dataclass(frozen=True)
class HeldOut:
    """What was forecast, from what, and how well.

    Parameters
    ----------
    name : str
        Of the forecaster that is judged.
    forecasters : dict of name to BaseForecaster
        Fitted: it, and the baselines.
    frame : DataFrame
        All data, long.
    past, future : DataFrame
        Rows that were forecast from, and rows that were forecast.
    quantiles : DataFrame
        Of the judged forecaster, for the rows of `future`.
    scores : DataFrame
        One row a forecaster and channel: ``n`` values, ``mae`` of the median, ``rmse`` of the mean, ``crps``, ``skill``
        (share of the CRPS of the last value that is saved), and which per cent ``in 80 %`` and ``in 95 %`` intervals.
    horizon : duration or float
    id_col, time_col : label
    events : DataFrame or None
    """

    name: str
    forecasters: dict[str, BaseForecaster]
    frame: pd.DataFrame
    past: pd.DataFrame
    future: pd.DataFrame
    quantiles: pd.DataFrame
    scores: pd.DataFrame
    horizon: Any
    id_col: Any
    time_col: Any
    events: Any


def holdout(
    forecaster: BaseForecaster,
    name: str,
    frame: pd.DataFrame,
    *,
    horizon: Any = None,
    share: float | None = None,
    events: Any = None,
    seed: int = 0,
) -> HeldOut:
    """Fit on what is not held out, forecast the last horizon of each held-out series, and score.

    Parameters
    ----------
    forecaster : BaseForecaster
        Not fitted.
    name : str
    frame : DataFrame
        Long; without an id column, one series.
    horizon : duration or float, optional
        The default is a fifth of the median span of the series.
    share : float, optional
        Share of the series that fit sees nothing of; None: fit sees all but the last horizon of every series.
    events : DataFrame, optional
    seed : int
        Of the choice of series.
    """
    id_col: Any = forecaster.id_col
    time_col: Any = forecaster.time_col
    if id_col not in frame.columns:
        frame = frame.assign(**{id_col: "series"})
    target = getattr(forecaster, "target", None)
    channels = [c for c in frame.columns if c not in (id_col, time_col)] if target is None else list(target)
    unknown = [c for c in channels if c not in frame.columns]
    if unknown:
        raise DataError(f"There is no column {unknown[0]!r}; the columns are {list(frame.columns)}.")
    frame = frame.dropna(subset=channels, how="all").sort_values([id_col, time_col], ignore_index=True)
    if not len(frame):
        raise DataError("All values are missing, so nothing can be held out: check how the file is written.")
    if getattr(forecaster, "duplicates", "error") == "mean":
        frame = frame.groupby([id_col, time_col], as_index=False)[channels].mean()
    times = frame.groupby(id_col, sort=False)[time_col]
    horizon = _horizon(horizon, times)
    is_late = frame[time_col] > times.transform("max") - horizon
    ids = frame[id_col]
    has_past = ids.isin(ids[~is_late])
    is_tested = has_past
    if share is not None:
        known = np.array(pd.unique(ids[has_past]), dtype=object)
        n_held = round(share * len(known)) if 0.0 < share < 1.0 else 0
        if not 1 <= n_held < len(known):
            raise ParameterError(
                f"A share of {share} of {len(known)} series leaves none to score or none to learn from: give another "
                "--hold-out, or leave it out to score the end of every series."
            )
        is_tested = ids.isin(np.random.default_rng(seed).permutation(known)[:n_held])
    past, future = frame[is_tested & ~is_late], frame[is_tested & is_late]
    train = frame[~is_late] if share is None else frame[~is_tested]
    if not len(future):
        raise DataError(f"No series is longer than the horizon of {horizon}, so none can be scored: give --horizon.")

    forecasters: dict[str, Any] = {name: forecaster}
    shared = {"id_col": id_col, "time_col": time_col, "target": target, "horizon": horizon}
    forecasters |= {key: made(**shared) for key, made in BASELINES.items() if key != name}  # type: ignore[call-arg]
    forecaster.set_params(horizon=horizon)
    parts, answers = [], {}
    for key, one in forecasters.items():
        given = {"events": events} if events is not None and one.reads_events else {}
        one.fit(train, **given)
        asked = {"context": past, **given}
        answers[key] = one.predict_quantiles(future, quantiles=QUANTILES, **asked)
        parts.append(_score(key, future, one.predict(future, **asked), answers[key], one.channels_))
    scores = pd.concat(parts, ignore_index=True)
    reference = scores[scores["model"] == "last-value"].set_index("channel")["crps"]
    scores.insert(6, "skill", 1.0 - scores["crps"] / scores["channel"].map(reference))
    return HeldOut(name, forecasters, frame, past, future, answers[name], scores, horizon, id_col, time_col, events)


def _horizon(horizon: Any, times: Any) -> Any:
    spans = times.max() - times.min()
    is_clock = spans.dtype.kind == "m"
    if horizon is None:
        horizon = SHARE_OF_SPAN * spans.median()
        return pd.Timedelta(horizon).floor("s") or pd.Timedelta(horizon) if is_clock else float(horizon)
    return pd.Timedelta(read_duration(horizon, "timedelta")) if is_clock else horizon


def _score(
    name: str, truth: pd.DataFrame, mean: pd.DataFrame, quantiles: pd.DataFrame, channels: list[Any]
) -> pd.DataFrame:
    rows = []
    for channel in channels:
        x = truth[channel].to_numpy(dtype=float)
        if np.isnan(x).all():
            continue
        q = quantiles[[f"{channel}-q-{level:g}" for level in QUANTILES]].to_numpy()
        row = {"model": name, "channel": channel, "n": int((~np.isnan(x)).sum()), "mae": mae(x, q[:, 19])}
        row |= {"rmse": rmse(x, mean[channel].to_numpy()), "crps": crps_from_quantiles(x, q, QUANTILES)}
        rows.append(
            row | {"in 80 %": 100 * coverage(x, q[:, 3], q[:, 35]), "in 95 %": 100 * coverage(x, q[:, 0], q[:, 38])}
        )
    return pd.DataFrame(rows)
