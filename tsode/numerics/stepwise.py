"""Solvers that go step by step, and the reading of their paths between the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tsode.core.status import worst
from tsode.numerics.base import Solution, Solver, VectorField

__all__ = [
    "Located",
    "Step",
    "StepRecord",
    "StepwiseSolver",
    "StopRule",
    "Taping",
    "gradient_name",
    "locate",
    "run_step",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One step of every row, not yet accepted.

    Parameters
    ----------
    z : Tensor[b d]
        State at the end of the step; may be NaN or infinite where `is_finite` is False.
    stages : sequence of Tensor[b d]
        What the dense output reads the state inside the step from (the slopes of a Runge-Kutta method).
    is_finite : Tensor[b], bool
        Whether it can be accepted.
    reason : Tensor[b], int64, optional
        `tsode.core.status.Status` of a row where it cannot; by default that it is not finite.
    """

    z: Tensor
    stages: Sequence[Tensor]
    is_finite: Tensor
    reason: Tensor | None = field(default=None, kw_only=True)


StopRule = Callable[[Tensor, Step, Tensor, Tensor, Tensor], Tensor]
"""``(z, step, t, dt, is_accepted) -> is_stopped`` (b,): which rows end at the start of a step about to be taken."""


@dataclass
class StepRecord:
    """The steps taken so far, in rounds: in each, every row takes a step of its own length, which may be zero.

    Parameters
    ----------
    z, status, n_steps, n_switches, reached : Tensor
        As in `Solution`.
    ends : list of Tensor[b], float64
        Time elapsed since the start at the end of each round; kept only when the path is to be read.
    tracks : list of Tensor[b k+1 d]
        Each round's first state and the step's stages; kept likewise.
    """

    z: Tensor
    status: Tensor
    n_steps: Tensor
    n_switches: Tensor | None = None
    reached: Tensor | None = None
    ends: list[Tensor] = field(default_factory=list)
    records: list[Tensor] = field(default_factory=list)

    def add(self, z: Tensor, step: Step, end: Tensor) -> None:
        self.ends.append(end)
        self.records.append(torch.stack([z, *step.stages], dim=1))


@dataclass(frozen=True)
class Located:
    """The steps in which some times fall.

    Parameters
    ----------
    start, length : Tensor[b m], float64
        Begin of the step, as time elapsed since the start of the record, and its length.
    theta : Tensor[b m], float64
        Share of the step that has passed, in [0, 1].
    z : Tensor[b m d]
        State at the begin of the step.
    stages : list of Tensor[b m d]
    """

    start: Tensor
    length: Tensor
    theta: Tensor
    z: Tensor
    stages: list[Tensor]


def locate(record: StepRecord, elapsed: Tensor, side: str = "left") -> Located:
    """Find the recorded steps in which the times `elapsed` (b m), float64, not negative, fall.

    On the border of two steps the one that ends there is found or, with ``side="right"``, the one that begins. Past the
    end of a row that failed comes its last finite state with ``theta = 0``.
    """
    ends = torch.stack(record.ends, dim=1)
    starts = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)
    lengths = ends - starts
    # The first round that ends at or after the query: never one of length zero, unless the row has ended.
    index = torch.searchsorted(ends.detach(), elapsed.detach().contiguous(), side=side).clamp(max=ends.shape[1] - 1)
    start, length = starts.gather(1, index), lengths.gather(1, index)
    theta = torch.where(length > 0, (elapsed - start) / torch.where(length > 0, length, 1.0), 0.0).clamp(max=1.0)

    # Whole rows of a matrix: several times faster, forward and backward, than a gather along an axis.
    records = torch.stack(record.records, dim=1)
    b, n_rounds = ends.shape
    rows = (torch.arange(b, device=index.device)[:, None] * n_rounds + index).reshape(-1)
    chosen = records.reshape(b * n_rounds, -1).index_select(0, rows)
    z, *stages = chosen.reshape(*index.shape, *records.shape[2:]).unbind(dim=2)
    return Located(start, length, theta, z, stages)


