"""Influence of each training series or observation on forecasts: how far they move when it is left out of training."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.base import clone
from torch import Tensor
from tqdm import tqdm

from tsode._isolation import isolated
from tsode.errors import DataError, ParameterError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.estimators.forecasters.jump_ode import JumpODEForecaster
from tsode.estimators.forecasters.linear_sde import LinearSDEForecaster
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.frames.index import restore_times
from tsode.frames.panel import Panel
from tsode.influence.left_out import LeftOut, each_observation, each_series
from tsode.influence.proximal import ProximalObjective
from tsode.influence.reweighted import reweigh, why_not_reweighed
from tsode.influence.window_scores import WindowObjective
from tsode.models.linear.sde import StableLinearSDE
from tsode.training.objective import FilterObjective, channel_weights

__all__ = ["influence"]

METHODS = ("auto", "implicit", "warm", "importance", "refit")
PARTS = ("series", "observations")
ONE_SD = 100.0 * 0.6826894921370859  # per cent of a normal law within a standard deviation


def influence(
    forecaster: FittedForecaster, X: Any = None, *, times: Any = None, horizon: Any = None, context: Any = None,
    events: Any = None, static: Any = None, known: Any = None, of: str = "series", series: Any = None,
    method: str = "auto", train: Any = None, verbose: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Rank the training series, or their observations, by how far forecasts move when each is left out of training.

    The histories that are forecast from stay as they are: only what was learned changes. (What an observation of a
    history does to later predictions of its own series is `tsode.diagnostics.influence`.)

    A learned forecaster that is fitted anew also moves by its random start, its stochastic steps and its validation
    split, often as far as by leaving a series out. So "implicit" and "warm" do not train anew: they take the objective
    of training on all series, held near the fitted weights, go to its minimum, and ask where that lies without a
    part of the data. That of `LinearSDEForecaster` is the likelihood (`ProximalObjective`). That of `JumpODEForecaster`
    are scores over fixed windows, tilted so that the fitted weights are the minimum (`WindowObjective`): training
    stopped long before the true one. What is fitted after training (an expert, a posterior of readouts, the spread)
    stays as it is. So this ranks series, or values, by how much the fitted weights rest on them; fits from other random
    starts may rank otherwise.

    Parameters
    ----------
    forecaster : fitted forecaster
    X, times, horizon, context, events, static, known
        Which forecasts, as in ``predict``.
    of : {"series", "observations"}
        What is left out, one at a time. An observation is one value of one channel.
    series : label or list of labels, optional
        Those that are left out, or whose observations are; by default all.
    method : {"auto", "implicit", "warm", "importance", "refit"}
        "implicit": one Newton step with exact second derivatives from the minimum with all series, which is rough where
        series are few and each is a large share of what is known (compare with "warm"); "warm": to the
        minimum without the series, from there; both for `JumpODEForecaster`, and for `LinearSDEForecaster` without
        components=, system=, series_rates= and scale="robust". "importance": draws of the posterior of a
        `KnownODEForecaster` whose parameters all series share, weighted by one over the likelihood of the series.
        "refit": a clone of the forecaster fitted without the series, for every forecaster; compare it with fits of
        other seeds before believing it. "auto": "warm" or "importance" where it is possible, else "refit".
    train : DataFrame, optional
        With "refit": the data given to fit, in long format, with ids in the forecaster's `id_col`. `events`, `static`
        and `known` are then given to fit too.
    verbose : int
        0 = silent, 1 = one progress line.

    Returns
    -------
    DataFrame
        A row a series and forecast channel, the most influential series first: ``series``, ``channel``, ``rms`` and
        ``mean_change`` (without the series minus with it) over the forecasts, in units of the channel, ``rms_sd`` in
        those of the forecasts' own standard deviations, and ``status``: "ok", "not converged", or the Pareto shape of
        weights that are too uneven, of a series that should be left out in fact. With observations, a row each of
        them and channel, with ``time`` and ``observed`` (its channel) after ``series``.
        ``attrs["method"]`` is the method that was used. With "implicit" and "warm", ``attrs["hold"]`` is the weight of
        half the squared distance from the fitted weights, and ``attrs["distance"]`` how far from them the minimum with
        all series is (0 where the objective is tilted).

    Raises
    ------
    ParameterError
        If the method is not known, or not possible for this forecaster.
    DataError
        If there are fewer than two training series, or a series is named that is not known.

    References
    ----------
    Koh and Liang, "Understanding black-box predictions via influence functions", ICML 2017; Bae, Ng, Lo, Ghassemi and
    Grosse, "If influence functions are the answer, then what is the question?", NeurIPS 2022.

    Examples
    --------
    >>> from tsode import LinearSDEForecaster
    >>> from tsode.datasets import load_theophylline
    >>> from tsode.influence import influence
    >>> data = load_theophylline()
    >>> forecaster = LinearSDEForecaster(n_state=1, max_epochs=3, random_state=0).fit(data[data["unique_id"] < 5])
    >>> influence(forecaster, horizon=2.0).columns.tolist()
    ['series', 'channel', 'rms', 'rms_sd', 'mean_change', 'status']
    """
    if method not in METHODS:
        raise ParameterError(f"method={method!r} is not known: choose from {', '.join(map(repr, METHODS))}.")
    if of not in PARTS:
        raise ParameterError(f"of={of!r} is not known: choose from {', '.join(map(repr, PARTS))}.")
    forecaster._check_fitted()
    faults = {"implicit": _why_not_smooth, "warm": _why_not_smooth, "importance": why_not_reweighed}
    chosen = method
    if method == "auto":
        chosen = next((name for name in ("warm", "importance") if not faults[name](forecaster)), "refit")
    fault = faults[chosen](forecaster) if chosen in faults else ""
    if fault:
        raise ParameterError(f"method={method!r} {fault}: choose method='refit' and give train=.")
    asked = {
        "times": times, "horizon": horizon, "context": context, "events": events, "static": static, "known": known,
    }  # fmt: skip
    told = {name: value for name, value in asked.items() if value is not None}
    panel, channels = forecaster._panel, forecaster.channels_
    if chosen == "refit":
        _check_train(forecaster, X, told, train)
        panel = forecaster.reader_.read(train, beside=panel, name="train")
    parts = _parts(panel, of, series)
    left: Iterator[tuple[np.ndarray, str]]
    facts: dict[str, Any] = {"method": chosen}
    if chosen == "importance":
        assert isinstance(forecaster, KnownODEForecaster)
        found_by_draws = reweigh(forecaster, parts, X, told)
        center, spread, left = found_by_draws.mean, found_by_draws.sd, found_by_draws.each()
    else:
        is_warm = chosen == "warm"
        variants = (
            _refits(forecaster, panel, parts, told, train) if chosen == "refit"
            else _moved(forecaster, parts, is_warm, facts)
        )  # fmt: skip
        base, _ = next(variants)
        center, spread = _table(base.predict(X, **told), channels), _spread(base, X, told, channels)
        left = (
            (_table(other.predict(X, **told), channels), "ok" if is_settled else "not converged")
            for other, is_settled in variants
        )
    rows = []
    steps = tqdm(left, total=len(parts), disable=not verbose, desc="influence", unit=of)
    for place, (out, (table, status)) in enumerate(zip(parts, steps)):
        for k, channel in enumerate(channels):
            own = table[:, k] - center[:, k]
            rows.append({
                "place": place, **_name(panel, out), "channel": channel, "rms": _rms(own),
                "rms_sd": _rms(own / spread[:, k]), "mean_change": float(np.mean(own)), "status": status,
            })  # fmt: skip
    found = pd.DataFrame(rows)
    first = found.groupby("place")["rms_sd"].transform("max")
    order = np.lexsort((-found["rms_sd"].to_numpy(), found["place"].to_numpy(), -first.to_numpy()))
    found = found.iloc[order].drop(columns="place").reset_index(drop=True)
    found.attrs.update(facts)
    return found


