"""Cases that a grid answers: double wells, and prey and predators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.assimilation.grid import OnGrid, filter_on_grid
from tests.assimilation.motions import Channel, Written, double_well, log_lotka_volterra, normal_start, run, total
from tsode.assimilation.backward_simulation import Recorder, simulate_back
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.motion import Draws

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """Motion, what is seen of it, and a grid that holds it."""

    motion: Written
    predicts: tuple[Callable[[Tensor], Tensor], ...]
    sd: float
    noise: float
    start: tuple[float, float]
    limits: tuple[float, float]
    n_points: int
    gap: float
    n: int

    @property
    def d(self) -> int:
        return self.motion.n_state

    @property
    def times(self) -> Tensor:
        return self.gap * torch.arange(1, self.n + 1, dtype=torch.float64)

    @property
    def channels(self) -> list[Channel]:
        return [Channel(predict, self.sd) for predict in self.predicts]

    def start_of(self, r: int):
        return normal_start(*(torch.full((r, self.d), x, dtype=torch.float64) for x in self.start))

    def data(self, seed: int = 5) -> Tensor:
        """Values (n c) of one path in short steps, every fifth missing."""
        nothing = torch.full((1, self.n, 1), torch.nan, dtype=torch.float64)
        visits = run(ParticleFilter(2), self.motion, self.start_of(1), self.times, nothing, self.channels[:1], 20, seed)
        path = torch.stack([visit.belief.particles[0, 0] for visit in visits])
        clean = torch.stack([predict(path[:, None])[:, 0] for predict in self.predicts], dim=-1)
        values = clean + self.sd * torch.randn(
            clean.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        values[4::5, 0] = torch.nan
        return values

    def by_grid(self, values: Tensor, step: float, share: float = 1.0) -> OnGrid:
        """Answer on a share of the points."""
        axis = torch.linspace(*self.limits, round(share * self.n_points), dtype=torch.float64)

        def log_prob(n: int, z: Tensor) -> Tensor:
            score = torch.zeros(len(z), dtype=torch.float64)
            for c, channel in enumerate(self.channels):
                seen = channel.seen(values[n, c][None])
                if seen.is_seen.all():
                    score = score + seen.log_prob(seen.predict(z[None]))[0]
            return score

        start = tuple(torch.full((self.d,), x, dtype=torch.float64) for x in self.start)
        noise = torch.full((self.d,), self.noise, dtype=torch.float64)
        return filter_on_grid(self.motion._drift, noise, [axis] * self.d, start, self.times, log_prob, step)

    def by_particles(
        self, values: Tensor, filter: ParticleFilter, r: int, n_steps: int, n_paths: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Log likelihoods (r,), and smoothed means (r n d) by paths."""
        recorder = Recorder(filter)
        visits = run(
            recorder, self.motion, self.start_of(r), self.times, values.expand(r, -1, -1), self.channels, n_steps
        )
        paths = simulate_back(recorder.steps, recorder.marks, n_paths, Draws(torch.arange(r))) if n_paths else None
        return total(visits), torch.empty(0) if paths is None else paths[:, 1:].mean(dim=2)


def _first(z: Tensor) -> Tensor:
    return z[..., 0]


def _second(z: Tensor) -> Tensor:
    return z[..., 1]


def _square(z: Tensor) -> Tensor:
    return z[..., 0] ** 2


CASES = {
    "double well, itself": Case(double_well(0.7), (_first,), 0.3, 0.7, (0.8, 0.5), (-2.6, 2.6), 301, 0.5, 20),
    "double well, its square": Case(double_well(0.7), (_square,), 0.3, 0.7, (0.8, 0.5), (-2.6, 2.6), 301, 0.5, 20),
    "log prey and predators": Case(
        log_lotka_volterra(0.2), (_first, _second), 0.2, 0.2, (0.3, 0.3), (-2.4, 2.4), 100, 0.5, 20
    ),
    "log prey alone": Case(log_lotka_volterra(0.2), (_first,), 0.2, 0.2, (0.3, 0.3), (-2.4, 2.4), 100, 0.5, 20),
}