class Taping(ABC):
    """Stands for a gradient in `StepwiseSolver.advance` where the stop rule notes the steps, and no record is kept."""

    @property
    @abstractmethod
    def is_live(self) -> bool:
        """Whether derivatives will be taken, so that steps must be right for them too."""


def gradient_name(gradient: object) -> object:
    """Name of a way to the gradient, which may be given by its name or as an object."""
    return getattr(gradient, "name", gradient)


def run_step(gradient: object, step: Callable[..., T], *args: object) -> T:
    """Call ``step(*args)``; with "checkpoint" only its inputs are stored and it runs again in the backward pass."""
    if gradient_name(gradient) == "checkpoint" and torch.is_grad_enabled():
        return checkpoint(step, *args, use_reentrant=False)
    return step(*args)


class StepwiseSolver(Solver):
    """Family of solvers that go step by step, with a formula for the state inside a step.

    Any step can be taken again by `step`, so that all ways to the gradient are open but those that take steps back.
    """

    gradients: ClassVar[tuple[str, ...]] = ("backprop", "checkpoint", "binomial", "adjoint", "forward")

    @abstractmethod
    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """Take one step of length ``dt`` (b,) from ``z`` (b d) at ``t`` (b,)."""

    def carried(self, field: VectorField, t0: Tensor, z: Tensor) -> tuple[StepwiseSolver, Tensor]:
        """What goes from step to step from ``z`` (b d) at ``t0`` (b,) on, and the solver of it.

        The state itself, as a rule; a method that carries more from step to step has it behind the state, so that each
        step can be taken again by itself.
        """
        return self, z

    @abstractmethod
    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        """Step from `t0` to `t1` exactly, or, given a `query_step`, past `t1` on steps that do not know `t1`.

        In the second case, and with a `stop_rule`, the steps are recorded. A row that the rule stops ends at the start
        of the step in question, with `Status.OK`. A solver that chooses its steps begins with the length `first_length`
        (b,) where that is positive.
        """

    @abstractmethod
    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        """State after the fraction `theta` (... 1) of a step of length `dt` (... 1) that began at `z` (... d)."""

    def solve(self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object) -> Solution:
        record = self.advance(field, z, t0, t1, gradient)
        return Solution(record.z, record.status, record.n_steps, record.n_switches, reached=record.reached)

    def solve_to(
        self, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> Solution:
        # Queries on either side of t0 need a record each; one with nowhere to go takes no rounds.
        ahead = self.advance(field, z, t0, torch.maximum(times.amax(dim=1), t0), gradient, query_step)
        behind = self.advance(field, z, t0, torch.minimum(times.amin(dim=1), t0), gradient, query_step)
        elapsed = times - t0[:, None]
        states = z[:, None].expand(-1, times.shape[1], -1)
        if ahead.ends:
            states = self.states_at(ahead, field, t0, elapsed.clamp(min=0), 1.0)
        if behind.ends:
            is_behind = (elapsed < 0)[..., None]
            before = self.states_at(behind, field, t0, (-elapsed).clamp(min=0), -1.0)
            states = torch.where(is_behind, before, states)
        return Solution(states, worst(ahead.status, behind.status), ahead.n_steps + behind.n_steps)

    def states_at(self, record: StepRecord, field: VectorField, t0: Tensor, elapsed: Tensor, sign: float) -> Tensor:
        """States of a path that was recorded from ``t0`` (b,), as of `read`; a method may ask the field again."""
        return self.read(record, elapsed, sign)

    def read(self, record: StepRecord, elapsed: Tensor, sign: float, side: str = "left") -> Tensor:
        """States of a recorded path at the times `elapsed` (b m), float64, not negative, since its start.

        Past the end of a row that failed stands its last finite state.
        """
        at = locate(record, elapsed, side)
        inside = self.interpolate(at.z, at.stages, (sign * at.length)[..., None].to(at.z), at.theta[..., None].to(at.z))
        # A row that has ended may hold stages that are not finite.
        return torch.where((at.theta > 0)[..., None], inside, at.z)
