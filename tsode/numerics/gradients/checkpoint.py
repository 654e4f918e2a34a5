"""Gradient from few states that are kept, between which the steps are taken again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.numerics.gradients.replay import Replayed
from tsode.numerics.gradients.tape import Keep, Tape
from tsode.numerics.stepwise import Step, StepwiseSolver

__all__ = ["Binomial", "Checkpoint"]


@dataclass(frozen=True)
class Checkpoint(Replayed):
    """Checkpoints: the state is kept every so many steps, and a step taken again for its gradient.

    The same gradient as by `Backprop` up to rounding, first derivatives only. With ``every=1`` a step is taken twice in
    all and its state kept; with more, three times, and one state in so many.

    Parameters
    ----------
    every : int
        Steps from one state that is kept to the next.
    """

    every: int = 1

    name = "checkpoint"

    def __post_init__(self) -> None:
        if not self.every >= 1:
            raise ParameterError(f"every must be at least 1, but is {self.every}: write for instance Checkpoint(10).")

    def check(self, solver: Solver) -> None:
        super().check(solver)
        _check_stepwise(self, solver, self == Checkpoint())

    def keep(self) -> Keep:
        return _Regular(self.every)


@dataclass(frozen=True)
class Binomial(Replayed):
    """Checkpoints on a binomial schedule: memory grows as the logarithm of the number of steps.

    While the solve goes on, states at even distances are kept, every other one of which is let go when they are too
    many; on the way back the stretches between them are halved again and again by treeverse. The same gradient as by
    `Backprop` up to rounding, first derivatives only. With n steps and the default some five are taken for each one
    when n is 10,000.

    Parameters
    ----------
    snapshots : int, optional
        States that are kept at once; by default twice the logarithm of the number of steps to base 2.

    References
    ----------
    Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation",
    Optimization Methods and Software 1, 1992.
    """

    snapshots: int | None = None

    name = "binomial"

    def __post_init__(self) -> None:
        if self.snapshots is not None and not self.snapshots >= 2:
            raise ParameterError(f"snapshots must be at least 2, or None, but is {self.snapshots}.")

    def check(self, solver: Solver) -> None:
        super().check(solver)
        _check_stepwise(self, solver)

    def keep(self) -> Keep:
        return _Halving(self.snapshots)


def _check_stepwise(gradient: Replayed, solver: Solver, is_offered: bool = False) -> None:
    if not isinstance(solver, StepwiseSolver) and not is_offered:
        raise ParameterError(
            f"{gradient} needs a solver that goes step by step, which {type(solver).__name__} does not: use for "
            "instance Dopri5()."
        )


class _Regular(Keep):
    """The state before every so many steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.states: list[Tensor] = []

    def see(self, k: int, z: Tensor, step: Step) -> None:
        if k % self.every == 0:
            self.states.append(z)

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        for place in reversed(range(len(self.states))):
            first = place * self.every
            states = [self.states[place]]
            for k in range(first, min(first + self.every, tape.n_steps) - 1):
                states.append(_take(tape, k, states[-1]))
            for k in reversed(range(len(states))):
                yield first + k, states.pop()


class _Halving(Keep):
    """States at even distances, which are doubled when there are too many."""

    def __init__(self, snapshots: int | None) -> None:
        self.snapshots, self.stride = snapshots, 1
        self.states: list[Tensor] = []

    def see(self, k: int, z: Tensor, step: Step) -> None:
        if k % self.stride == 0:
            self.states.append(z)
            if len(self.states) > self._most(k + 1) // 2:
                self.states, self.stride = self.states[::2], 2 * self.stride

    def _most(self, n: int) -> int:
        return self.snapshots or 2 * max(2, math.ceil(math.log2(n)))

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        n = tape.n_steps
        for place in reversed(range(len(self.states))):
            first = place * self.stride
            n_free = self._most(n) - place - 1
            yield from _treeverse(tape, self.states[place], first, min(first + self.stride, n), n_free)


def _treeverse(tape: Tape, z: Tensor, first: int, end: int, n_free: int) -> Iterator[tuple[int, Tensor]]:
    """The steps from `first` up to `end`, from the last to the first, from the state before the first of them."""
    if end - first > 1 and n_free < 1:
        for k in reversed(range(first, end)):
            yield k, _take(tape, k, z, first)
        return
    while end - first > 1:
        repeats = 1
        while math.comb(n_free + repeats, repeats) < end - first:
            repeats += 1
        middle = end - max(1, (end - first) * n_free // (n_free + repeats))
        middle = max(middle, first + 1)
        yield from _treeverse(tape, _take(tape, middle, z, first), middle, end, n_free - 1)
        end = middle
    yield first, z


@torch.no_grad()
def _take(tape: Tape, k: int, z: Tensor, first: int | None = None) -> Tensor:
    """State after step `k`; with `first`, the state before it from the one before the `first`."""
    if first is None:
        return tape.take(k, z)[0]
    for step in range(first, k):
        z = tape.take(step, z)[0]
    return z
