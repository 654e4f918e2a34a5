"""Motions, observations and a plain loop over times, for tests of filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead, Filter
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.evolutions.linear_sde import Transition, discretise

LOG_2PI = math.log(2.0 * math.pi)


class Linear(Motion):
    """``dz = (A z + b) dt + L dW``, of all rows alike."""

    is_linear = True

    def __init__(self, a: Tensor, b: Tensor, noise: Tensor) -> None:
        self.a, self.b, self.noise = a, b, noise
        self.n_state, self.n_noise = noise.shape

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return z @ self.a.mT + self.b

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.noise.expand(*z.shape[:2], *self.noise.shape)

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        return discretise(self.a, self.b, self.noise, h)


class LinearInSteps(Linear):
    """The same, which filters do not know to be linear."""

    is_linear = False


class Written(Motion):
    """Motion by two functions of states (r m d): drift, and diffusion (r m d k)."""

    is_linear = False

    def __init__(
        self, d: int, k: int, drift: Callable[[Tensor], Tensor], diffusion: Callable[[Tensor], Tensor]
    ) -> None:
        self.n_state, self.n_noise = d, k
        self._drift, self._diffusion = drift, diffusion

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self._drift(z)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self._diffusion(z)

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        raise NotImplementedError


def double_well(s: float = 0.7) -> Written:
    """``dz = (z - z^3) dt + s dW``."""
    return Written(1, 1, lambda z: z - z**3, lambda z: torch.full_like(z, s)[..., None])


def log_lotka_volterra(s: float = 0.2) -> Written:
    """Logarithms of prey and predators: ``(1 - y) - s^2/2``, ``(x - 1) - s^2/2`` with noise ``s dW`` in each."""

    def drift(z: Tensor) -> Tensor:
        x, y = z.exp().unbind(-1)
        return torch.stack([1.0 - y, x - 1.0], dim=-1) - 0.5 * s**2

    return Written(2, 2, drift, lambda z: s * torch.eye(2, dtype=z.dtype).expand(*z.shape[:2], 2, 2))


def pendulum(s: float = 0.5) -> Written:
    """Angle and speed of a damped pendulum that is pushed at random: noise in the speed alone."""
    return Written(
        2,
        1,
        lambda z: torch.stack([z[..., 1], -torch.sin(z[..., 0]) - 0.2 * z[..., 1]], dim=-1),
        lambda z: torch.tensor([[0.0], [s]], dtype=z.dtype).expand(*z.shape[:2], 2, 1),
    )


def normal_start(mean: Tensor, sd: Tensor) -> Start:
    return Start(mean, sd, lambda u: mean[:, None] + sd[:, None] * torch.special.ndtri(u))


@dataclass(frozen=True)
class Channel:
    """What is seen: a function of states (r m d) -> (r m), and log density of values (r 1) by predictions (r m)."""

    predict: Callable[[Tensor], Tensor]
    sd: float | Tensor | None = None
    law: Callable[[Tensor, Tensor], Tensor] | None = None

    def seen(self, values: Tensor) -> Seen:
        """Of values (r,), NaN where nothing was seen."""
        is_seen = values.isfinite()
        filled = torch.where(is_seen, values, 1.0)
        if self.law is not None:
            law = self.law
            return Seen(is_seen, self.predict, lambda s: law(filled[:, None], s))
        variance = torch.as_tensor(self.sd, dtype=values.dtype).square().expand_as(values)
        return Seen(
            is_seen,
            self.predict,
            lambda s: -0.5 * ((filled[:, None] - s).square() / variance[:, None] + variance[:, None].log() + LOG_2PI),
            filled,
            variance,
        )


@dataclass(frozen=True)
class Visit:
    """One time of a series: its steps (start, length, belief before and after), belief after, and evidence (r c)."""

    steps: tuple
    belief: object
    evidence: Tensor


def run(
    filter: Filter,
    motion: Motion,
    start: Start,
    times: Tensor,
    values: Tensor,
    channels: list[Channel],
    n_steps: int = 1,
    seed: int | Tensor = 0,
) -> list[Visit]:
    """Filter values (r n c) at times (n,) from time 0, with steps of even length between them; one row a seed."""
    r = values.shape[0]
    keys = torch.arange(r) + 1000 * seed if isinstance(seed, int) else seed
    draws = Draws(keys)
    t = torch.zeros(r, dtype=torch.float64)
    belief = filter.start(start, motion, t, draws)
    mark = getattr(filter, "mark", lambda belief: belief)
    visits, belief = [], mark(belief)
    for n, end in enumerate(times.tolist()):
        seen = [channel.seen(values[:, n, c]) for c, channel in enumerate(channels)]
        steps = []
        gap = end - float(t[0])
        for left in range(n_steps if gap > 0 else 0, 0, -1):
            ahead = Ahead(torch.full_like(t, end) - t, seen)
            h = (torch.full_like(t, end) - t) / left
            before = belief
            belief = filter.flow(belief, motion, t, h, draws, ahead)
            steps.append((t, h, before, belief))
            t = t + h if left > 1 else torch.full_like(t, end)
        evidence = []
        for one in seen:
            belief, log_prob = filter.observe(belief, one, t, draws)
            evidence.append(log_prob)
        belief = mark(belief)
        visits.append(Visit(tuple(steps), belief, torch.stack(evidence, dim=1)))
    return visits


def total(visits: list[Visit]) -> Tensor:
    """Log likelihood (r,)."""
    return torch.stack([visit.evidence.sum(dim=1) for visit in visits]).sum(dim=0)


def kalman(
    motion: Linear, mean: Tensor, cov: Tensor, times: Tensor, values: Tensor, readout: Tensor, variance: Tensor
) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]]:
    """Log likelihood of values (n c), NaN where missing; and (phi, prior mean, prior cov, mean, cov) of each time."""
    log_prob, t, kept = torch.zeros((), dtype=torch.float64), 0.0, []
    for end, value in zip(times.tolist(), values):
        law = discretise(motion.a, motion.b, motion.noise, torch.tensor(end - t, dtype=torch.float64))
        mean, cov = law.phi @ mean + law.shift, law.phi @ cov @ law.phi.mT + law.cov
        prior_mean, prior_cov, t = mean, cov, end
        for c in range(len(readout)):
            if not value[c].isfinite():
                continue
            h = readout[c]
            s = h @ cov @ h + variance[c]
            error = value[c] - h @ mean
            log_prob = log_prob - 0.5 * (error**2 / s + s.log() + LOG_2PI)
            gain = cov @ h / s
            mean, cov = mean + gain * error, cov - torch.outer(gain, h @ cov)
        kept.append((law.phi, prior_mean, prior_cov, mean, cov))
    return log_prob, kept


def rts(kept: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Smoothed means and covariances (Rauch, Tung & Striebel 1965), of what `kalman` has kept."""
    mean, cov = kept[-1][3], kept[-1][4]
    smoothed = [(mean, cov)]
    for n in range(len(kept) - 2, -1, -1):
        phi, prior_mean, prior_cov = kept[n + 1][:3]
        own_mean, own_cov = kept[n][3:]
        gain = own_cov @ phi.mT @ torch.linalg.inv(prior_cov)
        mean = own_mean + gain @ (mean - prior_mean)
        cov = own_cov + gain @ (cov - prior_cov) @ gain.mT
        smoothed.append((mean, cov))
    return smoothed[::-1]
