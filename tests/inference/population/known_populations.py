"""Populations of the tests, and points in their shared coordinates."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import torch

from tests.inference.known_examples import observations
from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.datasets import load_theophylline, load_theophylline_doses
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, ProportionalNoise
from tsode.inference.observations import Observations
from tsode.inference.population.subjects import Subjects
from tsode.inference.priors import LogNormal

WANG = [
    [10.68, 3.6837], [10.402, 6.454], [9.8814, 5.8565], [9.3408, 5.6209], [10.082, 6.7583], [9.8938, 6.5049],
    [9.8908, 6.9557], [10.234, 6.4488], [9.9882, 6.7112], [9.6736, 6.6402],
]  # fmt: skip


def decay_rates(t, z, p):
    return (-p.ke * z[:, 0],)


def decays(values=WANG, noise=None, effects=None, times=(0.0, 1.0), **parameters) -> KnownDensity:
    """Decay from 10 at a rate that varies; by default the ten subjects of Wang (2007)."""
    system = KnownSystem(
        decay_rates,
        ["c"],
        {"ke": LogNormal(log(0.5), 1.0), **(parameters or {"cv": sqrt(0.1)})},
        {"c": 10.0},
        {"y": noise or ProportionalNoise("c", cv="cv")},
        population=Population(RandomEffects.read(effects or {"ke": 0.2})),
    )
    data = observations(times, np.array(values)[..., None], ids=range(len(values)))
    return KnownDensity(system, data)


def shared(subjects: Subjects, values) -> torch.Tensor:
    """Shared coordinates (g 1 p) of parameters by name."""
    etas = dict.fromkeys(subjects.standard, 0.0)
    return subjects.joint.space.pack({**etas, **values})[..., subjects.shared_places]


def oral_rates(t, z, p):
    gut, body = z.unbind(-1)
    return -p.ka * gut, p.ka * gut - p.cl / p.v * body


def oral(times, values, amounts) -> KnownDensity:
    """One compartment and a dose at 0 that is swallowed, additive noise: absorption, clearance, volume vary."""
    middles = {"ka": 1.5, "cl": 3.0, "v": 30.0, "sd": 1.0}
    system = KnownSystem(
        oral_rates,
        ["gut", "body"],
        {name: LogNormal(log(middle), 0.5) for name, middle in middles.items()},
        {"gut": 0.0, "body": 0.0},
        {"level": AdditiveNoise(lambda t, z, p: z[:, 1] / p.v, sd="sd")},
        population=Population(RandomEffects.read(["ka", "cl", "v"])),
    )
    n = len(amounts)
    zero = torch.zeros(n, 1, dtype=torch.float64)
    whole = zero.long()
    amount = torch.as_tensor(np.asarray(amounts, dtype=float))[:, None]
    doses = ScheduledEvents(
        zero, torch.full((n, 1), int(EventKind.ADD)), whole, amount, zero, zero, whole, zero, whole.bool()
    )
    rows = (torch.as_tensor(np.asarray(x, dtype=float)) for x in (times, values))
    t, y = rows
    return KnownDensity(system, Observations(range(n), torch.zeros(n, dtype=torch.float64), t, y[..., None], doses))


def theophylline() -> KnownDensity:
    """The twelve people of the bundled set, 132 values."""
    levels = load_theophylline()
    doses = load_theophylline_doses().set_index("unique_id")["dose_mg"]
    of = [rows for _, rows in levels.groupby("unique_id")]
    times, values = (np.stack([rows[name] for rows in of]) for name in ("ds", "theophylline_mg_l"))
    return oral(times, values, [doses[rows["unique_id"].iloc[0]] for rows in of])
