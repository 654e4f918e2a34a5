"""Direct regression: what it learns of processes whose forecasts are known, and what it does with hardly any data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from tsode import DirectForecaster, LastValueForecaster
from tsode.errors import DataError

LEADS = np.array([0.1, 0.5, 1.0, 2.0])
CUTOFF = 20.0


def walk(n_series: int, rate: float, seed: int, per_series: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Series with independent steps of variance 1 per unit of time (0), or relaxed at a rate, and what came after."""
    rng = np.random.default_rng(seed)
    frames, after = [], []
    for number in range(n_series):
        times = np.concatenate([np.sort(rng.uniform(0.0, CUTOFF, per_series)), CUTOFF + LEADS])
        value, values = rng.normal() * (rate > 0), []
        for gap in np.diff(times, prepend=0.0):
            keep = np.exp(-rate * gap)
            value = keep * value + np.sqrt(1.0 - keep**2 if rate else gap) * rng.normal()
            values.append(value)
        frame = pd.DataFrame({"unique_id": number, "ds": times, "y": values})
        frames.append(frame[times < CUTOFF])
        after.append(frame[times >= CUTOFF])
    return pd.concat(frames, ignore_index=True), pd.concat(after, ignore_index=True)


def test_the_law_of_an_ornstein_uhlenbeck_process_is_found_at_every_lead():
    train, _ = walk(150, 1.0, 0)
    context, after = walk(150, 1.0, 1)
    model = DirectForecaster(horizon=2.5, random_state=0).fit(train)
    bands = model.predict_interval(after, context=context, level=80)
    last = context.groupby("unique_id").tail(1).set_index("unique_id")
    lead = after["ds"].to_numpy() - last.loc[after["unique_id"], "ds"].to_numpy()
    keep = np.exp(-lead)
    mean, sd = keep * last.loc[after["unique_id"], "y"].to_numpy(), np.sqrt(1.0 - keep**2)
    # in standard deviations of the process, which is 1; the horizon has 16 independent stretches in each series
    assert np.sqrt(np.mean((bands["y"] - mean) ** 2)) < 0.1
    width = (bands["y-hi-80"] - bands["y-lo-80"]) / (2.0 * norm.ppf(0.9) * sd)
    assert width.groupby(after["ds"]).mean().between(0.85, 1.15).all()


def test_a_random_walk_is_forecast_by_its_last_value():
    train, _ = walk(80, 0.0, 2)
    context, after = walk(80, 0.0, 3)
    model = DirectForecaster(horizon=2.5, random_state=0).fit(train)
    naive = LastValueForecaster(horizon=2.5).fit(train)
    gap = model.predict(after, context=context)["y"] - naive.predict(after, context=context)["y"]
    assert np.sqrt(np.mean(gap**2)) < 0.25  # of steps with a standard deviation of 1.0 on average
    scores = [one.score(after, context=context, metric="crps") for one in (model, naive)]
    assert scores[0] > 1.03 * scores[1]  # both negative: the better is the greater


@pytest.mark.parametrize(
    ("regression", "rate", "noise"),
    [
        *((name, 1.0, 0.5) for name in ("ridge", "boosting")),
        *(("ridge", rate, 0.0) for rate in (0.0, 1.0)),
        *(pytest.param("boosting", rate, 0.0, marks=pytest.mark.slow) for rate in (0.0, 1.0)),
    ],
)
def test_forecasts_begin_at_the_last_value_with_the_spread_of_noise_alone(regression, rate, noise):
    train, _ = walk(100, rate, 4)
    train["y"] += noise * np.random.default_rng(5).normal(size=len(train))
    model = DirectForecaster(regression, horizon=2.5, max_trees=20, random_state=0).fit(train)
    last = train.groupby("unique_id")["y"].last().to_numpy()
    bands = model.predict_interval(horizon=[1e-6, 2.0], level=80)
    width = (bands["y-hi-80"] - bands["y-lo-80"]).to_numpy().reshape(-1, 2).mean(axis=0) / (2.0 * norm.ppf(0.9))
    if regression == "ridge":  # trees move the median by a share of the spread
        np.testing.assert_allclose(bands["y"].to_numpy()[::2], last, atol=0.25 * width[0] + 1e-3)
    # gaps are 1/3, within which the processes move by .6 to .8; noise is added to the last value, and the next one
    assert width[0] < 0.35 if noise == 0.0 else 0.35 < width[0] < 0.85
    assert width[1] > 0.8


def test_a_longer_lead_is_never_surer_though_wild_times_are_those_that_were_seen_often():
    rng, frames = np.random.default_rng(0), []
    times = np.concatenate([np.linspace(0.0, 1.0, 12), np.linspace(1.5, 12.0, 8)])
    for number in range(40):
        wild = np.where(times <= 1.0, 3.0, 0.1) * rng.normal(size=len(times))
        frames.append(pd.DataFrame({"unique_id": number, "ds": times, "y": wild}))
    model = DirectForecaster(horizon=6.0, random_state=0).fit(pd.concat(frames))
    bands = model.predict_interval(horizon=[0.01, 0.1, 0.5, 2.0, 6.0], level=80)
    width = (bands["y-hi-80"] - bands["y-lo-80"]).to_numpy().reshape(-1, 5)
    assert (width[:, 1:] >= width[:, :-1] * (1.0 - 1e-6)).all()


