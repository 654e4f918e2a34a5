"""Solver that sees for every row whether it is stiff, and takes an explicit or an implicit method accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tsode.numerics.adaptive import AdaptiveSolver, Turns
from tsode.numerics.base import VectorField
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.given_jacobian import GivenJacobian, check_jacobian
from tsode.numerics.rodas4 import Rodas4
from tsode.numerics.rosenbrock import RosenbrockStep
from tsode.numerics.stepwise import Step, StepRecord

__all__ = ["Switching"]

# Beyond this a step is as long as stability allows, see `EmbeddedPair.speed`; one accepted step in so many is looked
# at, and a row must show it so many times.
_LIMITED, _EVERY, _PATIENCE = 1.2, 4, 4
# Steps that an implicit method needs to come to its own length and to be worth its trial.
_TRIAL = 20
# Accepted steps in a row that an explicit method would have taken at less cost, after which it has its turn again.
_EASY = 5
# A trial that was in vain makes so much more patient.
_MORE = 4
# Length of a step times the steepest slope with which an explicit method is stable.
_STABLE = 3.0


@dataclass(frozen=True)
class Switching(AdaptiveSolver):
    """Explicit method that gives stiff rows to an implicit one, and takes them back: `Dopri5` and `Rodas4`.

    Every row has its own method, and its answer does not depend on who shares the batch. A row is stiff where
    stability alone has held many of its steps short, and so many are left that implicit steps are worth their cost,
    which grows with the number of states. It goes back where explicit steps would be the cheaper ones, by the
    steepest slope, which powers of the Jacobian tell. A change in vain makes a row slower to try the next.

    Parameters
    ----------
    rtol, atol, max_steps, first_step, max_step
        As in `AdaptiveSolver`; `max_steps` are those of both methods together.
    jacobian
        As in `Rosenbrock`, for the implicit method.

    References
    ----------
    Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.2. Petzold, "Automatic selection of
    methods for solving stiff and nonstiff systems of ordinary differential equations", SIAM J. Sci. Stat. Comput. 4,
    1983.
    """

    order = Dopri5.order
    error_order = Dopri5.error_order

    jacobian: GivenJacobian | None = None

    def methods(self) -> tuple[Dopri5, Rodas4]:
        """The explicit and the implicit one, with the settings of this solver."""
        settings = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        implicit = Rodas4(**settings)
        del settings["jacobian"]
        return Dopri5(**settings), implicit

    def advance(self, field: VectorField, z: Tensor, t0: Tensor, *args: Any, **kwargs: Any) -> StepRecord:
        if self.jacobian is not None:
            check_jacobian(self.jacobian, field, t0, z, Rodas4.needs_exact_jacobian)
        return super().advance(field, z, t0, *args, **kwargs)

    def attempt(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor, slope: Tensor | None = None) -> Step:
        """Take a step by the explicit method or, in rows where it is not stable, by the implicit one."""
        explicit, implicit = self.methods()
        step = explicit.attempt(field, t, dt, z, slope)
        path = explicit.coefficients(dt, step)
        is_stiff = explicit.is_stiff(dt, step)
        if not is_stiff.any():
            return Step(step.z, path, step.is_finite)
        other = implicit.attempt(field, t, dt, z)
        is_stiff = (is_stiff & other.is_finite)[:, None]
        path = [torch.where(is_stiff, b, a) for a, b in zip(path, _padded(implicit.coefficients(dt, other)))]
        return Step(torch.where(is_stiff, other.z, step.z), path, torch.where(is_stiff[:, 0], True, step.is_finite))

    def error(self, dt: Tensor, stages: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError("The error is that of the method which takes the step.")

    def turns(self, z: Tensor) -> Turns:
        return _ByStiffness(self, z)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return z + theta * reduce(lambda total, k: k + theta * total, reversed(stages))


class _ByStiffness(Turns):
    """Turns of the methods of a `Switching` solver."""

    def __init__(self, solver: Switching, z: Tensor) -> None:
        self.explicit, self.implicit = solver.methods()
        self.max_steps = solver.max_steps
        self.method: AdaptiveSolver = self.explicit
        none = torch.zeros_like(z[:, 0], dtype=torch.int64)
        self.n_switches = self.n_tried = self.n_explicit = self.seen = none
        self.n_rounds, self.has_stiff = 0, False
        self.patience = none + _PATIENCE
        self.n_spared = none.double()  # explicit steps that the implicit ones have been in place of
        self.is_stiff = self.is_stale = none != 0
        # Of an implicit step in explicit ones, of six evaluations each: as many, the derivatives and linear systems.
        self.cost = 4.0 + 0.1 * z.shape[1] + 1e-6 * z.shape[1] ** 3

    def begin(self, active: Tensor) -> tuple[AdaptiveSolver, Tensor]:
        rows = active
        if self.has_stiff:
            for _ in range(2):
                rows = active & (self.is_stiff if self.method is self.implicit else ~self.is_stiff)
                if rows.any():
                    break
                self.method = self.explicit if self.method is self.implicit else self.implicit
        self.n_rounds, self.n_tried = self.n_rounds + 1, self.n_tried + rows
        return self.method, rows

    def slope(self, field: VectorField, t: Tensor, z: Tensor, known: Tensor) -> Tensor:
        if self.method is self.implicit or not self.is_stale.any():
            return known
        known = torch.where(self.is_stale[:, None], field(t, z), known)
        self.is_stale = torch.zeros_like(self.is_stale)
        return known

    def end(self, step: Step, dt: Tensor, left: Tensor, size: Tensor, accepted: Tensor, length: Tensor) -> Tensor:
        if isinstance(step, RosenbrockStep):
            self.is_stale = self.is_stale | accepted
            return self._see_implicit(step, dt, accepted, length)
        self.n_explicit = self.n_explicit + accepted
        is_due = accepted & (self.n_explicit % _EVERY == 0)
        if not is_due.any():
            return length
        is_limited = is_due & (left > _TRIAL * self.cost * dt)
        if is_limited.any():
            is_limited = is_limited & (self.explicit.speed(step, size) > _LIMITED)
        seen = torch.where(is_limited, self.seen + 1, (self.seen - 1).clamp(min=0))
        self.seen = torch.where(is_due, seen, self.seen)
        self._change(is_limited & (self.seen >= self.patience))
        return length

    def _see_implicit(self, step: RosenbrockStep, dt: Tensor, accepted: Tensor, length: Tensor) -> Tensor:
        steepest = _largest_eigenvalue(step.jacobian)
        is_easy = accepted & (2 * dt * steepest < _STABLE * self.cost)
        self.seen = torch.where(accepted, torch.where(is_easy, self.seen + 1, 0), self.seen)
        self.n_spared = self.n_spared + torch.where(accepted, dt * steepest / _STABLE, 0.0)
        is_back = is_easy & (self.seen >= _EASY)
        patience = torch.where(self.n_spared < _TRIAL * self.cost, _MORE * self.patience, _PATIENCE)
        self.patience = torch.where(is_back, patience, self.patience)
        self._change(is_back)
        return torch.where(is_back & (steepest > 0), length.minimum(_STABLE / steepest), length)

    def _change(self, rows: Tensor) -> None:
        if not rows.any():
            return
        self.is_stiff, self.has_stiff = self.is_stiff ^ rows, True
        self.n_switches = self.n_switches + rows
        self.seen, self.n_spared = (x.masked_fill(rows, 0) for x in (self.seen, self.n_spared))

    def is_spent(self) -> Tensor | None:
        return None if self.n_rounds < self.max_steps else self.n_tried >= self.max_steps

    def as_read(self, step: Step, dt: Tensor) -> Step:
        if isinstance(step, RosenbrockStep):
            return Step(step.z, _padded(self.implicit.coefficients(dt, step)), step.is_finite)
        return Step(step.z, self.explicit.coefficients(dt, step), step.is_finite)


def _padded(coefficients: list[Tensor]) -> list[Tensor]:
    """A cubic as a quartic."""
    return [*coefficients, torch.zeros_like(coefficients[0])]


@torch.no_grad()
def _largest_eigenvalue(jacobian: Tensor) -> Tensor:
    """Magnitude of the largest eigenvalue of each matrix (b d d), about: how a vector grows by it, (b,)."""
    d = jacobian.shape[1]
    vector = 1 + 0.5 * torch.arange(1, d + 1, dtype=jacobian.dtype, device=jacobian.device).square().cos()
    vector, growth = vector.expand(len(jacobian), d)[..., None], torch.zeros_like(jacobian[:, 0, 0])
    for k in range(12):
        vector = jacobian @ vector
        norm = torch.linalg.vector_norm(vector, dim=1, keepdim=True)
        vector = vector / torch.where(norm > 0, norm, 1.0)
        if k >= 4:  # a pair of complex ones shows in the mean of its turns
            growth = growth + norm[:, 0, 0].log()
    return (growth / 8).exp()
