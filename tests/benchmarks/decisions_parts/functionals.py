"""Functionals of a fitted geometric Brownian motion: the price of an option beside Black and Scholes."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from scipy import stats

from tests.benchmarks.structural_parts.report import Report
from tsode import KnownSDEForecaster
from tsode.control import forecast_functional, maximum, payoff
from tsode.inference import HalfNormal, LogNormalNoise, Normal

__all__ = ["run"]

GROWTH, SIGMA, GAP, N_ROWS = 0.08, 0.3, 1 / 52, 120  # a price, once a week
NOISE = 1e-4  # of its logarithm: next to none
SPANS, STRIKES = (0.25, 1.0), (0.8, 1.0, 1.25)  # years, and strikes by the last price
N_SEEDS = 50
N_DRAWS = 64  # of the posterior, the first ones, that forecasts go on from


def run(report: Report) -> None:
    data = prices()
    last, end = float(data["y"].iloc[-1]), float(data["ds"].iloc[-1])
    learned = geometric({"growth": Normal(0.0, 0.5), "sigma": HalfNormal(0.5)}).fit(data)
    means = learned.posterior_[["growth", "sigma"]].mean()
    report.note(f"posterior means: growth {means['growth']:.3f}, sigma {means['sigma']:.3f}")
    fitted = geometric(means.to_dict()).fit(data)
    started = time.process_time()
    scores, reductions = [], []
    for span in SPANS:
        for strike in STRIKES:
            exact = black_scholes(last, strike * last, span, **means)
            for seed in range(report.count(N_SEEDS)):
                found = forecast_functional(fitted, payoff(strike * last), [end + span], random_state=seed).iloc[0]
                scores.append((found["mean"] - exact) / found["mean-se"])
                reductions.append(found["variance_reduction"])
    seconds = (time.process_time() - started) / len(scores)
    beyond = float((np.abs(scores) > 3.0).mean())
    report.note(
        f"{len(scores)} prices by 1,000 paths each, {1000 * seconds:.0f} CPU-ms a price; the variance is "
        f"{np.median(reductions):.0f} x less in the median"
    )
    report.at_most("GBM: share of prices beyond 3 errors of Black and Scholes", beyond, 0.01)
    report.at_most("GBM: |mean of scores|, in its standard errors", abs(np.mean(scores)) * len(scores) ** 0.5, 4.0)
    report.within("GBM: standard deviation of scores", float(np.std(scores)), 0.8, 1.2)
    report.at_least("GBM: least factor by which the variance falls", min(reductions), 10.0)
    over_posterior(report, learned, last, end)
    highest = forecast_functional(fitted, maximum(), end + np.linspace(0.1, 1.0, 10), random_state=0).iloc[0]
    report.note(f"maximum of ten times: {highest['mean']:.2f} +- {highest['mean-se']:.2f}, variance "
                f"{highest['variance_reduction']:.1f} x less")  # fmt: skip


def over_posterior(report: Report, learned: KnownSDEForecaster, last: float, end: float) -> None:
    """The price with what is not known of the parameters, beside the mean of Black and Scholes over the same draws."""
    found = forecast_functional(learned, payoff(last), [end + 1.0], random_state=0, n_samples=4096).iloc[0]
    draws = learned.posterior_.iloc[:N_DRAWS]
    exact = black_scholes(last, last, 1.0, draws["growth"].to_numpy(), draws["sigma"].to_numpy()).mean()
    report.note(f"over the posterior: {found['mean']:.4f} +- {found['mean-se']:.4f}, Black and Scholes {exact:.4f}")
    gap = abs(found["mean"] - exact) / found["mean-se"]
    report.at_most("GBM, over the posterior: errors off the mean of Black and Scholes", gap, 3.0)
    report.at_least("GBM, over the posterior: factor by which the variance falls", found["variance_reduction"], 10.0)


def geometric(parameters: dict) -> KnownSDEForecaster:
    """Price whose logarithm walks: what is given of its parameters are numbers or priors."""
    return KnownSDEForecaster(
        lambda t, z, p: (p.growth - 0.5 * p.sigma**2 + 0.0 * z[:, 0],), states=["log"], parameters=parameters,
        initial={"log": Normal(4.0, 3.0)}, process_noise={"log": "sigma"}, initial_time=0.0, random_state=0,
        observed={"y": LogNormalNoise(lambda t, z, p: z[:, 0].exp(), sd=NOISE)}, horizon=2.0,
    )  # fmt: skip


def prices() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    steps = rng.normal((GROWTH - 0.5 * SIGMA**2) * GAP, SIGMA * GAP**0.5, N_ROWS - 1)
    return pd.DataFrame({"ds": GAP * np.arange(N_ROWS), "y": 100.0 * np.exp(np.r_[0.0, steps.cumsum()])})


def black_scholes(last, strike, span, growth, sigma):
    """E(X - k)+, without discount."""
    sd = sigma * span**0.5
    score = (np.log(last / strike) + (growth + 0.5 * sigma**2) * span) / sd
    return last * np.exp(growth * span) * stats.norm.cdf(score) - strike * stats.norm.cdf(score - sd)
