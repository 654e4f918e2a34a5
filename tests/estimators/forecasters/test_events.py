"""Events at known times in the forecasters: what they are worth, how they are handed on, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.registries import SMALL
from tsode import EventTable, JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.errors import DataError, ParameterError

pytestmark = pytest.mark.usefixtures("short_epochs")

KEYS = ("n_modes", "n_static", "n_hidden", "max_epochs", "batch_size", "random_state")
QUICK = {key: SMALL[key] for key in KEYS} | {"zero_input_response": False}


def one_compartment(n_series: int = 24, n_doses: int = 3, n_times: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Concentrations after doses at random times, eliminated at a rate of .1, and the doses."""
    rng = np.random.default_rng(0)
    rows, doses = [], []
    for k in range(n_series):
        given, amount = np.sort(rng.uniform(0, 40, n_doses)), rng.uniform(40, 160, n_doses)
        times = np.sort(rng.uniform(0, 60, n_times))
        since = times[:, None] - given
        level = (amount / 20.0 * np.exp(-0.1 * since.clip(min=0.0)) * (since > 0)).sum(axis=1)
        noisy = level + 0.1 * rng.normal(size=n_times)
        rows.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "level": noisy}))
        doses.append(pd.DataFrame({"unique_id": f"s{k}", "ds": given, "amount": amount}))
    return pd.concat(rows, ignore_index=True), pd.concat(doses, ignore_index=True)


FRAME, DOSES = one_compartment()


@pytest.fixture(scope="module")
def filtered() -> JumpODEForecaster:
    return JumpODEForecaster(**QUICK, horizon=20.0).fit(FRAME, events=DOSES)


@pytest.fixture(scope="module")
def linear() -> LinearSDEForecaster:
    return LinearSDEForecaster(n_state=2, max_epochs=3, horizon=20.0, random_state=0).fit(FRAME, events=DOSES)


@pytest.mark.slow
def test_a_model_that_is_told_of_doses_forecasts_better():
    made = LinearSDEForecaster(n_state=2, max_epochs=20, horizon=20.0, random_state=0)
    with_doses, without = clone(made).fit(FRAME, events=DOSES), made.fit(FRAME)
    later = FRAME.assign(unique_id="new " + FRAME["unique_id"])
    told = DOSES.assign(unique_id="new " + DOSES["unique_id"])
    assert with_doses.score(later, events=told, metric="mse") > 0.5 * without.score(later, metric="mse")


@pytest.mark.slow
def test_in_a_linear_system_twice_the_dose_has_twice_the_effect(linear):
    base = DOSES[DOSES["unique_id"] != "s3"]
    twice = DOSES.assign(amount=np.where(DOSES["unique_id"] == "s3", 2.0, 1.0) * DOSES["amount"])
    answer = linear.what_if({"none": base, "one": DOSES, "twice": twice}, times=[20.0, 45.0, 70.0], random_state=0)
    gap = answer[answer["unique_id"] == "s3"].pivot(index="ds", columns="scenario", values="level-diff")
    assert (gap["one"].abs() > 0.01).all()
    np.testing.assert_allclose(gap["twice"], 2.0 * gap["one"], rtol=1e-9)
    others = answer[answer["unique_id"] != "s3"].filter(like="-diff")
    assert (others == 0.0).all(axis=None), "series whose events are the same differ by exactly zero."


def test_the_band_of_a_paired_difference_holds_only_what_events_change(linear):
    more = DOSES.assign(amount=1.5 * DOSES["amount"])
    answer = linear.what_if({"as given": None, "more": more}, horizon=10.0, random_state=0, level=90)
    answer = answer[answer["scenario"] == "more"]
    width, of_gap = (answer[f"level{part}-hi-90"] - answer[f"level{part}-lo-90"] for part in ("", "-diff"))
    assert (of_gap < 1e-6 * width).all(), "in a linear system with a known dose nothing about the difference is random."


def test_nothing_differs_before_events_do(filtered):
    changed = DOSES.assign(amount=np.where(DOSES["ds"] > 20.0, 3.0, 1.0) * DOSES["amount"])
    answer = filtered.what_if({"base": None, "changed": changed}, times=[5.0, 15.0, 59.0], random_state=0)
    answer = answer[answer["scenario"] == "changed"].set_index("ds")
    gap = answer[["level-diff", "level-diff-lo-80", "level-diff-hi-80"]]
    assert (gap.loc[[5.0, 15.0]] == 0.0).all(axis=None)
    assert (gap.loc[59.0] != 0.0).any(axis=None)


def test_repeats_are_explicit_rows(filtered):
    repeated = pd.DataFrame({"unique_id": ["s0"], "ds": [1.0], "amount": [50.0], "every": [6.5], "n_more": [3]})
    explicit = pd.DataFrame({"unique_id": "s0", "ds": [1.0, 7.5, 14.0, 20.5], "amount": 50.0})
    question = {"times": {"s0": [10.0, 30.0]}}
    assert filtered.predict(**question, events=repeated).equals(filtered.predict(**question, events=explicit))


