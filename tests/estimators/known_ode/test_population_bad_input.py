"""Bad input of populations: what was wrong, of which series, and how to mend it."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.small_population import IDS, TIMES, bolus, level, simulated_bolus
from tsode import KnownODEForecaster
from tsode.errors import DataError, ParameterError, TsodeError, TsodeWarning
from tsode.estimators.known_ode import forecaster
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal

DATA, DOSES, STATIC = simulated_bolus()


class Inferred(Exception):
    """Everything was checked, and inference would begin."""


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits end where inference would begin."""

    def begin(*_: Any, **__: Any) -> None:
        raise Inferred

    monkeypatch.setattr(forecaster, "infer_population", begin)


def fit(data=DATA, doses=DOSES, static=STATIC, **settings: Any) -> KnownODEForecaster:
    return bolus(**{"n_starts": 1, "n_draws": 16} | settings).fit(data, events=doses, static=static)


def with_first(frame: pd.DataFrame, **entries: Any) -> pd.DataFrame:
    """The frame with other entries in its first row."""
    return frame.assign(**{name: [x, *frame[name].iloc[1:]] for name, x in entries.items()})


def on_clock(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(ds=pd.Timestamp("2024-03-01") + pd.to_timedelta(frame["ds"], unit="h"))


AT_DOSE = pd.concat([DATA, pd.DataFrame({"unique_id": [IDS[2]], "ds": [0.0], "level": [0.3]})])
NOISES = {"log-normal": LogNormalNoise(level, sd=0.1), "additive": AdditiveNoise(level, sd=0.1)}


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("noise", NOISES)
def test_a_series_without_a_dose_that_says_nothing_is_an_error(noise):
    with pytest.raises(DataError, match=r"'patient 0' is predicted the same.*no dose in events=, as 7 others have"):
        fit(doses=DOSES.iloc[1:], observed={"level": NOISES[noise]})
    with pytest.raises(DataError, match=r"so do 7 more\): no series has a dose. Pass events="):
        fit(doses=None)


@pytest.mark.usefixtures("unfitted")
def test_a_series_without_a_dose_that_says_something_is_a_warning():
    with (
        pytest.warns(TsodeWarning, match=r"'patient 0' and 1 more have no events, as 6 others do"),
        pytest.raises(Inferred),
    ):
        fit(doses=DOSES.iloc[2:], initial={"drug": 100.0})


@pytest.mark.usefixtures("unfitted")
def test_a_dose_after_all_values_of_a_series_is_an_error_with_both_times():
    with pytest.raises(DataError, match=r"'patient 0'.*first event is at 20.0, and its last value at 12.0"):
        fit(doses=with_first(DOSES, ds=20.0))
    later = pd.concat([DOSES, DOSES.iloc[:1].assign(ds=20.0)])  # one more dose, after the last value
    with pytest.raises(Inferred):
        fit(doses=later)


@pytest.mark.slow
def test_a_dose_before_the_first_value_is_honoured_from_its_own_time():
    fitted = fit(DATA, DOSES.assign(ds=-5.0))
    table = fitted.goodness_of_fit(n=0)
    weight = STATIC.set_index("unique_id")["weight"]
    cl = fitted.estimates().loc["cl", "estimate"] * (weight / weight.median()) ** 0.75
    expected = 5.0 * np.exp(-cl.loc[table["unique_id"]].to_numpy() / 20.0 * (table["ds"] + 5.0))
    np.testing.assert_allclose(table["PRED"], expected, rtol=1e-5)


@pytest.mark.usefixtures("unfitted")
def test_a_dose_before_the_time_that_series_are_said_to_begin_at_is_an_error():
    with pytest.raises(DataError, match=r"'patient 0' has an event before it starts"):
        fit(doses=DOSES.assign(ds=-5.0), initial_time=0.0)


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_value_that_log_normal_noise_cannot_have_is_named_by_channel_series_and_time(value):
    data = DATA.assign(level=DATA["level"].where(DATA.index != 5, value))
    with pytest.raises(DataError, match=rf"'level' of series 'patient 1' is {value:g} at time 3.*leave the cell empty"):
        fit(data)
    with pytest.raises(DataError, match=r"at time 2024-03-01T03:00"):
        fit(on_clock(data), on_clock(DOSES), time_unit="1h")


@pytest.mark.usefixtures("unfitted")
def test_a_value_at_the_time_of_its_first_dose_is_an_error_under_noise_in_proportion():
    with pytest.raises(
        DataError, match=r"'patient 2' is 0.3 at time 0.0, where it is predicted to be 0.*before the dose"
    ):
        fit(AT_DOSE)
    with pytest.raises(Inferred):
        fit(AT_DOSE, observed={"level": NOISES["additive"]})
    with pytest.raises(Inferred):  # a value below a limit is nothing strange there
        fit(AT_DOSE, observed={"level": LogNormalNoise(level, sd=0.1, below=0.4)}, marginal="laplace")


@pytest.mark.usefixtures("unfitted")
def test_a_dose_that_takes_away_is_an_error_under_noise_in_proportion():
    with pytest.raises(DataError, match=r"'patient 0'.*predicted to be -.*is about predictions above 0"):
        fit(doses=with_first(DOSES, amount=-100.0))


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"amount": np.nan}, "series 'patient 0' at 0.0 is of 'drug', but has no amount"),
        ({"amount": np.inf}, "'amount' of the events is infinite at row 0"),
        ({"amount": "a lot"}, "'amount' of the events must hold numbers"),
        ({"target": "durg"}, "'durg', which is no state. Did you mean 'drug'"),
    ],
)
def test_doses_that_cannot_be_read_are_errors(entries, says):
    with pytest.raises(TsodeError, match=says):
        fit(doses=with_first(DOSES, **entries))


