"""Solvers that choose their steps, with a length of its own for every row."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar, Self

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.errors import ParameterError, TsodeWarning
from tsode.numerics.base import Solution, VectorField, constant, is_finite_row
from tsode.numerics.failure import kind_of_stop
from tsode.numerics.shadow import Shadow, is_differentiated
from tsode.numerics.stepwise import Step, StepRecord, StepwiseSolver, StopRule, Taping, run_step

__all__ = ["AdaptiveSolver", "Turns"]

# Usual limits of the step controller (Hairer, Norsett, Wanner I, section II.4).
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_GLANCE = 64  # rounds between two looks at whether rows still come forward
# While derivatives are taken: where the state chooses the steps they stay its own unless the error of the derivatives
# is so many tolerances; where that is so many times the state's, and more than rounding, it chooses the steps itself.
_IN_MOTION, _AT_REST, _TELLING = 100.0, 1000.0, 0.1
# Of the last digit of a state: an error that is smaller is rounding, and no step makes it smaller.
_ROUNDING = 4.0


@dataclass(frozen=True)
class AdaptiveSolver(StepwiseSolver):
    """Method with an embedded error estimate, adaptive row by row.

    Every row has its own step length and error norm, so its answer does not depend on who shares the batch. A row that
    has arrived, or failed, waits unchanged.

    While derivatives are taken, a step must be right for them too (`tsode.numerics.shadow`): at rest a state allows any
    step, and its derivatives do not. Such a step costs about two without.

    Parameters
    ----------
    rtol, atol : float
        A step is accepted when the root mean square over the state of ``error / (atol + rtol * |z|)`` is at most 1.
        The defaults are tight because gradients need it: at 1e-3 a state that looks right can have a gradient that is
        several times too large.
    max_steps : int
        Attempted steps of a row before it is stopped with `Status.MAX_STEPS`, or `Status.STIFF`.
    first_step : float or Tensor[b], optional
        Length of the first attempt, in the batch's time unit; by default estimated from the field. The estimate depends
        on the unit of time, a length that is given does not.
    max_step : float, optional
        Longest step. For a field that is easy to follow beside inputs that change fast, or surfaces with short pulses:
        what lasts less than a twentieth of a step may not be seen.

    Attributes
    ----------
    error_order : int
        Order of the embedded method, whose distance is the error estimate.
    """

    error_order: ClassVar[int]

    rtol: float = 1e-6
    atol: float = 1e-8
    max_steps: int = 1000
    first_step: float | Tensor | None = None
    max_step: float | None = None

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0):
            raise ParameterError(
                f"rtol must be at least 0 and atol above 0, but are {self.rtol} and {self.atol}: "
                f"write for instance {type(self).__name__}(rtol=1e-6, atol=1e-8)."
            )
        if self.max_steps < 1:
            raise ParameterError(f"max_steps must be at least 1, but is {self.max_steps}.")
        for name in ("first_step", "max_step"):
            length = getattr(self, name)
            if length is not None and not (torch.as_tensor(length) > 0).all():
                raise ParameterError(f"{name} must be a positive length of time or None, but is {length}.")

    def coarser(self, factor: float) -> Self:
        """The same method with tolerances at which steps are about so many times as long."""
        looser = factor ** (self.error_order + 1)
        return replace(self, rtol=min(looser * self.rtol, 0.1), atol=looser * self.atol)

    @abstractmethod
    def attempt(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None) -> Step:
        """Take a step of length ``dt`` (b,) from ``z`` (b d) at ``t`` (b,), where the field may be known, `slope`."""

    @abstractmethod
    def error(self, dt: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """Estimated error of a step (b d), linear in its stages."""

    def next_slope(self, step: Step) -> Tensor | None:
        """Field at the end of a step, where the step has it."""
        return None

    def turns(self, z: Tensor) -> Turns | None:
        """Turns of its methods, for a solver that is made of several: over one solve that begins at ``z`` (b d)."""
        return None

    def is_stiff(self, dt: Tensor, step: Step) -> Tensor:
        """Whether stability, not accuracy, has kept a step as short as it is, (b,)."""
        return torch.zeros_like(dt, dtype=torch.bool)

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        return self.attempt(field, t, dt, z)

    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None, has_end: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        self._check_digits(z.dtype)
        distance, direction = (t1 - t0).abs(), (t1 - t0).sign()
        is_usable = is_finite_row(z) & distance.isfinite()
        record = StepRecord(z, constant(z, Status.OK).where(is_usable, int(Status.NON_FINITE)), constant(z, 0))
        elapsed = nothing = torch.zeros_like(t0)
        active = is_usable & (elapsed < distance)
        if not active.any():
            return record
        slope = field(t0, z)
        is_taped = isinstance(gradient, Taping)
        is_live = is_differentiated(z, slope, t0, t1) or (isinstance(gradient, Taping) and gradient.is_live)
        shadow = Shadow(field, z, self.rtol, self.atol) if is_live else None
        length = first = self._first_step(field, t0, z, slope, direction, first_length).detach()
        known = slope
        infinite, root = torch.full_like(z[:, 0], torch.inf).detach(), math.sqrt(max(z.shape[1], 1))
        everyone, no_one = torch.ones_like(active), torch.zeros_like(active)
        # Steps that are read from must not be cut to their queries: they would depend on them.
        cut = query_step is None or has_end is not None
        turns = self.turns(z)
        method: AdaptiveSolver = self
        seen_at, resolution = nothing, 4 * torch.finfo(t0.dtype).eps
        for k in range(self.max_steps) if turns is None else count():
            t = torch.addcmul(t0, direction, elapsed)
            if k % _GLANCE == _GLANCE - 1:  # steps that no longer move the time, and are accepted
                if (still := active & (elapsed == seen_at)).any():
                    kind = kind_of_stop(
                        field, t, record.z.detach(), direction, resolution * (t.abs() + first), active, self.atol
                    )
                    has_pole = still & (kind == Status.BLOW_UP)
                    record.status, active = torch.where(has_pole, kind, record.status), active & ~has_pole
                    if not active.any():
                        break
                seen_at = elapsed
            if turns is None:
                rows = active
            else:
                method, rows = turns.begin(active)
                known = turns.slope(field, t, record.z, known)
            if self.max_step is not None:
                length = length.clamp(max=self.max_step)
            tried, left = length, distance - elapsed
            if cut:
                is_last = length >= left if has_end is None else (length >= left) & has_end
                tried = torch.where(is_last, left, length)
            dt = torch.where(rows, direction * tried, nothing)
            step = run_step(gradient, method.attempt, field, t, dt, record.z, known)

            # The step length is a choice, not a function of the state: no gradient through it.
            with torch.no_grad():
                size = torch.maximum(record.z.abs(), step.z.abs()).mul_(self.rtol).add_(self.atol)
                norm = torch.linalg.vector_norm(method.error(dt, step.stages) / size, dim=1) / root
                norm = torch.fmin(torch.where(step.is_finite, norm, infinite), infinite)  # not NaN, where it was
                if shadow is not None:
                    is_right = norm <= 1
                    bound = shadow.error_norm(method.attempt, method.error, t, dt, record.z, step)
                    is_idle = (bound > _TELLING) & (bound > _AT_REST * norm)
                    norm = torch.maximum(norm, torch.where(is_idle, bound, bound / _IN_MOTION))
                accepted = rows & (norm <= 1)
                length = torch.where(rows, method.change(norm).to(t0.dtype).mul_(tried), length)
                if turns is not None:
                    length = turns.end(step, dt.abs(), left, size, accepted, length)
            if not torch.equal(accepted, rows):
                shortest = resolution * (t.abs() + first)
                stuck = rows & ~accepted & (length < shortest)
                if stuck.any():
                    kind = kind_of_stop(field, t, record.z.detach(), direction, shortest, ~norm.isinf(), self.atol)
                    record.status = torch.where(stuck, kind, record.status)
                active = active & ~stuck
            following = method.next_slope(step)
            if turns is not None and (query_step is not None or stop_rule is not None):
                step = turns.as_read(step, dt)
            if stop_rule is not None:
                is_stopped = stop_rule(record.z, step, t, dt, accepted)
                accepted, active = accepted & ~is_stopped, active & ~is_stopped

            start, reached = record.z, elapsed + tried
            if cut:
                reached = torch.where(is_last, distance, reached)
            if torch.equal(accepted, everyone):  # as mostly, of a row alone
                elapsed, record.z = reached, step.z
                known = known if following is None else following
            else:
                elapsed = torch.where(accepted, reached, elapsed)
                record.z = torch.where(accepted[:, None], step.z, start)
                known = known if following is None else torch.where(accepted[:, None], following, known)
            if shadow is not None:
                shadow.follow(record.z, accepted, is_right & (norm > 1))
            record.n_steps = record.n_steps + accepted
            if (query_step is not None or stop_rule is not None) and not is_taped:
                record.add(start, step, elapsed)
            active = active & (elapsed < distance)
            if turns is not None and (is_spent := turns.is_spent()) is not None:
                record.status = torch.where(active & is_spent, int(Status.MAX_STEPS), record.status)
                active = active & ~is_spent
            if torch.equal(active, no_one):  # the loop test
                break
        else:
            reason = torch.where(self.is_stiff(dt, step), int(Status.STIFF), int(Status.MAX_STEPS))
            record.status = torch.where(active, reason, record.status)
        record.n_switches = None if turns is None else turns.n_switches
        record.reached = torch.addcmul(t0, direction, elapsed)
        return record

    def _check_digits(self, dtype: torch.dtype) -> None:
        least = _ROUNDING * torch.finfo(dtype).eps
        if self.rtol < least:
            name = str(dtype).removeprefix("torch.")
            warnings.warn(
                f"rtol={self.rtol:g} asks for more digits than {name} has, so that steps only grow in number: use "
                f"rtol={least:.0e} or more, or states in float64.",
                TsodeWarning,
                stacklevel=2,
            )

    def solve_through(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> tuple[Tensor, Solution]:
        has_end = t1.isfinite()
        far = t1.where(has_end, torch.maximum(times.amax(dim=1), t0))
        record = self.advance(field, z, t0, far, gradient, query_step, has_end=has_end)
        states = z[:, None].expand(-1, times.shape[1], -1)
        if record.ends:
            states = self.read(record, times - t0[:, None], 1.0)
        end = torch.where(has_end[:, None], record.z, z)
        return end, Solution(states, record.status, record.n_steps, record.n_switches, reached=record.reached)

    def change(self, norm: Tensor) -> Tensor:
        """By how much the next step is longer than one of such an error (b,) relative to its tolerance, (b,)."""
        # by its logarithm: a power of many numbers at once may differ in its last digit from that of each
        change = norm.log().mul_(-1.0 / (self.error_order + 1)).add_(math.log(_SAFETY))
        return change.clamp_(math.log(_SHRINK), math.log(_GROW)).exp_()

    @torch.no_grad()
    def _first_step(
        self, field: VectorField, t0: Tensor, z: Tensor, slope: Tensor, direction: Tensor, known: Tensor | None
    ) -> Tensor:
        """Length of the first attempt, (b,): Hairer, Norsett, Wanner I, section II.4, "starting step size"."""
        if known is not None and (known > 0).all():
            return known
        if self.first_step is not None:
            return torch.as_tensor(self.first_step).to(t0).expand_as(t0)
        scale = self.atol + self.rtol * z.abs()
        size, speed = _rms(z / scale), _rms(slope / scale)
        is_tiny = (size < 1e-5) | (speed < 1e-5)
        trial = torch.where(is_tiny, 1e-6, 0.01 * size / speed).nan_to_num(nan=1e-6)
        probe = torch.addcmul(z, (direction.to(z.dtype) * trial)[:, None], slope)
        probe = torch.where(is_finite_row(probe)[:, None], probe, z)
        bend = _rms((field(t0 + direction * trial, probe) - slope) / scale) / trial
        steepest = torch.maximum(speed, bend)
        length = torch.where(
            steepest <= 1e-15, (trial * 1e-3).clamp(min=1e-6), ((0.01 / steepest).log() / self.order).exp()
        )
        length = torch.minimum(100 * trial, length).nan_to_num(nan=1e-6)
        length = length.clamp(min=1e-12).to(t0.dtype)
        return length if known is None else torch.where(known > 0, known, length)


def _rms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) / math.sqrt(max(x.shape[1], 1))


class Turns(ABC):
    """Which rows move in a round of a solve, and by which method; those of the other one wait.

    Attributes
    ----------
    n_switches : Tensor[b], int64
        Changes of the method of each row so far.
    """

    n_switches: Tensor

    @abstractmethod
    def begin(self, active: Tensor) -> tuple[AdaptiveSolver, Tensor]:
        """Method of the next round, and the rows (b,) of the `active` ones that move in it."""

    @abstractmethod
    def slope(self, field: VectorField, t: Tensor, z: Tensor, known: Tensor) -> Tensor:
        """The field at ``t`` and ``z``, which is `known` (b d) save where another method has moved a row meanwhile."""

    @abstractmethod
    def end(self, step: Step, dt: Tensor, left: Tensor, size: Tensor, accepted: Tensor, length: Tensor) -> Tensor:
        """See how a round went; length of the next step of each row (b,), which it has found to be `length`.

        Parameters
        ----------
        step : Step
        dt, left : Tensor[b]
            Length of the step and what was left before it, without a sign.
        size : Tensor[b d]
            What the error of the step is measured in.
        accepted : Tensor[b], bool
        """

    @abstractmethod
    def is_spent(self) -> Tensor | None:
        """Rows (b,) that have no steps left; None where all have."""

    @abstractmethod
    def as_read(self, step: Step, dt: Tensor) -> Step:
        """The step in the form that the solver reads it in."""
