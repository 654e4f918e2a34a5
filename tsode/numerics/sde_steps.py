"""One-step methods along a Brownian path, and the reading of their states at any time."""

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

__all__ = ["SDEStep", "ito_drift"]


@dataclass(frozen=True)
class SDEStep(FixedSteps, SDESolver):
    """One-step methods that are a formula in the step's length and noise; the settings are of `FixedSteps`."""

    @abstractmethod
    def stages(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        """What the formula needs of the equation at a step's start: ``t`` (b,), ``z`` (b d) -> (b d) each.

        First what an end without noise moves by in a unit of time, then the diffusion.
        """

    @abstractmethod
    def move(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        """State after a length `dt` (... 1) with the noise `dw` (... d), from `z` (... d) with these stages."""

    def as_steps(self) -> SDEStep:
        return self

    def complete(
        self, sde: DiagonalSDE, t: Tensor, dt: Tensor, z: Tensor, stages: Sequence[Tensor], dw: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """End of a step of length ``dt`` (b 1), and the stages that `move` reads answers inside it from.

        A method that looks at the equation further on overrides this.
        """
        return self.move(z, stages, dt, dw), stages

    def step(self, sde: DiagonalSDE, t: Tensor, dt: Tensor, z: Tensor, dw: Tensor) -> Step:
        """Take one step of length ``dt`` (b,) and noise ``dw`` (b d) from ``z`` (b d) at ``t`` (b,)."""
        stages = self.stages(sde, t, z)
        end, stages = self.complete(sde, t, dt.to(z.dtype)[:, None], z, stages, dw)
        return Step(end, stages, is_finite_row(end))

    def _advance(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian, query_step: float | None = None
    ) -> StepRecord:
        grid = self.grid(t1 - t0, query_step)
        # All of the noise at once: evaluating a path is slow, for however few times.
        rounds = torch.arange(grid.n_rounds + 1, device=z.device)
        ends = t0[:, None] + grid.dt[:, None] * torch.minimum(rounds, grid.needed[:, None])
        noise = iter(widen(brownian(ends).diff(dim=1), z).unbind(dim=1))
        return self.take_steps(
            lambda t, dt, z: self.step(sde, t, dt, z, next(noise)), z, t0, grid, is_recorded=query_step is not None
        )

    def solve(self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian) -> Solution:
        record = self._advance(sde, z, t0, t1, brownian)
        return Solution(record.z, record.status, record.n_steps)

    def solve_to(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, times: Tensor, brownian: Brownian, query_step: float
    ) -> Solution:
        record = self._advance(sde, z, t0, times.amax(dim=1), brownian, query_step)
        if not record.ends:
            return Solution(z[:, None].expand(*times.shape, -1), record.status, record.n_steps)
        at = locate(record, times - t0[:, None])
        start, dt = t0[:, None] + at.start, at.theta * at.length
        noise = widen(brownian(start + dt) - brownian(start), at.z)
        inside = self.move(at.z, at.stages, dt.to(z.dtype)[..., None], noise)
        # A row that has ended may hold stages that are not finite.
        return Solution(torch.where((at.theta > 0)[..., None], inside, at.z), record.status, record.n_steps)


def ito_drift(sde: DiagonalSDE, t: Tensor, z: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """Drift in the sense of Ito of an equation with the drift ``f`` (b d) and the diffusion ``g`` (b d) there."""
    return f if sde.calculus == "ito" else f + 0.5 * g * sde.diffusion_slope(t, z)
