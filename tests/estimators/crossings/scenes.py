"""Forecasters whose crossings have closed forms, and their data."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from tsode import KnownODEForecaster, KnownSDEForecaster, LinearSDEForecaster
from tsode.inference import AdditiveNoise, LogNormal, Normal
from tsode.systems import one_compartment_iv

DRIFT, SIGMA = 0.5, 0.8


def at_rest(*starts: float) -> pd.DataFrame:
    """Two rows a series, of which the last one is all but exact."""
    return pd.concat([
        pd.DataFrame({"unique_id": key, "ds": [0.0, 1.0], "y": [start - 0.3, start]})
        for key, start in zip("abcdefgh", starts)
    ])  # fmt: skip


def walker(**how: Any) -> LinearSDEForecaster:
    """Brownian motion with drift, seen all but exactly."""
    system = {"drift": [[0.0]], "offset": [DRIFT], "diffusion": [[SIGMA]], "readout": [[1.0]], "noise": [1e-7],
              "initial_mean": [0.0], "initial_cov": [[4.0]]}  # fmt: skip
    return LinearSDEForecaster(system=system, horizon=2.0, id_col="unique_id", time_col="ds", **how)


def walker_by_equations() -> KnownSDEForecaster:
    """The same as equations."""
    return KnownSDEForecaster(
        lambda t, z, p: (p.a + 0.0 * z[:, 0],), states=["x"], parameters={"a": DRIFT}, initial={"x": Normal(0, 2)},
        observed={"y": AdditiveNoise("x", sd=1e-4)}, process_noise={"x": SIGMA}, initial_time=0.0, random_state=0,
        horizon=2.0, id_col="unique_id", time_col="ds",
    )  # fmt: skip


def first_passage(t: Any, distance: float) -> Any:
    """Probability that Brownian motion with this drift has gone up by `distance` (Karatzas & Shreve, 3.5.C)."""
    spread = SIGMA * np.sqrt(t)
    back = np.exp(2 * DRIFT * distance / SIGMA**2) * ndtr((-DRIFT * np.asarray(t) - distance) / spread)
    return ndtr((DRIFT * np.asarray(t) - distance) / spread) + back


def decays(**how: Any) -> KnownODEForecaster:
    """An exponential decay from 2 at time 0, of an uncertain rate."""
    return KnownODEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(log(0.3), 0.5)}, initial={"x": 2.0},
        observed={"y": AdditiveNoise("x", sd=0.3)}, initial_time=0.0, random_state=0, inference="laplace",
        horizon=5.0, id_col="unique_id", time_col="ds", **{"n_draws": 100} | how,
    )  # fmt: skip


def patient() -> tuple[KnownODEForecaster, pd.DataFrame]:
    """One compartment of volume 10 and clearance 2, all but known, and what was seen of it after a bolus of 20."""
    system = one_compartment_iv(LogNormal(log(2.0), 1e-4), LogNormal(log(10.0), 1e-4)).with_(
        parameters={"sd": 0.1, "cv": None},
        observed={"concentration": AdditiveNoise(lambda t, z, p: z[:, 0] / p.volume, sd="sd")},
    )
    model = KnownODEForecaster(system=system, n_draws=16, inference="laplace", random_state=0)
    seen = np.array([0.5, 1.0])
    data = pd.DataFrame({"unique_id": "a", "ds": seen, "concentration": 2.0 * np.exp(-0.2 * seen)})
    return model, data