@pytest.mark.slow
def test_trees_learn_quantiles_that_no_line_in_the_past_gives():
    rng = np.random.default_rng(0)
    frames = []
    for number in range(60):  # noise that is skewed upwards at low values, and downwards at high ones
        level = rng.choice([-1.0, 1.0])
        noise = -0.5 * level * (rng.exponential(size=60) - 1.0)
        frames.append(pd.DataFrame({"unique_id": number, "ds": np.arange(60.0), "y": level + noise}))
    data = pd.concat(frames, ignore_index=True)
    train, context = data[data["unique_id"] < 45], data[data["unique_id"] >= 45]
    past, after = context[context["ds"] < 50.0], context[context["ds"] >= 50.0]
    scores = {}
    for name in ("ridge", "boosting"):
        model = DirectForecaster(name, horizon=10.0, max_trees=40, max_rows=10_000, random_state=0).fit(train)
        scores[name] = model.score(after, context=past, metric="crps")
        asked = model.predict_quantiles(after, context=past, quantiles=[0.05, 0.5, 0.95])
        skew = (asked["y-q-0.95"] - asked["y-q-0.5"]) / (asked["y-q-0.5"] - asked["y-q-0.05"])
    is_low = past.groupby("unique_id")["y"].mean().loc[after["unique_id"]].to_numpy() < 0.0
    # of the exponential law the two distances are as log(10) to log(1.9): 3.6, and the other way round 0.28
    assert skew[is_low].median() > 1.8
    assert skew[~is_low].median() < 0.55
    assert scores["boosting"] > scores["ridge"]


def test_a_line_in_a_covariate_is_learned():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 100.0, 400))
    known = pd.DataFrame({"u": np.sin(np.arange(0.0, 130.0, 0.25))}, index=np.arange(0.0, 130.0, 0.25))
    data = pd.Series(3.0 * np.sin(times) + 0.1 * rng.normal(size=400), index=times)
    model = DirectForecaster(horizon=20.0, random_state=0).fit(data, known=known)
    asked = np.arange(101.0, 119.0, 0.5)
    error = model.predict(times=asked).to_numpy() - 3.0 * np.sin(asked)
    assert np.sqrt(np.mean(error**2)) < 0.15  # the noise is 0.1


def dosed(n_series: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Levels after two doses, in proportion to the dose per kg and to a factor of the subject; the doses, and weights.

    What is given is gone by half in a time of 10 ln 2. Errors of a logarithm have a standard deviation of 0.1.
    """
    rng = np.random.default_rng(seed)
    levels, doses, weights = [], [], []
    for name in range(n_series):
        times = np.sort(rng.uniform(0.5, 40.0, 5))
        when, amount = np.array([0.0, rng.uniform(10.0, 20.0)]), rng.lognormal(3.0, 0.7, 2)
        weight, factor = rng.lognormal(1.0, 0.5), rng.lognormal(0.0, 0.3)
        since = times[:, None] - when
        left = np.where(since > 0.0, amount * np.exp(-since.clip(0.0) / 10.0), 0.0).sum(axis=1)
        y = factor * left / weight * rng.lognormal(0.0, 0.1, 5)
        levels.append(pd.DataFrame({"unique_id": name, "ds": times, "y": y}))
        doses.append(pd.DataFrame({"unique_id": name, "ds": when, "amount": amount}))
        weights.append(pd.DataFrame({"unique_id": [name], "kg": [weight]}))
    return tuple(pd.concat(parts, ignore_index=True) for parts in (levels, doses, weights))


def test_levels_in_proportion_to_doses_per_kg_are_learned_in_logarithms():
    levels, doses, weights = dosed(60, 0)
    model = DirectForecaster(horizon=40.0, support="auto", random_state=0).fit(levels, events=doses, static=weights)
    assert model.transforms_ == {"y": "log"}
    levels, doses, weights = dosed(60, 1)
    asked = levels.groupby("unique_id").tail(2)
    context = levels.drop(asked.index)
    told = {"context": context, "events": doses, "static": weights}
    median = model.predict_quantiles(asked, quantiles=[0.5], **told)["y-q-0.5"].to_numpy()
    error = np.log(median / asked["y"].to_numpy())
    # best is an error of 0.1 sqrt(1 + 1/3) = 0.12; the last value is wrong by 1 or so
    assert np.sqrt(np.mean(error**2)) < 0.2


@pytest.mark.parametrize("regression", ["ridge", "boosting"])
def test_one_short_series_with_a_constant_and_an_empty_channel_is_forecast(regression):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0.0, 100.0, 50))
    data = pd.DataFrame({"a": np.sin(times / 5.0), "b": 3.0, "c": np.where(times < 8.0, times, np.nan)}, index=times)
    model = DirectForecaster(regression, max_trees=5, random_state=0).fit(data)
    bands = model.predict_interval(horizon=[1.0, 10.0, 50.0], level=90)
    assert np.isfinite(bands.to_numpy()).all()
    np.testing.assert_allclose(bands["b"], 3.0, atol=1e-2)
    assert (bands["a-hi-90"] - bands["a-lo-90"]).between(0.05, 6.0).all()


def test_a_channel_that_was_hardly_seen_keeps_the_spread_of_the_data():
    data = pd.Series([1.0, 3.0, 2.0, 4.0], index=[0.0, 1.0, 2.0, 3.0])
    bands = DirectForecaster(random_state=0).fit(data).predict_interval(horizon=[1.0], level=80)
    # the last value, and a normal with the standard deviation of the four
    assert float(bands.iloc[0, 2] - bands.iloc[0, 1]) == pytest.approx(2.0 * norm.ppf(0.9) * data.std(ddof=0), rel=0.05)


def test_a_single_observation_says_nothing_about_change():
    with pytest.raises(DataError, match="two observation times on either side"):
        DirectForecaster(horizon=1.0).fit(pd.Series([1.0], index=[0.0]))


@pytest.mark.slow
def test_forecasts_are_the_same_again_with_the_same_seed():
    train, after = walk(12, 1.0, 0)
    first, again = (DirectForecaster(random_state=5).fit(train).predict(after) for _ in range(2))
    assert first.equals(again)
