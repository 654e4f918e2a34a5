"""Populations of the tests, and points in their shared coordinates."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import torch

from tests.inference.known_examples import observations
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import ProportionalNoise
from tsode.inference.population.effects import RandomEffects
from tsode.inference.population.space import Population
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
    etas = {f"eta_{name}": 0.0 for name in subjects.effects}
    return subjects.joint.space.pack({**etas, **values})[..., subjects.shared_places]
