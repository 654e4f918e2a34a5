"""Forecasts of populations: new series from covariates, from nothing, from their rows; plans; parts of the spread."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.small_population import bolus, simulated_bolus
from tsode import KnownODEForecaster
from tsode.errors import DataError
from tsode.inference import AdditiveNoise, LogNormal, Normal

DATA, DOSES, STATIC = simulated_bolus()
WEIGHTS = pd.DataFrame({"unique_id": ["light", "heavy"], "weight": [50.0, 100.0]})
ASKED = pd.DataFrame({"unique_id": np.repeat(["light", "heavy"], 2), "ds": [4.0, 8.0] * 2})
SEEN = pd.DataFrame({"unique_id": ["light", "light", "heavy"], "ds": [1.0, 3.0, 2.0], "level": [4.2, 2.9, 4.5]})
GIVEN = pd.DataFrame({"unique_id": ["light", "heavy"], "ds": 0.0, "target": "drug", "amount": [100.0, 150.0]})
ONE = {"events": GIVEN, "static": WEIGHTS}


def of(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["unique_id"] == name].reset_index(drop=True)


@pytest.fixture(scope="module")
def fitted() -> KnownODEForecaster:
    return bolus(n_starts=1, n_draws=1000).fit(DATA, events=DOSES, static=STATIC)


@pytest.fixture(scope="module")
def filled() -> KnownODEForecaster:
    """The same, with the dose as the state that all begin in at time 0, so that there are no events."""
    return bolus(n_starts=1, n_draws=1000, initial={"drug": 100.0}, initial_time=0.0).fit(DATA, static=STATIC)


@pytest.mark.slow
def test_a_series_of_covariates_alone_is_forecast_as_the_population_says(filled):
    found = filled.predict_quantiles(ASKED, static=WEIGHTS, quantiles=[0.5])["level-q-0.5"].to_numpy()
    table = filled.estimates()
    weight = WEIGHTS.set_index("unique_id")["weight"] / STATIC["weight"].median()
    cl = table.loc["cl", "estimate"] * weight.loc[ASKED["unique_id"]].to_numpy() ** 0.75
    # the logarithm is of -cl t / 20, whose clearance is log-normal, with noise of .1: six errors of 1,000 draws' median
    spread = np.hypot(cl * ASKED["ds"] / 20.0 * np.hypot(table.loc["omega_cl", "estimate"], 0.15), 0.1)
    off = np.abs(np.log(found / 5.0) + cl * ASKED["ds"] / 20.0)
    assert (off < 6.0 * 1.2533 * spread / np.sqrt(1000.0)).all()
    whole = filled.predict(ASKED, context=SEEN.iloc[:0], static=WEIGHTS)
    pd.testing.assert_frame_equal(whole, filled.predict(ASKED, static=WEIGHTS))


@pytest.mark.slow
def test_without_its_covariates_a_new_series_is_an_error_that_names_it(filled):
    with pytest.raises(DataError, match=r"no history of series 'light'"):
        filled.predict(ASKED)
    with pytest.raises(DataError, match=r"static covariates.*'light'"):
        filled.predict(ASKED, context=SEEN)


@pytest.mark.slow
def test_the_start_of_a_series_of_nothing_is_asked_for_by_name(fitted):
    with pytest.raises(DataError, match=r"when series 'light' starts, which has no rows and no events: set initial_t"):
        fitted.predict(ASKED, static=WEIGHTS)


@pytest.mark.slow
def test_a_level_of_a_new_series_narrows_what_is_its_own_and_leaves_what_all_share(fitted):
    before, after = (fitted.predict_spread(ASKED, context=rows, **ONE) for rows in (SEEN.iloc[:0], SEEN))
    for table in (before, after):
        parts = table["level-sd-individual"] ** 2 + table["level-sd-population"] ** 2
        np.testing.assert_allclose(parts, table["level-sd-epistemic"] ** 2, rtol=1e-9)
        np.testing.assert_allclose(parts + table["level-sd-aleatoric"] ** 2, table["level-sd"] ** 2, rtol=1e-9)
    assert (after["level-sd-individual"] < 0.95 * before["level-sd-individual"]).all()
    assert (before["level-sd-population"] < before["level-sd-individual"]).all()
    assert (before["level-sd-population"] > 0.0).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The posterior has problems")
def test_the_parts_of_the_spread_are_those_of_a_linear_mixed_model():
    generator = np.random.default_rng(1)
    own = 3.0 + 0.8 * generator.standard_normal(12)
    rows = pd.DataFrame({"unique_id": np.repeat(np.arange(12), 4), "ds": np.tile(np.arange(4.0), 12)})
    rows["y"] = np.repeat(own, 4) + 0.3 * generator.standard_normal(48)
    model = KnownODEForecaster(
        lambda t, z, p: (0.0 * z[:, 0],), states=["still"], parameters={"a": Normal(2.0, 2.0)}, initial={"still": 0.0},
        observed={"y": AdditiveNoise(lambda t, z, p: p.a, sd=0.3)}, random_effects={"a": LogNormal(-0.3, 0.5)},
        inference="likelihood", n_starts=1, n_draws=2000, random_state=0, initial_time=0.0,
    ).fit(rows)  # fmt: skip
    nothing = pd.DataFrame({"unique_id": 99, "ds": [0.0], "y": [np.nan]})
    found = model.predict_spread(pd.DataFrame({"unique_id": [99], "ds": [2.0]}), context=nothing).iloc[0]
    draws = model.posterior_
    assert found["y-sd-aleatoric"] == pytest.approx(0.3, rel=1e-6)
    # 64 draws of what is shared are spread out among all: an sd of them is some 9 % off, as that of spreads is less
    assert found["y-sd-population"] == pytest.approx(draws["a"].std(), rel=0.3)
    assert found["y-sd-individual"] == pytest.approx(np.sqrt((draws["omega_a"] ** 2).mean()), rel=0.15)
    seen = pd.DataFrame({"unique_id": 99, "ds": [0.0, 1.0], "y": [4.0, 4.1]})
    given = model.predict_spread(pd.DataFrame({"unique_id": [99], "ds": [2.0]}), context=seen).iloc[0]
    omega = draws["omega_a"].mean()
    weight = omega**2 / (omega**2 + 0.045)  # of the mean of two values
    assert given["y-sd-individual"] == pytest.approx(np.sqrt(weight * 0.045), rel=0.15)
    assert given["y-sd-population"] < 0.35 * found["y-sd-population"]


def test_a_dose_of_twice_the_size_has_twice_the_level_in_every_draw(fitted):
    plans = {"as given": GIVEN, "twice": GIVEN.assign(amount=2.0 * GIVEN["amount"])}
    found = fitted.what_if(plans, ASKED, context=SEEN.iloc[:0], static=WEIGHTS, n_samples=50)
    once, twice = (found[found["scenario"] == name].reset_index(drop=True) for name in plans)
    np.testing.assert_allclose(twice["level-diff"], once["level"], rtol=1e-6)
    assert (twice["level-diff-lo-80"] > 0.0).all()
    # a later dose is another plan for the same patient: what the levels tell of it stays
    later = pd.concat([GIVEN, GIVEN.assign(ds=5.0)])
    more = fitted.what_if({"as given": GIVEN, "again": later}, ASKED, context=SEEN, static=WEIGHTS, n_samples=50)
    diff = more[more["scenario"] == "again"].set_index("ds")["level-diff"]
    assert (diff.loc[4.0] == 0.0).all()
    assert (diff.loc[8.0] > 0.0).all()


def test_an_update_with_a_level_of_a_new_series_is_a_forecast_in_its_context(fitted):
    grown = deepcopy(fitted).update(SEEN.iloc[:1], events=of("light", GIVEN), static=of("light", WEIGHTS))
    asked, context = of("light", ASKED), SEEN.iloc[:1]
    one = grown.predict_interval(asked, level=90)
    other = fitted.predict_interval(
        asked, context=context, events=of("light", GIVEN), static=of("light", WEIGHTS), level=90
    )
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    again = grown.update(SEEN.iloc[1:2]).predict_interval(asked, level=90)
    both = fitted.predict_interval(asked, context=SEEN.iloc[:2], events=of("light", GIVEN), static=of("light", WEIGHTS),
                                   level=90)  # fmt: skip
    pd.testing.assert_frame_equal(again, both, check_exact=True)


def test_a_forecast_depends_on_no_other_series_no_order_no_other_time_and_no_later_row(fitted):
    whole = fitted.predict_interval(ASKED, context=SEEN, level=90, **ONE)
    light = of("light", whole)
    alone = fitted.predict_interval(of("light", ASKED), context=of("light", SEEN), events=of("light", GIVEN),
                                    static=of("light", WEIGHTS), level=90)  # fmt: skip
    pd.testing.assert_frame_equal(light, alone, rtol=1e-9)
    tables = {name: frame.iloc[::-1] for name, frame in ONE.items()}
    turned = fitted.predict_interval(ASKED.iloc[::-1], context=SEEN.iloc[::-1], level=90, **tables)
    both = [frame.sort_values(["unique_id", "ds"], ignore_index=True) for frame in (whole, turned)]
    pd.testing.assert_frame_equal(*both, rtol=1e-9)
    more = pd.concat([ASKED, pd.DataFrame({"unique_id": "light", "ds": [3.5, 20.0]})])
    among = fitted.predict_interval(more, context=SEEN, level=90, **ONE)
    both = [
        frame[frame["ds"].isin([4.0, 8.0])].sort_values(["unique_id", "ds"], ignore_index=True)
        for frame in (whole, among)
    ]
    pd.testing.assert_frame_equal(*both, rtol=1e-5)  # a solver's own steps stop at other times
    later = pd.concat([SEEN, pd.DataFrame({"unique_id": ["light"], "ds": [4.0], "level": [0.1]})])
    unread = fitted.predict_interval(ASKED[ASKED["ds"] == 4.0], context=later, level=90, **ONE)
    both = [frame[frame["ds"] == 4.0].reset_index(drop=True) for frame in (unread, whole)]
    pd.testing.assert_frame_equal(*both, rtol=1e-5)


def test_a_forecast_within_a_series_of_fit_reads_only_its_rows_before(fitted):
    name = DATA["unique_id"].iloc[0]
    asked = pd.DataFrame({"unique_id": [name], "ds": [6.0]})
    within = fitted.predict_interval(asked, level=90)
    changed = DATA.assign(level=DATA["level"].where((DATA["unique_id"] != name) | (DATA["ds"] < 6.0), 1e-3))
    told = fitted.predict_interval(
        asked, context=of(name, changed), events=of(name, DOSES), static=of(name, STATIC), level=90
    )
    pd.testing.assert_frame_equal(within, told, rtol=1e-9)
