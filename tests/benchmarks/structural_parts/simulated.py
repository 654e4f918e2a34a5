"""Simulated series: parameters found again, intervals that hold, decompositions that add up, noise left alone.

Each set of components is simulated from its joint covariance at uneven times and fitted by name. A parameter is found
if its logarithm is within three standard errors of the truth, a series if all of its parameters are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.structural_parts.fits import fit, quantiles
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import holds
from tsode import LinearSDEForecaster, part
from tsode.models.structural.decomposition import part_names

__all__ = ["run"]

N_FOUND, N_HELD, N_NOISE = 100, 200, 100
N_SEEN, N_ASKED, GAP = 150, 30, 1.0 / 15.0
SE_BY_RANGE = 1.0 / (2.0 * 1.2815515655)  # standard deviation of a normal by the width of its middle 80 %
HARMONICS = 6


class Simulated(NamedTuple):
    """Components by name, and the truth of each parameter in the units of the data."""

    components: list[Any]
    truth: dict[tuple[str, str], float]


SETS = {
    "level": Simulated(["level"], {("level", "rate"): 1.0, ("noise", "variance"): 0.05}),
    "ou": Simulated(["ou"], {("ou", "variance"): 1.0, ("ou", "time"): 0.3, ("noise", "variance"): 0.05}),
    "matern": Simulated(
        ["matern"], {("matern", "variance"): 1.0, ("matern", "time"): 0.2, ("noise", "variance"): 0.05}
    ),
    "cycle": Simulated(
        [part("cycle", period=1.0)],
        {
            ("cycle", "variance"): 1.0,
            ("cycle", "period"): 1.1,
            ("cycle", "coherence"): 2.0,
            ("noise", "variance"): 0.05,
        },
    ),
    "slope + ou": Simulated(
        ["slope", "ou"],
        {("slope", "rate"): 0.5, ("ou", "variance"): 0.5, ("ou", "time"): 0.2, ("noise", "variance"): 0.05},
    ),
    "damped slope": Simulated(
        ["damped_slope"],
        {("damped_slope", "rate"): 2.0, ("damped_slope", "damping"): 1.0, ("noise", "variance"): 0.05},
    ),
    "level + season": Simulated(
        ["level", part("season", period=1.0)],
        {("level", "rate"): 0.3, ("season", "size"): 0.5, ("season", "drift"): 0.1, ("noise", "variance"): 0.1},
    ),
}


def covariance(of: str, p: dict[str, float], t: np.ndarray) -> np.ndarray:
    """Of a component at times from its start; trends start at a level and a slope of variance 1."""
    first, last = np.minimum(t, t[:, None]), np.maximum(t, t[:, None])
    apart = last - first
    if of == "level":
        return 1.0 + p["rate"] * first
    if of == "slope":
        return 1.0 + first * last + p["rate"] * (first**2 * last / 2 - first**3 / 6)
    if of == "damped_slope":
        k = p["damping"]
        travel = (1 - np.exp(-k * first)) * (1 - np.exp(-k * last)) / k**2
        once = (np.exp(-k * last) + np.exp(-k * first)) * (np.exp(k * first) - 1) / k
        twice = np.exp(-k * (first + last)) * (np.exp(2 * k * first) - 1) / (2 * k)
        return 1.0 + travel + p["rate"] / k**2 * (first - once + twice)
    if of == "season":
        grown = p["size"] * (1 + p["drift"] * first)
        return sum(grown / k**2 * np.cos(2 * np.pi * k * apart) for k in range(1, HARMONICS + 1))
    if of == "cycle":
        turns = apart / p["period"]
        return p["variance"] * np.exp(-turns / p["coherence"]) * np.cos(2 * np.pi * turns)
    if of == "noise":
        return p["variance"] * np.eye(len(t))
    x = apart / p["time"]
    return p["variance"] * np.exp(-x) * (1 + x if of == "matern" else 1.0)


def series_of(one: Simulated, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    times = np.cumsum(GAP * generator.uniform(0.2, 1.8, N_SEEN + N_ASKED))
    parts = {of for of, _ in one.truth}
    total = sum(
        covariance(of, {name: value for (owner, name), value in one.truth.items() if owner == of}, times - times[0])
        for of in parts
    )
    return times, 3.0 + np.linalg.cholesky(total) @ generator.standard_normal(len(times))


def run(report: Report) -> None:
    for name, one in SETS.items():
        _of_set(name, one, report)
    _of_noise(report)


def _of_set(name: str, one: Simulated, report: Report) -> None:
    generator = np.random.default_rng(len(name))
    n_found, n_held = report.count(N_FOUND), report.count(N_HELD)
    found, shares, seconds, farthest = [], [], 0.0, {}
    worst_sum = 0.0
    for k in range(n_held):
        times, values = series_of(one, generator)
        forecaster, used = fit(times[:N_SEEN], values[:N_SEEN], one.components, "real")
        seconds += used
        shares.append(holds(values[N_SEEN:], quantiles(forecaster, times[N_SEEN:])))
        if k < n_found:
            errors = _errors(forecaster, one.truth)
            found.append(max(map(abs, errors.values())) <= 3.0)
            for key, error in errors.items():
                farthest.setdefault(key, []).append(error)
        if k < 5:
            worst_sum = max(worst_sum, _sum_error(forecaster, times))
    report.at_least(f"{name}: per cent of series whose parameters are within 3 errors", 100.0 * np.mean(found), 95.0)
    report.within(f"{name}: 90 % intervals hold, per cent", float(np.mean(shares)), 87.0, 93.0)
    report.at_most(f"{name}: sum of the decomposition less the fit, by its size", worst_sum, 1e-10)
    of_each = "; ".join(f"{' '.join(key)} {np.mean(e):.2f} +- {np.std(e):.2f}" for key, e in farthest.items())
    report.note(f"errors in standard errors: {of_each}; {seconds / n_held:.2f} CPU-s a fit")


def _errors(forecaster: LinearSDEForecaster, truth: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Error of each parameter's logarithm, in standard errors."""
    table = np.log(forecaster.summary().loc["value"][["median", "lo-80", "hi-80"]].astype(float))
    errors = {}
    for key, value in truth.items():
        middle, low, high = table.loc[key]
        errors[key] = (middle - np.log(value)) / ((high - low) * SE_BY_RANGE)
    return errors


