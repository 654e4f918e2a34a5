"""Rates that differ between series: a linear SDE that learns how far they lie apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.errors import ParameterError, UnknownNameError
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


def test_series_of_their_own_frequencies_are_forecast_better_than_by_one_rate_for_all(
    fitted: LinearSDEForecaster,
) -> None:
    one = LinearSDEForecaster(**SETTINGS).fit(_turning(16, 0))
    test = _turning(40, 1)
    seen, ahead = test[test["ds"] <= 5.0], test[test["ds"] > 5.0]
    errors = [np.mean((model.predict(ahead, context=seen)["y"] - ahead["y"]) ** 2) for model in (fitted, one)]
    assert errors[0] < 0.9 * errors[1]


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
