"""Ends of the scales of channels: no forecast of a learned forecaster goes beyond what many series reach exactly."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.registries import quick_epochs
from tsode import JumpODEForecaster, LatentODEForecaster

LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)
SMALL = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "max_epochs": 2, "expert": None, "random_state": 0}


def _panel(n: int = 30, seed: int = 0, name: str = "s") -> pd.DataFrame:
    """A score from 3 to 15, most of it at the upper end, beside a channel without ends."""
    generator, parts = np.random.default_rng(seed), []
    for k in range(n):
        times = np.sort(generator.uniform(0.0, 10.0, 20))
        level = 12.0 + 4.0 * generator.standard_normal()
        score = np.clip(np.round(level + 3.0 * generator.standard_normal(20)), 3.0, 15.0)
        free = np.sin(times) + 0.3 * generator.standard_normal(20)
        parts.append(pd.DataFrame({"unique_id": f"{name}{k:02d}", "ds": times, "score": score, "free": free}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted() -> JumpODEForecaster:
    return JumpODEForecaster(horizon=3.0, **SMALL).fit(_panel())


def _answers(forecaster: JumpODEForecaster, **question: object) -> dict[str, pd.DataFrame]:
    return {
        "mean": forecaster.predict(**question),
        "quantiles": forecaster.predict_quantiles(quantiles=LEVELS, **question),
        "interval": forecaster.predict_interval(level=(50, 99), **question),
        "sample": forecaster.sample(n_samples=30, random_state=0, **question),
    }


def _columns(frame: pd.DataFrame, channel: str) -> np.ndarray:
    return frame[[name for name in frame.columns if str(name).startswith(channel)]].to_numpy()


def _without_ends(fitted: JumpODEForecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "reader_", replace(fitted.reader_, ends=None))


@pytest.mark.slow
def test_means_quantiles_intervals_and_samples_stay_between_the_ends(
    fitted: JumpODEForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _answers(fitted, horizon=[0.5, 3.0])
    _without_ends(fitted, monkeypatch)
    free = _answers(fitted, horizon=[0.5, 3.0])
    for name, answer in kept.items():
        inside, before = _columns(answer, "score"), _columns(free[name], "score")
        assert before.max() > 15.0, name  # or else there is nothing to test
        np.testing.assert_array_equal(inside, np.clip(before, 3.0, 15.0), err_msg=name)
        np.testing.assert_array_equal(_columns(answer, "free"), _columns(free[name], "free"), err_msg=name)


@pytest.mark.slow
def test_scores_are_no_worse_with_ends_and_finite_at_them(
    fitted: JumpODEForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = _panel(10, seed=1, name="other")
    scores = {metric: fitted.score(others, metric=metric) for metric in ("crps", "mse", "mae", "nll")}
    _without_ends(fitted, monkeypatch)
    before = {metric: fitted.score(others, metric=metric) for metric in scores}
    assert scores["nll"] == before["nll"]
    assert np.isfinite(scores["nll"])
    assert scores["crps"] > before["crps"]
    assert all(scores[metric] >= before[metric] for metric in ("mse", "mae"))


def test_data_without_ends_are_forecast_as_if_none_were_looked_for() -> None:
    panel = _panel().drop(columns="score")
    with quick_epochs():
        forecaster = JumpODEForecaster(horizon=3.0, **SMALL).fit(panel)
    assert forecaster.reader_.ends is None


def test_ends_come_back_from_a_file(fitted: JumpODEForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.tsode")
    for name, answer in _answers(JumpODEForecaster.load(tmp_path / "model.tsode")).items():
        pd.testing.assert_frame_equal(answer, _answers(fitted)[name])


def test_a_forecast_does_not_depend_on_who_shares_the_batch(fitted: JumpODEForecaster) -> None:
    others = _panel(6, seed=2, name="other")
    others.loc[others.groupby("unique_id").tail(1).index[:2], "score"] = 17.0  # beyond the end
    question = {"context": others, "horizon": [1.0, 2.0]}
    together = fitted.predict_interval(**question)
    for key, own in others.groupby("unique_id"):
        alone = fitted.predict_interval(context=own, horizon=[1.0, 2.0])
        here = together[together["unique_id"] == key].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.reset_index(drop=True), here, rtol=1e-5)


def test_a_series_whose_latest_value_has_passed_an_end_is_forecast_up_to_it_from_a_history_or_a_state(
    fitted: JumpODEForecaster,
) -> None:
    new = pd.DataFrame({"unique_id": ["s00"], "ds": [11.0], "score": [16.0], "free": [0.0]})
    whole = pd.concat([_panel(), new], ignore_index=True)
    question = {"X": pd.DataFrame({"unique_id": "s00", "ds": [11.5, 12.0]}), "quantiles": (0.999,)}
    of_whole = fitted.predict_quantiles(context=whole, **question)
    assert of_whole["score-q-0.999"].between(15.1, 16.0 + 1e-5).all()  # in single precision
    updated = copy.deepcopy(fitted).update(new)
    pd.testing.assert_frame_equal(updated.predict_quantiles(**question), of_whole, rtol=1e-5)
    others = updated.predict_quantiles(quantiles=(0.999,))
    assert (others.loc[others["unique_id"] != "s00", "score-q-0.999"] <= 15.0).all()


def test_a_value_mistyped_in_a_history_widens_no_end(fitted: JumpODEForecaster) -> None:
    wild = _panel(3, seed=3, name="other")
    wild.loc[wild.groupby("unique_id").tail(1).index, "score"] = 150.0
    with pytest.warns(match="far from all that training has shown"):
        answer = fitted.predict_interval(context=wild, level=99)
    assert (_columns(answer, "score") <= 15.0).all()


def test_filled_gaps_stay_between_the_ends(fitted: JumpODEForecaster) -> None:
    gaps = _panel()
    gaps.loc[::3, "score"] = np.nan
    filled = fitted.impute(gaps, level=99)
    assert _columns(filled, "score").min() >= 3.0
    assert _columns(filled, "score").max() <= 15.0


def test_latent_forecasters_keep_to_the_ends_too() -> None:
    with quick_epochs():
        fitted = LatentODEForecaster(horizon=3.0, max_epochs=1, random_state=0).fit(_panel())
    for name, answer in _answers(fitted).items():
        assert _columns(answer, "score").max() <= 15.0, name
        assert _columns(answer, "score").min() >= 3.0, name


def test_a_support_that_was_given_holds_instead() -> None:
    with quick_epochs():
        fitted = JumpODEForecaster(horizon=3.0, support={"score": (0.0, 20.0)}, **SMALL).fit(_panel())
    assert fitted.reader_.ends is None


def _skew_panel(n: int = 130) -> pd.DataFrame:
    """Positive values, mostly near zero, as of a substance in the blood: none at an end, and none alike."""
    generator, parts = np.random.default_rng(4), []
    for k in range(n):
        times = np.sort(generator.uniform(0.0, 10.0, 12))
        values = np.exp(generator.normal() + 0.5 * generator.standard_normal(12))
        parts.append(pd.DataFrame({"unique_id": f"s{k:03d}", "ds": times, "y": values}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
def test_records_of_very_many_series_hold_unless_events_or_covariates_may_drive_a_series_farther() -> None:
    panel = _skew_panel()
    settings = {**SMALL, "horizon": 3.0, "max_epochs": 1}
    fitted = JumpODEForecaster(**settings).fit(panel)
    ends, latest = fitted.reader_.ends, panel.groupby("unique_id")["y"].last()
    assert ends is not None
    assert ends.low[0] == panel["y"].min()
    held = latest.index[latest >= ends.low_from[0]]
    low = fitted.predict_quantiles(horizon=[1.0], quantiles=(0.01,)).set_index("unique_id")["y-q-0.01"]
    assert len(held) > 50
    assert (low[held] >= panel["y"].min()).all()
    assert (low.drop(held) < panel["y"].min()).any()  # what is not held is as it was
    static = pd.DataFrame({"unique_id": latest.index, "weight": np.arange(len(latest), dtype=float)})
    with quick_epochs():
        assert JumpODEForecaster(**settings).fit(panel, static=static).reader_.ends is None