@pytest.mark.usefixtures("unfitted")
def test_a_dose_that_is_written_twice_is_a_warning_with_its_series_and_time():
    says = "'patient 0' has the same event 2 times at 0.0.*drop_duplicates"
    with pytest.warns(TsodeWarning, match=says), pytest.raises(Inferred):
        fit(doses=pd.concat([DOSES, DOSES.iloc[:1]]))


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("who", ["one", "all"])
def test_doses_in_another_unit_are_a_warning_before_the_search(who):
    doses = with_first(DOSES, amount=1e5) if who == "one" else DOSES.assign(amount=1e5)
    says = r"'patient 0'( \(and of \d+ more series\))? are \d+ times smaller than any draw of the prior"
    with pytest.warns(TsodeWarning, match=says), pytest.raises(Inferred):
        fit(doses=doses)


SEX = STATIC.assign(sex=["M", *"FFFFFFF"])


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize(
    ("static", "term", "says"),
    [
        (STATIC.assign(weight=70.0), {"weight": Normal(0.7, 0.5)}, "'weight' is 70.0 in all series.*on 'cl'"),
        (with_first(STATIC, weight=np.nan), {"weight": 0.75}, "'weight' is missing for 1 series.*'patient 0'"),
        (with_first(STATIC, weight=-1.0), {"weight": 0.75}, "'weight' of series 'patient 0' is -1.*use Linear"),
        (with_first(STATIC, weight=np.inf), {"weight": 0.75}, "'weight' of static= is infinite"),
        (STATIC.iloc[1:], {"weight": 0.75}, "for series 'patient 0': give them in static="),
        (pd.concat([STATIC, STATIC.iloc[:1]]), {"weight": 0.75}, "more than one row for series 'patient 0'"),
        (STATIC, {"wieght": 0.75}, "'wieght', which static= does not have. Its columns: weight"),
        (None, {"weight": 0.75}, "'weight', which static= does not have"),
        (STATIC.assign(height=STATIC["weight"] ** 2), {"weight": Normal(0, 1), "height": Normal(0, 1)},
         "'cl_weight', 'cl_height' cannot be told from each other"),
        (SEX, {"sex": {"X": Normal(0, 1)}}, "No series has the category 'X' of covariate 'sex'.*categories are F, M"),
        (SEX, {"sex": {"F": Normal(0, 1), "M": Normal(0, 1)}}, "leave one out"),
    ],
)  # fmt: skip
def test_covariates_that_cannot_act_are_errors_by_name_and_series(static, term, says):
    with pytest.raises(DataError, match=says):
        fit(static=static, covariates={"cl": term})


@pytest.mark.usefixtures("unfitted")
def test_a_category_of_one_series_is_a_warning():
    with (
        pytest.warns(TsodeWarning, match=r"'M' of covariate 'sex' has one series, 'patient 0'"),
        pytest.raises(Inferred),
    ):
        fit(static=SEX, covariates={"cl": {"sex": {"M": Normal(0, 1)}}})


@pytest.mark.usefixtures("unfitted")
def test_a_fixed_power_of_a_covariate_that_is_the_same_for_all_is_no_error():
    with pytest.raises(Inferred):
        fit(static=STATIC.assign(weight=70.0))


@pytest.mark.usefixtures("unfitted")
def test_maximum_likelihood_of_one_series_is_refused_by_name():
    with pytest.raises(DataError, match=r"one series, 'patient 0', and maximum likelihood"):
        fit(DATA[DATA["unique_id"] == IDS[0]], DOSES.iloc[:1], STATIC.iloc[:1])


@pytest.mark.usefixtures("unfitted")
def test_an_effect_on_no_parameter_is_refused():
    with pytest.raises(ParameterError, match=r"'kl', which is no parameter. Those are: cl"):
        fit(random_effects=["kl"])


