"""Forecasters whose channels have correlated errors: fits of simulated data, replicated data, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tsode
from tsode.errors import ParameterError
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal

RHO = 0.7
PAIRS = [("conc", "effect")]


def rates(t, z, p):
    return (-p.k * z[:, 0],)


def model(**others) -> tsode.KnownODEForecaster:
    settings = {"inference": "laplace", "correlated_errors": PAIRS, "random_state": 0, "n_draws": 400} | others
    return tsode.KnownODEForecaster(
        rates, states=["z"], parameters={"k": LogNormal(-2.0, 1.0), "s": LogNormal(-2.0, 1.0)}, initial={"z": 10.0},
        observed={"conc": LogNormalNoise("z", sd="s"), "effect": AdditiveNoise("z", sd=0.5)}, **settings,
    )  # fmt: skip


def simulated(n_series=1, n=80, omega=0.0) -> pd.DataFrame:
    """Decay of rate .1, log-normal noise of .2 and additive noise of .5, and some values missing."""
    rng = np.random.default_rng(3)
    parts = []
    for key in range(n_series):
        t = np.arange(n) / n * 20.0
        z = 10.0 * np.exp(-0.1 * np.exp(omega * rng.standard_normal()) * t)
        errors = rng.multivariate_normal([0.0, 0.0], [[1.0, RHO], [RHO, 1.0]], n)
        parts.append(pd.DataFrame({
            "unique_id": key, "ds": t, "conc": z * np.exp(0.2 * errors[:, 0]), "effect": z + 0.5 * errors[:, 1],
        }))  # fmt: skip
        parts[-1].loc[3::9, "conc"] = np.nan
        parts[-1].loc[5::9, "effect"] = np.nan
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def fitted() -> tsode.KnownODEForecaster:
    return model().fit(simulated())


def errors_of(table: pd.DataFrame, k) -> np.ndarray:
    z = 10.0 * np.exp(-k * table["ds"].to_numpy())
    return np.stack([np.log(table["conc"] / z) / 0.2, (table["effect"] - z) / 0.5])


def test_the_correlation_of_simulated_errors_is_found(fitted):
    found = fitted.summary().loc["corr_error_conc_effect"]
    assert abs(found["mean"] - RHO) < 3.0 * found["sd"]
    assert found["sd"] < 0.15


@pytest.mark.slow
def test_maximum_likelihood_of_a_population_finds_the_correlation_within_its_error():
    data = simulated(n_series=12, n=10, omega=0.3)
    found = model(random_effects=["k"], inference="likelihood", n_starts=2).fit(data)
    table = found.estimates().loc["corr_error_conc_effect"]
    assert abs(table["estimate"] - RHO) < 3.0 * table["se"]
    # decorrelated residuals, and scores among simulated data sets, have nothing left of it
    checked = found.goodness_of_fit(n=300).pivot(index=["unique_id", "ds"], columns="channel")
    for kind in ("CWRES", "NPDE"):
        both = checked[kind].dropna()
        assert abs(both.corr().loc["conc", "effect"]) < 4.0 / np.sqrt(len(both))
    raw = checked["IWRES"].dropna()
    assert raw.corr().loc["conc", "effect"] > 0.4


def test_replicated_data_and_joint_paths_have_the_correlation_at_one_time_alone(fitted):
    k = fitted.summary().loc["k", "mean"]
    ahead = fitted.sample(horizon=[5.0, 10.0], n_samples=1500)
    replicated = fitted.posterior_predictive(n_samples=100, random_state=0)
    for table in (ahead, replicated):
        errors = errors_of(table, k)
        both = ~np.isnan(errors).any(axis=0)
        found = np.corrcoef(errors[:, both])[0, 1]
        assert abs(found - fitted.summary().loc["corr_error_conc_effect", "mean"]) < 0.06
    errors = errors_of(ahead, k).reshape(2, 1500, 2)
    assert abs(np.corrcoef(errors[0, :, 0], errors[1, :, 1])[0, 1]) < 0.1


def test_a_datatree_has_replicated_data_with_the_correlation(fitted):
    pytest.importorskip("xarray")
    drawn = fitted.to_datatree()["posterior_predictive"]
    cell = (drawn["conc_time"].to_numpy() == 0.0).argmax(), (drawn["effect_time"].to_numpy() == 0.0).argmax()
    x, y = (drawn[name][..., at].to_numpy().ravel() for name, at in zip(("conc", "effect"), cell))
    assert abs(np.corrcoef(np.log(x), y)[0, 1] - RHO) < 0.2


@pytest.mark.slow
def test_left_out_values_of_a_right_model_have_uniform_levels(fitted):
    levels = fitted.loo_pit(random_state=0)["pit"].to_numpy()
    distance = np.abs(np.sort(levels) - (np.arange(len(levels)) + 0.5) / len(levels)).max()
    assert distance < 1.63 / np.sqrt(len(levels))  # Kolmogorov, 1 %
    assert fitted.loo()["elpd"].sum() > model(correlated_errors=None).fit(simulated()).loo()["elpd"].sum()


@pytest.mark.parametrize(
    "pairs", [PAIRS, {("conc", "effect"): 0.5}, {("conc", "effect"): Normal(0.5, 0.2, upper=0.9, lower=0)}]
)
def test_a_file_holds_the_pairs_and_others_are_told(pairs, tmp_path):
    path = tmp_path / "pairs.tsode"
    one = model(correlated_errors=pairs).fit(simulated(n=20))
    one.save(path)
    again = tsode.KnownODEForecaster.load(path, rates=rates)
    drawn = [x.sample(horizon=[2.0], n_samples=5, random_state=1) for x in (one, again)]
    pd.testing.assert_frame_equal(*drawn)
    with pytest.raises(ParameterError, match="correlated_errors= is another than when the file was written"):
        tsode.KnownODEForecaster.load(path, rates=rates, correlated_errors={("conc", "effect"): 0.4})


def test_a_ready_system_has_its_pairs_by_itself():
    with pytest.raises(ParameterError, match="correlated_errors= is given too"):
        tsode.KnownODEForecaster(system=model()._said(), correlated_errors=PAIRS).fit(simulated())
