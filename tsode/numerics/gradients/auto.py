"""Choice of the way to the gradient, by memory and the number of parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Gradient, Solution, Solver, VectorField
from tsode.numerics.gradients.backprop import Backprop
from tsode.numerics.gradients.checkpoint import Binomial, Checkpoint
from tsode.numerics.gradients.forward import Forward
from tsode.numerics.gradients.tape import KeepNothing, Tape
from tsode.numerics.stepwise import StepwiseSolver

__all__ = ["Auto", "Chosen"]

MOST_TANGENTS = 16  # that are carried forward at once for less than what a few evaluations more cost


@dataclass(frozen=True)
class Chosen(Gradient):
    """Way to the gradient that was chosen, and why.

    Parameters
    ----------
    way : Gradient
    why : str
        One line for people.
    """

    way: Gradient
    why: str

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the way."""
        return self.way.name

    def __str__(self) -> str:
        return f"{self.way}: {self.why}"


@dataclass(frozen=True)
class Auto(Gradient):
    """Choice by memory: the quickest way whose memory is within bounds.

    A first solve without a graph counts the steps, and what one of them keeps is measured. "backprop" where that many
    fit into `memory`; else "forward" where there are few numbers to differentiate by; else "checkpoint" where the
    states fit, and "binomial" where not even these do. All are exact. The adjoint, which is not, is never chosen.

    Parameters
    ----------
    memory : float
        Bytes that one solve may keep; a GB by default.
    """

    memory: float = 2.0**30

    name = "auto"

    def __post_init__(self) -> None:
        if not self.memory > 0:
            raise ParameterError(f"memory must be a positive number of bytes, but is {self.memory}.")

    def check(self, solver: Solver) -> None:
        pass

    def solve(self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor) -> Solution:
        chosen = self.choose(solver, field, z, t0, t1)
        return replace(chosen.way.solve(solver, field, z, t0, t1), gradient=chosen)

    def solve_to(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, query_step: float
    ) -> Solution:
        furthest = torch.maximum(times.amax(dim=1), t0)
        chosen = self.choose(solver, field, z, t0, furthest, query_step)
        return replace(chosen.way.solve_to(solver, field, z, t0, times, query_step), gradient=chosen)

    def solve_through(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, times: Tensor, query_step: float
    ) -> tuple[Tensor, Solution]:
        furthest = torch.maximum(times.amax(dim=1), t1.where(t1.isfinite(), t0))
        chosen = self.choose(solver, field, z, t0, furthest, query_step)
        end, way = chosen.way.solve_through(solver, field, z, t0, t1, times, query_step)
        return end, replace(way, gradient=chosen)

    def choose(
        self, solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, query_step: float | None = None
    ) -> Chosen:
        """The way for a solve from ``t0`` to ``t1`` (b,)."""
        if not torch.is_grad_enabled():
            return Chosen(Backprop(), "no derivatives are taken")
        if not isinstance(solver, StepwiseSolver):
            return Chosen(Backprop(), f"{type(solver).__name__} does not go step by step")
        tape = Tape(solver, field, z, t0, t1, KeepNothing(), None, query_step)
        if not tape.n_steps or not tape.is_live:
            return Chosen(Backprop(), "there is nothing to keep")
        n, graph, state = tape.n_steps, _bytes_of_step(tape), z.numel() * z.element_size()
        n_tangents = (z.shape[1] if z.requires_grad else 0) + sum(x.numel() for x in tape.captured.tensors)
        steps = f"{n:,} steps keep {_size(n * graph)} for backprop"
        if n * graph <= self.memory:
            return Chosen(Backprop(), f"{steps}, within {_size(self.memory)}")
        steps = f"{steps}, more than {_size(self.memory)}"
        if n_tangents <= MOST_TANGENTS and "forward" in solver.gradients:
            return Chosen(Forward(), f"{steps}, and there are {n_tangents} numbers to differentiate by")
        if n * state <= self.memory or "binomial" not in solver.gradients:
            return Chosen(Checkpoint(), f"{steps}; their states are {_size(n * state)}")
        return Chosen(Binomial(), f"{steps}, as are their states, {_size(n * state)}")


def _bytes_of_step(tape: Tape) -> int:
    """What the graph of the first step keeps."""
    kept: dict[int, int] = {}

    def count(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        tape.take(0, tape.start.clone().requires_grad_())
    return sum(kept.values())


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.3g} {unit}"
        n /= 1000
    raise AssertionError
