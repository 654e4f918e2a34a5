"""What a user would write with SciPy alone: one solve after the other, and an ensemble sampler without gradients."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from tests.inference.known_examples import LYNX_HARE_MEANS, lynx_hare_by_scipy
from tsode.inference.known_density import KnownDensity

__all__ = ["sample_by_scipy"]

N_WALKERS, STRETCH = 24, 2.0


def sample_by_scipy(density: KnownDensity, cpu_seconds: float, seed: int = 0) -> tuple[Tensor, float]:
    """Draws (p walkers n) of lynx and hare by stretch moves (Goodman & Weare 2010), and the CPU seconds they took.

    Prior and coordinates are the density's, the likelihood is SciPy's. The walkers begin about the reference means,
    where no search has to find them.
    """
    generator = np.random.default_rng(seed)

    def log_density(u: np.ndarray) -> float:
        at = torch.from_numpy(u)[None, None]
        values = density.space.constrain(at)[0, 0].tolist()
        prior = float(density.space.unpack(at).log_prior)
        return prior + lynx_hare_by_scipy(dict(zip(density.names, values)), "LSODA", 1e-6)

    centre = density.space.pack(LYNX_HARE_MEANS)[0, 0].numpy()
    walkers = centre + 0.05 * generator.standard_normal((N_WALKERS, len(centre)))
    values = np.array([log_density(walker) for walker in walkers])
    kept, half, started = [], N_WALKERS // 2, time.process_time()
    while time.process_time() - started < cpu_seconds:
        for mine, others in ((range(half), range(half, N_WALKERS)), (range(half, N_WALKERS), range(half))):
            for i in mine:
                z = (1.0 + (STRETCH - 1.0) * generator.random()) ** 2 / STRETCH
                other = walkers[generator.choice(others)]
                proposal = other + z * (walkers[i] - other)
                value = log_density(proposal)
                if np.log(generator.random()) < (len(centre) - 1) * np.log(z) + value - values[i]:
                    walkers[i], values[i] = proposal, value
        kept.append(walkers.copy())
    return torch.from_numpy(np.array(kept)).permute(2, 1, 0), time.process_time() - started
