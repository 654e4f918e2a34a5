"""Checks of a model before and after its fit: prior, gradient, likelihood at given values, calibration, failures."""

from __future__ import annotations

from math import log

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from tests.estimators.known_ode.test_known_ode import LEVELS, TIMES, decay, frame
from tsode import KnownODEForecaster
from tsode.errors import DataError, ParameterError, SolverError, TsodeWarning
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal, PoissonNoise, Uniform
from tsode.numerics import Dopri5
from tsode.systems import one_compartment_iv

QUICK = {"inference": "laplace", "n_draws": 64}


def explosive(**changes) -> KnownODEForecaster:
    """z' = k z^2 from 1 leaves the finite numbers at 1 / k; few steps are enough to come near, and none to pass."""
    given = {
        "states": ["z"], "parameters": {"k": LogNormal(log(0.3), 1.0)}, "initial": {"z": 1.0}, "initial_time": 0.0,
        "observed": {"level": LogNormalNoise("z", sd=0.1)}, "random_state": 0, "solver": Dopri5(max_steps=100), **QUICK,
    }  # fmt: skip
    return KnownODEForecaster(lambda t, z, p: (p.k * z[:, 0] ** 2,), **given | changes)


def test_prior_predictive_needs_no_fit_no_values_and_follows_the_doses():
    system = one_compartment_iv(LogNormal(log(2.0), 0.5), LogNormal(log(10.0), 0.5)).with_(
        parameters={"sd": 0.1, "cv": None},
        observed={"concentration": AdditiveNoise(lambda t, z, p: z[:, 0] / p.volume, sd="sd")},
    )
    rows = pd.DataFrame({"unique_id": "a", "ds": [0.0, 1.0, 3.0]})
    events = pd.DataFrame({"unique_id": "a", "ds": [0.0], "amount": 50.0, "target": "central"})
    drawn = KnownODEForecaster(system=system).prior_predictive(4000, 0, rows, events=events)
    assert drawn.shape == (12000, 4)
    assert drawn.attrs["n_failed"] == 0
    normal = np.random.default_rng(0).standard_normal((2, 400_000))
    clearance, volume = 2.0 * np.exp(0.5 * normal[0]), 10.0 * np.exp(0.5 * normal[1])
    for t in (1.0, 3.0):
        truth = 50.0 / volume * np.exp(-clearance / volume * t) + 0.1 * np.random.default_rng(1).standard_normal(
            400_000
        )
        # 4,000 draws: a chance of 1e-4 by Kolmogorov and Smirnov
        assert scipy.stats.ks_2samp(drawn.loc[drawn["ds"] == t, "concentration"], truth).pvalue > 1e-4


def test_a_sample_of_the_prior_has_one_value_of_what_series_share():
    drawn = decay(initial={"drug": 10.0}, observed={"level": AdditiveNoise("drug", sd=1e-6)}).prior_predictive(
        50, 0, frame(["a", "b"])
    )
    a, b = (drawn.loc[drawn["unique_id"] == key, "level"].to_numpy() for key in "ab")
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_failed_draws_of_the_prior_are_counted_in_prior_predictive():
    drawn = explosive().prior_predictive(100, 0, pd.DataFrame({"unique_id": "a", "ds": [1.0, 3.0]}))
    # it fails where k > 1/3: a share of .458
    n_failed = drawn.attrs["n_failed"]
    assert drawn["sample"].nunique() == 100
    assert n_failed / (n_failed + 100) == pytest.approx(0.458, abs=6 * 0.036)
    assert np.isfinite(drawn["level"]).all()


def test_the_density_at_given_values_is_that_of_the_formula_without_any_fit():
    points = pd.DataFrame({"k": [0.5, 0.3], "drug_initial": [10.0, 8.0]})
    table = decay().evaluate(points, frame())
    for place, (k, start) in enumerate(points.to_numpy()):
        prior = scipy.stats.lognorm(0.5, scale=0.5).logpdf(k) + scipy.stats.norm(10, 2).logpdf(start)
        likelihood = scipy.stats.norm(start * np.exp(-k * np.array(TIMES)), 0.5).logpdf(LEVELS).sum()
        assert table.loc[place, "log_prior"] == pytest.approx(prior, abs=1e-9)
        assert table.loc[place, "log_likelihood"] == pytest.approx(likelihood, abs=1e-4)
        assert table.loc[place, "log_density"] == pytest.approx(prior + likelihood, abs=1e-4)
    assert explosive().evaluate({"k": 5.0}, frame())["log_likelihood"][0] == -np.inf
    with pytest.raises(ParameterError, match="no value of 'drug_initial'"):
        decay().evaluate({"k": 0.5}, frame())


@pytest.mark.slow
def test_gradients_of_a_right_model_pass_and_of_one_that_hides_a_parameter_are_a_named_problem():
    own = decay(**QUICK).fit(frame())
    table = own.gradient_check()
    assert table["error"].max() < 1e-3
    assert table.attrs["of_fit"] < 1e-3
    assert table["parameter"].tolist() == ["drug_initial", "k"] * 2

    def hiding(t, z, p):
        return (-p.k.detach() * z[:, 0],)

    hidden = KnownODEForecaster(
        hiding, states=["drug"], parameters={"k": LogNormal(log(0.5), 0.5)}, initial={"drug": Normal(10.0, 2.0)},
        observed={"level": AdditiveNoise("drug", sd=0.5)}, initial_time=0.0, random_state=0,
        n_draws=64, inference="importance",
    )  # fmt: skip
    with pytest.warns(TsodeWarning, match="gradient: .* hides parameters from autograd"):
        hidden.fit(frame())
    table = hidden.gradient_check()
    assert table.loc[table["parameter"] == "k", "error"].max() > 0.3
    assert table.loc[table["parameter"] == "drug_initial", "error"].max() < 1e-3


