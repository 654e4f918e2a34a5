"""Gradient by the adjoint equation, solved backward along the path that the states have taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.gradients.replay import Taped, refuse_second
from tsode.numerics.gradients.tape import Keep, Tape
from tsode.numerics.stepwise import Step, StepwiseSolver, Taping

__all__ = ["Adjoint"]

# Gauss's points within a step, and their weights: of order six, above that of all paths inside steps.
_POINTS = (0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5)
_WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


@dataclass(frozen=True)
class Adjoint(Taped):
    """Adjoint equation ``da/dt = -a df/dz``, solved from the end to the start with steps of its own.

    The states on the way come from the steps that were taken, read inside them, and are never solved for backward:
    where they decay that would explode. What the parameters get is a quadrature along the way, which the steps of the
    adjoint do not see. The gradient is that of the equation, not of the steps: it differs from `Backprop` by the
    tolerance of the solver, or the length of its steps. Memory is that of the steps, a state and the slopes inside
    each; a graph is kept of one evaluation at a time. First derivatives only.

    Parameters
    ----------
    solver : StepwiseSolver, optional
        Of the adjoint; that of the states by default.

    References
    ----------
    Chen et al., "Neural ordinary differential equations", NeurIPS 2018, appendix B; with a stored path: Zhuang et al.,
    "Adaptive checkpoint adjoint method for gradient estimation in neural ODE", ICML 2020.
    """

    solver: StepwiseSolver | None = None

    name = "adjoint"

    def check(self, solver: Solver) -> None:
        super().check(solver)
        if self.solver is not None and not isinstance(solver, StepwiseSolver):
            raise ParameterError(f"{type(solver).__name__} solves its adjoint by itself: leave out solver=.")
        if self.solver is not None and (
            not isinstance(self.solver, StepwiseSolver) or self.solver.field_type is not object
        ):
            raise ParameterError(
                f"solver={self.solver!r} cannot solve the adjoint equation: give one that goes step by step and takes "
                "any field, for instance Dopri5()."
            )

    def follow_carried(self, *solve: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        return self.follow(*solve)  # the equation is that of the states alone

    def follow(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
        backward = self.solver or (solver if solver.field_type is object else None)
        if backward is None:
            raise ParameterError(
                f"{type(solver).__name__} takes fields of its own kind alone, which the adjoint equation is not: give "
                "it a solver, for instance gradient=Adjoint(solver=Dopri5())."
            )
        path = _Path()
        tape = Tape(solver, field, z, t0, t1, path, times, query_step)
        record = tape.record
        inputs = [z, t0, t1 if times is None else None, times, *tape.captured.tensors]
        if not any(x is not None and x.requires_grad for x in inputs):
            return record.z, tape.answers, record.status, record.n_steps
        if not tape.n_steps:  # every row ends where it began
            answers = None if tape.answers is None else z[:, None].expand_as(tape.answers)
            return z.clone(), answers, record.status, record.n_steps
        path.close(tape)
        is_replaced = not tape.captured.are_leaves
        tape.captured.check_complete(lambda: field(tape.t0, tape.start), self.name, is_replaced)
        end, answers = _Adjoint.apply(tape, path, backward, *inputs)
        return end, answers, record.status, record.n_steps


class _Path(Keep):
    """The states and slopes of all steps, to be read inside them."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def see(self, k: int, z: Tensor, step: Step) -> None:
        self.steps.append(torch.stack([z, *step.stages], dim=1))

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        raise AssertionError("a path that is read is not gone back for")

    def close(self, tape: Tape) -> None:
        """Make ready to be read, after the last step."""
        self.tape, self.ends = tape, tape.ends
        del tape.keep  # or each would hold the other
        self.starts = torch.cat([torch.zeros_like(self.ends[:, :1]), self.ends[:, :-1]], dim=1)
        self.table = torch.stack(self.steps)
        self.rows = torch.arange(len(self.ends), device=self.ends.device)
        self.steps = []

    def read(self, t: Tensor) -> Tensor:
        """States (b d) at the times ``t`` (b,), within what has been solved for."""
        sign = self.tape.sign
        elapsed = (sign * (t - self.tape.t0)).clamp(min=0)
        index = torch.searchsorted(self.ends, elapsed[:, None])[:, 0].clamp(max=self.ends.shape[1] - 1)
        start = self.starts[self.rows, index]
        length = self.ends[self.rows, index] - start
        theta = torch.where(length > 0, (elapsed - start) / torch.where(length > 0, length, 1.0), 0.0).clamp(max=1.0)
        z, *stages = self.table[index, self.rows].unbind(dim=1)
        inside = self.tape.solver.interpolate(z, stages, (sign * length)[:, None].to(z), theta[:, None].to(z))
        return torch.where((theta > 0)[:, None], inside, z)


