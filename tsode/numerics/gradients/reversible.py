"""Gradient along steps that are taken back: nothing is kept but the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.errors import ParameterError, SolverError
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
    Whether they were is seen at the start, which is known: a `SolverError` where the steps lead to another one. First
    derivatives only.
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
        _check_start(z, tape)


def _check_start(z: Tensor, tape: Tape) -> None:
    """Raise a `SolverError` unless steps have been taken back from the end to where the tape started."""
    off = (z - tape.start).abs().amax(dim=1)
    size = torch.maximum(tape.start.abs().amax(dim=1), tape.record.z.abs().amax(dim=1))
    is_lost = ~(off <= size * torch.finfo(z.dtype).eps ** 0.5)
    if is_lost.any():
        row = int(is_lost.nonzero()[0])
        raise SolverError(
            f"The steps cannot be taken back: row {row}, one of {int(is_lost.sum())}, came from its end to "
            f"a start that is off by {float(off[row]):.2g}, so that its gradient would be wrong. What decays on the "
            "way is lost on the way back: use gradient='binomial', whose memory is small too."
        )