@pytest.mark.slow
def test_an_infusion_with_datetimes_says_its_amount_and_duration():
    start = pd.Timestamp("2024-01-01")
    frame = FRAME.assign(ds=start + pd.to_timedelta(FRAME["ds"], unit="h"))
    infusions = DOSES.assign(ds=start + pd.to_timedelta(DOSES["ds"], unit="h"), duration="90min")
    fitted = JumpODEForecaster(**QUICK, horizon="20h").fit(frame, events=infusions)
    times = [start + pd.Timedelta("70h")]
    shorter = fitted.predict(times=times, events=infusions.assign(duration="30min"))
    assert not shorter.equals(fitted.predict(times=times))
    with pytest.raises(DataError, match="give the amount and its duration"):
        fitted.predict(times=times, events=DOSES.assign(ds=infusions["ds"], rate=3.0))


@pytest.mark.slow
def test_a_table_of_events_goes_whole_through_cross_validation(monkeypatch):
    """It has as many rows as the data: scikit-learn would cut a frame of that length like them."""
    rows = pd.concat([DOSES.assign(ds=DOSES["ds"] + shift) for shift in (0.0, 1.0, 2.0)])
    rows = rows.head(len(FRAME)).reset_index(drop=True)
    assert len(rows) == len(FRAME)
    lengths = []
    fit = JumpODEForecaster.fit

    def watched(self, X, y=None, *, events=None, validation=None):
        lengths.append((len(X), len(events.frame)))
        return fit(self, X, y, events=events, validation=validation)

    monkeypatch.setattr(JumpODEForecaster, "fit", watched)
    with sklearn.config_context(enable_metadata_routing=True):
        forecaster = JumpODEForecaster(**QUICK, horizon=20.0).set_fit_request(events=True, validation=False)
        forecaster = forecaster.set_score_request(events=True, context=False, metric=False)
        scores = cross_validate(
            forecaster,
            FRAME,
            cv=GroupKFold(2),
            params={"events": EventTable(rows), "groups": FRAME["unique_id"]},
            error_score="raise",
        )
        make_pipeline(FunctionTransformer(), forecaster).fit(FRAME, events=EventTable(rows))
    assert np.isfinite(scores["test_score"]).all()
    assert [events for _, events in lengths] == [len(rows)] * 3
    assert all(n < len(FRAME) for n, _ in lengths[:2]), "the data themselves are cut."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "multiply", "amount": 2.0}, "There is an event 'multiply'.*Seen: add"),
        ({"target": "other"}, "an event \"add of 'other'\".*has seen none in fit"),
        ({"kind": "ad"}, "Did you mean 'add'"),
        ({"ds": pd.Timestamp("2024-01-01")}, "events= has datetimes as times, but the series has numbers"),
        ({"amount": np.inf}, "infinite at row 0"),
    ],
)
def test_events_that_the_model_cannot_read_are_named(filtered, change, message):
    with pytest.raises(DataError, match=message):
        filtered.predict(horizon=1.0, events=DOSES.head(2).assign(**change))


@pytest.mark.slow
def test_events_are_refused_where_their_effect_is_not_known():
    without = JumpODEForecaster(**QUICK).fit(FRAME)
    with pytest.raises(DataError, match="fit saw no events"):
        without.predict(horizon=1.0, events=DOSES)
    with pytest.raises(DataError, match="does not read events"):
        LastValueForecaster().fit(FRAME, events=DOSES)
    with pytest.raises(DataError, match="change nothing in any series"):
        JumpODEForecaster(**QUICK).fit(FRAME, events=DOSES.assign(amount=0.0))
    system = {"drift": [[-0.1]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.1]}
    with pytest.raises(DataError, match=r"tsode\.solve"):
        LinearSDEForecaster(system=system).fit(FRAME, events=DOSES)
    with pytest.raises(DataError, match="add the column 'unique_id'"):
        JumpODEForecaster(**QUICK).fit(FRAME, events=DOSES.drop(columns="unique_id"))


def test_scenarios_that_are_no_dict_of_tables_are_an_error(filtered):
    with pytest.raises(ParameterError, match="scenarios takes a dict"):
        filtered.what_if(DOSES, horizon=1.0)
    with pytest.raises(ParameterError, match="scenarios takes a dict"):
        filtered.what_if({}, horizon=1.0)


@pytest.mark.slow
def test_a_filter_goes_on_learning_with_the_same_events_alone():
    again = JumpODEForecaster(**QUICK, horizon=20.0, warm_start=True).fit(FRAME, events=DOSES)
    again.fit(FRAME, events=DOSES.head(20))
    with pytest.raises(DataError, match="has seen none in fit"):
        again.fit(FRAME, events=DOSES.assign(target="other"))
