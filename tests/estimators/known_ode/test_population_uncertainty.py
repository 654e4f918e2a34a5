"""Profile likelihood and bootstrap of fitted populations on frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.small_population import bolus, simulated_bolus
from tsode import KnownODEForecaster
from tsode.errors import ParameterError, TsodeWarning


@pytest.fixture(scope="module")
def fitted() -> KnownODEForecaster:
    data, doses, static = simulated_bolus()
    return bolus().fit(data, events=doses, static=static)


@pytest.mark.slow
def test_profiles_have_intervals_in_units_and_the_curves_that_they_end_on(fitted):
    intervals, curves = fitted.profile(level=90)
    table = fitted.estimates()
    assert intervals.index.tolist() == ["cl", "omega_cl"]
    np.testing.assert_allclose(intervals["estimate"], table["estimate"])
    for name, row in intervals.iterrows():
        own = curves[curves["parameter"] == name]
        assert own["value"].is_monotonic_increasing
        np.testing.assert_array_equal(own["value"], own[name])
        assert own["converged"].all()
        for end in ("lower", "upper"):
            reached = np.interp(row[end], own["value"], own["rise"])
            assert reached == pytest.approx(intervals.attrs["rise"], rel=0.1)
    # a spread is more likely to be much larger than much smaller
    spread = intervals.loc["omega_cl"]
    assert spread["upper"] - spread["estimate"] > spread["estimate"] - spread["lower"] > 0
    assert fitted.profile("cl", level=50).intervals.index.tolist() == ["cl"]
    assert fitted.profile("cl", level=50).intervals["upper"]["cl"] < intervals["upper"]["cl"]


@pytest.mark.slow
def test_a_bootstrap_has_replicates_in_units_their_percentiles_and_the_error_of_the_sandwich(fitted):
    summary, replicates = fitted.bootstrap(100, random_state=1)
    assert replicates.columns.tolist() == ["cl", "omega_cl", "status"]
    assert (replicates["status"] == "ok").all()
    assert summary.attrs["n_failed"] == summary.attrs["n_not_converged"] == 0
    np.testing.assert_allclose(summary["lower"], replicates[["cl", "omega_cl"]].quantile(0.025))
    np.testing.assert_allclose(summary["estimate"], fitted.estimates()["estimate"])
    # of 100 numbers the standard deviation is off by 1 / sqrt(200), six of which are .42
    assert summary.loc["cl", "se"] == pytest.approx(fitted.estimates().loc["cl", "se"], rel=0.42)
    fewer = fitted.bootstrap(5, random_state=1).replicates
    pd.testing.assert_frame_equal(fewer, replicates.head(5), rtol=1e-6)


@pytest.mark.slow
def test_replicates_that_have_not_converged_are_counted_and_told(fitted, monkeypatch):
    monkeypatch.setattr("tsode.inference.population.refit.MOST", 2)
    with pytest.warns(TsodeWarning, match="Of 4 replicates 0 failed and are left out, and 4 have not converged"):
        summary, replicates = fitted.bootstrap(4)
    assert (replicates["status"] == "not converged").all()
    assert summary.attrs["n_not_converged"] == 4


@pytest.mark.slow
def test_an_estimate_that_is_not_the_top_is_found_out_by_its_profile(fitted, tmp_path):
    fitted.save(tmp_path / "bolus.tsode")
    other = KnownODEForecaster.load(tmp_path / "bolus.tsode", rates=fitted.rates, observed=fitted.observed)
    estimate = other._estimate
    other._estimate = type(estimate)(**vars(estimate) | {"objective": estimate.objective + 5.0})
    with pytest.warns(TsodeWarning, match="profile of cl has come to an objective .* below that of the estimate"):
        other.profile("cl")


@pytest.mark.slow
def test_what_cannot_be_asked_is_refused_by_name(fitted):
    with pytest.raises(ParameterError, match=r"'clearance' is no parameter .* Those are: cl, omega_cl"):
        fitted.profile("clearance")
    with pytest.raises(ParameterError, match="level=200 is in percent"):
        fitted.profile(level=200)
    with pytest.raises(ParameterError, match=r"strata='sex' is no column of static=. Those are: weight"):
        fitted.bootstrap(10, strata="sex")
    with pytest.raises(ParameterError, match="n=1 replicates"):
        fitted.bootstrap(1)
    data, doses, static = simulated_bolus()
    posterior = bolus(inference="laplace").fit(data, events=doses, static=static)
    with pytest.raises(ParameterError, match="no estimate"):
        posterior.bootstrap(10)


@pytest.mark.slow
def test_series_without_values_are_left_out_of_shrinkage_and_counted(fitted):
    data, doses, static = simulated_bolus()
    more, ids = [data], ["silent", "mute", "dumb"]
    more += [pd.DataFrame({"unique_id": key, "ds": [1.0, 2.0], "level": np.nan}) for key in ids]
    doses = pd.concat([doses, pd.DataFrame({"unique_id": ids, "ds": 0.0, "target": "drug", "amount": 100.0})])
    static = pd.concat([static, pd.DataFrame({"unique_id": ids, "weight": static["weight"].median()})])
    wider = bolus().fit(pd.concat(more), events=doses, static=static)
    one, other = fitted.estimates(), wider.estimates()
    assert other.attrs["n_without_values"] == 3
    assert one.attrs["n_without_values"] == 0
    np.testing.assert_allclose(other["estimate"], one["estimate"], rtol=1e-3)
    np.testing.assert_allclose(other["shrinkage"]["omega_cl"], one["shrinkage"]["omega_cl"], atol=1e-3)
    effects = wider.individual_effects()
    assert effects.attrs["shrinkage"]["cl"] == pytest.approx(one["shrinkage"]["omega_cl"], abs=1e-3)


@pytest.mark.slow
def test_a_fit_by_chains_has_the_estimates_of_one_by_focei(fitted):
    data, doses, static = simulated_bolus()
    found = bolus(marginal="stochastic", n_starts=1).fit(data, events=doses, static=static).estimates()
    assert "stochastic" in found.attrs["method"]
    # both integrals are nearly exact here
    np.testing.assert_allclose(found["estimate"], fitted.estimates()["estimate"], rtol=0.02)
    np.testing.assert_allclose(found["se"], fitted.estimates()["se"], rtol=0.1)
