"""Whether a changed tree forecasts what it forecast before, and still reads the model files of before.

    PYTHONPATH=BEFORE OMP_NUM_THREADS=1 python tests/benchmarks/same_forecasts.py --write before.npz
    PYTHONPATH=AFTER  OMP_NUM_THREADS=1 python tests/benchmarks/same_forecasts.py --check before.npz [--only TEXT]

`--write` fits every estimator in a small size on bundled data, with fixed seeds, and asks it all that it can be asked.
The file holds each answer as a float64 array, named "estimator/set/question", and beside the answers the bytes of the
model file that `save` wrote, as "estimator/set/file". `--check` fits and asks again, then reads each stored model file
and asks what it holds as well. Both answers are compared with the stored ones, number by number. Each case has a line:
how many numbers, the largest difference as a share of the largest number in its column, and whether the file reads.

The exit code is 1 if a number differs, a file cannot be read, or a stored case or question is missing. Estimators in
double precision may differ by 1e-12 of the scale, and the line then says so. Cases that the file does not hold are only
named. Seconds are of the CPU. Rounding is the processor's: write and check on one machine, with one torch.

Times stand in the arrays as seconds, labels as checksums, so that an answer in another order is another answer.
Only public names are imported: the script is to run on trees whose inner parts stand elsewhere.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression, Ridge

import tsode
from tsode import datasets
from tsode.backtest import backtest, score_table
from tsode.conformal import ConformalForecaster

SMALL = {
    "n_modes": 4, "n_static": 2, "n_state": 4, "n_hidden": 8, "n_encoder": 8, "n_samples": 6, "max_epochs": 2,
    "max_context": 32, "batch_size": 16, "device": "cpu", "random_state": 0,
}  # fmt: skip
ROUNDING = 1e-12  # of the scale, in double precision
FILE = "file"  # stands where the name of a question does

Answers = Iterator[tuple[str, Any]]


class Case(NamedTuple):
    """One estimator on one data set.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    fit : callable
        Fits it in place.
    ask : callable
        Fitted estimator -> names of questions and answers. It may change the estimator.
    has_file : bool
    """

    estimator: Any
    fit: Callable[[Any], Any]
    ask: Callable[[Any], Answers]
    has_file: bool = True

    @property
    def is_double(self) -> bool:
        """Whether all that is fitted is in double precision."""
        found = [value for name, value in self.estimator.get_params().items() if name.endswith("dtype")]
        return all(value == "float64" for value in found)


class Data(NamedTuple):
    """A data set, cut in time.

    Parameters
    ----------
    past, later, ahead : DataFrame
        What fit sees; what `update` brings; what is asked about and scored.
    new : DataFrame
        Series that fit has not seen.
    horizons : list
        Two leads, the longer one last.
    moments : list
        Times within and after the past.
    told : dict of str to DataFrame
        Events and covariates, as arguments of fit.
    told_of_new : dict of str to DataFrame
        Those of the new series.
    changed : dict of str to DataFrame
        Other ones of the series in fit.
    """

    past: pd.DataFrame
    later: pd.DataFrame
    ahead: pd.DataFrame
    new: pd.DataFrame
    horizons: list[Any]
    moments: list[Any]
    told: dict[str, pd.DataFrame]
    told_of_new: dict[str, pd.DataFrame]
    changed: dict[str, pd.DataFrame]

    def of_few(self, n_series: int) -> Data:
        """The same of the first series alone."""
        few = self.past["unique_id"].unique()[:n_series]
        parts = (self.past, self.later, self.ahead)
        past, later, ahead = (part[part["unique_id"].isin(few)].reset_index(drop=True) for part in parts)
        return self._replace(past=past, later=later, ahead=ahead)

    @property
    def gappy(self) -> pd.DataFrame:
        """The new series with every third row of each channel unseen, another third in each."""
        frame = self.new.copy()
        for c in range(2, frame.shape[1]):
            frame.iloc[c % 3 :: 3, c] = np.nan
        return frame


# -- data ------------------------------------------------------------------------------------------------------------


def cut(frame: pd.DataFrame, first: Any, second: Any) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows up to the first time, up to the second, and the rest."""
    parts = (frame["ds"] <= first, (frame["ds"] > first) & (frame["ds"] <= second), frame["ds"] > second)
    return tuple(frame[part].reset_index(drop=True) for part in parts)  # type: ignore[return-value]


def renamed(frame: pd.DataFrame, names: dict[Any, Any]) -> pd.DataFrame:
    """The rows of some series under other ids."""
    own = frame[frame["unique_id"].isin(list(names))]
    return own.assign(unique_id=own["unique_id"].map(names)).reset_index(drop=True)


@cache
def theophylline() -> Data:
    """One channel, 12 subjects, hours; doses as events, weights as constants."""
    past, later, ahead = cut(datasets.load_theophylline(), 9.2, 12.5)
    names = {3: 103, 7: 107}
    told = {
        "events": datasets.load_theophylline_doses().rename(columns={"dose_mg": "amount"}),
        "static": datasets.load_theophylline_static(),
    }
    events, static = told["events"], told["static"]
    second = events.assign(ds=8.0, amount=0.5 * events["amount"])[::2]
    return Data(
        past,
        later,
        ahead,
        renamed(past, names),
        [2.0, 6.0],
        [1.5, 8.0, 11.0],
        told,
        {name: renamed(table, names) for name, table in told.items()},
        {"events": pd.concat([events, second]), "static": static.assign(weight_kg=1.2 * static["weight_kg"])},
    )