def _why_not_smooth(forecaster: FittedForecaster) -> str:
    """Why there is no objective to differentiate; empty where there is one."""
    if isinstance(forecaster, JumpODEForecaster):
        return ""
    if not isinstance(forecaster, LinearSDEForecaster) or not isinstance(forecaster.module_, StableLinearSDE):
        return "needs a JumpODEForecaster, or a LinearSDEForecaster without components=, system= and series_rates="
    return "knows nothing of scale='robust'" if forecaster.scale == "robust" else ""


def _parts(panel: Panel, of: str, series: Any) -> list[LeftOut]:
    """What is left out, one at a time."""
    ids = list(panel.ids)
    is_one = isinstance(series, tuple) or not pd.api.types.is_list_like(series)  # a tuple is a label of a MultiIndex
    wanted = ids if series is None else [series] if is_one else list(series)
    unknown = [key for key in wanted if key not in ids]
    if unknown or not wanted:
        raise DataError(f"series= names {unknown or 'nothing'}, which is not among the training series {ids[:5]} ...")
    if of == "observations":
        values = each_observation(panel, wanted)
        if not values:
            raise DataError(f"Nothing was observed of series {wanted[:5]}, so no observation can be left out.")
        return values
    if len(ids) < 2:
        raise DataError(f"There is {len(ids)} training series, but without it nothing is left: give two or more.")
    return [out for out in each_series(panel) if ids[out.k] in wanted]


def _name(panel: Panel, out: LeftOut) -> dict[str, Any]:
    """What a row of the result says of what was left out."""
    name: dict[str, Any] = {"series": panel.ids[out.k]}
    if out.row is not None:
        seen = ~np.isnan(panel.values[out.k]).all(axis=1)
        time = panel.times[out.k][seen][out.row : out.row + 1]
        name["time"] = restore_times(time, panel.layout.time_dtype)[0]
        name["observed"] = panel.channels[out.channel]
    return name


