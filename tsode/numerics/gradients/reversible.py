"""Gradient along steps that are taken back: nothing is kept but the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.numerics.gradients.replay import Replayed
from tsode.numerics.gradients.tape import Keep, Tape
from tsode.numerics.stepwise import Step

__all__ = ["Reversible"]


@dataclass(frozen=True)
class Reversible(Replayed):
    """Steps taken back by the inverse that the solver has of them: memory does not grow with their number.

    For solvers with ``inverse_step(field, t, dt, z)``, which gives the state from which `step` comes to ``z``. The
    states are had again up to rounding, which an unstable inverse makes grow: what decays forward explodes backward.
    First derivatives only.
    """

    name = "reversible"

    def check(self, solver: Solver) -> None:
        if not hasattr(solver, "inverse_step"):
            raise ParameterError(
                f"gradient='reversible' needs steps that can be taken back, which {type(solver).__name__} has not: use "
                "gradient='binomial', whose memory is small too, or a reversible solver."
            )
        super().check(solver)

    def keep(self) -> Keep:
        return _Nothing()


class _Nothing(Keep):
    def see(self, k: int, z: Tensor, step: Step) -> None:
        pass

    def backward(self, tape: Tape) -> Iterator[tuple[int, Tensor]]:
        z = tape.record.z
        for k in reversed(range(tape.n_steps)):
            with torch.no_grad():
                z = tape.take_back(k, z)
            yield k, z