def all_kinds_of_events() -> pd.DataFrame:
    """The doses of theophylline, and beside them made-up events of the other kinds."""
    doses = theophylline().told["events"].assign(kind="add")
    subjects = doses["unique_id"]
    infused = pd.DataFrame({"unique_id": subjects[:6], "ds": 2.0, "kind": "add", "amount": 60.0, "duration": 3.0})
    again = pd.DataFrame(
        {"unique_id": subjects[3:9], "ds": 1.0, "kind": "add", "amount": 20.0, "every": 2.0, "n_more": 3}
    )
    steady = again.assign(unique_id=subjects[6:].to_numpy(), ds=4.0, steady_state=1, n_more=0, target="other drug")
    meals = pd.DataFrame({"unique_id": subjects, "ds": 5.0, "kind": "mark", "target": "meal"})
    emptied = pd.DataFrame({"unique_id": subjects[:4], "ds": 7.0, "kind": "reset"})
    events = pd.concat([doses, infused, again, steady, meals, emptied], ignore_index=True)
    # all are named: where some were not, a model file of the first trees could not be asked about the same events
    return events.assign(target=events["target"].fillna("drug"))


@cache
def weather() -> Data:
    """Three channels, 3 airports, datetimes with a zone; two covariates known ahead, with gaps."""
    frame = datasets.load_nyc_weather()
    day = partial(pd.Timestamp, tz="UTC")
    frame = frame[
        (frame["ds"] >= day("2013-03-01")) & (frame["ds"] < day("2013-03-15")) & (frame["ds"].dt.hour % 3 == 0)
    ]
    seen = frame[["unique_id", "ds", "temperature_degf", "humidity_pct", "wind_gust_mph"]]
    past, later, ahead = cut(seen[seen["ds"] < day("2013-03-14")], day("2013-03-11"), day("2013-03-13"))
    names = {"JFK": "new one"}
    known = frame[["unique_id", "ds", "pressure_hpa", "visibility_mi"]].reset_index(drop=True)
    other = known[known["ds"] > day("2013-03-11")]
    return Data(
        past,
        later,
        ahead,
        renamed(past, names)[:40],
        ["4h", "18h"],
        [day("2013-03-05 01:30"), day("2013-03-11 08:00"), day("2013-03-11 17:00")],
        {"known": known},
        {"known": renamed(known, names)},
        {"known": other.assign(pressure_hpa=other["pressure_hpa"] - 8.0)},
    )


@cache
def intensive_care() -> Data:
    """Five channels, each seen at times of its own, 24 stays, hours; numbers and categories as constants."""
    channels = ["HR", "Temp", "NISysABP", "GCS", "Glucose"]
    frame = datasets.load_physionet2012()[["unique_id", "ds", *channels]].dropna(subset=channels, how="all")
    static = datasets.load_physionet2012_static()
    static = static.assign(icu_type=static["icu_type"].map("unit {:.0f}".format))
    chosen, others = np.split(static["unique_id"].to_numpy()[:27], [24])
    static = static[["unique_id", "age", "height_cm", "icu_type"]]
    own, of_new = (static[static["unique_id"].isin(ids)].reset_index(drop=True) for ids in (chosen, others))
    past, later, ahead = cut(frame[frame["unique_id"].isin(chosen)], 20.0, 28.0)
    return Data(
        past,
        later,
        ahead[ahead["ds"] <= 36.0].reset_index(drop=True),
        frame[frame["unique_id"].isin(others) & (frame["ds"] <= 16.0)].reset_index(drop=True),
        [3.0, 8.0],
        [6.0, 21.0],
        {"static": own},
        {"static": of_new},
        {"static": own.assign(age=own["age"] + 10.0, icu_type="unit 2")},
    )


def stays() -> tuple[list[pd.DataFrame], np.ndarray, np.ndarray]:
    """Stays as frames with times of their own; how each ended, and its two scores of severity."""
    rows = intensive_care().past.groupby("unique_id")
    outcomes = datasets.load_physionet2012_outcomes().set_index("unique_id").loc[list(rows.groups)]
    frames = [own.set_index("ds").drop(columns=["unique_id", "Glucose"]) for _, own in rows]
    return (
        frames,
        outcomes["in_hospital_death"].map({0.0: "lived", 1.0: "died"}).to_numpy(),
        outcomes[["saps_i", "sofa"]].fillna(0.0).to_numpy(),
    )


def days() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Temperatures of a day as an array, a row a day; airport, and mean temperature of the day after."""
    frame = weather().past
    table = frame.pivot_table(
        index=["unique_id", frame["ds"].dt.date], columns=frame["ds"].dt.hour, values="temperature_degf"
    )
    table.iloc[::3, 2] = np.nan
    after = table.mean(axis=1).groupby(level=0).shift(-1).ffill()
    return table.to_numpy(), table.index.get_level_values(0).to_numpy(dtype=object), after.to_numpy()


def earthquakes(n_train: int = 24, n_test: int = 4) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Streams to learn from, streams held out, and windows of both."""
    events = datasets.load_earthquakes()
    parts = []
    for split, count in (("train", n_train), ("dev", n_test)):
        own = events[events["split"] == split]
        parts.append(own[own["unique_id"].isin(own["unique_id"].unique()[:count])].drop(columns="split"))
    ends = pd.concat(parts).groupby("unique_id")["ds"].agg(["min", "max"]).reset_index()
    ends.columns = pd.Index(["unique_id", "start", "end"])
    return parts[0], parts[1], ends.assign(start=ends["start"] - 0.5, end=ends["end"] + 1.0)


