"""Networks of three nodes with four edges that may be absent, and data of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp

import tsode
from tsode.inference.noise import AdditiveNoise
from tsode.inference.priors import HalfNormal, Normal

EDGES = {"x->y": "xy", "y->x": "yx", "x->z": "xz", "z->x": "zx"}
START = (1.0, 1.0, 1.0)


def linear(z, p, stack):
    x, y, w = z[..., 0], z[..., 1], z[..., 2]
    return stack([-x + p["yx"] * y + p["zx"] * w, p["xy"] * x - 0.5 * y, p["xz"] * x - 0.5 * w], -1)


def hill(z, p, stack):
    """Each edge pushes by a saturating function of its source."""
    x, y, w = (z[..., k] ** 2 / (0.25 + z[..., k] ** 2) for k in range(3))
    a, b, c = z[..., 0], z[..., 1], z[..., 2]
    return stack([-a + p["yx"] * y + p["zx"] * w, p["xy"] * x - 0.5 * b, p["xz"] * x - 0.5 * c], -1)


def forecaster(law=linear, seen: Sequence[str] = "xyz", sd: Any = "sd", strength=None, **more: Any):
    """The network with all edges; "total" is the sum of y and z."""
    of = {"total": lambda t, z, p: z[:, 1] + z[:, 2]}
    strength = strength or Normal(0.0, 1.0)
    parameters = dict.fromkeys(EDGES.values(), strength) | ({"sd": HalfNormal(0.1)} if sd == "sd" else {})
    return tsode.KnownODEForecaster(
        lambda t, z, p: law(z, p, torch.stack),
        states=["x", "y", "z"],
        parameters=parameters,
        initial=dict(zip("xyz", START)),
        observed={name: AdditiveNoise(of.get(name, name), sd=sd) for name in seen},
        initial_time=0.0,
        **more,
    )


def data(
    strengths: Mapping[str, float], law=linear, seen: Sequence[str] = "xyz", sd=0.01, n=20, last=5.0, seed=0
) -> pd.DataFrame:
    """A series of a network with some edges, by another solver."""
    p = dict.fromkeys(EDGES.values(), 0.0) | dict(strengths)
    times = last * (np.arange(n) + 1.0) / n
    way = solve_ivp(lambda t, z: law(z, p, np.stack), (0, last), START, t_eval=times, rtol=1e-9, atol=1e-10).y
    columns = {"x": way[0], "y": way[1], "z": way[2], "total": way[1] + way[2]}
    rng = np.random.default_rng(seed)
    noisy = {name: columns[name] + sd * rng.standard_normal(n) for name in seen}
    return pd.DataFrame({"unique_id": "a", "ds": times, **noisy})
