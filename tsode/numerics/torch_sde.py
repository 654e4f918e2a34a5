"""Solvers of torchsde behind our interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchsde import BaseBrownian, sdeint

from tsode._registry import lookup
from tsode.core.status import Status, worst
from tsode.errors import ParameterError
from tsode.numerics.base import Solution, constant, is_finite_row
from tsode.numerics.brownian import Brownian
from tsode.numerics.sde import DiagonalSDE, SDESolver, widen
from tsode.numerics.sde_steps import SDEStep, ito_drift

__all__ = ["TorchSDE"]

# Those that need no more of a Brownian path than its increments: not "srk" and "log_ode", which need its areas.
_METHODS = {
    "euler": ("ito",),
    "euler_heun": ("stratonovich",),
    "heun": ("stratonovich",),
    "midpoint": ("stratonovich",),
    "milstein": ("ito", "stratonovich"),
    "reversible_heun": ("stratonovich",),
}


@dataclass(frozen=True)
class TorchSDE(SDESolver):
    """A solver of torchsde, run in the time ``s`` from 0 to 1 with ``t = t0 + s (t1 - t0)`` in each row.

    The rows keep their own clocks, and torchsde is handed the Brownian path that our own solvers follow, so that
    nothing is drawn that our generators do not know. Each query is solved for by itself. Meant as a reference, and for
    its methods of higher order where the noise is additive.

    Parameters
    ----------
    method : str
        Name of the method in torchsde.
    n_steps : int
        Steps in each interval, from the start to a query too.

    References
    ----------
    Li et al., "Scalable gradients for stochastic differential equations", AISTATS 2020;
    https://github.com/google-research/torchsde.
    """

    method: str = "milstein"
    n_steps: int = 16

    def __post_init__(self) -> None:
        lookup(_METHODS, self.method, "method of torchsde")
        if self.n_steps < 1:
            raise ParameterError(f"n_steps must be at least 1, but is {self.n_steps}.")

    @property
    def calculi(self) -> tuple[str, ...]:  # type: ignore[override]
        """Kinds of equations that the method solves."""
        return _METHODS[self.method]

    @property
    def strong_order(self) -> float:  # type: ignore[override]
        """Order of the method for diagonal noise, which commutes."""
        return 0.5 if self.method == "euler" else 1.0

    def solve(self, sde: DiagonalSDE, z: Tensor, t0: Tensor, t1: Tensor, brownian: Brownian) -> Solution:
        if not len(z):  # which torchsde cannot take
            return Solution(z, constant(z, Status.OK), constant(z, 0))
        span = t1 - t0
        s = torch.linspace(0, 1, self.n_steps + 1, dtype=torch.float64, device=z.device)
        ends = sdeint(
            _Rescaled(sde, t0, span), z, s[[0, -1]], bm=_RescaledPath(brownian, t0, span, z), method=self.method,
            dt=1.0 / self.n_steps,
        )  # fmt: skip
        is_finite = is_finite_row(ends[-1])
        moved = is_finite & (span != 0)
        return Solution(
            torch.where(moved[:, None], ends[-1], z),
            constant(z, Status.OK).where(is_finite | (span == 0), int(Status.NON_FINITE)),
            torch.where(span == 0, 0, constant(z, self.n_steps)),
        )

    def solve_to(
        self, sde: DiagonalSDE, z: Tensor, t0: Tensor, times: Tensor, brownian: Brownian, query_step: float
    ) -> Solution:
        # One by one, for an equation may know its rows.
        solutions = [self.solve(sde, z, t0, t1, brownian) for t1 in times.unbind(dim=1)]
        return Solution(
            torch.stack([solution.z for solution in solutions], dim=1),
            worst(*(solution.status for solution in solutions)),
            torch.stack([solution.n_steps for solution in solutions]).sum(dim=0),
        )

    def as_steps(self) -> SDEStep:
        return _OneStep(n_steps=self.n_steps, method=self.method)


@dataclass(frozen=True)
class _OneStep(SDEStep):
    """One step of a method of torchsde at a time; inside it, the state is on the way to its end but for the noise."""

    method: str = "milstein"

    strong_order = 0.5

    def stages(self, sde: DiagonalSDE, t: Tensor, z: Tensor) -> Sequence[Tensor]:
        f, g = sde.terms(t, z)
        return ito_drift(sde, t, z, f, g), g

    def move(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, dw: Tensor) -> Tensor:
        f, g = stages
        return z + f * dt + g * dw

    def complete(
        self, sde: DiagonalSDE, t: Tensor, dt: Tensor, z: Tensor, stages: Sequence[Tensor], dw: Tensor
    ) -> tuple[Tensor, Sequence[Tensor]]:
        if not len(z):
            return z, stages
        span, s = dt[:, 0].to(t), torch.tensor([0.0, 1.0], dtype=torch.float64, device=z.device)
        # torchsde asks for the whole step alone: of the path between, only its ends need be right
        length = torch.where(span > 0, span, 1.0)
        path = _RescaledPath(lambda now: dw * ((now - t) / length)[:, None].to(dw), t, span, z)
        end = sdeint(_Rescaled(sde, t, span), z, s, bm=path, method=self.method, dt=1.0)[-1]
        end = torch.where(dt > 0, end, z)
        slope = (end - z - stages[1] * dw) / torch.where(dt > 0, dt, 1.0)
        return end, (slope, stages[1])


class _Rescaled:
    """The equation in the time ``s``, in the words of torchsde."""

    noise_type = "diagonal"

    def __init__(self, sde: DiagonalSDE, start: Tensor, span: Tensor) -> None:
        self.sde, self.start, self.span = sde, start, span
        self.sde_type = sde.calculus

    def f_and_g(self, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        f, g = self.sde.terms(self.start + s * self.span, z)
        span = self.span.to(z.dtype)[:, None]
        return f * span, g * span.sqrt()

    def f(self, s: Tensor, z: Tensor) -> Tensor:
        return self.f_and_g(s, z)[0]

    def g(self, s: Tensor, z: Tensor) -> Tensor:
        return self.f_and_g(s, z)[1]


class _RescaledPath(BaseBrownian):
    """A Brownian path in the time ``s``, whose variance grows by 1 over the interval."""

    levy_area_approximation: Any = "none"
    # in place of the abstract properties
    dtype: Any = None
    device: Any = None
    shape: Any = None

    def __init__(self, brownian: Brownian, start: Tensor, span: Tensor, z: Tensor) -> None:
        self.brownian, self.start, self.span, self.z = brownian, start, span, z
        self.dtype, self.device, self.shape = z.dtype, z.device, z.shape

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Tensor:
        start, end = (self.start + s * self.span for s in (ta, tb))
        dw = widen(self.brownian(end) - self.brownian(start), self.z)
        length = self.span.to(dw.dtype)[:, None]
        return torch.where(length > 0, dw / torch.where(length > 0, length, 1.0).sqrt(), 0.0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.brownian!r})"