# -- questions -------------------------------------------------------------------------------------------------------


def ask_forecaster(forecaster: Any, data: Data, given: tuple[str, ...] = (), refit: bool = False) -> Answers:
    """All that a forecaster can be asked; at the end it is changed."""
    of_new = {name: data.told_of_new[name] for name in given}
    yield "predict", forecaster.predict()
    yield "predict_rows", forecaster.predict(data.ahead)
    yield "predict_times", forecaster.predict(times=data.moments)
    yield "predict_quantiles", forecaster.predict_quantiles(horizon=data.horizons, quantiles=(0.05, 0.5, 0.8))
    yield "predict_interval", forecaster.predict_interval(horizon=data.horizons[1], level=(50, 90))
    yield "predict_spread", forecaster.predict_spread(data.ahead)
    yield "sample", forecaster.sample(horizon=data.horizons, n_samples=3, random_state=1)
    yield "context", forecaster.predict_interval(context=data.new, horizon=data.horizons, level=80, **of_new)
    yield "impute", forecaster.impute(data.gappy, **of_new)
    for metric in ("nll", "crps", "mse", "mae"):
        yield f"score_{metric}", forecaster.score(data.ahead, metric=metric)
    weight = np.linspace(0.0, 1.0, len(data.new))
    yield "score_new", forecaster.score(data.new, metric="crps", sample_weight=weight, **of_new)
    if "events" in given:
        scenarios = {"as given": None, "changed": data.changed["events"], "none": data.changed["events"][:0]}
        yield "what_if", forecaster.what_if(scenarios, horizon=data.horizons, n_samples=9, random_state=2)
    for name in given:
        yield f"changed_{name}", forecaster.predict(horizon=data.horizons, **{name: data.changed[name]})
    if isinstance(forecaster, tsode.LinearSDEForecaster):
        yield "log_likelihood", forecaster.log_likelihood()
        for seen in ("past", "present", "all"):
            yield f"state_{seen}", forecaster.predict_state(times=data.moments, given=seen)
    if getattr(forecaster, "informative_times", False):
        yield "predict_intensity", forecaster.predict_intensity(horizon=data.horizons)
    forecaster.update(data.later)
    yield "updated", forecaster.predict_interval(horizon=data.horizons, level=80)
    forecaster.update(data.new, **of_new)
    yield "updated_new", forecaster.sample(horizon=data.horizons, n_samples=2, random_state=3)
    forecaster.update(data.ahead)
    yield "updated_again", forecaster.predict(horizon=data.horizons)
    yield "updated_times", forecaster.predict(times={data.past["unique_id"].iloc[0]: data.moments})
    if refit:  # seeds are not in a file
        forecaster.set_params(random_state=4).update(data.ahead[:0], refit=True)
        yield "refitted", forecaster.predict_quantiles(horizon=data.horizons)


def ask_container(forecaster: Any, later: Any, gappy: Any, horizon: Any) -> Answers:
    """A few questions, in the data's own container: `later` are the values of `update`, `gappy` are filled."""
    yield "predict_interval", forecaster.predict_interval(horizon=horizon)
    yield "sample", forecaster.sample(horizon=horizon, n_samples=2, random_state=1)
    yield "predict_rows", forecaster.predict(later[0])
    yield "score", forecaster.score(*later, metric="crps")
    if gappy is not None:
        yield "impute", forecaster.impute(gappy)
    forecaster.update(*later)
    yield "updated", forecaster.predict(horizon=horizon)


def ask_intervals(forecaster: Any, data: Data) -> Answers:
    """Calibrated intervals."""
    yield "predict", forecaster.predict(horizon=data.horizons)
    yield "predict_interval", forecaster.predict_interval(horizon=data.horizons[1], level=(50, 80))
    yield "context", forecaster.predict_interval(data.ahead, context=data.later, level=60)


def ask_backtest(forecaster: Any, data: Data) -> Answers:
    """Forecasts and scores from several cutoffs, with fits of their own."""
    frame = pd.concat([data.past, data.later])
    cutoffs = [data.past["ds"].max() - pd.Timedelta("2D"), data.past["ds"].max()]
    told = {"horizon": data.horizons[1], "known": data.told["known"]}
    yield "backtest", backtest(forecaster, frame, cutoffs=cutoffs, **told)
    yield "refit", backtest(forecaster, frame, every="30h", refit=True, level=50, **told)
    yield "score_table", score_table(forecaster, frame, cutoffs=cutoffs[:1], **told)


def ask_point_process(forecaster: Any, test: pd.DataFrame, horizon: Any, windows: pd.DataFrame | None) -> Answers:
    """All that a point process can be asked."""
    if windows is not None:
        windows = windows[windows[forecaster.id_col].isin(test[forecaster.id_col])]
    yield "predict_intensity", forecaster.predict_intensity(horizon=horizon)
    yield "context", forecaster.predict_intensity(horizon=[horizon], context=test, windows=windows)
    yield "predict_next", forecaster.predict_next(quantiles=(0.2, 0.5))
    yield "simulate", forecaster.simulate(horizon, n_samples=3, context=test, windows=windows, random_state=1)
    yield "score", forecaster.score(test, windows=windows)
    yield "log_likelihood", forecaster.log_likelihood(test, until="last_event", condition_on_first=True)
    yield "residuals", forecaster.residuals(test, windows=windows)
    test_result = forecaster.ks_test(test, windows=windows)
    yield "ks_test", [test_result.statistic, test_result.pvalue]


