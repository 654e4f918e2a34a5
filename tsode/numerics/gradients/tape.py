"""Tape of a solve: the steps that it took, short enough to be taken again, and the states to take them from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.captured import Captured
from tsode.numerics.fixed_grid import FixedSteps
from tsode.numerics.stepwise import Step, StepRecord, StepwiseSolver, Taping

__all__ = ["Clock", "Keep", "KeepNothing", "Tape"]


class Keep(ABC):
    """Which states of a solve are kept, and how the others are had again, from the last to the first."""

    @abstractmethod
    def see(self, k: int, z: Tensor, step: Step) -> None:
        """Hear of the state ``z`` (b d) before step `k`, and of the step itself, while the solve goes on."""

    @abstractmethod
    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        """Number of each step and the state before it, from the last to the first; may be asked for again."""


class KeepNothing(Keep):
    """No state is kept, of steps that are not gone back for."""

    def see(self, k: int, z: Tensor, step: Step) -> None:
        pass

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        raise AssertionError("there is no way back to steps of which nothing was kept")


@dataclass
class Clock:
    """Times that a solve is differentiated by; None where it is not.

    Parameters
    ----------
    t0, span : Tensor[b], float64
        Start, and time from there to the end.
    times : Tensor[b m], float64
        Where it is asked for.
    """

    t0: Tensor | None = None
    span: Tensor | None = None
    times: Tensor | None = None


class Tape(Taping):
    """The steps of a solve from ``t0`` to ``t1``, or along its way to `times`.

    A step is four numbers a row, whatever the size of the state. Only steps that carry some row are counted.

    Parameters
    ----------
    field, solver
        Of the solve.
    z : Tensor[b d]
    t0, t1 : Tensor[b], float64
    keep : Keep
    times : Tensor[b m], float64, optional
        Where answers are read inside the steps; those on the other side of the start are answered with it.
    query_step : float, optional
        See `StepwiseSolver.advance`.
    """

    def __init__(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, keep: Keep,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> None:  # fmt: skip
        self.solver, self.field, self.keep, self.captured = solver, field, keep, Captured()
        self.given = any(x.requires_grad for x in (z, t0, t1))
        self.t0, self.span = t0.detach(), (t1 - t0).detach()
        self.sign = self.span.sign()
        self.n_steps = 0
        self._steps = _Rows(4, len(t0), t0)
        self._elapsed = torch.zeros_like(self.t0)
        self._count = torch.zeros_like(t0, dtype=torch.int64)
        self._asked: dict[int, tuple[Tensor, Tensor]] = {}
        self._none = torch.zeros(len(t0), dtype=torch.bool, device=t0.device)
        self.times = None if times is None else times.detach()
        self.elapsed = (
            None if times is None else (self.sign[:, None] * (times.detach() - self.t0[:, None])).clamp(min=0)
        )
        self.start = z = z.detach()
        self.answers = None if times is None else z[:, None].expand(-1, times.shape[1], -1).clone()
        with self.captured.watching():
            self.record: StepRecord = solver.advance(field, z, self.t0, t1.detach(), self, query_step, stop_rule=self)
        # In the last of its steps a row meets its end, where the solver has chosen them.
        self.last = self._last_steps() if query_step is None and not isinstance(solver, FixedSteps) else None
        self.is_stretched = query_step is None and isinstance(solver, FixedSteps)
        self.beyond: Tensor | None = None
        if self.elapsed is not None and self.answers is not None:
            self.beyond = self.elapsed > self._elapsed[:, None]
            self.answers = torch.where(self.beyond[..., None], self.record.z[:, None], self.answers)

    @property
    def is_live(self) -> bool:
        return self.given or bool(self.captured.tensors)

    def __call__(self, z: Tensor, step: Step, t: Tensor, dt: Tensor, accepted: Tensor) -> Tensor:
        """Note a step; as a rule that stops no row."""
        self.captured.forget_made()
        if accepted.any():
            k, dt = self.n_steps, torch.where(accepted, dt, 0.0)
            self.keep.see(k, z, step)
            if isinstance(self.solver, FixedSteps):  # rounded as by the solver, or a time could fall past its last step
                self._count = self._count + accepted
                reached = torch.where(accepted, dt.abs() * self._count, self._elapsed)
            else:
                reached = self._elapsed + dt.abs()
            self._steps.append(t, dt, self._elapsed, reached)
            if self.elapsed is not None and self.answers is not None:
                is_inside = (self.elapsed > self._elapsed[:, None]) & (self.elapsed <= reached[:, None])
                rows, columns = is_inside.nonzero(as_tuple=True)
                if len(rows):
                    self._asked[k] = rows, columns
                    self.answers[rows, columns] = self._read(k, z, step, Clock())
            self._elapsed, self.n_steps = reached, k + 1
        return self._none

    @property
    def ends(self) -> Tensor:
        """Time elapsed at the end of each step, (b k); of a row that is not carried by one, at the end of its last."""
        return self._steps.table[: self.n_steps, 3].T.contiguous()

    @property
    def reached(self) -> Tensor:
        """Time elapsed at the end of all, (b,)."""
        return self._elapsed

    def of_start(self, g_answers: Tensor) -> Tensor:
        """What gradients of answers (b m d) give to the start (b d): of those at it, or on its other side."""
        assert self.elapsed is not None
        return torch.where((self.elapsed == 0)[..., None], g_answers, 0.0).sum(dim=1)

    def inside(self, k: int) -> tuple[Tensor, Tensor] | None:
        """Row and column of each answer that is read inside step `k`."""
        return self._asked.get(k)

    def take(self, k: int, z: Tensor, clock: Clock | None = None) -> tuple[Tensor, Tensor | None]:
        """State after step `k` from ``z`` (b d), and the answers inside it (p d).

        A `clock` has the times of the tape, to be differentiated by.
        """
        t, dt, *_ = self._steps[k]
        is_taken, clock = dt != 0, clock or Clock()
        if clock.span is not None:
            stretch = clock.span - self.span
            if self.last is not None:
                dt = dt + torch.where(self.last == k, stretch, 0.0)
            elif self.is_stretched:
                unit = torch.where(self.span != 0, stretch / torch.where(self.span != 0, self.span, 1.0), 0.0)
                t, dt = t + (t - self.t0) * unit, dt + dt * unit
        if clock.t0 is not None:
            t = t + (clock.t0 - self.t0)
        step = self.solver.step(self.field, t, dt, z)
        answers = self._read(k, z, step, clock) if k in self._asked else None
        return torch.where(is_taken[:, None], step.z, z), answers

    def take_back(self, k: int, z: Tensor) -> Tensor:
        """State before step `k`, from the one after it, by the inverse that the solver has."""
        t, dt, *_ = self._steps[k]
        before = self.solver.inverse_step(self.field, t, dt, z)  # type: ignore[attr-defined]
        return torch.where((dt != 0)[:, None], before, z)

    def _read(self, k: int, z: Tensor, step: Step, clock: Clock) -> Tensor:
        assert self.times is not None
        assert self.elapsed is not None
        rows, columns = self._asked[k]
        asked, sign = self.elapsed[rows, columns], self.sign[rows]
        if clock.times is not None:
            asked = asked + sign * (clock.times[rows, columns] - self.times[rows, columns])
        if clock.t0 is not None:
            asked = asked - sign * (clock.t0 - self.t0)[rows]
        start, end = self._steps[k][2:, rows]
        theta = ((asked - start) / (end - start)).clamp(max=1.0)
        stages, length = [x[rows] for x in step.stages], sign * (end - start)
        return self.solver.interpolate(z[rows], stages, length[:, None].to(z), theta[:, None].to(z))

    def _last_steps(self) -> Tensor:
        """Number of the step in which each row came to its end, (b,); -1 where it did not."""
        last = torch.full_like(self.record.status, -1)
        has_come = self._elapsed > 0
        for k in reversed(range(self.n_steps)):
            is_here = (self._steps[k][1] != 0) & (last < 0) & has_come & (self.record.status == 0)
            last = torch.where(is_here, k, last)
            if not (has_come & (last < 0) & (self.record.status == 0)).any():
                break
        return last


class _Rows:
    """A table that grows row by row, of `width` numbers each of (b,)."""

    def __init__(self, width: int, b: int, like: Tensor) -> None:
        self.table, self.n = like.new_empty(16, width, b), 0

    def append(self, *columns: Tensor) -> None:
        if self.n == len(self.table):
            self.table = torch.cat([self.table, torch.empty_like(self.table)])
        self.table[self.n] = torch.stack(columns)
        self.n += 1

    def __getitem__(self, k: int) -> Tensor:
        return self.table[k]
