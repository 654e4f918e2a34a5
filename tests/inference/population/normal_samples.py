"""Normal samples as populations, whose likelihoods have closed forms: each series has one value."""

from __future__ import annotations

import numpy as np
import torch

from tests.inference.known_examples import observations
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise
from tsode.inference.population.estimate import Estimate, maximum_likelihood
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods import METHODS
from tsode.inference.priors import LogNormal, Normal

VALUES = np.array([1.3, -0.4, 2.2, 0.9, 3.1, 1.8, -0.2, 0.6, 1.1, 2.4])
NOISE = 0.3


def normal_sample(values=VALUES, omega=None, sd=NOISE) -> MarginalDensity:
    """Values ~ N(a, omega^2 + sd^2); by FO, which is exact where effects are linear."""
    spread = LogNormal(-0.3, 0.7) if omega is None else omega
    system = KnownSystem(
        lambda t, z, p: (0.0 * z[:, 0],), ["z"], {"a": Normal(1.0, 2.0)}, {"z": lambda p: p.a},
        {"y": AdditiveNoise("z", sd=sd)}, population=Population(RandomEffects.read({"a": spread})),
    )  # fmt: skip
    data = observations([1.0], np.asarray(values)[:, None, None], ids=range(len(values)))
    return MarginalDensity(KnownDensity(system, data), METHODS["fo"]())


def estimate_of(density: MarginalDensity) -> Estimate:
    start = torch.zeros(1, len(density.names), dtype=torch.float64)
    return maximum_likelihood(density, torch.Generator().manual_seed(0), start=start)


def natural(density: MarginalDensity, name: str, u: torch.Tensor) -> np.ndarray:
    """Values of a parameter at its coordinates."""
    return density.joint.space.priors[name].constrain(u)[0].numpy()