def ask_path(regressor: Any, X: np.ndarray) -> Answers:
    """Values between and after the rows of fit."""
    mean, std = regressor.predict(X, return_std=True)
    yield "predict", mean
    yield "std", std
    yield "coef", [*regressor.coef_, regressor.intercept_, regressor.length_scale_, regressor.noise_share_]


def ask_series(estimator: Any, X: Any, asked: tuple[str, ...]) -> Answers:
    """Vectors, and what is predicted from them."""
    for name in asked:
        yield name, getattr(estimator, name)(X)


# -- cases -----------------------------------------------------------------------------------------------------------


def small(made: type, **params: Any) -> Any:
    """An estimator of this class that fits in a second or two."""
    known = inspect.signature(made).parameters
    return made(**{name: value for name, value in SMALL.items() if name in known} | params)


def forecast(estimator: Any, data: Data, *given: str, refit: bool = False, **more: Any) -> Case:
    """A forecaster, fitted with the events and covariates of these names; `more` are further arguments of fit."""
    told = {name: data.told[name] for name in given} | more

    def fit(fresh: Any) -> Any:
        return fresh.fit(data.past, **told)

    return Case(estimator, fit, partial(ask_forecaster, data=data, given=given, refit=refit))


def all_cases() -> dict[str, Case]:
    """Every case by its name, "estimator/set"."""
    return {
        **baseline_cases(),
        **linear_cases(),
        **jump_cases(),
        **latent_cases(),
        **container_cases(),
        **around_cases(),
        **point_process_cases(),
        **path_cases(),
        **series_cases(),
    }


def baseline_cases() -> dict[str, Case]:
    found = {}
    for name in ("ConstantForecaster", "LastValueForecaster", "DriftForecaster"):
        made = getattr(tsode, name)
        found[f"{name}/theophylline"] = forecast(small(made), theophylline())
        found[f"{name}/weather"] = forecast(small(made, horizon="18h", dtype="float32"), weather())
        found[f"{name}/intensive care"] = forecast(small(made, horizon=8.0), intensive_care())
    return found


def linear_cases() -> dict[str, Case]:
    linear = partial(small, tsode.LinearSDEForecaster)
    one = {"drift": [[-0.15]], "diffusion": [[1.2]], "readout": [[1.0]], "noise": [0.4], "readout_offset": [5.0]}
    two = {
        "drift": [[-0.1, 0.05], [0.0, -0.3]],
        "diffusion": [[2.0, 0.0], [0.5, 1.0]],
        "readout": [[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]],
        "noise": [1.0, 2.0, 3.0],
        "offset": [0.1, 0.0],
        "readout_offset": [40.0, 60.0, 20.0],
        "initial_mean": [1.0, -1.0],
        "initial_cov": [[4.0, 1.0], [1.0, 9.0]],
    }
    return {
        "LinearSDE/theophylline": forecast(
            linear(n_state=3, horizon=6.0), theophylline(), "events", "static", refit=True
        ),
        "LinearSDE single/theophylline": forecast(linear(dtype="float32", horizon=6.0), theophylline(), "events"),
        "LinearSDE/weather": forecast(linear(n_state=None, horizon="18h"), weather(), "known"),
        "LinearSDE/intensive care": forecast(
            linear(past_covariates="Glucose", horizon=8.0, max_context=8), intensive_care(), "static"
        ),
        "LinearSDE system/theophylline": forecast(linear(system=one, horizon=6.0), theophylline()),
        "LinearSDE system/weather": forecast(linear(system=two, time_unit="1h", horizon="18h"), weather()),
    }


