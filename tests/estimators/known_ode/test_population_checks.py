"""Checks of fitted populations on frames: residuals, predictive check, effects beside covariates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.small_population import IDS, bolus, simulated_bolus
from tests.estimators.known_ode.test_known_ode import decay
from tsode import KnownODEForecaster
from tsode.errors import ParameterError, TsodeWarning
from tsode.inference import AdditiveNoise, ProportionalNoise


@pytest.fixture(scope="module")
def fitted() -> KnownODEForecaster:
    data, doses, static = simulated_bolus()
    return bolus().fit(data, events=doses, static=static)


@pytest.fixture(scope="module")
def censored() -> KnownODEForecaster:
    """Additive noise, values below 2 censored, days of a calendar, and no estimate but a posterior."""
    data, doses, _ = simulated_bolus()
    data["level"] = data["level"].clip(lower=2.0)
    for table in (data, doses):
        table["ds"] = pd.Timestamp("2024-03-01") + pd.to_timedelta(table["ds"], unit="h")
    noise = AdditiveNoise(lambda t, z, p: z[:, 0] / 20.0, sd=0.3, below=2.0)
    return bolus(observed={"level": noise}, covariates=None, time_unit="1h").fit(data, events=doses)


@pytest.mark.slow
def test_goodness_of_fit_has_a_row_a_value_with_ids_and_times_as_they_were_given(fitted):
    data, _, _ = simulated_bolus()
    found = fitted.goodness_of_fit(n=100)
    merged = found.merge(data, on=["unique_id", "ds"], validate="one_to_one")
    assert len(merged) == len(data)
    np.testing.assert_array_equal(merged["value"], merged["level"])
    assert found.columns.tolist() == [
        "unique_id", "ds", "channel", "value", "censored", "PRED", "IPRED", "RES", "IRES", "IWRES", "CWRES", "NPDE",
    ]  # fmt: skip
    assert found.attrs["at"] == "maximum likelihood"
    assert found.attrs["n_censored"] == 0
    assert np.isfinite(found[["CWRES", "NPDE"]].to_numpy()).all()


@pytest.mark.slow
def test_predictions_are_those_of_the_typical_and_of_the_individual_parameters(fitted):
    _, _, static = simulated_bolus()
    found = fitted.goodness_of_fit(n=0)
    shared = fitted.estimates()["estimate"]
    effects = fitted.individual_effects().set_index("unique_id")
    weight = static.set_index("unique_id")["weight"]
    clearance = shared["cl"] * (weight / weight.median()) ** 0.75
    own = clearance * np.exp(shared["omega_cl"] * effects["eta_cl"])
    for column, cl in (("PRED", clearance), ("IPRED", own)):
        expected = 5.0 * np.exp(-cl.loc[found["unique_id"]].to_numpy() / 20.0 * found["ds"])
        np.testing.assert_allclose(found[column], expected, rtol=1e-5)
    np.testing.assert_allclose(found["RES"], np.log(found["value"] / found["PRED"]), rtol=1e-10)
    np.testing.assert_allclose(found["IWRES"], found["IRES"] / 0.1, rtol=1e-10)
    assert found["NPDE"].isna().all()


def test_checks_are_the_same_for_the_same_seed_and_after_a_file(fitted, tmp_path):
    first = fitted.goodness_of_fit(n=60, random_state=3)
    pd.testing.assert_frame_equal(first, fitted.goodness_of_fit(n=60, random_state=3))
    assert not first["NPDE"].equals(fitted.goodness_of_fit(n=60, random_state=4)["NPDE"])
    fitted.save(tmp_path / "bolus.tsode")
    again = KnownODEForecaster.load(tmp_path / "bolus.tsode", rates=fitted.rates, observed=fitted.observed)
    pd.testing.assert_frame_equal(first, again.goodness_of_fit(n=60, random_state=3), rtol=1e-6)


@pytest.mark.slow
def test_curves_have_no_value_where_noise_in_proportion_is_about_nothing_before_the_dose():
    data, doses, static = simulated_bolus()
    noise = ProportionalNoise(lambda t, z, p: z[:, 0] / 20.0, cv=0.1)
    fitted = bolus(observed={"level": noise}, n_starts=1).fit(data, events=doses, static=static)
    curves = fitted.fitted_curves(series=IDS[:1], n_times=5)
    columns = curves.columns.drop(["unique_id", "ds"])
    assert curves.loc[0, "ds"] == 0.0
    assert curves.loc[0, columns].isna().all()
    assert curves.loc[1:, columns].notna().all(axis=None)
    assert curves.loc[1, "level"] == pytest.approx(5.0, rel=1e-3)
    assert (curves.loc[2:, "level-state-lo-90"] < 0.999 * curves.loc[2:, "level-state-hi-90"]).all()
    new = {"events": doses.iloc[:1].assign(unique_id="new"), "static": static.iloc[:1].assign(unique_id="new")}
    asked = pd.DataFrame({"unique_id": "new", "ds": [0.0, 1.0, 2.0]})
    with pytest.warns(TsodeWarning, match=r"'new' is asked for times at which its noise cannot be about"):
        found = fitted.predict_interval(asked, level=90, **new)
    assert found.loc[0, ["level", "level-lo-90", "level-hi-90"]].isna().all()
    alone = fitted.predict_interval(asked.iloc[1:], level=90, **new)
    pd.testing.assert_frame_equal(found.iloc[1:], alone, rtol=1e-5)


def test_effects_stand_beside_the_covariates_of_their_series(fitted):
    _, _, static = simulated_bolus()
    effects = fitted.individual_effects()
    assert effects["unique_id"].tolist() == IDS
    np.testing.assert_array_equal(effects["weight"], static["weight"])
    assert effects.attrs["shrinkage"]["cl"] == pytest.approx(1 - np.sqrt((effects["eta_cl"] ** 2).mean()))


def test_the_predictive_check_has_a_bin_a_time_of_the_protocol_and_a_band_about_its_median(fitted):
    found = fitted.visual_predictive_check(n=100, random_state=0)
    assert found["at"].unique().tolist() == [1.0, 3.0, 6.0, 12.0]
    assert found["level"].tolist() == [0.05, 0.5, 0.95] * 4
    assert (found["n"] == len(IDS)).all()
    assert ((found["lower"] < found["median"]) & (found["median"] < found["upper"])).all()
    assert found.attrs["corrections"] == {"level": "ratio"}
    assert fitted.visual_predictive_check(n=20, corrected=False).attrs["corrections"] == {"level": None}
    edges = fitted.visual_predictive_check(n=20, bins=[0.0, 6.0, 24.0], levels=(0.5,))
    assert edges[["from", "to", "n"]].to_numpy().tolist() == [[0.0, 6.0, 16], [6.0, 24.0, 16]]


@pytest.mark.slow
def test_censored_values_rank_lowest_and_their_share_has_rows_of_its_own(censored):
    data, _, _ = simulated_bolus()
    found = censored.visual_predictive_check(n=100, corrected=False)
    below = found[found["share"] == "below"]
    np.testing.assert_allclose(below["observed"], (data["level"] <= 2.0).groupby(data["ds"]).mean())
    last = found[(found["share"] == "") & (found["at"] == 12.0)]
    assert last["observed"].isna().iloc[0]
    table = censored.goodness_of_fit(n=100)
    is_below = table["censored"] == "below"
    assert table.attrs["n_censored"] == is_below.sum() > 0
    assert table.loc[is_below, ["RES", "IWRES", "CWRES"]].isna().all(axis=None)
    assert np.isfinite(table["NPDE"]).all()
    assert table["ds"].dtype.kind == "M"


def test_a_check_of_a_population_asks_for_one_and_for_settings_that_there_are(fitted):
    alone = decay(n_draws=50, inference="laplace").fit(pd.DataFrame({"ds": [1.0, 2.0], "level": [6.0, 4.0]}))
    with pytest.raises(ParameterError, match="random_effects="):
        alone.goodness_of_fit()
    with pytest.raises(ParameterError, match="root='lower'"):
        fitted.goodness_of_fit(root="lower")
    with pytest.raises(ParameterError, match="n=3 data sets"):
        fitted.visual_predictive_check(n=3)
    with pytest.raises(ParameterError, match="levels="):
        fitted.visual_predictive_check(levels=(5, 50, 95))
    with pytest.raises(ParameterError, match="corrected='log'"):
        fitted.visual_predictive_check(corrected="log")
    with pytest.raises(ParameterError, match="hold no value of channel 'level'"):
        fitted.visual_predictive_check(n=20, bins=[100.0, 200.0])