def _sum_error(forecaster: LinearSDEForecaster, times: np.ndarray) -> float:
    table = forecaster.decompose(times=times)
    (channel,) = forecaster.module_.channels
    total = sum(table[f"value-{name}"].to_numpy() for name in part_names(channel))
    fitted = table["value-fit"].to_numpy()
    return float(np.abs(total - fitted).max() / np.abs(fitted).max())


def _of_noise(report: Report) -> None:
    """A season or a slope in the likeliest structure of white noise, in units of any size."""
    generator = np.random.default_rng(0)
    chosen, seconds = [], 0.0
    n_series = report.count(N_NOISE)
    for k in range(n_series):
        times = 0.1 * np.arange(100) if k % 2 else np.sort(generator.uniform(0.0, 10.0, 100))
        values = 10.0 ** generator.uniform(-3.0, 3.0) * (generator.standard_normal(100) + generator.uniform(-5.0, 5.0))
        forecaster, used = fit(times, values)
        seconds += used
        (likeliest,) = forecaster.components_.values()
        (channel,) = forecaster.module_.channels
        best = max(channel.members, key=lambda member: member.weight)
        is_season = any(one.role == "season" for one in best.structure.components)
        if is_season or {"slope", "damped_slope"} & set(likeliest):
            chosen.append(" + ".join(likeliest))
    report.at_most("white noise: per cent with a season or a slope", 100.0 * len(chosen) / n_series, 5.0)
    report.note(f"chosen: {chosen}; {seconds / n_series:.2f} CPU-s a fit")