def jump_cases() -> dict[str, Case]:
    jump = partial(small, tsode.JumpODEForecaster)
    double = partial(jump, dtype="float64")
    doses, air, icu = theophylline(), weather(), intensive_care()
    every_event = all_kinds_of_events()
    doses_of_all_kinds = doses._replace(
        told={"events": every_event},
        told_of_new={"events": renamed(every_event, {3: 103, 7: 107})},
        changed={"events": every_event[every_event["kind"] != "mark"]},
    )

    def twice(fresh: Any) -> Any:
        return fresh.fit(air.past, known=air.told["known"]).fit(air.past, known=air.told["known"], validation=air.later)

    return {
        "JumpODE/theophylline": forecast(jump(horizon=6.0), doses, "events", "static"),
        "JumpODE/weather": forecast(jump(horizon="18h"), air, "known", refit=True),
        "JumpODE/intensive care": forecast(jump(horizon=8.0, past_covariates=["Glucose"]), icu, "static"),
        "JumpODE double/intensive care": forecast(double(horizon=8.0), icu, "static", refit=True),
        "JumpODE every event/theophylline": forecast(double(horizon=6.0), doses_of_all_kinds, "events"),
        "JumpODE ode_rnn/theophylline": forecast(double(model="ode_rnn", horizon=6.0), doses, "events", "static"),
        "JumpODE gru_ode_bayes/intensive care": forecast(jump(model="gru_ode_bayes", horizon=8.0), icu, "static"),
        "JumpODE neural_jump_ode/weather": forecast(double(model="neural_jump_ode", horizon="18h"), air, "known"),
        "JumpODE semilinear/theophylline": forecast(double(model="semilinear", horizon=6.0), doses, "events"),
        "JumpODE semilinear/intensive care": forecast(jump(model="semilinear", max_epochs=1, horizon=8.0), icu),
        "JumpODE normal nll/weather": forecast(
            double(likelihood="normal", loss="nll", n_members=1, calendar=None, horizon="18h"), air
        ),
        "JumpODE student_t nll/intensive care": forecast(
            jump(likelihood="student_t", loss="nll", scale="robust", horizon=8.0), icu
        ),
        "JumpODE student_t crps/theophylline": forecast(
            double(likelihood="student_t", n_members=1, horizon=6.0), doses
        ),
        "JumpODE two passes quantile/intensive care": forecast(
            double(n_passes=2, n_members=2, loss="quantile", likelihood="normal", horizon=8.0), icu, "static"
        ),
        "JumpODE two passes/theophylline": forecast(jump(n_passes=2, horizon=6.0), doses, "events", "static"),
        "JumpODE informative/intensive care": forecast(
            double(informative_times=True, n_members=2, past_covariates="Glucose", horizon=8.0), icu, "static"
        ),
        "JumpODE informative/weather": forecast(
            jump(informative_times=True, n_members=1, n_passes=2, horizon="18h"), air, "known"
        ),
        "JumpODE informative ode_rnn/theophylline": forecast(
            double(informative_times=True, model="ode_rnn", horizon=6.0), doses, "events"
        ),
        "JumpODE mse without gate/theophylline": forecast(
            double(
                loss="mse",
                gate=False,
                dropout=0.2,
                drop=0.0,
                balance=0.0,
                early_stopping=False,
                time_unit=2.0,
                scale="none",
                horizon=6.0,
            ),
            doses,
            "static",
        ),
        "JumpODE mean_reverting rk4/theophylline": forecast(
            double(evolution="mean_reverting", jump="gru", solver="rk4", n_members=2, horizon=6.0), doses, "events"
        ),
        "JumpODE mlp gaussian dopri5/theophylline": forecast(
            double(evolution="mlp", jump="gaussian", solver="dopri5", max_epochs=1, horizon=6.0), doses, "events"
        ),
        "JumpODE gru_ode torchdiffeq/theophylline": forecast(
            double(evolution="gru_ode", jump="neural_jump", solver="torchdiffeq", max_epochs=1, horizon=6.0), doses
        ),
        "JumpODE gru_ode/theophylline": forecast(
            double(evolution="gru_ode", jump="gru", solver="exponential_euler", horizon=6.0), doses, "events", "static"
        ),
        "JumpODE without statics/theophylline": forecast(jump(n_static=0, n_members=3, horizon=6.0), doses, "events"),
        "JumpODE mlp euler/weather": forecast(
            jump(
                evolution="mlp",
                jump="bayes_gru",
                solver="euler",
                n_members=2,
                calendar=["day", "week"],
                max_epochs=1,
                max_context=12,
                horizon="18h",
            ),
            air,
        ),
        "JumpODE warm start/weather": Case(
            double(warm_start=True, known_path="last", time_unit="6h", horizon="18h"),
            twice,
            partial(ask_forecaster, data=air, given=("known",)),
        ),
        "JumpODE mean of duplicates/theophylline": forecast(
            double(duplicates="mean", horizon=6.0),
            doses._replace(
                past=pd.concat([doses.past, doses.past[::4]]), later=pd.concat([doses.past[5::9], doses.later])
            ),
        ),
    }


def latent_cases() -> dict[str, Case]:
    ode, sde = partial(small, tsode.LatentODEForecaster), partial(small, tsode.LatentSDEForecaster)
    doses, air, icu = theophylline(), weather(), intensive_care()
    return {
        "LatentODE/theophylline": forecast(ode(dtype="float64", horizon=6.0), doses, "events", "static"),
        "LatentODE/weather": forecast(ode(horizon="18h"), air, "known"),
        "LatentODE/intensive care": forecast(ode(past_covariates="Glucose", horizon=8.0), icu, "static", refit=True),
        "LatentODE mlp elbo ode_rnn/weather": forecast(
            ode(
                encoder="backward_ode_rnn",
                evolution="mlp",
                loss="elbo",
                solver="midpoint",
                kl_schedule="linear",
                dtype="float64",
                max_epochs=1,
                horizon="18h",
            ),
            air,
            "known",
        ),
        "LatentODE semilinear iwae set_attention/intensive care": forecast(
            ode(
                encoder="set_attention",
                evolution="semilinear",
                loss="iwae",
                solver="exponential_difference",
                n_train_samples=2,
                max_epochs=1,
                horizon=8.0,
            ),
            icu,
            "static",
        ),
        "LatentODE mean_reverting nll/intensive care": forecast(
            ode(
                evolution="mean_reverting",
                loss="nll",
                kl_schedule="cyclical",
                free_bits=0.05,
                n_static=0,
                observation_scale="channel",
                dtype="float64",
                max_epochs=1,
                horizon=8.0,
            ),
            icu,
        ),
        "LatentODE lagging mlp elbo/theophylline": forecast(
            ode(
                evolution="mlp",
                encoder="set_attention",
                loss="elbo",
                lagging=True,
                dtype="float64",
                max_epochs=1,
                horizon=6.0,
            ),
            doses.of_few(6),
        ),
        "LatentSDE/theophylline": forecast(sde(dtype="float64", horizon=6.0), doses, "static"),
        "LatentSDE ornstein_uhlenbeck milstein crps/weather": forecast(
            sde(
                encoder="backward_ode_rnn",
                sde="ornstein_uhlenbeck",
                solver="milstein",
                loss="crps",
                max_epochs=1,
                horizon="18h",
            ),
            air,
            "known",
        ),
        "LatentSDE set_attention geometric_brownian/intensive care": forecast(
            sde(
                encoder="set_attention",
                sde="geometric_brownian",
                observation_scale="state",
                past_covariates="Glucose",
                kl_schedule="linear",
                max_epochs=1,
                horizon=8.0,
            ),
            icu,
            "static",
        ),
        "LatentSDE lagging/theophylline": forecast(
            sde(lagging=True, loss="crps", max_epochs=1, max_context=4, batch_size=4, time_unit=20.0, horizon=6.0),
            doses.of_few(4),
        ),
        "LatentSDE torchsde/theophylline": forecast(
            sde(
                solver="torchsde",
                dtype="float64",
                n_samples=2,
                max_epochs=1,
                max_context=3,
                batch_size=4,
                time_unit=20.0,
                horizon=1.0,
            ),
            doses.of_few(2),
        ),
    }


