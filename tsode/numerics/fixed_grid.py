"""Grid of equal steps, and the loop of all methods whose steps do not depend on the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics.base import constant
from tsode.numerics.stepwise import Step, StepRecord, StopRule, run_step

__all__ = ["FixedSteps", "StepGrid"]

# An interval longer than max_step by a rounding error is not worth a second step.
_SLACK = 1e-9


class StepGrid(NamedTuple):
    """Steps of equal length in each row.

    Parameters
    ----------
    dt : Tensor[b], float64
        Their length.
    needed : Tensor[b], int64
        Their number.
    n_rounds : int
        Of the row with most of them, but at most `FixedSteps.max_steps`.
    """

    dt: Tensor
    needed: Tensor
    n_rounds: int


@dataclass(frozen=True)
class FixedSteps:
    """Number and length of steps that do not depend on the state, for ordinary and stochastic equations.

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

    def coarser(self, factor: float) -> Self:
        """The same method with steps so many times as long; of those that are counted one is left at least."""
        if self.max_step is not None:
            return replace(self, max_step=factor * self.max_step)
        return replace(self, n_steps=max(1, round(self.n_steps / factor)))

    def take_steps(
        self,
        step: Callable[[Tensor, Tensor, Tensor], Step],
        z: Tensor,
        t0: Tensor,
        grid: StepGrid,
        gradient: object = "backprop",
        is_recorded: bool = False,
        stop_rule: StopRule | None = None,
    ) -> StepRecord:
        """Take the steps of a `grid` from ``t0`` (b,).

        Parameters
        ----------
        step : callable
            One step: ``t`` (b,), its length ``dt`` (b,), ``z`` (b d) -> `Step`; called once a round, in order.
        is_recorded : bool
            Whether the path is to be read inside the steps.
        stop_rule : callable, optional
            See `StepwiseSolver.advance`.
        """
        dt, needed, n_rounds = grid
        allowed = needed.clamp(max=self.max_steps)
        record = StepRecord(z, constant(z, Status.OK), allowed)
        is_free, failure = torch.ones_like(allowed, dtype=torch.bool), constant(z, Status.NON_FINITE)
        for k in range(n_rounds):
            active = k < record.n_steps
            t = t0 + dt * record.n_steps.clamp(max=k)
            attempt = run_step(gradient, step, t, dt * active, record.z)
            start, accepted = record.z, active & attempt.is_finite
            if attempt.reason is not None:
                failure = torch.where(active & ~accepted, attempt.reason, failure)
            if stop_rule is not None:
                is_stopped = stop_rule(start, attempt, t, dt * active, accepted)
                accepted, is_free = accepted & ~is_stopped, is_free & ~is_stopped
            record.z = torch.where(accepted[:, None], attempt.z, start)
            record.n_steps = torch.where(
                accepted, record.n_steps, record.n_steps.clamp(max=k)
            )  # a failed row stops here
            if is_recorded:
                record.add(start, attempt, (dt * record.n_steps.clamp(max=k + 1)).abs())
            if stop_rule is not None and not (k + 1 < record.n_steps).any():  # the loop test
                break
        record.status = torch.where((needed > allowed) & is_free, int(Status.MAX_STEPS), record.status)
        record.status = torch.where((record.n_steps < allowed) & is_free, failure, record.status)
        return record

    def grid(self, span: Tensor, query_step: float | None = None) -> StepGrid:
        """Steps over ``span`` (b,) exactly, or, given a `query_step`, past its end on steps that do not know it."""
        length = self.max_step
        if length is None:
            if query_step is None:  # known without asking the device
                return StepGrid(
                    span / self.n_steps, torch.where(span == 0, 0, constant(span, self.n_steps)), self.n_steps
                )
            length = query_step / self.n_steps
        slack = _SLACK if query_step is None else 0.0
        # A span that is not finite gets one step, which fails.
        count = (span.detach().abs() / length * (1 - slack)).ceil().nan_to_num(nan=1.0, posinf=1.0)
        needed = count.clamp(max=self.max_steps + 1).long()
        n_rounds = min(int(needed.max()), self.max_steps) if needed.numel() else 0
        dt = span / count.clamp(min=1) if query_step is None else span.sign() * length
        return StepGrid(dt, needed, n_rounds)
