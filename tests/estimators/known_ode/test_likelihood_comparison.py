"""Comparison of populations by maximum likelihood."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from tests.estimators.known_ode.small_population import bolus, level, simulated_bolus
from tsode import KnownODEForecaster, compare_models
from tsode.errors import ParameterError, TsodeWarning
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal

# what is compared here varies by design, and some of it fits badly
pytestmark = pytest.mark.filterwarnings("ignore:The posterior has problems")

EFFECTS = {"parameters": {"cl": LogNormal(1.1, 0.5), "sd": LogNormal(-2.3, 0.5)}, "n_draws": 16, "n_starts": 1,
           "observed": {"level": LogNormalNoise(level, sd="sd")}}  # fmt: skip


def fit(**settings) -> KnownODEForecaster:
    data, doses, static = simulated_bolus()
    return bolus(**EFFECTS | settings).fit(data, events=doses, static=static if settings.get("covariates", 1) else None)


@pytest.fixture(scope="module")
def models() -> dict[str, KnownODEForecaster]:
    return {
        "plain": fit(covariates=None),
        "weight": fit(covariates={"cl": {"weight": Normal(0.0, 1.0)}}),
        "same": fit(covariates=None, random_effects={"cl": 0.0}),
        "fixed": fit(covariates=None, random_effects={"cl": 0.3}),
    }


@pytest.mark.slow
def test_criteria_and_ratios_are_those_of_the_objectives(models):
    table = compare_models(models, by="likelihood").set_index("model")
    assert table["aic"].is_monotonic_increasing
    np.testing.assert_allclose(table["aic"], table["objective"] + 2 * table["n_parameters"])
    np.testing.assert_allclose(table["bic"], table["objective"] + np.log(32) * table["n_parameters"])
    np.testing.assert_allclose(table["bic_series"], table["objective"] + np.log(8) * table["n_parameters"])
    row = table.loc["weight"]
    assert row["against"] == "plain"
    assert row["df"] == 1
    assert row["law"] == "chi2(1)"
    gap = table.loc["plain", "objective"] - row["objective"]
    assert row["lrt"] == pytest.approx(gap)
    assert row["p_value"] == pytest.approx(chi2.sf(gap, 1))
    assert pd.isna(table.loc["same", "against"])
    assert pd.isna(table.loc["same", "df"])


@pytest.mark.slow
def test_a_spread_at_its_bound_has_the_mixture_and_one_inside_has_not(models):
    for smaller, law, part in (("same", "0.5 chi2(0) + 0.5 chi2(1)", 0.5), ("fixed", "chi2(1)", 1.0)):
        table = compare_models({name: models[name] for name in ("plain", smaller)}, by="likelihood").set_index("model")
        assert table.loc["plain", "law"] == law
        assert table.loc["plain", "p_value"] == pytest.approx(part * chi2.sf(table.loc["plain", "lrt"], 1))
        assert 0 <= table.loc["plain", "p_value"] < part


@pytest.mark.slow
def test_a_larger_model_that_is_worse_has_no_p_value_and_is_named(models):
    elsewhere = fit(covariates=None, observed={"level": LogNormalNoise(lambda t, z, p: 3.0 * level(t, z, p), sd="sd")})
    with pytest.warns(TsodeWarning, match="'elsewhere' has all parameters of 'fixed'"):
        table = compare_models({"fixed": models["fixed"], "elsewhere": elsewhere}, by="likelihood").set_index("model")
    assert np.isnan(table.loc["elsewhere", "p_value"])


@pytest.mark.slow
def test_objectives_that_cannot_be_compared_are_refused_by_name(models):
    data, doses, _ = simulated_bolus()
    plain, settings = models["plain"], EFFECTS | {"covariates": None}
    with pytest.raises(ParameterError, match=r"different methods.*FOCEI.*'fo'.*FO: "):
        compare_models({"plain": plain, "fo": fit(covariates=None, marginal="fo")}, by="likelihood")
    fewer = bolus(**settings).fit(
        data[data["unique_id"] != "patient 3"], events=doses[doses["unique_id"] != "patient 3"]
    )
    with pytest.raises(ParameterError, match="'fewer' was fitted to other values than 'plain'"):
        compare_models({"plain": plain, "fewer": fewer}, by="likelihood")
    of_logs = AdditiveNoise(lambda t, z, p: level(t, z, p).clamp(min=1e-6).log(), sd="sd")
    logs = bolus(**settings | {"observed": {"level": of_logs}}).fit(
        data.assign(level=np.log(data["level"])), events=doses
    )
    with pytest.raises(ParameterError, match=r"logarithms of the other's values.*LogNormalNoise"):
        compare_models({"plain": plain, "logs": logs}, by="likelihood")
    posterior = bolus(**settings | {"inference": "laplace"}).fit(data, events=doses)
    with pytest.raises(ParameterError, match="no estimate"):
        compare_models({"plain": plain, "posterior": posterior}, by="likelihood")