def container_cases() -> dict[str, Case]:
    """Data in other containers and with other kinds of time: a pair of past and later rows each."""
    jump, linear = partial(small, tsode.JumpODEForecaster), partial(small, tsode.LinearSDEForecaster)
    co2 = datasets.load_mauna_loa_co2()[-220:].set_index("ds")["co2_ppm"]
    gappy_co2 = co2[100:130].where(np.arange(30) % 4 > 0)
    station, station_later = (part.query("unique_id == 'EWR'").set_index("ds") for part in weather()[:2])
    station, station_later = station.drop(columns="unique_id"), station_later.drop(columns="unique_id")
    gappy_station = station[30:60].mask(station[30:60] < 40.0)
    past, later = theophylline()[:2]
    subjects, subjects_later = (
        [own.set_index("ds")["theophylline_mg_l"] for _, own in part.groupby("unique_id")] for part in (past, later)
    )
    levels, levels_later = (part.set_index(["unique_id", "ds"]) for part in (past, later))
    spans, spans_later = (
        part.rename(columns={"unique_id": "subject", "ds": "since"}).assign(since=pd.to_timedelta(part["ds"], unit="h"))
        for part in (past, later)
    )
    array, array_later = (
        part.query("unique_id == 1")[["ds", "theophylline_mg_l"]].to_numpy() for part in (past, later)
    )

    def of(estimator: Any, X: Any, later: Any, horizon: Any, gappy: Any = None) -> Case:
        return Case(
            estimator, lambda fresh: fresh.fit(*X), partial(ask_container, later=later, gappy=gappy, horizon=horizon)
        )

    return {
        "LinearSDE of a Series/co2": of(linear(horizon="60D"), [co2[:200]], [co2[200:]], "60D", gappy_co2),
        "JumpODE of a Series/co2": of(jump(horizon="60D"), [co2[:200]], [co2[200:]], ["10D", "60D"], gappy_co2),
        "JumpODE of a wide frame/weather": of(jump(horizon="18h"), [station], [station_later], "18h", gappy_station),
        "LastValueForecaster of a list/theophylline": of(
            small(tsode.LastValueForecaster), [subjects], [subjects_later], [1.0, 3.0]
        ),
        "DriftForecaster of index levels/theophylline": of(
            small(tsode.DriftForecaster), [levels], [levels_later], [1.0, 3.0]
        ),
        "JumpODE of timedeltas/theophylline": of(
            jump(id_col="subject", time_col="since", horizon="6h"), [spans], [spans_later], ["2h", "6h"]
        ),
        "LinearSDE of an array/theophylline": of(
            linear(horizon=4.0), [array[:, :1], array[:, 1]], [array_later[:, :1], array_later[:, 1]], 4.0
        ),
    }


def around_cases() -> dict[str, Case]:
    """What is wrapped around forecasters: calibrated intervals, backtests."""
    jump = small(tsode.JumpODEForecaster, horizon=8.0, n_members=1, dtype="float64")
    drift = small(tsode.DriftForecaster, horizon="18h")
    linear = small(tsode.LinearSDEForecaster, max_epochs=1, horizon="18h")
    icu, air = intensive_care(), weather()
    return {
        "Conformal/intensive care": Case(
            ConformalForecaster(jump, n_bins=2, random_state=0),
            lambda fresh: fresh.fit(icu.past, static=icu.told["static"]),
            partial(ask_intervals, data=icu),
            has_file=False,
        ),
        "Conformal/weather": Case(
            ConformalForecaster(drift, n_cuts=2),
            lambda fresh: fresh.fit(air.past),
            partial(ask_intervals, data=air),
            False,
        ),
        "Backtest/weather": Case(linear, lambda fresh: fresh, partial(ask_backtest, data=air), has_file=False),
    }


