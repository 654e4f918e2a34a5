"""Steps along a Brownian path, and their reading at any time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import Solution, is_finite_row
from tsode.numerics.brownian import Brownian
from tsode.numerics.march import Step, locate
from tsode.numerics.sde import DiagonalSDE, SDESolver, increment
from tsode.numerics.stepping import Stepping

__all__ = ["SDEStep"]


@dataclass(frozen=True)
class SDEStep(Stepping, SDESolver):
    """Family of one-step methods that are a formula in the step's length and noise; the settings are of `Stepping`."""

    @abstractmethod
    def parts(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        """What the formula needs of the equation at a step's start: ``t`` (b,), ``z`` (b d) -> (b d) each."""

    @abstractmethod
    def move(self, z: Tensor, parts: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        """State after a length `dt` (... 1) with the noise `dw` (... d), from `z` (... d) with these parts."""

    def step(self, sde: DiagonalSDE, brownian: Brownian, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """Take one step of length ``dt`` (b,) from ``z`` (b d) at ``t`` (b,)."""
        parts = self.parts(sde, t, z)
        end = self.move(z, parts, dt.to(z.dtype)[:, None], increment(brownian, t, dt, z))
        return Step(end, parts, is_finite_row(end))

    def solve(self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian) -> Solution:
        march = self.take_steps(lambda *at: self.step(sde, brownian, *at), z, t0, t1)
        return Solution(march.z, march.status, march.n_steps)

    def solve_to(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, times: Tensor, brownian: Brownian, query_step: float
    ) -> Solution:
        march = self.take_steps(
            lambda *at: self.step(sde, brownian, *at), z, t0, times.amax(dim=1), query_step=query_step
        )
        elapsed = times - t0[:, None]
        if not march.ends:
            return Solution(z[:, None].expand(*times.shape, -1), march.status, march.n_steps)
        at = locate(march, elapsed)
        dt = at.theta * at.length
        inside = self.move(
            at.z, at.parts, dt.to(z.dtype)[..., None], increment(brownian, t0[:, None] + at.start, dt, at.z)
        )
        # A row that has ended may hold parts that are not finite.
        return Solution(torch.where((at.theta > 0)[..., None], inside, at.z), march.status, march.n_steps)