class Held(Protocol):
    """Training objective whose minimum is one, near the fitted weights."""

    centre: Tensor  # fitted weights (p)
    hold: float  # weight of half the squared distance from them

    @property
    def module(self) -> Any:
        """A copy of the fitted one."""

    def place(self, point: Tensor) -> None:
        """Give the module these parameters (p)."""

    def start(self, asked: Sequence[LeftOut]) -> tuple[Tensor, bool]:
        """The minimum with all series (p), and whether it was reached; comes before `move` of one of those asked."""

    def move(self, out: LeftOut, is_warm: bool) -> tuple[Tensor, bool]:
        """The minimum without a part (p), searched for or by one Newton step, and whether it was reached."""


def held_objective(forecaster: FittedForecaster) -> Held:
    """The objective that a forecaster was trained by, held near the fitted weights."""
    assert isinstance(forecaster, LinearSDEForecaster | JumpODEForecaster)
    series = forecaster.reader_.series(forecaster._panel)
    if isinstance(forecaster, LinearSDEForecaster):
        assert isinstance(forecaster.module_, StableLinearSDE)
        return ProximalObjective(forecaster.module_, series, forecaster.max_context)
    weight = channel_weights(series, forecaster.balance)
    objective = FilterObjective(forecaster.loss, horizon=forecaster.reader_.reach, weight=weight)
    return WindowObjective(forecaster.module_, series, objective, forecaster.max_context)


def _moved(
    forecaster: FittedForecaster, parts: Sequence[LeftOut], is_warm: bool, facts: dict[str, Any]
) -> Iterator[tuple[FittedForecaster, bool]]:
    """The forecaster at the minimum with all series, and then as it is without each; `facts` are told of the first."""
    with isolated():
        objective = held_objective(forecaster)
        point, is_settled = objective.start(parts)
    facts.update(hold=objective.hold, distance=float((point - objective.centre).norm()))
    yield moved_to(forecaster, objective, point), is_settled
    for out in parts:
        with isolated():
            point, is_reached = objective.move(out, is_warm)
        yield moved_to(forecaster, objective, point), is_reached


def moved_to(forecaster: FittedForecaster, objective: Held, point: Tensor) -> FittedForecaster:
    """A copy of the forecaster with these parameters."""
    assert isinstance(forecaster, LinearSDEForecaster | JumpODEForecaster)
    objective.place(point)
    other = copy.copy(forecaster)
    other.module_ = copy.deepcopy(objective.module).to(forecaster._torch_device(), forecaster._torch_dtype())
    other._keep_histories(forecaster._panel)  # states of the old weights are forgotten
    return other


def _refits(
    forecaster: FittedForecaster, panel: Panel, parts: Sequence[LeftOut], told: dict[str, Any], train: pd.DataFrame
) -> Iterator[tuple[FittedForecaster, bool]]:
    """The forecaster itself, and then a clone fitted without each part of `train`, with the histories of all."""
    tables = {name: told[name] for name in ("events", "static", "known") if name in told}
    yield forecaster, True
    told.setdefault("context", train)  # the histories of series left out too
    for out in parts:
        yield clone(forecaster).fit(_without(train, panel, out), **tables), True


def _without(train: pd.DataFrame, panel: Panel, out: LeftOut) -> pd.DataFrame:
    """The training data without a series, or with an empty cell in place of a value."""
    name = _name(panel, out)
    is_own = train[panel.layout.id_col] == name["series"]
    if out.row is None:
        return train[~is_own]
    left = train.copy()
    left.loc[is_own & (train[panel.layout.time_col] == name["time"]), name["observed"]] = np.nan
    return left


def _id_column(forecaster: FittedForecaster) -> Hashable:
    column = getattr(forecaster, "id_col", None)
    return "unique_id" if column is None else column


def _check_train(forecaster: FittedForecaster, X: Any, told: dict[str, Any], train: Any) -> None:
    if not isinstance(train, pd.DataFrame):
        raise ParameterError("method='refit' needs the data given to fit, as a DataFrame in long format: give train=.")
    if X is None and not {"times", "horizon"} & set(told):
        raise ParameterError("method='refit' needs horizon=, times= or X: each fit would choose a horizon of its own.")
    column = _id_column(forecaster)
    if column not in train:
        raise DataError(f"train= has no column {column!r} of ids: it has {list(train.columns)}.")


def _table(forecast: Any, channels: list[Hashable]) -> np.ndarray:
    return np.asarray(forecast[channels], dtype=float).reshape(-1, len(channels))


def _spread(base: FittedForecaster, X: Any, told: dict[str, Any], channels: list[Hashable]) -> np.ndarray:
    """Half the width of the central interval of a standard deviation to each side, array[n c]."""
    level = ONE_SD
    found = base.predict_interval(X, level=level, **told)
    ends = [
        [name for name in found.columns if str(name).startswith(f"{channel}-{side}-")]
        for channel in channels for side in ("lo", "hi")
    ]  # fmt: skip
    low, high = (np.stack([found[names[0]].to_numpy(float) for names in ends[k::2]], axis=1) for k in (0, 1))
    return np.maximum(0.5 * (high - low), np.finfo(float).tiny)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
