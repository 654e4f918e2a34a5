"""Lynx and hare: log scores one year ahead of equations with process noise beside those without, future left out.

For each year from the ninth on, both are inferred anew from the years before and judged by the log density of that
year's two numbers. They have the same rates, priors and noise of the values.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tsode import KnownODEForecaster, KnownSDEForecaster
from tsode.datasets import load_lynx_hare
from tsode.inference import HalfNormal, LogNormal, LogNormalNoise, Normal
from tsode.inference.parameters import Parameters

__all__ = ["run"]

N_LEARNED = 8  # years before the first that is forecast
ENGINE = "importance"


def run(report: Report) -> None:
    pelts = load_lynx_hare()
    origins = report.some(range(N_LEARNED, len(pelts)))
    scores: dict[str, list[float]] = {"SDE": [], "ODE": []}
    seconds = dict.fromkeys(scores, 0.0)
    for n in origins:
        for name, model in {"SDE": with_noise(), "ODE": without()}.items():
            started = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # eight years do not tell much of seven parameters
                model.fit(pelts.iloc[:n])
                scores[name].append(2.0 * model.score(pelts.iloc[n : n + 1], metric="nll"))  # of a mean of two values
            seconds[name] += time.process_time() - started
            if name == "SDE":
                chosen = model.filter_
        sde, ode = (values[-1] for values in scores.values())
        report.note(f"{int(pelts['ds'].iloc[n])}: SDE {sde:8.3f}, ODE {ode:8.3f}, by the {chosen} filter")
    gap = np.subtract(scores["SDE"], scores["ODE"])
    se = float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else math.nan
    for name, values in scores.items():
        report.note(f"{name}: sum of log scores {sum(values):.2f}; {seconds[name]:.0f} CPU-s for {len(values)} fits")
    report.at_least(f"SDE less ODE, sum of log scores of {len(gap)} years", float(gap.sum()), 0.0)
    report.note(f"SDE less ODE, a year: {gap.mean():.3f}, s.e. {se:.3f}, {gap.mean() / se:.1f} s.e.; "
                f"median {np.median(gap):.3f}")  # fmt: skip
    report.at_least("share of the years in which the SDE is ahead", float((gap > 0).mean()), 0.5)


def rates(t: Tensor, z: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    """Of the logarithms of hare and lynx, in thousands of pelts a year."""
    return p.alpha - p.beta * z[:, 1].exp(), p.delta * z[:, 0].exp() - p.gamma


def hare(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 0].exp()


def lynx(t: Tensor, z: Tensor, p: Parameters) -> Tensor:
    return z[:, 1].exp()


def given() -> dict[str, Any]:
    """What both are told: rates, priors, noise of the values, engine."""
    return {
        "rates": rates,
        "states": ["h", "l"],
        "parameters": {
            "alpha": LogNormal(-0.6, 0.5), "beta": LogNormal(-3.6, 0.7),
            "gamma": LogNormal(-0.2, 0.5), "delta": LogNormal(-3.6, 0.7), "sigma": HalfNormal(0.3),
        },
        "initial": {"h": Normal(3.4, 1.0), "l": Normal(2.5, 1.0)},
        "observed": {"hare": LogNormalNoise(hare, sd="sigma"), "lynx": LogNormalNoise(lynx, sd="sigma")},
        "inference": ENGINE,
        "random_state": 0,
    }  # fmt: skip


def with_noise() -> KnownSDEForecaster:
    return KnownSDEForecaster(**given(), process_noise={"h": HalfNormal(0.3), "l": HalfNormal(0.3)})


def without() -> KnownODEForecaster:
    return KnownODEForecaster(**given())