def point_process_cases() -> dict[str, Case]:
    process = partial(small, tsode.PointProcessForecaster)
    train, test, windows = earthquakes()
    to_clock = partial(pd.to_datetime, unit="h", origin="2020-01-01")
    clock, clock_test, clock_windows = (
        table.assign(**{name: to_clock(table[name]) for name in table.columns.intersection(["ds", "start", "end"])})
        for table in (train, test, windows)
    )
    gaps = np.append(train["ds"].diff().clip(lower=0.0).to_numpy()[1:], 1.0)
    long = pd.DataFrame({"ds": np.cumsum(gaps + 0.01), "mark": train["mark"].map("class {}".format)})
    fit_windows = windows[windows["unique_id"].isin(train["unique_id"])]

    def of(estimator: Any, X: Any, held_out: Any, horizon: Any, watched: Any = None, **how: Any) -> Case:
        ask = partial(ask_point_process, test=held_out, horizon=horizon, windows=watched)
        return Case(estimator, lambda fresh: fresh.fit(X, **how), ask)

    return {
        "PointProcess neural_jump/earthquakes": of(process(), train, test, 2.0),
        "PointProcess neural_jump windows/earthquakes": of(
            process(dtype="float64", rate_unit="1D", max_epochs=1),
            clock,
            clock_test,
            "3h",
            clock_windows,
            windows=clock_windows,
            validation=clock_test,
        ),
        "PointProcess neural_jump long/earthquakes": of(process(max_epochs=1), long[:360], long[360:], 2.0),
        "PointProcess hawkes/earthquakes": of(process(intensity="hawkes", dtype="float64"), train, test, 2.0),
        "PointProcess self_correcting/earthquakes": of(
            process(intensity="self_correcting", until="last_event"), train, test, 2.0, windows, windows=fit_windows
        ),
        "PointProcess poisson/earthquakes": of(
            process(intensity="poisson", mark_col=None, dtype="float64"),
            train.drop(columns="mark"),
            test.drop(columns="mark"),
            2.0,
        ),
    }


def path_cases() -> dict[str, Case]:
    co2 = datasets.load_mauna_loa_co2()[:300]
    weeks = ((co2["ds"] - co2["ds"].iloc[0]) / pd.Timedelta("7D")).to_numpy()[:, None]
    air = datasets.load_nyc_weather().query("unique_id == 'LGA'")[:200]
    hours = ((air["ds"] - air["ds"].iloc[0]) / pd.Timedelta("1h")).to_numpy()
    columns = np.column_stack([hours, air["dewpoint_degf"], air["wind_speed_mph"]])
    subject = theophylline().past.query("unique_id == 5")[["ds", "theophylline_mg_l"]].to_numpy()

    def of(X: np.ndarray, y: np.ndarray, asked: np.ndarray, **params: Any) -> Case:
        return Case(tsode.PathRegressor(**params), lambda fresh: fresh.fit(X, y), partial(ask_path, X=asked))

    return {
        "PathRegressor/co2": of(weeks, co2["co2_ppm"].to_numpy(), weeks[::3] + 0.4, smoothness=2.5),
        "PathRegressor columns/weather": of(columns[::2], air["temperature_degf"].to_numpy()[::2], columns[1::2]),
        "PathRegressor given/theophylline": of(
            subject[:, :1], subject[:, 1], subject[:, :1] + 0.3, smoothness=0.5, length_scale=3.0, noise_share=0.1
        ),
    }


def series_cases() -> dict[str, Case]:
    frames, ended, severity = stays()
    rows, airport, after = days()
    jump = partial(small, tsode.JumpODEForecaster, n_members=1)
    linear = small(tsode.LinearSDEForecaster, max_epochs=1)
    ode = small(tsode.LatentODEForecaster, dtype="float64", max_epochs=1)
    sde = small(tsode.LatentSDEForecaster, max_epochs=1)
    encoder = partial(tsode.SeriesEncoder, random_state=0)
    grid = np.arange(0.0, 24.0, 3.0)

    def of(estimator: Any, X: Any, y: Any = None, asked: tuple[str, ...] = ("transform", "predict")) -> Case:
        return Case(estimator, lambda fresh: fresh.fit(X, y), partial(ask_series, X=X[::2], asked=asked))

    return {
        "SeriesEncoder jump/intensive care": of(encoder(jump(n_members=2)), frames, asked=("transform",)),
        "SeriesEncoder linear last/weather": of(
            encoder(linear, pooling="last", times=grid), rows, asked=("transform",)
        ),
        "SeriesEncoder latent ODE/intensive care": of(encoder(ode), frames, asked=("transform",)),
        "SeriesEncoder latent SDE/weather": of(encoder(sde, times=grid), rows, asked=("transform",)),
        "SeriesClassifier/intensive care": of(
            tsode.SeriesClassifier(encoder(jump(dtype="float64")), random_state=0),
            frames,
            ended,
            ("predict_proba", "predict"),
        ),
        "SeriesClassifier given head/weather": of(
            tsode.SeriesClassifier(encoder(jump()), LogisticRegression(C=0.1), times=grid, random_state=0),
            rows,
            airport,
        ),
        "SeriesRegressor/weather": of(
            tsode.SeriesRegressor(encoder(jump(dtype="float64"), pooling="last"), random_state=0), rows, after
        ),
        "SeriesRegressor states alone/intensive care": of(
            tsode.SeriesRegressor(encoder(jump()), Ridge(), summaries=False, random_state=0), frames, severity
        ),
    }


# -- answers as numbers ----------------------------------------------------------------------------------------------


def to_numbers(answer: Any) -> np.ndarray:
    """An answer as a float64 array, (n) or (n columns): times in seconds, labels as checksums."""
    if isinstance(answer, list) and isinstance(answer[0], pd.Series | pd.DataFrame):
        return np.concatenate([to_numbers(part) for part in answer])
    if isinstance(answer, pd.Series):
        answer = answer.to_frame("value")
    if isinstance(answer, pd.DataFrame):
        frame = answer if isinstance(answer.index, pd.RangeIndex) else answer.reset_index()
        columns = [_column(frame.iloc[:, c]) for c in range(frame.shape[1])]
        return np.column_stack(columns) if columns else np.zeros((len(frame), 0))
    array = np.atleast_1d(np.asarray(answer))
    return array.astype(np.float64) if array.dtype.kind in "fiub" else _column(pd.Series(array))


