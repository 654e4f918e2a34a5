"""Solvers that carry a second copy beside the state, so that a step can be taken back: the base class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.core.status import Status
from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.stepwise import Step, StepRecord, StepwiseSolver, StopRule, Taping

__all__ = ["PairStep", "PairedStep"]


_N_FAR = 3  # steps; from rest, or where a state turns, fewer may be


class PairStep(NamedTuple):
    """One step of a state and its copy.

    Parameters
    ----------
    end : Tensor[b k]
        State and copy at the end.
    stages : sequence of Tensor[b d]
        What the dense output of the state is read from.
    is_finite : Tensor[b], bool
    apart : Tensor[b]
        Distance of the copy from where the state has it, as a movement of the state.
    moved : Tensor[b]
        Length of the way that the state has gone.
    """

    end: Tensor
    stages: Sequence[Tensor]
    is_finite: Tensor
    apart: Tensor
    moved: Tensor


@dataclass(frozen=True)
class PairedStep(FixedStep):
    """Family of solvers that carry a second copy beside the state, by which each step has an inverse in closed form.

    The copy begins anew with each solve, and so at each observation, dose and event, and goes along all steps between:
    queries do not touch it. What it costs is damping: where the state decays, its distance from the copy grows. A
    row whose copy is further away than half of the way gone so far, in three steps on end, ends there with
    `Status.UNSTABLE`.

    Attributes
    ----------
    n_parts : int
        How many times as wide as a state is what is carried.
    """

    gradients: ClassVar[tuple[str, ...]] = (*FixedStep.gradients, "reversible")
    n_parts: ClassVar[int]

    @abstractmethod
    def copy_of(self, field: VectorField, t: Tensor, z: Tensor) -> Tensor:
        """What is carried beside ``z`` (b d) from ``t`` (b,) on."""

    @abstractmethod
    def pair_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> PairStep:
        """Take one step of length ``dt`` (b,) from a state and its copy (b k) at ``t`` (b,)."""

    @abstractmethod
    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, pair: Tensor) -> Tensor:
        """State and copy at ``t`` (b,) from which `pair_step` comes to `pair` (b k)."""

    def carried(self, field: VectorField, t0: Tensor, z: Tensor) -> tuple[StepwiseSolver, Tensor]:
        is_usable = is_finite_row(z) & t0.isfinite()
        copy = self.copy_of(field, t0.where(is_usable, 0.0), torch.where(is_usable[:, None], z, 0.0))
        return _Pairs(self.n_steps, self.max_step, self.max_steps, method=self), torch.cat([z, copy], dim=1)

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """One step from a state alone, whose copy begins with it."""
        pairs, pair = self.carried(field, t, z)
        return _of_state(pairs.step(field, t, dt, pair), z.shape[1])

    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        d = z.shape[1]
        pairs, pair = self.carried(field, t0, z)

        def of_states(before: Tensor, step: Step, *about: Tensor) -> Tensor:
            assert stop_rule is not None
            return stop_rule(before[:, :d], _of_state(step, d), *about)

        rule = None if stop_rule is None else of_states
        record = pairs.advance(field, pair, t0, t1, gradient, query_step, rule)
        record.z, record.records = record.z[:, :d], [entry[..., :d] for entry in record.records]
        return record


@dataclass(frozen=True, kw_only=True)
class _Pairs(FixedStep):
    """The solver of states together with their copies."""

    method: PairedStep

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        return self._seen(None, field, t, dt, z)

    def inverse_step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Tensor:
        return self.method.inverse_step(field, t, dt, z)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return self.method.interpolate(z, stages, dt, theta)

    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        watch = _Watch(t0)
        is_recorded = (query_step is not None or stop_rule is not None) and not isinstance(gradient, Taping)
        step, grid = partial(self._seen, watch, field), self.grid(t1 - t0, query_step)
        return self.take_steps(step, z, t0, grid, gradient, is_recorded, stop_rule)

    def _seen(self, watch: _Watch | None, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """One step; of rows whose copy comes apart, by the `watch`, it is none."""
        step = self.method.pair_step(field, t, dt, z)
        d = z.shape[1] // self.method.n_parts
        beside = torch.zeros_like(z[:, d:])
        stages = [torch.cat([stage, beside], dim=1) for stage in step.stages]
        if watch is None:
            return Step(step.end, stages, step.is_finite)
        is_lost = watch.is_lost(step)
        reason = torch.where(is_lost, int(Status.UNSTABLE), int(Status.NON_FINITE))
        return Step(step.end, stages, step.is_finite & ~is_lost, reason=reason)


class _Watch:
    """The distances of copies from their states, step after step of one solve."""

    def __init__(self, like: Tensor) -> None:
        self.travelled = torch.zeros_like(like)
        self.n_far = torch.zeros_like(like)

    def is_lost(self, step: PairStep) -> Tensor:
        """Whether a row has come apart, at this step."""
        self.travelled = self.travelled + step.moved.detach().nan_to_num()
        is_far = step.is_finite & (step.apart.detach() > 0.5 * self.travelled)
        self.n_far = torch.where(is_far, self.n_far + 1, 0)
        return self.n_far >= _N_FAR


def _of_state(step: Step, d: int) -> Step:
    return Step(step.z[:, :d], [stage[:, :d] for stage in step.stages], step.is_finite)
