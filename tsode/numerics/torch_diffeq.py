"""Solvers of torchdiffeq behind our interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics.base import Solution, Solver, VectorField, constant, is_finite_row
from tsode.numerics.stepwise import gradient_name, run_step

__all__ = ["TorchDiffEq"]

# Orders of the methods.
_ADAPTIVE = {"dopri5": 5, "dopri8": 8, "bosh3": 3, "fehlberg2": 2, "adaptive_heun": 2}
_FIXED = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4, "explicit_adams": 4, "implicit_adams": 4}
_ORDERS = _ADAPTIVE | _FIXED
_ONE_STEP = {method for method in _FIXED if "adams" not in method}


@dataclass(frozen=True)
class TorchDiffEq(Solver):
    """A solver of torchdiffeq, run in the time ``s`` from 0 to 1 with ``t = t0 + s (t1 - t0)`` in each row.

    The rows keep their own clocks, but the adaptive methods choose one step, by one error norm, for the whole batch: an
    answer then depends on its batch-mates within the tolerance, and one row that fails fails them all and may spoil the
    gradient. Each query is solved for as a row of its own. Meant as a reference, and for the continuous adjoint
    (``gradient="adjoint"``), which gives no gradient to the times. ``gradient="checkpoint"`` stores the states between
    the steps only; methods whose steps depend on earlier ones, or on each other, do not offer it.

    Backprop goes through the steps as the state alone has chosen them: where a state is at rest the adaptive methods
    take steps that are far too long for its gradient, which is then wrong. `Dopri5` and the adjoint are right there.

    Parameters
    ----------
    method : str
        Name of the method in torchdiffeq.
    rtol, atol : float
        Tolerances of the adaptive methods.
    n_steps : int
        Steps of the fixed methods in each interval.
    max_steps : int
        Steps of the adaptive methods before they stop with `Status.MAX_STEPS`.

    References
    ----------
    Chen, torchdiffeq, https://github.com/rtqichen/torchdiffeq; the adjoint: Chen et al., "Neural ordinary differential
    equations", NeurIPS 2018.
    """

    method: str = "dopri5"
    rtol: float = 1e-6
    atol: float = 1e-8
    n_steps: int = 1
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        if self.method not in _ORDERS:
            raise ParameterError(
                f"method={self.method!r} is not one of torchdiffeq's that are offered: {', '.join(_ORDERS)}."
            )
        if self.n_steps < 1 or self.max_steps < 1:
            raise ParameterError(
                f"n_steps and max_steps must be at least 1, but are {self.n_steps} and {self.max_steps}."
            )

    @property
    def gradients(self) -> tuple[str, ...]:  # type: ignore[override]
        """Ways in which the gradient can be had, by the method."""
        return ("backprop", "checkpoint", "adjoint") if self.method in _ONE_STEP else ("backprop", "adjoint")

    @property
    def order(self) -> int:  # type: ignore[override]
        """Order of the method; of the Adams methods, that of their first steps."""
        return _ORDERS[self.method]

    @property
    def shares_steps(self) -> bool:  # type: ignore[override]
        """Whether the method is adaptive."""
        return self.method in _ADAPTIVE

    def solve(self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object) -> Solution:
        if gradient_name(gradient) == "adjoint" and not isinstance(field, nn.Module):
            raise ParameterError(
                f"gradient='adjoint' needs a field that is an nn.Module, to know its parameters, but got a "
                f"{type(field).__name__}: make it a module or use gradient='backprop'."
            )
        # The rows share their steps: one that cannot be solved for must not spoil the others.
        is_usable = is_finite_row(z) & (t1 - t0).isfinite()
        start, span = t0.where(is_usable, 0.0), (t1 - t0).where(is_usable, 0.0)
        try:
            end = self._solve(_Rescaled(field, start, span), z.where(is_usable[:, None], 0.0), gradient)
            status = constant(z, Status.OK).where(is_usable & is_finite_row(end), int(Status.NON_FINITE))
        except AssertionError as failure:  # torchdiffeq's way to say that the solve failed
            end, status = z, constant(z, _reason(failure))
        moved = (status == Status.OK) & (span != 0)
        status = status.where((span != 0) | ~is_usable, int(Status.OK))
        return Solution(torch.where(moved[:, None], end, z), status, constant(z, -1))

    def solve_to(
        self, field: VectorField, z: Tensor, t0: Tensor, times: Tensor, gradient: object, query_step: float
    ) -> Solution:
        b, m = times.shape
        rows = torch.arange(b, device=z.device).repeat_interleave(m)
        flat = self.solve(field, z[rows], t0[rows], times.reshape(-1), gradient)
        return Solution(flat.z.reshape(b, m, -1), flat.status.reshape(b, m).amax(dim=1), constant(z, -1))

    def _solve(self, field: _Rescaled, z: Tensor, gradient: object) -> Tensor:
        def run(z: Tensor, s: Tensor, **options: float) -> Tensor:
            solve: Callable[..., Tensor] = odeint_adjoint if gradient_name(gradient) == "adjoint" else odeint
            return solve(field, z, s, rtol=self.rtol, atol=self.atol, method=self.method, options=options)[-1]

        grid = torch.linspace(0, 1, self.n_steps + 1, dtype=torch.float64, device=z.device)
        if self.method in _ADAPTIVE:
            return run(z, grid[[0, -1]], max_num_steps=self.max_steps)
        if gradient_name(gradient) == "checkpoint":
            for step in grid.unfold(0, 2, 1):
                z = run_step(gradient, run, z, step)
            return z
        if gradient_name(gradient) == "adjoint":  # asked for at its end alone: every time asked for is stored
            return run(z, grid[[0, -1]], step_size=1.0 / self.n_steps)
        return run(z, grid)


class _Rescaled(nn.Module):
    """A field in the time ``s``; a module, so that the adjoint finds the field's parameters."""

    def __init__(self, field: VectorField, start: Tensor, span: Tensor) -> None:
        super().__init__()
        self.field, self.start, self.span = field, start, span

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        return self.span.to(z.dtype)[:, None] * self.field(self.start + s * self.span, z)


def _reason(failure: AssertionError) -> Status:
    """The status behind the message of a failed assertion of torchdiffeq; any other assertion is raised again."""
    for start, status in (
        ("max_num_steps", Status.MAX_STEPS),
        ("underflow in dt", Status.STEP_TOO_SMALL),
        ("non-finite", Status.NON_FINITE),
    ):
        if str(failure).startswith(start):
            return status
    raise failure
