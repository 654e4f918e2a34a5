"""Rates that differ between series: a linear SDE that learns how far they lie apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import LinearSDEForecaster
from tsode.errors import ParameterError, TsodeWarning, UnknownNameError
from tsode.testing import check_forecaster


def _turning(n: int, seed: int) -> pd.DataFrame:
    """Series that turn with frequencies from 2 to 6, each its own."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        times = np.sort(rng.uniform(0.0, 7.5, 22))
        wave = np.sin(rng.uniform(2.0, 6.0) * times + rng.uniform(0.0, 6.3))
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "y": wave + 0.1 * rng.standard_normal(22)}))
    return pd.concat(frames, ignore_index=True)


SETTINGS = {"max_epochs": 5, "random_state": 0, "horizon": 2.5, "n_state": 4}


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    return LinearSDEForecaster(series_rates=5, **SETTINGS).fit(_turning(16, 0))


@pytest.mark.slow
def test_series_of_their_own_frequencies_are_forecast_better_than_by_one_rate_for_all(
    fitted: LinearSDEForecaster,
) -> None:
    one = LinearSDEForecaster(**SETTINGS).fit(_turning(16, 0))
    test = _turning(40, 1)
    seen, ahead = test[test["ds"] <= 5.0], test[test["ds"] > 5.0]
    errors = [np.mean((model.predict(ahead, context=seen)["y"] - ahead["y"]) ** 2) for model in (fitted, one)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.slow
def test_a_file_and_an_update_keep_the_classes(fitted: LinearSDEForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    loaded = LinearSDEForecaster.load(tmp_path / "m.safetensors")
    pd.testing.assert_frame_equal(loaded.predict(horizon=[1.0]), fitted.predict(horizon=[1.0]))
    history = _turning(16, 0)
    early = loaded.with_history(history[history["ds"] <= 5.0]).update(history[history["ds"] > 5.0])
    pd.testing.assert_frame_equal(early.predict(horizon=[1.0]), fitted.predict(horizon=[1.0]))


def test_states_and_evidence_can_be_asked(fitted: LinearSDEForecaster) -> None:
    assert np.isfinite(fitted.log_likelihood()).all()
    for given in ("past", "present", "all"):
        assert np.isfinite(fitted.predict_state(horizon=[0.5], given=given)["state-0-sd"]).all()


def test_the_history_has_a_row_a_search_each_on_no_less_of_the_data(fitted: LinearSDEForecaster) -> None:
    rows = fitted.history_
    assert rows["epoch"].tolist() == list(range(1, fitted.n_iter_ + 1))
    assert rows["n_values"].is_monotonic_increasing
    assert rows["n_values"].iloc[-1] == 16 * 22  # nothing is held out
    assert rows["train_loss"].iloc[1] < rows["train_loss"].iloc[0]
    assert (rows["valid_loss"] == rows["train_loss"]).all()


@pytest.mark.slow
def test_the_validation_loss_is_that_of_the_given_series(fitted: LinearSDEForecaster) -> None:
    other = _turning(5, 1)
    judged = LinearSDEForecaster(series_rates=5, **SETTINGS).fit(_turning(16, 0), validation=other)
    pd.testing.assert_frame_equal(judged.predict(horizon=[1.0]), fitted.predict(horizon=[1.0]))
    density = -judged.log_likelihood(other).sum() / len(other)
    in_units = density - np.log(judged.reader_.scaler.scale.item())
    assert judged.history_["valid_loss"].iloc[-1] == pytest.approx(in_units, rel=1e-6)


@pytest.mark.slow
def test_a_callback_or_an_interrupt_ends_the_fit_with_the_best_so_far() -> None:
    def interrupt(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    one = LinearSDEForecaster(series_rates=3, **SETTINGS | {"max_epochs": 1}).fit(_turning(16, 0))
    stopped = LinearSDEForecaster(series_rates=3, callbacks=[lambda row: True], **SETTINGS).fit(_turning(16, 0))
    with pytest.warns(TsodeWarning, match="interrupted after 1 searches; the best parameters so far are kept"):
        broken = LinearSDEForecaster(series_rates=3, callbacks=[interrupt], **SETTINGS).fit(_turning(16, 0))
    assert one.n_iter_ == stopped.n_iter_ == broken.n_iter_ == 1
    for other in (stopped, broken):
        pd.testing.assert_frame_equal(other.predict(horizon=[1.0]), one.predict(horizon=[1.0]))


@pytest.mark.slow
def test_the_progress_line_is_shown_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (1, 0):
        LinearSDEForecaster(series_rates=2, verbose=verbose, **SETTINGS).fit(_turning(3, 0))
        out, err = capsys.readouterr()
        assert (out, "search" in err) == ("", bool(verbose))


@pytest.mark.slow
def test_single_precision_is_fitted_in_double_and_then_rounded(fitted: LinearSDEForecaster) -> None:
    single = LinearSDEForecaster(series_rates=5, dtype="float32", **SETTINGS).fit(_turning(16, 0))
    assert next(single.module_.parameters()).dtype == torch.float32
    left, right = single.predict(horizon=[1.0])["y"], fitted.predict(horizon=[1.0])["y"]
    np.testing.assert_allclose(left, right, atol=0.02)


def test_a_known_pulse_is_learned_as_an_input() -> None:
    """Each amount lifts the state by half of it, which decays at a rate of 1.5."""
    rng = np.random.default_rng(0)
    rows, doses = [], []
    for k in range(12):
        times, at, amount = np.sort(rng.uniform(0.0, 4.0, 20)), rng.uniform(0.5, 2.0), rng.uniform(2.0, 6.0)
        mean = 0.5 * amount * np.exp(-1.5 * np.clip(times - at, 0.0, None)) * (times > at)
        rows.append(pd.DataFrame({"unique_id": k, "ds": times, "y": mean + 0.05 * rng.standard_normal(20)}))
        doses.append({"unique_id": k, "ds": at, "amount": amount})
    made = LinearSDEForecaster(series_rates={"damping": 2}, **SETTINGS)
    made.fit(pd.concat(rows), events=pd.DataFrame(doses))
    new = pd.DataFrame({"unique_id": "n", "ds": [0.0, 0.5, 1.0], "y": [0.0, 0.0, 0.0]})
    dose = pd.DataFrame({"unique_id": ["n"], "ds": [1.2], "amount": [4.0]})
    ahead = made.predict(context=new, times=[1.3, 2.0], events=dose)["y"]
    np.testing.assert_allclose(ahead, 2.0 * np.exp(-1.5 * np.array([0.1, 0.8])), atol=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"series_rates": 1}, "has 1 classes: give at least 2"),
        ({"series_rates": "auto"}, "must be None, a number of classes"),
        ({"series_rates": {"level": 3}}, "axis of series_rates"),
        ({"series_rates": {"frequency": 40, "damping": 40}}, "has 1600 classes in all"),
        ({"series_rates": 5, "components": ["level"]}, "series_rates= is of a stable system"),
        ({"series_rates": 5, "system": {"drift": [[-1.0]]}}, "series_rates= is of a stable system"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        LinearSDEForecaster(**settings).fit(_turning(3, 0))


@pytest.mark.slow
def test_the_contract_of_forecasters_is_kept() -> None:
    check_forecaster(LinearSDEForecaster(series_rates={"frequency": 2, "damping": 2}, max_epochs=1, random_state=0))
