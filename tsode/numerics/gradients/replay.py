"""Solve that keeps few of its states, and takes its steps again for the gradient, from the last to the first."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from tsode.core.status import worst
from tsode.errors import ParameterError
from tsode.numerics.base import Gradient, Solution, Solver, VectorField
from tsode.numerics.captured import check_complete, made_inside
from tsode.numerics.gradients.tape import Clock, Keep, Tape
from tsode.numerics.stepwise import StepwiseSolver

__all__ = ["Replayed", "Taped", "refuse_second"]


class Taped(Gradient):
    """Family of ways that solve without any graph, note the steps, and join the gradient on afterwards.

    A solver that does not go step by step is left to it.
    """

    @abstractmethod
    def follow(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
        """Solve to ``t1`` (b,), or past the `times` (b m) of its side: state there, answers, status and steps."""

    def follow_carried(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
        """As `follow`, with all that the solver carries from step to step."""
        d = z.shape[1]
        solver, z = solver.carried(field, t0, z)
        end, answers, status, n_steps = self.follow(solver, field, z, t0, t1, times, query_step)
        return end[:, :d], None if answers is None else answers[..., :d], status, n_steps

    def solve(self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor) -> Solution:
        if not isinstance(solver, StepwiseSolver) or not torch.is_grad_enabled():
            return super().solve(solver, field, z, t0, t1)
        end, _, status, n_steps = self.follow_carried(solver, field, z, t0, t1)
        return Solution(end, status, n_steps)

    def solve_to(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, query_step: float
    ) -> Solution:
        if not isinstance(solver, StepwiseSolver) or not torch.is_grad_enabled():
            return super().solve_to(solver, field, z, t0, times, query_step)
        sides = []
        for furthest in (torch.maximum(times.amax(dim=1), t0), torch.minimum(times.amin(dim=1), t0)):
            if (furthest != t0).any():
                sides.append(self.follow_carried(solver, field, z, t0, furthest.detach(), times, query_step))
        if not sides:
            return super().solve_to(solver, field, z, t0, times, query_step)
        states, status, n_steps = sides[0][1], sides[0][2], sides[0][3]
        assert states is not None
        for _, others, other_status, other_steps in sides[1:]:
            assert others is not None
            states = torch.where((times < t0[:, None])[..., None], others, states)
            status, n_steps = worst(status, other_status), n_steps + other_steps
        return Solution(states, status, n_steps)

    def solve_through(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, times: Tensor, query_step: float
    ) -> tuple[Tensor, Solution]:
        if not isinstance(solver, StepwiseSolver) or not torch.is_grad_enabled():
            return super().solve_through(solver, field, z, t0, t1, times, query_step)
        end = self.solve(solver, field, z, t0, t1.where(t1.isfinite(), t0))
        way = self.solve_to(solver, field, z, t0, times, query_step)
        return end.z, Solution(way.z, worst(end.status, way.status), end.n_steps + way.n_steps)


class Replayed(Taped):
    """Family of ways that go back step by step, each of which is taken again from the state before it."""

    @abstractmethod
    def keep(self) -> Keep:
        """What is kept of the states, for one solve."""

    def follow(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
        tape = Tape(solver, field, z, t0, t1, self.keep(), times, query_step)
        record = tape.record
        inputs = [z, t0, t1 - t0, times, *tape.captured.tensors]
        if not any(x is not None and x.requires_grad for x in inputs):
            return record.z, tape.answers, record.status, record.n_steps
        end, answers = _Replay.apply(self.name, tape, *inputs)
        return end, answers, record.status, record.n_steps


def refuse_second(name: str) -> None:
    """Raise a `ParameterError` where a derivative is itself to be differentiated."""
    if torch.is_grad_enabled():
        raise ParameterError(
            f"gradient={name!r} gives first derivatives only: for create_graph=True, or a Hessian, use "
            "gradient='backprop' or 'forward'."
        )


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, name: str, tape: Tape, *inputs: Tensor | None) -> tuple[Tensor, Tensor | None]:
        ctx.name, ctx.tape = name, tape
        ctx.save_for_backward(*inputs)
        # Nothing that comes out may be held by what its gradient holds: it would never be let go.
        answers, tape.answers = tape.answers, None
        return tape.record.z.clone(), answers

    @staticmethod
    def backward(ctx: Any, g_end: Tensor, g_answers: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second(ctx.name)
        tape: Tape = ctx.tape
        needs = ctx.needs_input_grad[2:]
        _, t0, span, times, *captured = (x if needed else None for x, needed in zip(ctx.saved_tensors, needs))
        # What is made of other tensors stands for itself, or these would be reached through it again.
        is_replaced = not tape.captured.are_leaves
        values = [x.detach().requires_grad_() if x is not None and is_replaced else x for x in captured]
        clock = Clock(*(None if x is None else x.detach().requires_grad_() for x in (t0, span, times)))
        others = [x for x in (clock.t0, clock.span, clock.times, *values) if x is not None]
        sums: list[Tensor | None] = [None] * len(others)
        g = g_end
        if g_answers is not None:
            assert tape.beyond is not None
            g = g + torch.where(tape.beyond[..., None], g_answers, 0.0).sum(dim=1)
        made: dict[int, Tensor] | None = None
        replacement = [value if value is not None else x for value, x in zip(values, tape.captured.tensors)]
        with tape.captured.replaced(replacement) if is_replaced else nullcontext():
            for k, before in tape.keep.backward(tape):
                is_first = made is None
                with torch.enable_grad(), made_inside() if is_first else nullcontext(made) as made:
                    before = before.detach().requires_grad_()
                    after, inside = tape.take(k, before, clock)
                results, slopes = [after], [g]
                place = tape.inside(k)
                if inside is not None and place is not None and g_answers is not None:
                    results, slopes = [after, inside], [g, g_answers[place]]
                if is_first:
                    known = [before, *others, *tape.captured.tensors, *(made or {}).values()]
                    check_complete(results, known, ctx.name)
                    made = {}
                pairs = [(x, slope) for x, slope in zip(results, slopes) if x.requires_grad]
                g, *parts = torch.autograd.grad(
                    [x for x, _ in pairs], [before, *others], [slope for _, slope in pairs], allow_unused=True
                )
                sums = [old if new is None else new if old is None else old + new for old, new in zip(sums, parts)]
        if g_answers is not None:  # at the start, or on the other side of it
            g = g + tape.of_start(g_answers)
        found = iter(sums)
        return (
            None,
            None,
            g,
            *(next(found) if x is not None else None for x in (clock.t0, clock.span, clock.times, *values)),
        )