class _Steps(Taping):
    """The adjoint's steps, of which each gives its part of the parameters' quadrature and is forgotten."""

    is_live = False

    def __init__(self, solve: _Backward, scale: Tensor) -> None:
        self.solve, self.scale = solve, scale
        self.none = torch.zeros_like(scale[:, 0], dtype=torch.bool)

    def __call__(self, a: Tensor, step: Step, t: Tensor, dt: Tensor, accepted: Tensor) -> Tensor:
        if self.solve.values and accepted.any():
            length = torch.where(accepted, dt, 0.0)[:, None].to(a)
            stages = [torch.where(accepted[:, None], x, 0.0) for x in step.stages]
            for point, weight in zip(_POINTS, _WEIGHTS):
                theta = torch.full_like(length, point)
                inside = self.solve.solver.interpolate(a, stages, length, theta)
                self.solve.add(t + point * torch.where(accepted, dt, 0.0), -weight * length * self.scale * inside)
        return self.none


class _Backward:
    """The adjoint, and the sums for the parameters.

    Parameters
    ----------
    path : _Path
    solver : StepwiseSolver
    values : list of Tensor
        The parameters.
    """

    def __init__(self, path: _Path, solver: StepwiseSolver, values: Sequence[Tensor]) -> None:
        self.path, self.solver, self.values = path, solver, list(values)
        self.sums = [torch.zeros_like(x) for x in self.values]
        self.status = torch.zeros_like(path.rows)

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.path.tape.field(t, z)

    def field(self, t: Tensor, a: Tensor) -> Tensor:
        """Right-hand side of the adjoint equation."""
        with torch.enable_grad():
            z = self.path.read(t).requires_grad_()
            slope = self.slope(t, z)
        if not slope.requires_grad:
            return torch.zeros_like(a)
        (pulled,) = torch.autograd.grad(slope, z, a, allow_unused=True, materialize_grads=True)
        return -pulled

    def add(self, t: Tensor, a: Tensor) -> None:
        """Add what the adjoint ``a`` (b d), times a length of time, gives the parameters at ``t`` (b,)."""
        with torch.enable_grad():
            slope = self.slope(t, self.path.read(t))
        if slope.requires_grad:
            parts = torch.autograd.grad(slope, self.values, a, allow_unused=True, materialize_grads=True)
            self.sums = [old + new for old, new in zip(self.sums, parts)]

    def carry(self, a: Tensor, t: Tensor, until: Tensor) -> Tensor:
        """The adjoint ``a`` (b d) from ``t`` (b,) back to `until` (b,); NaN in a row that does not get there."""
        # It is linear: tolerances hold for it in units of itself, whatever the unit of the loss.
        scale = a.abs().amax(dim=1, keepdim=True)
        scale = torch.where(scale > 0, scale, 1.0)
        steps = _Steps(self, scale)
        record = self.solver.advance(self.field, a / scale, t, until, steps, stop_rule=steps)
        return torch.where((record.status == 0)[:, None], scale * record.z, torch.nan)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tape: Tape, path: _Path, solver: StepwiseSolver, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        ctx.path, ctx.solver = path, solver
        ctx.save_for_backward(*inputs)
        answers, tape.answers = tape.answers, None
        return tape.record.z.clone(), answers

    @staticmethod
    def backward(ctx: Any, g_end: Tensor, g_answers: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second("adjoint")
        path: _Path = ctx.path
        tape = path.tape
        _, t0, t1, times, *captured = ctx.saved_tensors
        is_replaced = not tape.captured.are_leaves
        values = [x.detach().requires_grad_() for x in captured] if is_replaced else captured
        solve = _Backward(path, ctx.solver, values)

        def at(elapsed: Tensor) -> Tensor:
            return tape.t0 + tape.sign * elapsed

        by_times: Tensor | None = None
        by_end: Tensor | None = None
        with tape.captured.replaced(values) if is_replaced else nullcontext():
            a, elapsed = g_end, tape.reached
            if t1 is not None:
                rate = (g_end * solve.slope(t1, tape.record.z)).sum(dim=1).to(t1)
                by_end = torch.where(tape.record.status == 0, rate, 0.0)
            if g_answers is not None and tape.elapsed is not None and tape.beyond is not None:
                by_times = torch.zeros_like(times)
                asked, order = torch.minimum(tape.elapsed, elapsed[:, None]).sort(dim=1, descending=True)
                for j in range(asked.shape[1]):
                    a = solve.carry(a, at(elapsed), at(asked[:, j])) if (asked[:, j] < elapsed).any() else a
                    elapsed, column = asked[:, j], order[:, j]
                    jump = torch.where((elapsed > 0)[:, None], g_answers[path.rows, column], 0.0)
                    if ctx.needs_input_grad[6]:
                        slope = solve.slope(at(elapsed), path.read(at(elapsed)))
                        rate = (jump * slope).sum(dim=1).to(times)
                        by_times[path.rows, column] = torch.where(tape.beyond[path.rows, column], 0.0, rate)
                    a = a + jump
            a = solve.carry(a, at(elapsed), tape.t0)
            by_start = -(a * solve.slope(tape.t0, tape.start)).sum(dim=1).to(t0)
        if g_answers is not None:
            a = a + tape.of_start(g_answers)
        return None, None, None, a, by_start, by_end, by_times, *solve.sums
