"""Small population of tests: a dose into one compartment, whose clearance varies and grows with weight."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pandas as pd

from tsode import KnownODEForecaster
from tsode.inference import LogNormal, LogNormalNoise

IDS = [f"patient {k}" for k in range(8)]
TIMES = [1.0, 3.0, 6.0, 12.0]


def rates(t, z, p):
    return (-p.cl / 20.0 * z[:, 0],)


def level(t, z, p):
    return z[:, 0] / 20.0


def bolus(**settings: Any) -> KnownODEForecaster:
    """A forecaster of the population, by maximum likelihood."""
    given = {
        "states": ["drug"], "parameters": {"cl": LogNormal(log(3.0), 0.5)}, "initial": {"drug": 0.0},
        "observed": {"level": LogNormalNoise(level, sd=0.1)}, "random_effects": ["cl"], "n_starts": 2, "n_draws": 50,
        "covariates": {"cl": {"weight": 0.75}}, "inference": "likelihood", "random_state": 0,
    }  # fmt: skip
    return KnownODEForecaster(rates, **given | settings)


def simulated_bolus() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Levels, doses and weights of eight patients."""
    generator = np.random.default_rng(0)
    weight = np.round(generator.uniform(50.0, 100.0, len(IDS)))
    cl = 3.0 * (weight / 70.0) ** 0.75 * np.exp(0.4 * generator.normal(size=len(IDS)))
    levels = 5.0 * np.exp(-np.outer(cl, TIMES) / 20.0) * np.exp(0.1 * generator.normal(size=(len(IDS), len(TIMES))))
    data = pd.DataFrame({
        "unique_id": np.repeat(IDS, len(TIMES)), "ds": np.tile(TIMES, len(IDS)), "level": levels.ravel(),
    })  # fmt: skip
    doses = pd.DataFrame({"unique_id": IDS, "ds": 0.0, "target": "drug", "amount": 100.0})
    return data, doses, pd.DataFrame({"unique_id": IDS, "weight": weight})
