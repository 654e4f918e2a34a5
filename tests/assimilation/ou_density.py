"""Posterior of the rate and the noise of an Ornstein-Uhlenbeck motion, exactly and by particles."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from tests.assimilation.motions import LOG_2PI, Channel, Linear, normal_start, run, total
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.evolutions.linear_sde import Transition

__all__ = ["ByKalman", "ByParticles"]

SD = 0.4  # of the noise of observations
TRUTH = (0.7, 0.8)  # rate and noise


class _Own(Linear):
    """``dz = -rate z dt + noise dW`` with a rate and a noise of each row's own."""

    def __init__(self, theta: Tensor) -> None:
        one = torch.ones(1, 1, dtype=torch.float64)
        super().__init__(-one, 0 * one[0], one)
        self.theta = theta

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        rate, noise = self.theta.unbind(-1)
        phi = (-rate * h).exp()
        cov = noise**2 * (1 - phi**2) / (2 * rate)
        return Transition(phi[:, None, None], 0 * phi[:, None], cov[:, None, None])


class ByKalman:
    """Log posterior over the logarithms of rate and noise, with normal priors about log .5 of standard deviation .7."""

    names = ("log_rate", "log_noise")
    n_problems = 1

    def __init__(self, n: int = 12, seed: int = 3) -> None:
        self.n, self.seed = n, seed
        generator = torch.Generator().manual_seed(seed)
        self.times = torch.arange(1, n + 1, dtype=torch.float64)
        z, values = 0.0, []
        rate, noise = TRUTH
        for _ in range(n):
            step, error = torch.randn(2, generator=generator, dtype=torch.float64).tolist()
            z = math.exp(-rate) * z + noise * math.sqrt((1 - math.exp(-2 * rate)) / (2 * rate)) * step
            values.append(z + SD * error)
        self.values = torch.tensor(values, dtype=torch.float64)

    def log_prior(self, u: Tensor) -> Tensor:
        return (-0.5 * ((u - math.log(0.5)) / 0.7) ** 2 - math.log(0.7) - 0.5 * LOG_2PI).sum(-1)

    def log_prob(self, u: Tensor) -> Tensor:
        theta = u[0].exp()
        rate, noise = theta.unbind(-1)
        mean, var = torch.zeros_like(rate), torch.ones_like(rate)
        phi, score = (-rate).exp(), self.log_prior(u[0])
        for value in self.values:
            mean, var = phi * mean, phi**2 * var + noise**2 * (1 - phi**2) / (2 * rate)
            s = var + SD**2
            score = score - 0.5 * ((value - mean) ** 2 / s + s.log() + LOG_2PI)
            mean, var = mean + var / s * (value - mean), var * SD**2 / s
        return score[None]

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        return math.log(0.5) + 0.7 * torch.randn(1, n, 2, generator=generator, dtype=torch.float64)


class ByParticles(ByKalman):
    """The same, estimated by particles."""

    def __init__(self, filter: ParticleFilter, n: int = 12, seed: int = 3, k: int = 0) -> None:
        super().__init__(n, seed)
        self.filter, self.k = filter, k

    def log_prob(self, u: Tensor) -> Tensor:
        r = u.shape[1]
        start = normal_start(torch.zeros(r, 1).double(), torch.ones(r, 1).double())
        values = self.values[None, :, None].expand(r, -1, -1)
        channels = [Channel(lambda z: z[..., 0], SD)]
        keys = torch.arange(r) + 100_003 * self.k
        visits = run(self.filter, _Own(u[0].exp()), start, self.times, values, channels, seed=keys)
        return (self.log_prior(u[0]) + total(visits))[None]

    def with_seed(self, k: int) -> ByParticles:
        return ByParticles(replace(self.filter), self.n, self.seed, k)

    def surrogate(self) -> ByKalman:
        return ByKalman(self.n, self.seed)