def _column(column: pd.Series) -> np.ndarray:
    if column.dtype.kind in "fiub":
        return column.to_numpy(dtype=np.float64)
    if column.dtype.kind in "mM":
        return column.dt.as_unit("ns").astype("int64").to_numpy() / 1e9
    return np.array([float(zlib.crc32(str(label).encode())) for label in column])


def difference(found: np.ndarray, stored: np.ndarray) -> float:
    """Largest difference as a share of the largest number in its column; infinite where shapes or gaps differ."""
    if found.shape != stored.shape:
        return float("inf")
    is_same = (found == stored) | (np.isnan(found) & np.isnan(stored))
    if is_same.all():
        return 0.0
    scale = np.where(np.isfinite(stored), np.abs(stored), 0.0).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(is_same, 0.0, np.abs(found - stored) / scale)
    return float(np.where(np.isnan(share), np.inf, share).max())


def compare(found: dict[str, np.ndarray], stored: dict[str, np.ndarray], is_double: bool) -> tuple[bool, str]:
    """Whether answers are those stored, and in words."""
    missing = [question for question in stored if question not in found]
    apart = {name: difference(found[name], stored[name]) for name in stored if name in found}
    most = max(apart.values(), default=0.0)
    differs = {name: share for name, share in apart.items() if share > (ROUNDING if is_double else 0.0)}
    if missing:
        return False, f"MISSING: {', '.join(missing)}"
    if differs:
        shown = ", ".join(f"{name} {share:.1e}" for name, share in list(differs.items())[:4])
        return False, f"DIFFERS by {most:.1e} ({shown}{', ...' if len(differs) > 4 else ''})"
    return True, "same" if most == 0.0 else f"same to {ROUNDING:g} ({most:.1e})"


def ask_all(case: Case, fitted: Any) -> dict[str, np.ndarray]:
    return {question: to_numbers(answer) for question, answer in case.ask(fitted)}


def in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


# -- the two commands ------------------------------------------------------------------------------------------------


def write(path: Path, cases: dict[str, Case]) -> int:
    """Fit and ask all cases, and store the answers and model files."""
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases.items():
            start = time.process_time()
            fitted = case.fit(case.estimator)
            if case.has_file:  # before the questions, which change what is fitted
                saved = Path(folder) / "model"
                fitted.save(saved)
                arrays[f"{name}/{FILE}"] = np.frombuffer(saved.read_bytes(), dtype=np.uint8)
            answers = ask_all(case, fitted)
            arrays |= {f"{name}/{question}": answer for question, answer in answers.items()}
            n_values = sum(answer.size for answer in answers.values())
            seconds = time.process_time() - start
            print(f"{name:<58}{len(answers):>3} questions {n_values:>7} values  {seconds:5.1f} s", flush=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    print(f"{len(cases)} cases, {len(arrays)} arrays in {path}; {time.process_time():.0f} s")
    return 0


def check(path: Path, cases: dict[str, Case], only: str) -> int:
    """Fit and ask all cases again, and what the stored model files hold; 1 if something is not as stored."""
    stored: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            name, _, question = key.rpartition("/")
            if only in name:
                stored.setdefault(name, {})[question] = file[key]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases.items():
            if name not in stored:
                print(f"{name:<58}new: not in the file")
                continue
            model_file = stored[name].pop(FILE, None)
            is_same, words = _again(case, stored[name])
            reads, of_file = True, "no file"
            if model_file is not None:
                saved = Path(folder) / "model"
                saved.write_bytes(model_file.tobytes())
                reads, of_file = _from_file(case, saved, stored[name])
            n_values = sum(answer.size for answer in stored[name].values())
            print(f"{name:<58}{n_values:>7} values  {words}; {of_file}", flush=True)
            failed += not (is_same and reads)
    missing = [name for name in stored if name not in cases]
    for name in missing:
        print(f"{name:<58}MISSING: stored, but no case of this name is left")
    failed += len(missing)
    verdict = f"{failed} of {len(stored)} stored cases FAIL" if failed else f"all {len(stored)} stored cases hold"
    print(f"{verdict}; {time.process_time():.0f} s")
    return int(failed > 0)


def _again(case: Case, stored: dict[str, np.ndarray]) -> tuple[bool, str]:
    try:
        return compare(ask_all(case, case.fit(case.estimator)), stored, case.is_double)
    except Exception as error:  # of any kind: it is what is to be reported
        return False, f"FAILS ({in_one_line(error)})"


def _from_file(case: Case, path: Path, stored: dict[str, np.ndarray]) -> tuple[bool, str]:
    try:
        fitted = type(case.estimator).load(path)
    except Exception as error:
        return False, f"file CANNOT BE READ ({in_one_line(error)})"
    try:
        is_same, words = compare(ask_all(case, fitted), stored, case.is_double)
    except Exception as error:
        return False, f"file reads, but asking FAILS ({in_one_line(error)})"
    return is_same, "file reads" if words == "same" else f"file reads, answers: {words}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="FILE", help="store all answers and model files")
    what.add_argument("--check", type=Path, metavar="FILE", help="compare with what is stored")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # models this small, trained this short, are warned about
    print(f"tsode from {Path(tsode.__file__).parent}")
    cases = {name: case for name, case in all_cases().items() if arguments.only in name}
    if arguments.write:
        return write(arguments.write, cases)
    return check(arguments.check, cases, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
