"""Derivatives carried forward along with the states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.gradients.replay import Taped
from tsode.numerics.gradients.tape import Clock, Keep, Tape
from tsode.numerics.row_jacobian import load_rules
from tsode.numerics.stepwise import Step, StepwiseSolver

__all__ = ["Forward", "Sensitivities", "sensitivities"]

_TIMES = 3  # place of the times asked for among the inputs


@dataclass(frozen=True)
class Forward(Taped):
    """Derivatives by the start and all parameters carried along with the states, step by step.

    Memory does not grow with the number of steps; work grows with the number of coordinates and of parameters, each
    number of which has a tangent of its own: for few parameters, and for many outputs, whose derivatives are all had
    from one solve. They are those of the steps, the same as by `Backprop` up to rounding. Second derivatives can be
    had: the steps are then taken again with their graph kept. The field must work under `torch.func.jvp` and `vmap`.
    """

    name = "forward"

    def follow(
        self, solver: StepwiseSolver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor,
        times: Tensor | None = None, query_step: float | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
        keep = _First()
        tape = Tape(solver, field, z, t0, t1, keep, times, query_step)
        record = tape.record
        inputs = [z, t0, t1 - t0, times, *tape.captured.tensors]
        if not any(x is not None and x.requires_grad for x in inputs):
            return record.z, tape.answers, record.status, record.n_steps
        first = keep.z
        if first is not None:
            tape.captured.check_complete(lambda: tape.take(0, first)[0], self.name, is_replaced=True)
        end, answers = _Carried.apply(tape, *inputs)
        return end, answers, record.status, record.n_steps


@dataclass(frozen=True)
class Sensitivities:
    """Derivatives of states by n numbers, of which each input has its part.

    Parameters
    ----------
    end : Tensor[n b d]
        Of the states at the end.
    answers : Tensor[n b m d], optional
        Of those at the times asked for.
    parts : list of slice, or None
        Places of each input's numbers among the n; None where it is not differentiated by. Of the start these are the
        d coordinates, of its time, the time from there to the end and those asked for one each, as rows and answers do
        not see each other, and of what is captured all entries.
    """

    end: Tensor
    answers: Tensor | None
    parts: list[slice | None]


class _First(Keep):
    """The first state alone."""

    z: Tensor | None = None

    def see(self, k: int, z: Tensor, step: Step) -> None:
        if k == 0:
            self.z = z

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        raise AssertionError("derivatives that are carried forward are not gone back for")


def sensitivities(tape: Tape, inputs: Sequence[Tensor | None]) -> Sensitivities:
    """Derivatives of a solve by its start, its time and span, the times asked for and what its field has captured.

    Parameters
    ----------
    tape : Tape
        Of the solve.
    inputs : sequence of Tensor, or None
        In this order; None for what is not differentiated by.
    """
    load_rules()
    z, *others = inputs
    start, tangents, parts = _basis(tape, inputs)
    active = [x for x in others if x is not None]
    where = [k for k, x in enumerate(others) if x is not None]
    state = tape.start if z is None else z
    carried = start.expand(len(start), *state.shape) if z is None else start
    answers = None if tape.times is None else carried[:, :, None].expand(-1, -1, tape.times.shape[1], -1).clone()

    for k in range(tape.n_steps):

        def step(before: Tensor, *values: Tensor, k: int = k) -> tuple[Tensor, ...]:
            given: list[Tensor | None] = [None] * len(others)
            for place, value in zip(where, values):
                given[place] = value
            captured = [old if new is None else new for old, new in zip(tape.captured.tensors, given[3:])]
            with tape.captured.replaced(captured):
                after, inside = tape.take(k, before, Clock(*given[:3]))
            return (after,) if inside is None else (after, inside)

        def along(change: Tensor, *changes: Tensor) -> Any:
            return torch.func.jvp(step, (state, *active), (change, *changes))  # noqa: B023

        sides: Any = None, 0
        (state, *_), (carried, *inside) = torch.func.vmap(along, out_dims=sides, randomness="same")(carried, *tangents)
        place = tape.inside(k)
        if place is not None and answers is not None:
            rows, columns = place
            answers = answers.index_put((torch.arange(len(answers))[:, None], rows, columns), inside[0])
    if answers is not None and tape.beyond is not None:
        answers = torch.where(tape.beyond[..., None], carried[:, :, None], answers)
    return Sensitivities(carried, answers, parts)


def _basis(tape: Tape, inputs: Sequence[Tensor | None]) -> tuple[Tensor, list[Tensor], list[slice | None]]:
    """Tangents of the start (n b d), and of all other inputs, with the places of each."""
    like = tape.start
    b, d = like.shape
    sizes = [0 if x is None else (d if k == 0 else 1 if k <= _TIMES else x.numel()) for k, x in enumerate(inputs)]
    n, ends = sum(sizes), list(accumulate(sizes))
    parts = [None if x is None else slice(end - size, end) for x, end, size in zip(inputs, ends, sizes)]
    start = like.new_zeros(n, b, d)
    if parts[0] is not None:
        start[parts[0]] = torch.eye(d, dtype=like.dtype, device=like.device)[:, None].expand(-1, b, -1)
    tangents = []
    for k, (x, part) in enumerate(zip(inputs, parts)):
        if k == 0 or x is None or part is None:
            continue
        tangent = x.new_zeros(n, *x.shape)
        if k <= _TIMES:
            tangent[part] = 1.0
        else:
            tangent[part] = torch.eye(x.numel(), dtype=x.dtype, device=x.device).reshape(-1, *x.shape)
        tangents.append(tangent)
    return start, tangents, parts


def _pulled_back(
    found: Sensitivities, inputs: Sequence[Tensor | None], g_end: Tensor, g_answers: Tensor | None
) -> list[Tensor | None]:
    """Gradients by the inputs of what has the gradients `g_end` (b d) by the end and `g_answers` (b m d)."""
    gradients: list[Tensor | None] = []
    for k, (x, part) in enumerate(zip(inputs, found.parts)):
        if x is None or part is None:
            gradients.append(None)
            continue
        of_row = (found.end[part] * g_end).sum(dim=-1)
        if g_answers is not None and found.answers is not None:
            of_answer = (found.answers[part] * g_answers).sum(dim=-1)
            if k == _TIMES:
                gradients.append(of_answer[0].to(x))
                continue
            of_row = of_row + of_answer.sum(dim=-1)
        gradients.append(
            (of_row.T if k == 0 else of_row[0] if k < _TIMES else of_row.sum(dim=1).reshape(x.shape)).to(x)
        )
    return gradients


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tape: Tape, *inputs: Tensor | None) -> tuple[Tensor, Tensor | None]:
        ctx.tape = tape
        ctx.save_for_backward(*inputs)
        ctx.found = sensitivities(tape, _wanted(inputs, ctx.needs_input_grad[1:]))
        answers, tape.answers = tape.answers, None
        return tape.record.z.clone(), answers

    @staticmethod
    def backward(ctx: Any, g_end: Tensor, g_answers: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, found = _wanted(ctx.saved_tensors, ctx.needs_input_grad[1:]), ctx.found
        if torch.is_grad_enabled():  # to be differentiated again
            found = sensitivities(ctx.tape, inputs)
        return None, *_pulled_back(found, inputs, g_end, g_answers)


def _wanted(inputs: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor | None]:
    return [x if needed else None for x, needed in zip(inputs, needs)]