@pytest.mark.usefixtures("unfitted")
def test_ids_of_another_type_are_named_and_ids_of_no_series_are_left_alone():
    numbered = [frame.assign(unique_id=frame["unique_id"].str[8:].astype(int)) for frame in (DATA, DOSES, STATIC)]
    with pytest.raises(Inferred):
        fit(*numbered)
    for place, name in ((1, "events"), (2, "static")):
        tables = [x.assign(unique_id=x["unique_id"].astype(str)) if k == place else x for k, x in enumerate(numbered)]
        with pytest.raises(
            DataError, match=rf"{name}= has .* of series '0' \(str\).*Ids in the data: 0|{name}= has a row"
        ):
            fit(*tables)
    more = {"unique_id": "another"}  # tables of all series beside data of some
    with pytest.raises(Inferred):
        fit(
            DATA, pd.concat([DOSES, DOSES.iloc[:1].assign(**more)]), pd.concat([STATIC, STATIC.iloc[:1].assign(**more)])
        )


@pytest.mark.usefixtures("unfitted")
def test_a_time_with_two_values_is_an_error_with_its_remedy():
    with pytest.raises(DataError, match=r"'patient 0' has 2 values of 'level' at 1.0.*duplicates='mean'"):
        fit(pd.concat([DATA, DATA.iloc[:1].assign(level=4.0)]))


def two_parameters(data=DATA, doses=DOSES, **settings: Any) -> KnownODEForecaster:
    """Clearance, volume and noise of each patient, or some of them."""
    parameters = {"cl": LogNormal(log(3.0), 0.5), "v": LogNormal(log(20.0), 0.3), "sd": LogNormal(-2.0, 0.5)}
    given = {"random_effects": ["cl", "v"], "inference": "likelihood", "n_starts": 1, "n_draws": 16, "random_state": 0}
    return KnownODEForecaster(
        lambda t, z, p: (-p.cl / p.v * z[:, 0],), states=["drug"], parameters=parameters, initial={"drug": 0.0},
        observed={"level": LogNormalNoise(lambda t, z, p: z[:, 0] / p.v, sd="sd")}, **given | settings,
    ).fit(data, events=doses)  # fmt: skip


@pytest.mark.slow
def test_more_effects_than_values_or_series_allow_are_a_warning_that_names_what_to_do():
    some = (DATA["unique_id"].isin(IDS[:2])) & (DATA["ds"] == TIMES[1])
    with pytest.warns(TsodeWarning, match=r"few values.*no series has more than 1 value.*shrink") as told:
        fitted = two_parameters(DATA[some], DOSES.iloc[:2], max_seconds=1e-6)
    assert any("few series: 2 for 2 random effects (cl, v)" in text for text in fitted.problems_)
    assert any("unfinished: stopped after max_seconds=1e-06" in str(one.message) for one in told)
    assert any("give it more time (max_seconds=)" in text for text in fitted.problems_)


@pytest.mark.slow
def test_a_series_with_a_dose_in_another_unit_is_named_after_the_fit():
    with pytest.warns(TsodeWarning) as told:
        fitted = fit(doses=with_first(DOSES, amount=1e5), max_seconds=2.0, observed={"level": NOISES["log-normal"]})
    assert any("misfit: values of series 'patient 0' lie" in text for text in fitted.problems_)
    assert np.isfinite(fitted.estimates().attrs["objective"])
    assert any("times smaller than any draw" in str(one.message) for one in told)


@pytest.fixture(scope="module")
def fitted() -> KnownODEForecaster:
    return fit()


@pytest.mark.slow
def test_order_of_rows_changes_nothing(fitted):
    mixed = [frame.sample(frac=1.0, random_state=1) for frame in (DATA, DOSES, STATIC)]
    once, again = fitted.estimates(), fit(*mixed).estimates()
    pd.testing.assert_frame_equal(once, again, rtol=1e-4)
    assert once.attrs["objective"] == pytest.approx(again.attrs["objective"], abs=1e-5)


@pytest.mark.slow
def test_a_series_without_values_changes_no_estimate(fitted):
    silent = pd.concat([DATA, pd.DataFrame({"unique_id": ["empty"], "ds": [4.0], "level": [np.nan]})])
    doses = pd.concat([DOSES, DOSES.iloc[:1].assign(unique_id="empty")])
    static = pd.concat([STATIC, pd.DataFrame({"unique_id": ["empty"], "weight": STATIC["weight"].median()}, index=[0])])
    found = fit(silent, doses, static).estimates()
    np.testing.assert_allclose(found["estimate"], fitted.estimates()["estimate"], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The posterior has problems. unfinished")
def test_a_category_that_fit_has_not_seen_is_named_at_a_forecast():
    sexes = STATIC.assign(sex=[*"MFMFMFMF"])
    model = fit(static=sexes, covariates={"cl": {"sex": {"M": Normal(0.0, 0.5)}}}, max_seconds=1.0)
    new = {"unique_id": ["new"]}
    asked, dose = pd.DataFrame({**new, "ds": [3.0]}), DOSES.iloc[:1].assign(unique_id="new")
    with pytest.raises(DataError, match=r"'sex'.*'new'"):
        model.predict(asked, events=dose, static=pd.DataFrame({**new, "weight": [70.0], "sex": ["X"]}))
