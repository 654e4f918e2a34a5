"""Questions that users of other tools ask, and what they trip over, each as a claim about forecasts of known ODEs."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from math import log
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from tests.estimators.known_ode.test_known_ode import LEVELS, TIMES, decay, decay_rates, frame
from tests.inference.known_examples import observations
from tsode import KnownODEForecaster
from tsode.errors import DataError, SolverError, TsodeWarning
from tsode.inference import (
    AdditiveNoise,
    Beta,
    Cauchy,
    CombinedNoise,
    Dosing,
    Exponential,
    Gamma,
    InverseGamma,
    KnownDensity,
    KnownSystem,
    LogNormal,
    LogNormalNoise,
    Normal,
    StudentT,
    Uniform,
    evaluation,
)
from tsode.inference.infer import infer
from tsode.numerics import Dopri5

RULE = {"inference": "quadrature", "n_draws": 64}
QUICK = {"inference": "laplace", "n_draws": 64}
PRIORS = [
    Normal(1.0, 0.5), Normal(1.0, 0.5, lower=0.8), LogNormal(0.0, 1.0), LogNormal(0.0, 1.0, upper=2.0),
    StudentT(4.0, 0.0, 1.0), StudentT(4.0, 0.0, 1.0, lower=-1.0), Cauchy(0.0, 1.0), Cauchy(0.0, 1.0, lower=0.0),
    Gamma(2.0, 3.0), Gamma(2.0, 3.0, lower=0.5), InverseGamma(3.0, 2.0), InverseGamma(3.0, 2.0, upper=3.0),
    Exponential(2.0), Exponential(2.0, lower=0.2, upper=1.5), Beta(2.0, 3.0), Beta(2.0, 3.0, lower=0.3),
    Uniform(-1.0, 2.0), Uniform(-1.0, 2.0, upper=1.0),
]  # fmt: skip


# -- priors (rows 20, 41) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_inference_without_data_returns_the_prior_of_every_family_and_bounds(prior):
    system = KnownSystem(
        lambda t, z, p: (p.k + 0.0 * z[:, 0],), ["z"], {"k": prior}, {"z": 0.0}, {"x": AdditiveNoise("z", sd=1.0)}
    )
    own = KnownDensity(system, observations([1.0], [[np.nan]]))
    found = infer(own, "importance", 0)
    draws = own.space.constrain(found.draws.flatten(1, 2))[0, ::4, 0].numpy()
    low, high = prior.bounds
    assert (draws >= low).all()
    assert (draws <= high).all()
    levels = np.linspace(0.0005, 0.9995, 1000)
    truth = prior.quantile(levels)
    # 1,024 draws against the quantiles: a distance of .08 has a chance below 1e-5
    assert scipy.stats.ks_2samp(draws, truth).statistic < 0.08
    assert float(found.log_evidence[0]) == pytest.approx(0.0, abs=0.02)


def test_a_fit_in_which_nothing_was_seen_is_an_error_but_a_channel_of_which_nothing_was_seen_is_forecast():
    with pytest.raises(DataError, match="nothing was observed"):
        decay(**QUICK).fit(frame().assign(level=np.nan))
    one = two_channels().fit(frame().assign(doubled=np.nan, logged=np.nan))
    two = decay(**QUICK).fit(frame())
    np.testing.assert_allclose(one.posterior_, two.posterior_, rtol=1e-12)
    ahead = one.predict(times=[7.0]).iloc[0]
    assert ahead["doubled"] == pytest.approx(2.0 * ahead["level"], rel=1e-9)


def test_a_posterior_at_a_bound_is_flagged_and_one_at_the_natural_end_of_its_law_is_not():
    rising = frame(levels=[8.0, 8.0, 8.1, 8.0, 8.0])  # no decay at all
    with pytest.warns(TsodeWarning, match="at a bound: the median of k, .* is within 1 % of 0, where its prior N"):
        decay(parameters={"k": Normal(0.5, 0.5, lower=0)}, observed={"level": AdditiveNoise("drug", sd=0.005)},
              **QUICK).fit(rising)  # fmt: skip
    plain = decay(**QUICK).fit(frame())
    assert not [text for text in plain.problems_ if text.startswith("at a bound")]


# -- invariance (rows 5, 10, 18, 19) -----------------------------------------------------------------------------------


def test_data_times_a_thousand_and_hours_to_days_map_the_posterior_exactly_and_shift_the_evidence():
    plain = decay(n_draws=256).fit(frame())
    scaled = decay(
        parameters={"k": LogNormal(log(0.5 * 24.0), 0.5)}, initial={"drug": Normal(10e3, 2e3)},
        observed={"level": AdditiveNoise("drug", sd=500.0)}, n_draws=256,
    ).fit(frame(times=[t / 24.0 for t in TIMES], levels=[1000.0 * x for x in LEVELS]))  # fmt: skip
    assert scaled.log_evidence_ == pytest.approx(plain.log_evidence_ - 5 * log(1000.0), abs=1e-8)
    np.testing.assert_allclose(scaled.posterior_["k"] / 24.0, plain.posterior_["k"], rtol=1e-8)
    np.testing.assert_allclose(scaled.posterior_["drug_initial"] / 1000.0, plain.posterior_["drug_initial"], rtol=1e-8)
    ahead = scaled.predict(times=[8.0 / 24.0])["level"][0] / 1000.0
    assert ahead == pytest.approx(plain.predict(times=[8.0])["level"][0], rel=1e-8)


@pytest.mark.slow
def test_the_order_of_parameters_their_names_and_the_order_of_series_and_rows_change_nothing():
    def model(names, n_draws=64):
        first, second = names

        def rates(t, z, p):
            return (p[second] - p[first] * z[:, 0],)

        priors = {first: LogNormal(-0.7, 0.5), second: LogNormal(-1.0, 0.5)}
        return KnownODEForecaster(
            rates, states=["drug"], parameters=dict(reversed(priors.items())) if first > second else priors,
            initial={"drug": 10.0}, observed={"level": AdditiveNoise("drug", sd=0.5)}, initial_time=0.0,
            inference="quadrature", n_draws=n_draws, random_state=0,
        )  # fmt: skip

    rows = pd.concat([frame(["a"]), frame(["b"], levels=[6.1, 4.4, 3.1, 1.7, 0.6])], ignore_index=True)
    one = model(("loss", "source")).fit(rows)
    two = model(("zeta", "alpha")).fit(rows.sample(frac=1.0, random_state=0).sort_values("unique_id", ascending=False))
    table, other = one.summary(), two.summary()
    for name, again in (("loss", "zeta"), ("source", "alpha")):
        np.testing.assert_allclose(other.loc[again, ["mean", "sd"]].astype(float),
                                   table.loc[name, ["mean", "sd"]].astype(float), rtol=1e-8)  # fmt: skip
    assert two.log_evidence_ == pytest.approx(one.log_evidence_, abs=1e-8)


@pytest.mark.slow
def test_fit_a_fit_b_fit_a_is_bit_equal_the_first():
    own, other = decay(inference="importance", n_draws=64), frame(levels=[6.1, 4.4, 3.1, 1.7, 0.6])
    first = own.fit(frame()).posterior_
    forecast = own.predict_quantiles(times=[8.0])
    own.fit(other).predict(times=[8.0])
    pd.testing.assert_frame_equal(own.fit(frame()).posterior_, first, check_exact=True)
    pd.testing.assert_frame_equal(own.predict_quantiles(times=[8.0]), forecast, check_exact=True)


def test_a_draw_is_the_same_whether_ten_or_a_hundred_are_asked_for():
    few, many = (decay(inference="importance", n_draws=n).fit(frame()) for n in (10, 100))
    pd.testing.assert_frame_equal(few.posterior_, many.posterior_[:10], check_exact=True)
    ten, hundred = (many.sample(times=[7.0, 8.0], n_samples=n, random_state=3) for n in (10, 100))
    pd.testing.assert_frame_equal(ten, hundred[:20], check_exact=True)
    more = many.sample(times=[7.0, 8.0], n_samples=250, random_state=3)  # draws are used again from the 101st on
    pd.testing.assert_frame_equal(hundred, more[:200], check_exact=True)
    ten, hundred = (many.prior_predictive(n, random_state=3) for n in (10, 100))
    pd.testing.assert_frame_equal(ten, hundred[:50], check_exact=True)


def test_the_number_of_threads_changes_no_digit_that_counts():
    n_threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 4):
            torch.set_num_threads(n)
            found.append(decay(inference="importance", n_draws=64).fit(frame()).posterior_)
    finally:
        torch.set_num_threads(n_threads)
    pd.testing.assert_frame_equal(*found, rtol=1e-9)


# -- missing, censored, several channels (rows 11, 13, 38, 39) ---------------------------------------------------------


def two_channels(**changes) -> KnownODEForecaster:
    given = {
        "states": ["drug"], "parameters": {"k": LogNormal(log(0.5), 0.5)}, "initial": {"drug": Normal(10.0, 2.0)},
        "observed": {
            "level": AdditiveNoise("drug", sd=0.5), "doubled": AdditiveNoise(lambda t, z, p: 2.0 * z[:, 0], sd=1.0),
            "logged": LogNormalNoise("drug", sd=0.2),
        },
        "initial_time": 0.0, "random_state": 0, **QUICK,
    }  # fmt: skip
    return KnownODEForecaster(decay_rates, **given | changes)


@pytest.mark.slow
def test_a_cell_that_is_nan_is_as_if_it_were_absent():
    rows = frame().assign(doubled=lambda f: 2.0 * f["level"], logged=lambda f: f["level"])
    holes = rows.copy()
    holes.loc[1, "level"] = holes.loc[3, "doubled"] = np.nan
    holes.loc[2, ["level", "doubled", "logged"]] = np.nan
    without = pd.concat([holes.drop(2), holes.loc[[2]].assign(ds=5.0)])  # a row of nothing anywhere
    one, two = two_channels().fit(holes), two_channels().fit(without)
    three = two_channels().fit(holes.drop(2))
    for other in (two, three):
        np.testing.assert_allclose(one.posterior_, other.posterior_, rtol=1e-12)
        np.testing.assert_allclose(one.log_likelihood_, other.log_likelihood_, rtol=1e-12)
    assert one.log_likelihood_.shape[1] == 3 * 5 - 3 - 2
    assert one.summary().attrs["cells"]["level"]["values"] == 3
    assert set(one.predict(times=[7.0]).columns) >= {"level", "doubled", "logged"}


@pytest.mark.parametrize("engine", ["laplace", "importance", "quadrature"])
def test_a_censored_value_counts_by_its_mass_by_every_engine_and_the_summary_counts_it(engine):
    # the last value is below 1, whatever the table says; a patient far below keeps a finite likelihood
    censored = {"observed": {"level": AdditiveNoise("drug", sd=0.5, below=1.0)}}
    one = decay(**censored, inference=engine, n_draws=64).fit(frame())
    two = decay(**censored, inference=engine, n_draws=64).fit(frame(levels=[*LEVELS[:4], -50.0]))
    np.testing.assert_array_equal(one.posterior_, two.posterior_)
    draw = one.posterior_.iloc[0]
    prediction = draw["drug_initial"] * math.exp(-6.0 * draw["k"])
    truth = scipy.stats.norm(prediction, 0.5).logcdf(1.0)
    assert one.log_likelihood_.iloc[0, -1] == pytest.approx(truth, abs=1e-4)
    assert one.summary().attrs["cells"] == {"level": {"values": 5, "below": 1, "above": 0}}


def test_combined_noise_sums_variances_as_it_says():
    own = decay(observed={"level": CombinedNoise("drug", sd=0.3, cv=0.1)}, **QUICK)
    at = own.evaluate({"k": 0.5, "drug_initial": 10.0}, frame())["log_likelihood"][0]
    mean = 10.0 * np.exp(-0.5 * np.array(TIMES))
    truth = scipy.stats.norm(mean, np.sqrt(0.3**2 + (0.1 * mean) ** 2)).logpdf(LEVELS).sum()
    assert at == pytest.approx(truth, abs=1e-4)
    assert "variance" in CombinedNoise.__doc__


# -- identification and modes (rows 5, 24, 25) -------------------------------------------------------------------------


def test_a_product_of_two_rates_is_named_as_the_flat_direction_and_contraction_is_of_their_product():
    with pytest.warns(TsodeWarning, match="not identified: .*(one - two|two - one)"):
        own = KnownODEForecaster(
            lambda t, z, p: (-p.one * p.two * z[:, 0],), states=["drug"],
            parameters={"one": LogNormal(0.0, 1.0), "two": LogNormal(-0.7, 1.0)}, initial={"drug": 10.0},
            observed={"level": AdditiveNoise("drug", sd=0.05)}, initial_time=0.0, random_state=0,
            inference="quadrature", n_draws=256,
        ).fit(frame(levels=10.0 * np.exp(-0.5 * np.array(TIMES))))  # fmt: skip
    table = own.summary()
    # of two equal priors whose sum alone is known: half of the variance is left
    assert table["contraction"].to_numpy() == pytest.approx(0.5, abs=0.1)
    product = (own.posterior_["one"] * own.posterior_["two"]).std()
    assert product < 0.05


def test_modes_of_equal_likelihood_are_both_listed_with_their_weights_and_starts():
    # two routes that may be called by either name
    def rates(t, z, p):
        return -p.fast * z[:, 0], -p.slow * z[:, 1]

    truth = 5.0 * np.exp(-2.0 * np.array(TIMES)) + 5.0 * np.exp(-0.2 * np.array(TIMES))
    both = AdditiveNoise(lambda t, z, p: z[:, 0] + z[:, 1], sd=0.05)
    own = KnownODEForecaster(
        rates, states=["x", "y"], parameters={name: LogNormal(log(0.6), 1.0) for name in ("fast", "slow")},
        initial={"x": 5.0, "y": 5.0}, observed={"level": both}, initial_time=0.0, random_state=0,
        inference="importance", n_draws=512,
    )  # fmt: skip
    with pytest.warns(TsodeWarning, match=r"several modes: .*% at fast .*; .*% at fast"):
        own.fit(frame(levels=truth))
    share = (own.posterior_["fast"] > own.posterior_["slow"]).mean()
    assert share == pytest.approx(0.5, abs=6 * 0.5 / math.sqrt(512))
    modes = own.modes_[:2].sort_values("fast")
    np.testing.assert_allclose(modes["fast"], [0.2, 2.0], rtol=0.2)
    assert np.ptp(modes["log_density"]) < 1e-3
    assert (modes["n_starts"] > 0).all()


# -- doses (rows 4, 8, 9, 36) ------------------------------------------------------------------------------------------


def dosed(**changes) -> KnownODEForecaster:
    given = {
        "states": ["drug"], "parameters": {"k": LogNormal(log(0.5), 0.5), "lag": LogNormal(log(0.5), 0.3)},
        "initial": {"drug": 0.0}, "observed": {"level": AdditiveNoise("drug", sd=0.1)},
        "doses": {"drug": Dosing(lag="lag", bioavailability=0.8)}, "random_state": 0, **QUICK,
    }  # fmt: skip
    return KnownODEForecaster(decay_rates, **given | changes)


def test_a_new_patient_with_a_dose_and_no_levels_has_the_forecast_of_the_shared_posterior():
    events = pd.DataFrame({"unique_id": "a", "ds": [0.0], "amount": 10.0, "target": "drug"})
    seen = np.array([1.0, 2.0, 4.0])
    own = dosed().fit(
        pd.DataFrame({"unique_id": "a", "ds": seen, "level": 8.0 * np.exp(-0.5 * (seen - 0.5))}), events=events
    )
    new = pd.DataFrame({"unique_id": "new", "ds": [0.0, 3.0], "amount": [10.0, 20.0], "target": "drug"})
    asked = pd.DataFrame({"unique_id": "new", "ds": [2.0, 6.0]})
    ahead = own.predict(asked, events=new)["level"]
    k, lag = own.posterior_["k"].to_numpy(), own.posterior_["lag"].to_numpy()
    truth = [
        (8.0 * np.exp(-k * (2.0 - lag))).mean(),
        (8.0 * np.exp(-k * (6.0 - lag)) + 16.0 * np.exp(-k * (3.0 - lag))).mean(),
    ]
    np.testing.assert_allclose(ahead, truth, rtol=1e-4)


@pytest.mark.slow
def test_doses_that_arrive_together_by_their_lag_have_right_values_and_gradients():
    # a dose with a lag of 1 arrives when a second is given without, and a value is read
    both = {
        "doses": {"drug": Dosing(lag="lag")},
        "parameters": {"k": LogNormal(log(0.5), 0.5), "lag": LogNormal(0.0, 0.3)},
    }
    events = pd.DataFrame({"unique_id": "a", "ds": [0.0, 1.0], "amount": 10.0, "target": "drug"})
    # before the events of its time: at 2 the first dose alone, an interval after it has come
    mean = np.array([10.0, 20.0 * np.exp(-0.5), 20.0 * np.exp(-1.0)]) * np.exp([-0.5, 0.0, 0.0])
    mean[1] = 10.0 * np.exp(-1.0) + 10.0 * np.exp(-0.5)
    mean[2] = mean[1] * np.exp(-0.5)
    rows = pd.DataFrame({"unique_id": "a", "ds": [2.0, 3.0, 4.0], "level": mean + [0.05, -0.05, 0.05]})
    at = dosed(**both).evaluate({"k": 0.5, "lag": 1.0}, rows, events=events)["log_likelihood"][0]
    assert at == pytest.approx(scipy.stats.norm(mean, 0.1).logpdf(rows["level"]).sum(), abs=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = dosed(**both).fit(rows, events=events)
    assert fitted.gradient_check()["error"].max() < 1e-2


def test_a_steady_state_that_does_not_exist_is_a_named_failure():
    events = pd.DataFrame({"unique_id": "a", "ds": [0.0], "amount": 10.0, "target": "drug", "every": 1.0,
                           "steady_state": True})  # fmt: skip
    rows = pd.DataFrame({"unique_id": "patient 7", "ds": [1.0, 2.0], "level": [4.0, 6.0]})
    own = KnownODEForecaster(
        lambda t, z, p: (p.k * z[:, 0],), states=["drug"], parameters={"k": LogNormal(-1.0, 0.1)},
        initial={"drug": 0.0}, observed={"level": AdditiveNoise("drug", sd=0.1)}, random_state=0, **QUICK,
    )  # fmt: skip
    with pytest.raises(SolverError, match=r"no steady state was found.*'patient 7'"):
        own.fit(rows, events=events.assign(unique_id="patient 7"))


# -- starts (row 44) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", [5.0, LogNormal(log(5.0), 0.2), lambda p: 2.5 / p.k], ids=["number", "prior", "function"]
)
def test_an_initial_state_is_a_number_a_prior_or_a_function_of_parameters(start):
    levels = 5.0 * np.exp(-0.5 * np.array(TIMES))
    own = decay(initial={"drug": start}, observed={"level": AdditiveNoise("drug", sd=0.01)}, **QUICK).fit(
        frame(levels=levels)
    )
    assert own.posterior_["k"].mean() == pytest.approx(0.5, abs=0.02)
    assert own.trajectories([0.0])["drug"].mean() == pytest.approx(5.0, abs=0.1)


# -- stopping (row 32) and failing (rows 1, 37) ------------------------------------------------------------------------


def test_ctrl_c_keeps_the_best_state_marked_unfinished():
    calls, stop_at = [0], [math.inf]

    def rates(t, z, p):
        calls[0] += 1
        if calls[0] == stop_at[0]:
            raise KeyboardInterrupt
        return (-p.k * z[:, 0],)

    def model(engine):
        return KnownODEForecaster(
            rates, states=["drug"], parameters={"k": LogNormal(log(0.5), 0.5)}, initial={"drug": Normal(10.0, 2.0)},
            observed={"level": AdditiveNoise("drug", sd=0.5)}, initial_time=0.0, random_state=0, inference=engine,
            n_draws=64,
        )  # fmt: skip

    model("laplace").fit(frame())
    stop_at[0] = 2 * calls[0] + 50  # what follows the modes
    with pytest.warns(TsodeWarning, match="interrupted"):
        own = model("hmc").fit(frame())
    assert any(text.startswith("unfinished: interrupted") for text in own.problems_)
    assert own.summary().loc["k", "mean"] == pytest.approx(0.463, abs=0.06)
    assert np.isfinite(own.predict(times=[8.0])["level"]).all()


def test_a_time_limit_keeps_the_best_state_marked_unfinished(monkeypatch):
    ticks = itertools.count()  # a clock that goes on by one whenever it is read
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)), process_time=time.process_time)
    monkeypatch.setattr(evaluation, "time", clock)
    decay(**QUICK).fit(frame())
    limit = float(next(ticks)) + 10.0  # what follows the modes
    with pytest.warns(TsodeWarning, match="max_seconds"):
        own = decay(inference="hmc", n_draws=64, max_seconds=limit).fit(frame())
    assert any(text.startswith("unfinished: stopped after max_seconds") for text in own.problems_)
    assert np.isfinite(own.predict(times=[8.0])["level"]).all()


@pytest.mark.slow
def test_wild_proposals_are_rejections_and_the_posterior_is_that_where_solves_succeed():
    # z' = k z^2 from 1: no solve to 2 where k > 1/2; the data say that k is near 0.45
    k = 0.45
    times = np.array([0.5, 1.0, 1.5, 2.0])
    # a sixth of the prior fails
    own = KnownODEForecaster(
        lambda t, z, p: (p.k * z[:, 0] ** 2,), states=["z"], parameters={"k": Uniform(0.0, 0.6)}, initial={"z": 1.0},
        observed={"level": LogNormalNoise("z", sd=0.3)}, initial_time=0.0, random_state=0,
        solver=Dopri5(max_steps=150), **RULE,
    )  # fmt: skip
    with pytest.warns(TsodeWarning, match="failed solves"):
        own.fit(pd.DataFrame({"unique_id": "a", "ds": times, "level": 1.0 / (1.0 - k * times)}))
    grid = np.linspace(0.0, 0.5, 20001)[1:-1]
    score = sum(scipy.stats.lognorm(0.3, scale=1 / (1 - grid * t)).logpdf(1 / (1 - k * t)) for t in times)
    weight = np.exp(score - score.max())
    mean = (weight * grid).sum() / weight.sum()
    sd = math.sqrt((weight * (grid - mean) ** 2).sum() / weight.sum())
    assert own.summary().loc["k", "mean"] == pytest.approx(mean, abs=0.05 * sd)
    assert own.summary().loc["k", "sd"] == pytest.approx(sd, rel=0.05)


def test_an_error_of_the_rates_is_raised_with_the_parameters_it_came_at():
    def rates(t, z, p):
        if bool((p.k > 1.5).any()):
            raise ZeroDivisionError("mine")
        return (-p.k * z[:, 0],)

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        KnownODEForecaster(
            rates, states=["drug"], parameters={"k": LogNormal(0.0, 0.5)}, initial={"drug": 10.0},
            observed={"level": AdditiveNoise("drug", sd=0.5)}, initial_time=0.0, **QUICK,
        ).fit(frame())  # fmt: skip
    assert "called with the parameters (of its first row) k = " in caught.value.__notes__[0]
