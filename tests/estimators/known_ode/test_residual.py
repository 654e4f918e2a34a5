"""Residuals and segments of forecasters of known systems: what the equations lack, files, shares, and messages."""

from __future__ import annotations

import warnings
from math import log

import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster
from tsode.errors import ParameterError, TsodeWarning
from tsode.inference import AdditiveNoise, LogNormal, NeuralTerm

TIMES = np.linspace(0.25, 6.0, 24)


def decay_rates(t, z, p):
    return (-p.k * z[:, 0],)


def model(**changes) -> KnownODEForecaster:
    given = {
        "states": ["drug"], "parameters": {"k": LogNormal(log(0.5), 0.2)}, "initial": {"drug": 10.0},
        "observed": {"level": AdditiveNoise("drug", sd=0.1)}, "initial_time": 0.0, "inference": "laplace",
        "n_draws": 200, "random_state": 0,
    }  # fmt: skip
    return KnownODEForecaster(decay_rates, **given | changes)


def frame(levels, seed=0) -> pd.DataFrame:
    noise = 0.1 * np.random.default_rng(seed).standard_normal(len(TIMES))
    return pd.DataFrame({"unique_id": "a", "ds": TIMES, "level": levels + noise})


EXPONENTIAL = 10.0 * np.exp(-0.5 * TIMES)
# z' = -z / 2 + 1: an inflow that the equations lack
WITH_INFLOW = 2.0 + 8.0 * np.exp(-0.5 * TIMES)


def fitted_with_residual(data) -> KnownODEForecaster:
    with warnings.catch_warnings():  # a rate and a network beside it may stand for one another
        warnings.simplefilter("ignore", TsodeWarning)
        return model(residual="mlp", residual_scale=0.5).fit(data)


@pytest.fixture(scope="module")
def hybrid() -> KnownODEForecaster:
    return fitted_with_residual(frame(WITH_INFLOW))


@pytest.mark.slow
def test_a_residual_finds_what_the_equations_lack(hybrid):
    plain = model().fit(frame(WITH_INFLOW))
    assert hybrid.log_evidence_ > plain.log_evidence_ + 10.0
    ahead = hybrid.predict(times=[6.5])["level"].iloc[0]
    truth = 2.0 + 8.0 * np.exp(-3.25)
    assert abs(ahead - truth) < 0.2 < abs(plain.predict(times=[6.5])["level"].iloc[0] - truth)


@pytest.mark.slow
def test_the_summary_tells_the_share_of_the_drift_that_a_residual_explains(hybrid):
    share = hybrid.summary().loc["residual share of drug"]
    assert 0.1 < share["q05"] < share["mean"] < share["q95"] < 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)
        complete = model(residual=["drug"], residual_scale=0.05).fit(frame(EXPONENTIAL)).summary()
    assert complete.loc["residual share of drug", "mean"] < 0.1
    assert not model().fit(frame(EXPONENTIAL)).summary().index.str.startswith("residual").any()


@pytest.mark.slow
def test_a_file_holds_the_residual_and_the_segments(tmp_path):
    fitted = model(residual={"drug": NeuralTerm("more", [5.0], 0.2, n_hidden=3)}, segments=3).fit(frame(EXPONENTIAL))
    path = tmp_path / "model.tsode"
    fitted.save(path)
    again = KnownODEForecaster.load(path, rates=decay_rates)
    assert again.residual == fitted.residual
    assert again.segments == 3
    pd.testing.assert_frame_equal(again.predict(times=[7.0]), fitted.predict(times=[7.0]))
    pd.testing.assert_frame_equal(again.summary(), fitted.summary())


def test_a_posterior_by_segments_is_that_without():
    plain, cut = (model(segments=k).fit(frame(EXPONENTIAL)).summary() for k in (None, "auto"))
    pd.testing.assert_frame_equal(cut, plain, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"residual": "network"}, "is no residual: choose 'mlp'"),
        ({"residual": {"drug": 1.0}}, "is no residual: choose 'mlp'"),
        ({"residual": ["drag"]}, "residual= names 'drag'.*Did you mean 'drug'"),
        ({"residual": "mlp", "residual_scale": 0.0}, "residual_scale"),
        ({"segments": 0}, "segments=0 is no number of segments"),
        ({"segments": "few"}, "segments='few' is no number of segments"),
    ],
)
def test_what_is_no_residual_and_no_number_of_segments_is_said(changes, message):
    with pytest.raises(ParameterError, match=message):
        model(**changes).fit(frame(EXPONENTIAL))


@pytest.mark.slow
def test_bands_of_a_hybrid_hold_the_truth_between_the_rows_that_were_seen(hybrid):
    # how often, over many systems, tells part "hybrid_bands" of tests/benchmarks/bayes.py
    between = 0.5 * (TIMES[1:] + TIMES[:-1])
    ways = hybrid.trajectories(between.tolist(), n_draws=200).groupby("ds")["drug"]
    low, high = ways.quantile(0.05).to_numpy(), ways.quantile(0.95).to_numpy()
    truth = 2.0 + 8.0 * np.exp(-0.5 * between)
    assert np.mean((low <= truth) & (truth <= high)) >= 0.5  # of the same rows' noise: all are right, or few are
    assert (high - low).max() < 0.2  # of a noise of .1 in each row


def test_before_a_fit_priors_are_drawn_with_the_residual_that_the_fit_will_have():
    rows = pd.DataFrame({"unique_id": "a", "ds": TIMES, "level": 1.0})
    sure = {"parameters": {"k": LogNormal(log(0.5), 1e-6)}, "observed": {"level": AdditiveNoise("drug", sd=1e-6)}}

    def spread(**changes):
        return model(**sure, **changes).prior_predictive(20, 0, X=rows).groupby("ds")["level"].std()

    assert (spread() < 1e-4).all()
    assert (spread(residual="mlp", residual_scale=0.5).iloc[1:] > 1e-2).all()
