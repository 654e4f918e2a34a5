"""Populations of two levels: occasions of series, on which parameters change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.inference.known_examples import observations
from tsode.core.scheduled_events import ScheduledEvents
from tsode.inference.effects.occasions import Occasions
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_paths import KnownPaths
from tsode.inference.known_system import KnownSystem
from tsode.inference.observations import Observations
from tsode.numerics.dopri5 import Dopri5

SHARP = Dopri5(rtol=1e-10, atol=1e-12)


def numbered(begins: Sequence[Sequence[float]], numbers: Sequence[Sequence[int]] | None = None) -> KnownPaths:
    """When the occasions of each series begin, and which they are: 0, 1, ... by default."""
    numbers = numbers or [range(len(of)) for of in begins]
    width = max(map(len, begins))
    times = torch.tensor([[*of, *[np.inf] * (width - len(of))] for of in begins], dtype=torch.float64)
    which = torch.tensor([[*of, *[of[-1]] * (width - len(of))] for of in map(list, numbers)], dtype=torch.float64)
    endless = torch.full((len(begins),), torch.inf, dtype=torch.float64)
    return KnownPaths(("visit",), times, which[..., None], torch.zeros_like(which)[..., None], endless)


def two_levels(
    system: dict[str, Any], effects: Any, of_occasions: Any, times: Any, values: Any, known: KnownPaths,
    events: ScheduledEvents | None = None, **settings: Any,
) -> KnownDensity:  # fmt: skip
    """The density of a system whose parameters vary among series, and among the occasions of each."""
    occasions = Occasions(RandomEffects.read(of_occasions), "visit")
    population = Population(RandomEffects.read(effects), None, occasions)
    plain = observations(times, np.asarray(values)[..., None], ids=range(len(values)))
    data = Observations(plain.ids, plain.start, plain.times, plain.values, events, known=known)
    return KnownDensity(KnownSystem(**system, population=population, solver=SHARP, **settings), data)
