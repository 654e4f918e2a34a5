"""Steps along a Brownian path, and their reading at any time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import Solution, is_finite_row
from tsode.numerics.brownian import Brownian
from tsode.numerics.fixed_grid import FixedSteps
from tsode.numerics.sde import DiagonalSDE, SDESolver, widen
from tsode.numerics.stepwise import Step, StepRecord, locate

__all__ = ["SDEStep"]


@dataclass(frozen=True)
class SDEStep(FixedSteps, SDESolver):
    """One-step methods that are a formula in the step's length and noise; the settings are of `FixedSteps`."""

    @abstractmethod
    def parts(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        """What the formula needs of the equation at a step's start: ``t`` (b,), ``z`` (b d) -> (b d) each."""

    @abstractmethod
    def move(self, z: Tensor, parts: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        """State after a length `dt` (... 1) with the noise `dw` (... d), from `z` (... d) with these parts."""

    def step(self, sde: DiagonalSDE, t: Tensor, dt: Tensor, z: Tensor, dw: Tensor) -> Step:
        """Take one step of length ``dt`` (b,) and noise ``dw`` (b d) from ``z`` (b d) at ``t`` (b,)."""
        parts = self.parts(sde, t, z)
        end = self.move(z, parts, dt.to(z.dtype)[:, None], dw)
        return Step(end, parts, is_finite_row(end))

    def _march(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian, query_step: float | None = None
    ) -> StepRecord:
        grid = self.grid(t1 - t0, query_step)
        # All of the noise at once: a path is slow to ask, whatever for.
        rounds = torch.arange(grid.n_rounds + 1, device=z.device)
        ends = t0[:, None] + grid.dt[:, None] * torch.minimum(rounds, grid.needed[:, None])
        noise = iter(widen(brownian(ends).diff(dim=1), z).unbind(dim=1))
        return self.take_steps(
            lambda t, dt, z: self.step(sde, t, dt, z, next(noise)), z, t0, grid, is_recorded=query_step is not None
        )

    def solve(self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian) -> Solution:
        march = self._march(sde, z, t0, t1, brownian)
        return Solution(march.z, march.status, march.n_steps)

    def solve_to(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, times: Tensor, brownian: Brownian, query_step: float
    ) -> Solution:
        march = self._march(sde, z, t0, times.amax(dim=1), brownian, query_step)
        if not march.ends:
            return Solution(z[:, None].expand(*times.shape, -1), march.status, march.n_steps)
        at = locate(march, times - t0[:, None])
        start, dt = t0[:, None] + at.start, at.theta * at.length
        noise = widen(brownian(start + dt) - brownian(start), at.z)
        inside = self.move(at.z, at.parts, dt.to(z.dtype)[..., None], noise)
        # A row that has ended may hold parts that are not finite.
        return Solution(torch.where((at.theta > 0)[..., None], inside, at.z), march.status, march.n_steps)
