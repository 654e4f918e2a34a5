"""Functionals of forecasts: means beside closed forms, honest errors, and what is said of functions that are wrong."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from tsode import JumpODEForecaster, KnownODEForecaster, KnownSDEForecaster, LinearSDEForecaster
from tsode.control import forecast_functional, maximum, payoff, time_in_range
from tsode.control.control_variates import controls_of
from tsode.control.known_marginals import known_marginals
from tsode.errors import DataError, ParameterError, ShapeError
from tsode.inference import AdditiveNoise, LogNormal, LogNormalNoise, Normal

RATE, LEVEL, DIFFUSION, NOISE = 0.3, 2.0, 0.5, 0.2
GROWTH, SIGMA = 0.08, 0.3
TIMES = 12.0 + np.array([0.5, 1.0, 2.0, 4.0])


def walks(n=25) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = {"unique_id": "a", "ds": np.sort(rng.uniform(0, 12, n)), "y": LEVEL + rng.normal(size=n).cumsum() / 3}
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(rows | {"unique_id": "b", "y": LEVEL - rows["y"]})])


@pytest.fixture(scope="module")
def reverting() -> LinearSDEForecaster:
    system = {"drift": [[-RATE]], "offset": [RATE * LEVEL], "diffusion": [[DIFFUSION]], "readout": [[1.0]],
              "noise": [NOISE], "initial_mean": [LEVEL], "initial_cov": [[4.0]]}  # fmt: skip
    return LinearSDEForecaster(system=system, horizon=5.0).fit(walks())


@pytest.fixture(scope="module")
def price() -> KnownSDEForecaster:
    """Geometric Brownian motion, whose logarithm is seen with next to no noise."""
    rng = np.random.default_rng(1)
    t = np.arange(0.0, 3.0, 0.1)
    log = np.log(100.0) + np.r_[0.0, rng.normal(0.02, SIGMA * 0.1**0.5, len(t) - 1)].cumsum()
    return KnownSDEForecaster(
        lambda t, z, p: (p.growth - 0.5 * SIGMA**2 + 0.0 * z[:, 0],), states=["log"], parameters={"growth": GROWTH},
        initial={"log": Normal(4.0, 3.0)}, process_noise={"log": SIGMA}, initial_time=0.0, random_state=0, horizon=2.0,
        observed={"y": LogNormalNoise(lambda t, z, p: z[:, 0].exp(), sd=1e-4)},
    ).fit(pd.DataFrame({"ds": t, "y": np.exp(log)}))  # fmt: skip


def signal_law(forecaster, times=TIMES):
    """Mean and standard deviation (2 m) of the signals."""
    spread = forecaster.predict_spread(times=times)["y-sd"].to_numpy()
    mean = forecaster.predict(times=times)["y"].to_numpy()
    return mean.reshape(2, -1), np.sqrt(spread**2 - NOISE**2).reshape(2, -1)


def call(mean, sd, strike):
    """E(X - k)+ of a normal number."""
    score = (mean - strike) / sd
    return (mean - strike) * stats.norm.cdf(score) + sd * stats.norm.pdf(score)


def black_scholes(last, strike, span):
    """E(X - k)+ without discount."""
    sd = SIGMA * span**0.5
    score = (np.log(last / strike) + (GROWTH + 0.5 * SIGMA**2) * span) / sd
    return last * np.exp(GROWTH * span) * stats.norm.cdf(score) - strike * stats.norm.cdf(score - sd)


@pytest.mark.parametrize("way", ["auto", "control", "antithetic", None])
def test_payoffs_of_a_linear_sde_are_within_their_errors_of_the_closed_form(reverting, way):
    found = forecast_functional(reverting, payoff(1.7), TIMES, variance_reduction=way, random_state=0, n_samples=2000)
    mean, sd = signal_law(reverting)
    exact = call(mean[:, -1], sd[:, -1], 1.7)
    assert found["unique_id"].tolist() == ["a", "b"]
    assert (np.abs(found["mean"] - exact) < 4.0 * found["mean-se"]).all()
    least = {"auto": 100.0, "control": 100.0, "antithetic": 1.0, None: 1.0}[way]
    assert (found["variance_reduction"] >= least).all()


def test_a_price_is_that_of_black_and_scholes_with_a_tenth_of_the_variance_at_most(price):
    t, last = price._histories.times[0][-1], float(price._histories.values[0][-1, 0])
    for span, strike in ((0.5, last), (1.0, 1.2 * last), (1.5, 0.7 * last)):
        found = forecast_functional(price, payoff(strike), [t + span], random_state=3)
        # the last price is known to 1e-4, and what it is taken for moves by less than a hundredth of that
        assert abs(found["mean"][0] - black_scholes(last, strike, span)) < 3.0 * found["mean-se"][0] + 1e-6 * last
        assert found["variance_reduction"][0] >= 10.0


def share_between(mean, sd, low, high):
    """Mean share of the time in a range, of the rule that halves the gaps."""
    inside = stats.norm.cdf((high - mean) / sd) - stats.norm.cdf((low - mean) / sd)
    return 0.5 * (inside[:, 1:] + inside[:, :-1]) @ np.diff(TIMES) / (TIMES[-1] - TIMES[0])


def largest_mean(forecaster):
    """Mean of the maximum over many plain paths."""
    found = forecast_functional(forecaster, maximum(), TIMES, n_samples=50_000, variance_reduction=None, random_state=9)
    return found["mean"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["payoff", "share", "maximum"])
def test_errors_are_as_large_as_they_are_said_to_be(reverting, name):
    mean, sd = signal_law(reverting)
    g, exact = {
        "payoff": (payoff(1.7), lambda: call(mean[:, -1], sd[:, -1], 1.7)),
        "share": (time_in_range(1.5, 2.5), lambda: share_between(mean, sd, 1.5, 2.5)),
        "maximum": (maximum(), lambda: largest_mean(reverting)),
    }[name]
    truth, scores = np.asarray(exact()), []
    for seed in range(25):
        found = forecast_functional(reverting, g, TIMES, n_samples=500, random_state=seed)
        scores.append((found["mean"] - truth) / found["mean-se"])
    scores = np.concatenate(scores)  # 50, two of a seed by the same normals
    assert abs(scores.mean()) < 4.0 / 25**0.5
    assert 0.7 < scores.std() < 1.35
    assert (np.abs(scores) < 3.0).mean() >= 0.96


@pytest.mark.slow
def test_controls_are_zero_in_expectation(reverting, price):
    jumps = JumpODEForecaster(max_epochs=2, random_state=0, horizon=5.0).fit(walks())
    cases = [(reverting, TIMES, "signal"), (reverting, TIMES, "observation"), (jumps, TIMES, "observation"),
             (price, [3.5, 4.0], "signal"), (price, [3.5, 4.0], "observation")]  # fmt: skip
    n = 20_000
    for forecaster, times, of in cases:
        query, panel = forecaster._read_query(None, times, None, None, None)
        marginals = known_marginals(forecaster, query, panel, of)
        assert len(marginals) == len(query.ids)
        for rows, signals in forecaster._signals(query, panel, n, torch.Generator().manual_seed(5), of):
            for row, signal in zip(rows, signals):
                for controls in controls_of(signal.paths, marginals[row]):
                    error = controls.std(axis=0) / n**0.5
                    assert (np.abs(controls.mean(axis=0)) < 5.0 * error).all()


@pytest.mark.slow
def test_a_positive_quantity_keeps_its_law_and_its_mirror_image():
    data = walks().assign(y=lambda rows: np.exp(rows["y"] / 2))
    forecaster = LinearSDEForecaster(max_epochs=3, random_state=0, support="positive", horizon=5.0).fit(data)
    plain = forecast_functional(forecaster, payoff(1.0), TIMES, n_samples=4000, variance_reduction=None, random_state=1)
    for way in ("control", "antithetic"):
        found = forecast_functional(forecaster, payoff(1.0), TIMES, variance_reduction=way, random_state=0)
        gap = (found["mean"] - plain["mean"]) / np.hypot(found["mean-se"], plain["mean-se"])
        assert (gap.abs() < 4.0).all()
    assert (forecast_functional(forecaster, payoff(1.0), TIMES, random_state=0)["variance_reduction"] > 10.0).all()


def test_draws_of_known_equations_give_the_mean_over_the_posterior():
    forecaster = KnownODEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(0.3, 0.5)}, initial={"x": 2.0},
        observed={"y": AdditiveNoise("x", sd=0.1)}, initial_time=0.0, random_state=0, n_draws=50, horizon=5.0,
    ).fit(pd.DataFrame({"ds": [1.0, 2.0, 3.0], "y": [1.4, 1.1, 0.8]}))  # fmt: skip
    found = forecast_functional(forecaster, lambda paths, times: paths[:, -1, 0] ** 2, [4.0, 5.0], random_state=0)
    exact = (2.0 * np.exp(-5.0 * forecaster.posterior_["k"])) ** 2
    assert abs(found["mean"][0] - exact.mean()) < 4.0 * found["mean-se"][0]
    assert found["n_controls"][0] == 0


def test_what_was_asked_for_and_what_was_given_are_in_the_answer(reverting):
    found = forecast_functional(reverting, maximum(), TIMES, n_samples=50, quantiles=(0.05, 0.95), random_state=0)
    assert found.columns.tolist() == [
        "unique_id", "mean", "mean-se", "q-0.05", "q-0.95", "n_samples", "variance_reduction", "n_controls",
    ]  # fmt: skip
    assert (found["n_samples"] == 50).all()
    assert found.attrs["of"] == "signal"
    again = forecast_functional(reverting, maximum(), TIMES, n_samples=50, quantiles=(0.05, 0.95), random_state=0)
    pd.testing.assert_frame_equal(found, again)
    jumps = JumpODEForecaster(max_epochs=1, random_state=0, horizon=5.0).fit(walks())
    assert forecast_functional(jumps, maximum(), TIMES, n_samples=50, random_state=0).attrs["of"] == "observation"


@pytest.mark.parametrize(
    ("g", "error", "words"),
    [
        (lambda paths, times: paths.mean(), ShapeError, r"shape \(50,\).*reduced over the paths"),
        (lambda paths, times: paths[:, -1], ShapeError, r"\(50, 1\).*values\[:, 0\]"),
        (lambda paths, times: paths[..., 0], ShapeError, "reduce over the times"),
        (lambda paths, times: paths.mean(axis=0)[:, 0], ShapeError, "axis 0"),
        (lambda paths, times: np.where(paths[:, 0, 0] > 2.0, np.nan, 1.0), DataError, r"NaN for \d+ of the 50 paths"),
        (lambda paths, times: paths[:, 0, 0] / 0.0, DataError, "infinity for 50"),
        (lambda paths, times: [None] * len(paths), DataError, "real numbers.*object"),
        (lambda paths, times: paths[:, 0, 0] + 1j, DataError, "complex128"),
        (lambda paths, times: [[1.0], [1.0, 2.0]], DataError, "no array of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_functional_that_is_wrong_is_told_what_it_gave_and_how_to_mend_it(reverting, g, error, words):
    with pytest.raises(error, match=words):
        forecast_functional(reverting, g, TIMES, n_samples=50, random_state=0)


def test_parameters_out_of_range_are_named(reverting, price):
    def ask(forecaster=reverting, g=None, times=TIMES, **settings):
        return forecast_functional(forecaster, maximum() if g is None else g, times, **settings)

    for settings, words in (
        ({"n_samples": 1}, "n_samples"), ({"quantiles": (0.1, 10)}, "quantiles must lie between 0 and 1"),
        ({"variance_reduction": "both"}, "'antithetic'"), ({"of": "state"}, "'observation'"), ({"g": 3.0}, "g must be"),
        ({"forecaster": price, "times": [4.0], "variance_reduction": "antithetic"}, "exact law"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            ask(**settings)


def test_time_in_range_counts_time_and_not_rows():
    paths = np.array([[[0.0], [1.0], [1.0]]])
    assert time_in_range(0.5, 2.0)(paths, np.array([0.0, 3.0, 4.0]))[0] == pytest.approx((1.5 + 1.0) / 4.0)
    days = np.array(["2024-01-01", "2024-01-04", "2024-01-05"], dtype="datetime64[D]")
    assert time_in_range(0.5, 2.0)(paths, days)[0] == pytest.approx((1.5 + 1.0) / 4.0)
    assert math.isclose(time_in_range(0.5, 2.0)(paths[:, :1], days[:1])[0], 0.0)
