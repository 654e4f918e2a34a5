"""Solvers with a fixed number or length of steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics.base import VectorField, constant
from tsode.numerics.march import March, MarchingSolver, Step, run_step
from tsode.numerics.runge_kutta import Tableau, runge_kutta_inside, runge_kutta_step

__all__ = ["RK4", "Euler", "FixedStep", "Midpoint"]

# An interval longer than max_step by a rounding error is not worth a second step.
_SLACK = 1e-9


@dataclass(frozen=True)
class FixedStep(MarchingSolver):
    """Family of solvers whose steps do not depend on the state.

    Parameters
    ----------
    n_steps : int
        Steps in each interval. One, because the gaps between observations are usually short beside the time scale of
        the state.
    max_step : float, optional
        Longest step, in the time unit of the batch: a row's interval is cut into just enough equal steps. Replaces
        `n_steps`. Rows with fewer steps than others wait, unchanged, at their end.
    max_steps : int
        Rows that need more stop there with `Status.MAX_STEPS`. The default is far beyond a sensible solve; it keeps a
        slip in the time unit from running for ever.
    """

    n_steps: int = 1
    max_step: float | None = None
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.n_steps <= self.max_steps:
            raise ParameterError(
                f"n_steps must be between 1 and max_steps={self.max_steps}, but is {self.n_steps}: "
                f"write for instance {type(self).__name__}(n_steps=1)."
            )
        if self.max_step is not None and not self.max_step > 0:
            raise ParameterError(f"max_step must be a positive length of time or None, but is {self.max_step}.")
        if self.max_step is not None and self.n_steps != 1:
            raise ParameterError(
                f"Both n_steps={self.n_steps} and max_step={self.max_step} were given: give one of them."
            )

    @abstractmethod
    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """Take one step of length ``dt`` (b,) from ``z`` (b d) at ``t`` (b,)."""

    def march(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: str, query_step: float | None = None
    ) -> March:
        dt, needed, n_rounds = self._grid(t1 - t0, query_step)
        allowed = needed.clamp(max=self.max_steps)
        march = March(z, constant(z, Status.OK), allowed)
        for k in range(n_rounds):
            active = k < march.n_steps
            t = t0 + dt * march.n_steps.clamp(max=k)
            step = run_step(gradient, self.step, field, t, dt * active, march.z)
            start, accepted = march.z, active & step.is_finite
            march.z = torch.where(accepted[:, None], step.z, start)
            march.n_steps = torch.where(accepted, march.n_steps, march.n_steps.clamp(max=k))  # a failed row stops here
            if query_step is not None:
                march.record(start, step, (dt * march.n_steps.clamp(max=k + 1)).abs())
        march.status = torch.where(needed > allowed, int(Status.MAX_STEPS), march.status)
        march.status = torch.where(march.n_steps < allowed, int(Status.NON_FINITE), march.status)
        return march

    def _grid(self, span: Tensor, query_step: float | None) -> tuple[Tensor, Tensor, int]:
        """Length and number of each row's steps, (b,) each, and the number of rounds."""
        length = self.max_step
        if length is None:
            if query_step is None:  # known without asking the device
                return span / self.n_steps, torch.where(span == 0, 0, constant(span, self.n_steps)), self.n_steps
            length = query_step / self.n_steps
        slack = _SLACK if query_step is None else 0.0
        # A span that is not finite gets one step, which fails.
        count = (span.detach().abs() / length * (1 - slack)).ceil().nan_to_num(nan=1.0, posinf=1.0)
        needed = count.clamp(max=self.max_steps + 1).long()
        n_rounds = min(int(needed.max()), self.max_steps) if needed.numel() else 0
        dt = span / count.clamp(min=1) if query_step is None else span.sign() * length
        return dt, needed, n_rounds


@dataclass(frozen=True)
class _FixedRungeKutta(FixedStep):
    """A fixed step given by its tableau."""

    tableau: ClassVar[Tableau]

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        return runge_kutta_step(self.tableau, field, t, dt, z)

    def interpolate(self, z: Tensor, parts: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return runge_kutta_inside(self.tableau, z, parts, dt, theta)


@dataclass(frozen=True)
class Euler(_FixedRungeKutta):
    """Euler's method: order 1, one evaluation a step, a straight line inside the step."""

    tableau = Tableau(c=(0.0,), a=(), b=(1.0,), inside=((1.0,),))


@dataclass(frozen=True)
class Midpoint(_FixedRungeKutta):
    """Explicit midpoint rule: order 2, two evaluations a step, a parabola inside the step."""

    tableau = Tableau(c=(0.0, 0.5), a=((0.5,),), b=(0.0, 1.0), inside=((1.0, 0.0), (-1.0, 1.0)))


@dataclass(frozen=True)
class RK4(_FixedRungeKutta):
    """Classical Runge-Kutta method: order 4, four evaluations a step, a cubic of order 3 inside the step.

    References
    ----------
    Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, 2nd ed., table II.1.2 and eq. II.6.21.
    """

    tableau = Tableau(
        c=(0.0, 0.5, 0.5, 1.0),
        a=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        inside=((1.0, 0.0, 0.0, 0.0), (-3 / 2, 1.0, 1.0, -1 / 2), (2 / 3, -2 / 3, -2 / 3, 2 / 3)),
    )
