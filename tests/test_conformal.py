"""Conformal intervals: the margin against the formula, coverage against simulated series."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tsode import LastValueForecaster
from tsode.backtest import backtest
from tsode.conformal import ConformalForecaster, conformal_margin
from tsode.errors import NotFittedError, ParameterError
from tsode.estimators.forecasters.predictive import Predictive
from tsode.testing import example_panel


class Narrow(Predictive):
    """A fifth as wide as it should be."""

    def quantiles(self, levels):
        return self.mean[..., None] + 0.2 * (super().quantiles(levels) - self.mean[..., None])


class Boastful(LastValueForecaster):
    """Claims to know more than it does."""

    def _forecast(self, *args, **kwargs):
        return [Narrow(answer.family, answer.params, answer.at) for answer in super()._forecast(*args, **kwargs)]


def walks(rng: np.random.Generator, n_series: int, name: str = "s") -> pd.DataFrame:
    """Random walks at random times, each with a size of steps of its own: errors in one series belong together."""
    frames = []
    for k in range(n_series):
        t = np.sort(rng.uniform(0.0, 10.0, rng.integers(15, 30)))
        x = np.exp(rng.normal()) * np.cumsum(rng.normal(size=len(t)) * np.sqrt(np.diff(t, prepend=0.0)))
        frames.append(pd.DataFrame({"unique_id": f"{name}{k}", "ds": t, "x": x}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(("n", "level"), [(19, 95), (18, 95), (9, 80), (100, 90), (4, 80)])
def test_the_margin_of_single_scores_is_the_order_statistic_of_split_conformal(n, level):
    scores = np.random.default_rng(0).normal(size=n)
    k = math.ceil(round((n + 1) * level / 100.0, 9))
    expected = np.sort(scores)[k - 1] if k <= n else math.inf
    assert conformal_margin(scores, np.arange(n), level) == expected


@pytest.mark.slow
def test_the_margin_covers_a_new_group_whose_scores_depend_on_each_other():
    rng = np.random.default_rng(0)
    n_repeats, k, level = 4000, 30, 80.0
    held = np.empty(n_repeats)
    for repeat in range(n_repeats):
        sizes = rng.integers(1, 8, k + 1)
        scores = [rng.normal() + 0.3 * rng.normal(size=size) for size in sizes]
        groups = np.repeat(np.arange(k), sizes[:k])
        held[repeat] = np.mean(scores[k] <= conformal_margin(np.concatenate(scores[:k]), groups, level))
    error = 6.0 * held.std() / np.sqrt(n_repeats)
    assert held.mean() >= level / 100.0 - error
    # and is not much too wide: at most a group's weight, and a score's share of it, are given away
    assert held.mean() <= level / 100.0 + 2.0 / (k + 1) + error


@pytest.mark.slow
def test_intervals_of_new_series_hold_their_share_at_every_lead_where_the_model_boasts():
    rng = np.random.default_rng(1)
    n_repeats, held, plain = 30, [], []
    for repeat in range(n_repeats):
        frame, new = walks(rng, 60), walks(rng, 40, "new ")
        made = ConformalForecaster(Boastful(horizon=3.0), share=0.5, n_bins=3, n_cuts=1, random_state=repeat).fit(frame)
        when = new.groupby("unique_id")["ds"]
        cut = 0.5 * (when.transform("min") + when.transform("max"))
        asked = new[(new["ds"] > cut) & (new["ds"] <= cut + 3.0)]
        context = new[new["ds"] <= cut]
        lead = (asked["ds"] - asked["unique_id"].map(context.groupby("unique_id")["ds"].max())).to_numpy()
        each = []
        for maker in (made, made.forecaster_):
            answer = maker.predict_interval(asked, context=context, level=80)
            inside = (asked["x"] >= answer["x-lo-80"]) & (asked["x"] <= answer["x-hi-80"])
            each.append([inside.to_numpy()[np.digitize(lead, [1.0, 2.0]) == q].mean() for q in range(3)])
        held.append(each[0])
        plain.append(each[1])
    mean, error = np.mean(held, axis=0), 6.0 * np.std(held, axis=0) / np.sqrt(n_repeats)
    assert (mean >= 0.8 - error).all()
    assert (error < 0.12).all()
    assert (np.mean(plain, axis=0) < 0.8 - 6.0 * np.std(plain, axis=0) / np.sqrt(n_repeats)).all()


def test_the_last_part_is_held_out_of_few_series_and_forecasts_go_on_from_all_rows():
    frame = example_panel(3)
    made = ConformalForecaster(LastValueForecaster(), n_bins=1).fit(frame)
    assert not made.by_series_
    whole = LastValueForecaster().fit(frame)
    times = pd.to_datetime(["2024-03-03 20:00", "2024-03-04 06:00"])
    pd.testing.assert_frame_equal(made.predict(times=times), whole.predict(times=times))
    answer = made.predict_interval(times=times, level=[50, 80])
    assert list(answer.columns[2:]) == [f"{c}{s}" for c in "ab" for s in ("", "-lo-50", "-hi-50", "-lo-80", "-hi-80")]
    assert (answer["a-hi-80"] >= answer["a-lo-80"]).all()
    one = frame[frame["unique_id"] == "s0"].set_index("ds")[["a", "b"]]
    assert len(ConformalForecaster(LastValueForecaster(), n_bins=1).fit(one).predict_interval(times=times)) == 2


def test_too_few_series_for_a_level_leave_its_intervals_infinite():
    frame = walks(np.random.default_rng(2), 30)
    made = ConformalForecaster(LastValueForecaster(horizon=3.0), share=0.3, n_bins=1, random_state=0).fit(frame)
    answer = made.predict_interval(times=[11.0], level=[80, 99])
    assert np.isfinite(answer[["x-lo-80", "x-hi-80"]]).all(axis=None)
    assert np.isinf(answer["x-hi-99"]).all()


def test_it_is_backtested_like_any_forecaster():
    frame = walks(np.random.default_rng(3), 30)
    made = ConformalForecaster(LastValueForecaster(horizon=3.0), share=0.5, n_bins=1, random_state=0)
    clone(made)
    found = backtest({"raw": LastValueForecaster(), "conformal": made}, frame, cutoffs=[6.0], horizon=3.0, level=80)
    np.testing.assert_allclose(found["raw"], found["conformal"], rtol=1e-9)
    assert (found["conformal-hi-80"] >= found["conformal-lo-80"]).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ParameterError, match="share must lie between 0 and 1"):
        ConformalForecaster(LastValueForecaster(), share=1.0).fit(example_panel(3))
    with pytest.raises(ParameterError, match="n_bins must be a whole number"):
        ConformalForecaster(LastValueForecaster(), n_bins=0).fit(example_panel(3))
    with pytest.raises(NotFittedError, match="call fit"):
        ConformalForecaster(LastValueForecaster()).predict_interval(times=[1.0])