@pytest.mark.slow
def test_calibration_of_a_right_model_is_even_and_of_a_wrong_engine_is_not():
    # the mode alone is a posterior of no width: every rank is 0 or 99
    rows = pd.DataFrame({"unique_id": "a", "ds": TIMES})
    right = decay().simulation_based_calibration(60, rows, inference="quadrature", random_state=0)
    assert right.shape == (60, 2)
    assert list(right) == ["drug_initial", "k"]
    assert not right.attrs["is_rejected"]
    assert min(right.attrs["chi_square"].values()) > 1e-3
    assert right.attrs["n_failed"] == right.attrs["n_without_answer"] == 0
    assert right.attrs["engines"] == {"quadrature": 60}
    wrong = decay().simulation_based_calibration(60, rows, inference="mode", random_state=0)
    assert wrong.attrs["is_rejected"]


@pytest.mark.slow
def test_calibration_counts_failed_simulations_and_stays_even():
    rows = pd.DataFrame({"unique_id": "a", "ds": [1.0, 3.0]})
    with pytest.warns(TsodeWarning, match="draws of the prior had no data, since a solve failed"):
        table = explosive().simulation_based_calibration(20, rows, inference="quadrature", random_state=0)
    assert table.attrs["n_failed"] > 4
    assert len(table) + table.attrs["n_without_answer"] == 20
    assert not table.attrs["is_rejected"]


def test_calibration_keeps_the_gaps_series_and_doses_of_the_fit():
    both = frame(["a", "b"]).assign(level=lambda f: f["level"].where(f["ds"] != 2.0))
    own = decay(per_series=["k"], **QUICK).fit(both)
    table = own.simulation_based_calibration(10, random_state=0)
    assert table.shape == (20, 2)  # two series that share nothing: a data set each


@pytest.mark.slow
def test_failures_are_told_by_cause_share_series_time_and_values():
    rows = pd.DataFrame({"unique_id": "patient 7", "ds": [1.0, 3.0], "level": [1.3, 2.0]})
    table = explosive().failures(rows)
    assert len(table) == 1
    first = table.iloc[0]
    assert first["of"] == "prior"
    assert first["share"] == pytest.approx(0.458, abs=6 * 0.031)
    assert first["unique_id"] == "patient 7"
    assert first["ds"] == pytest.approx(1.0 / first["k"], abs=0.1)
    with pytest.warns(TsodeWarning, match=r"failed solves: .* of series 'patient 7' at time .* with k = "):
        own = explosive().fit(rows)
    assert set(own.failures()["of"]) == {"prior"}


@pytest.mark.slow
def test_failures_have_datetimes_where_data_have():
    times = pd.Timestamp("2026-01-01") + pd.to_timedelta([1.0, 3.0], unit="h")
    rows = pd.DataFrame({"unique_id": "a", "ds": times, "level": [1.3, 2.0]})
    table = explosive(initial_time=pd.Timestamp("2026-01-01"), time_unit="1h").failures(rows)
    assert pd.Timestamp("2026-01-01") < table["ds"].iloc[0] < times[-1]


@pytest.mark.slow
def test_no_finite_start_says_which_part_is_not_finite_and_shows_the_best_three_draws():
    rows = pd.DataFrame({"unique_id": "patient 7", "ds": [1.0, 3.0], "level": [1.3, 2.0]})
    with pytest.raises(SolverError) as caught:
        explosive(parameters={"k": Uniform(0.5, 0.9)}).fit(rows)
    text = str(caught.value)
    assert "100% the solve" in text
    assert "of series 'patient 7' at time" in text
    assert text.count("of the values have a likelihood") == 3
    assert "The draws that come nearest: k = 0." in text

    def falling(t, z, p):
        return (-p.k + 0.0 * z[:, 0],)

    counts = KnownODEForecaster(
        falling, states=["z"], parameters={"k": Uniform(5.0, 6.0)}, initial={"z": 1.0}, initial_time=0.0,
        observed={"level": PoissonNoise("z")}, random_state=0, **QUICK,
    )  # fmt: skip
    cause, where = "channel 'level' has a prediction that PoissonNoise cannot be about", "series 'patient 7' at time 1"
    with pytest.raises(SolverError, match=rf"{cause}, first of {where} \(value 1, prediction -4"):
        counts.fit(rows.assign(level=[1.0, 2.0]))


def test_an_unfitted_model_says_what_it_needs():
    with pytest.raises(ParameterError, match="give X= too"):
        decay().prior_predictive(events=pd.DataFrame())
    with pytest.raises(DataError, match="give a row a time"):
        decay().prior_predictive(X=pd.DataFrame({"unique_id": ["a"]}))
    assert torch.get_default_dtype() == torch.float32
