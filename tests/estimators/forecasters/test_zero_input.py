"""Forecasters of responses to events alone: in proportion, chosen by held-out windows, kept in files and refits."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from tests.estimators.forecasters.test_events import QUICK, one_compartment
from tests.registries import quick_epochs
from tsode import JumpODEForecaster
from tsode.errors import ParameterError
from tsode.models.filters.zero_input import ResponseReadout

FRAME, DOSES = one_compartment(n_series=12)
INFUSED = DOSES.assign(duration=np.where(np.arange(len(DOSES)) % 2, 5.0, np.nan))


def fit(frame=FRAME, events=DOSES, static=None, **how) -> JumpODEForecaster:
    settings = QUICK | {"horizon": 20.0, "zero_input_response": "auto"} | how
    return JumpODEForecaster(**settings).fit(frame, events=events, static=static)


def quick_fit(**how) -> JumpODEForecaster:
    """Where it does not matter how well was learned."""
    with quick_epochs():
        return fit(**how)


def answers_alone(forecaster: JumpODEForecaster) -> bool:
    return all(isinstance(member.readout, ResponseReadout) for member in forecaster.module_.members)


@pytest.fixture(scope="module")
def response() -> JumpODEForecaster:
    return quick_fit(events=INFUSED, zero_input_response=True)


@pytest.fixture(scope="module")
def chosen() -> JumpODEForecaster:
    return fit(zero_input_response="auto", max_epochs=6)


def medians(forecaster: JumpODEForecaster, events: pd.DataFrame, value: float = np.nan) -> np.ndarray:
    """Of a new series, of which at most one value has been seen."""
    context = pd.DataFrame({"unique_id": "new", "ds": [0.0], "level": [value]})
    table = forecaster.predict(times=[10.0, 15.0, 19.0], context=context, events=events.assign(unique_id="new"))
    return table["level"].to_numpy()


@pytest.mark.slow
def test_twice_the_dose_has_twice_the_effect_and_without_any_nothing_is_left_of_what_was_seen():
    forecaster = quick_fit(zero_input_response=True, likelihood="normal")
    one = DOSES[DOSES["unique_id"] == "s1"].assign(ds=[1.0, 5.0, 9.0])
    none, once, twice = (medians(forecaster, one.assign(amount=k * one["amount"])) for k in (0.0, 1.0, 2.0))
    assert none.std() == pytest.approx(0.0, abs=1e-6)
    assert np.abs(once - none).min() > 1e-3
    np.testing.assert_allclose((twice - none) / (once - none), 2.0, rtol=1e-4)
    np.testing.assert_allclose(medians(forecaster, one.assign(amount=0.0), value=3.0), none, atol=1e-6)


@pytest.mark.parametrize("name", ["response", pytest.param("chosen", marks=pytest.mark.slow)])
def test_files_keep_what_was_chosen(name, request, tmp_path):
    forecaster = request.getfixturevalue(name)
    forecaster.save(tmp_path / "model.safetensors")
    loaded = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(loaded.predict(horizon=10.0), forecaster.predict(horizon=10.0), check_exact=True)
    assert answers_alone(loaded) == answers_alone(forecaster)


@pytest.mark.slow
def test_auto_keeps_what_forecasts_held_out_windows_better(chosen):
    assert answers_alone(chosen), "one compartment answers to doses alone."
    assert min(chosen.history_["valid_loss"]) < min(fit(zero_input_response=False, max_epochs=6).history_["valid_loss"])


@pytest.mark.slow
def test_auto_leaves_a_panel_that_no_dose_moves_as_it_is():
    rng = np.random.default_rng(0)
    walks = FRAME.assign(
        level=FRAME.groupby("unique_id")["level"].transform(lambda x: rng.normal(size=len(x)).cumsum())
    )
    found, usual = fit(walks, zero_input_response="auto"), fit(walks, zero_input_response=False)
    assert not answers_alone(found)
    pd.testing.assert_frame_equal(found.predict(horizon=5.0), usual.predict(horizon=5.0), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("events", [None, "marks"])
def test_without_doses_nothing_changes(events):
    marks = None if events is None else DOSES.assign(kind="mark").drop(columns="amount")
    found, usual = (quick_fit(events=marks, zero_input_response=how) for how in ("auto", False))
    pd.testing.assert_frame_equal(found.predict(horizon=5.0), usual.predict(horizon=5.0), check_exact=True)


@pytest.mark.slow
def test_a_refit_goes_on_with_what_was_chosen(chosen):
    later = FRAME.groupby("unique_id").tail(1).assign(ds=lambda table: table["ds"] + 1.0)
    again = copy.deepcopy(chosen).set_params(max_epochs=1).update(later, refit=True)
    assert answers_alone(again)


def test_an_update_forecasts_as_a_history_read_at_once(response):
    first, rest = FRAME[FRAME["ds"] < 30.0], FRAME[FRAME["ds"] >= 30.0]
    streamed = response.with_history(first).update(rest).predict(times=[70.0])
    whole = response.with_history(FRAME).predict(times=[70.0])
    np.testing.assert_allclose(streamed["level"], whole["level"], rtol=1e-5, atol=1e-6)


def test_bioavailability_reads_the_constants_of_a_series_and_is_kept_in_files(tmp_path):
    ids = FRAME["unique_id"].unique()
    static = pd.DataFrame({"unique_id": ids, "is_fed": np.arange(len(ids)) % 2})
    forecaster = quick_fit(events=INFUSED, static=static, bioavailability=True, n_members=1)
    assert forecaster.module_.availability.weight.abs().min() > 0.0
    forecaster.save(tmp_path / "model.safetensors")
    loaded = JumpODEForecaster.load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(loaded.predict(horizon=10.0), forecaster.predict(horizon=10.0), check_exact=True)


def test_wrong_settings_say_what_to_give():
    with pytest.raises(ParameterError, match=r"zero_input_response must be True, False or \"auto\", but is 'on'"):
        fit(zero_input_response="on")
    with pytest.raises(ParameterError, match=r"leave evolution= at 'linear' and n_static= at 1 or more"):
        fit(zero_input_response=True, evolution="semilinear", events=DOSES)
    with pytest.raises(ParameterError, match=r"static= was not given: give static= to fit, or leave bioavailability"):
        fit(bioavailability=True)
