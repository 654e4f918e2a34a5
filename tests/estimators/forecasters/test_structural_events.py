"""Events beside structural components: doses and shocks whose effects are learned, and asked about."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsode import LinearSDEForecaster
from tsode.errors import DataError
from tsode.testing import check_forecaster


def _dosed(n_series: int = 4, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Series about 10 that rise by twice the amount of a dose, and come back in five units of time."""
    rng = np.random.default_rng(seed)
    rows, doses = [], []
    for k in range(n_series):
        times = np.sort(rng.uniform(0.0, 60.0, 80))
        at, amounts = np.array([12.0, 30.0 + k, 45.0]), rng.uniform(1.0, 4.0, 3)
        since = times[:, None] - at
        effect = (2.0 * amounts * np.where(since > 0.0, np.exp(-since / 5.0), 0.0)).sum(axis=1)
        values = 10.0 + effect + 0.2 * rng.standard_normal(len(times))
        rows.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "y": values}))
        doses.append(pd.DataFrame({"unique_id": f"s{k}", "ds": at, "amount": amounts}))
    return pd.concat(rows, ignore_index=True), pd.concat(doses, ignore_index=True)


FRAME, DOSES = _dosed()


@pytest.fixture(scope="module")
def fitted() -> LinearSDEForecaster:
    return LinearSDEForecaster(components=["level", "ou"], random_state=0, horizon=10.0).fit(FRAME, events=DOSES)


@pytest.mark.slow
def test_a_dose_to_come_raises_the_forecast_as_it_raised_the_past(fitted: LinearSDEForecaster) -> None:
    asked = pd.DataFrame({"unique_id": "s0", "ds": [62.0, 65.0, 70.0]})
    planned = pd.concat([DOSES, pd.DataFrame({"unique_id": ["s0"], "ds": [61.0], "amount": [3.0]})])
    plain = fitted.predict(asked, events=DOSES)["y"].to_numpy()
    raised = fitted.predict(asked, events=planned)["y"].to_numpy()
    truth = 6.0 * np.exp(-(asked["ds"] - 61.0) / 5.0)
    np.testing.assert_allclose(raised - plain, truth, atol=0.5)


def test_twice_the_dose_has_twice_the_effect(fitted: LinearSDEForecaster) -> None:
    asked = pd.DataFrame({"unique_id": "s1", "ds": [63.0, 68.0]})

    def told(amount: float) -> np.ndarray:
        one = pd.DataFrame({"unique_id": ["s1"], "ds": [61.0], "amount": [amount]})
        return fitted.predict(asked, events=pd.concat([DOSES, one]))["y"].to_numpy()

    base = fitted.predict(asked, events=DOSES)["y"].to_numpy()
    np.testing.assert_allclose(told(4.0) - base, 2.0 * (told(2.0) - base), rtol=1e-9)


def test_the_parts_hold_what_events_did(fitted: LinearSDEForecaster) -> None:
    parts = fitted.decompose()
    one = parts[parts["unique_id"] == "s0"]
    after = one[(one["ds"] > 12.0) & (one["ds"] < 14.0)]["y-regressors"].mean()
    before = one[one["ds"] < 12.0]["y-regressors"].abs().max()
    assert before == 0.0
    assert after > 1.0
    total = parts[["y-trend", "y-regressors", "y-rest"]].sum(axis=1)
    np.testing.assert_allclose(total, parts["y-fit"], atol=1e-9)


def test_the_summary_has_an_effect_for_each_way_to_decay(fitted: LinearSDEForecaster) -> None:
    effects = fitted.summary().xs("regressors", level="component").loc["y"]
    assert [name for name in effects.index if "stays" in name] == [effects.index[0]]
    assert len(effects) == 5
    assert (effects["unit"] == "per unit").all()


def test_events_without_the_fit_and_kinds_it_has_not_seen_are_refused(fitted: LinearSDEForecaster) -> None:
    plain = LinearSDEForecaster(components=["level"], random_state=0).fit(FRAME)
    with pytest.raises(DataError, match="fit saw no events"):
        plain.predict(horizon=[1.0], events=DOSES)
    with pytest.raises(DataError, match="the model has seen none in fit"):
        fitted.predict(horizon=[1.0], events=DOSES.assign(kind="reset"))


def test_updates_and_files_keep_what_events_did(fitted: LinearSDEForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    loaded = LinearSDEForecaster.load(tmp_path / "m.safetensors")
    early = FRAME[FRAME["ds"] < 50.0]
    part = loaded.with_history(early).update(FRAME[FRAME["ds"] >= 50.0])
    pd.testing.assert_frame_equal(part.predict(horizon=[2.0]), fitted.predict(horizon=[2.0]))


@pytest.mark.slow
def test_series_with_parameters_of_their_own_and_channels_together_read_events() -> None:
    two = FRAME.assign(x=lambda f: 0.5 * f["y"] + 1.0)
    for settings in ({"per_series": True}, {"channels": "joint"}):
        model = LinearSDEForecaster(components=["level"], random_state=0, horizon=5.0, **settings)
        frame = FRAME if "per_series" in settings else two
        found = model.fit(frame, events=DOSES).predict(horizon=[1.0])
        assert np.isfinite(found["y"]).all()


@pytest.mark.slow
def test_the_contract_of_forecasters_is_kept() -> None:
    check_forecaster(LinearSDEForecaster(components=["level", "ou"], random_state=0))
