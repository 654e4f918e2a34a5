"""Period maps of driven fields: states after one period of the drive, as a map that is analysed like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.stability.flow import GROWTH, Carried, Flow, Stepping, as_flow, n_steps_between

__all__ = ["PeriodFlow", "PeriodMap", "period_map"]

RETURNS = 1e-6  # of the rate: it differs by more after a period that is none


def period_map(
    field: Any, period: float, *, t0: float = 0.0, names: Sequence[str] | None = None, solver: Solver | None = None,
) -> PeriodMap:  # fmt: skip
    """Map of states at `t0` to those a period later: a driven field's stroboscopic map.

    What `fixed_points` finds of it are the driven field's periodic orbits (those of a period that is a multiple are
    fixed points of the map of that multiple), with Floquet multipliers as eigenvalues. Exponents are per step: the
    period times those of the field, of which there are as many; that of the clock, which is zero, is left out of both.
    Tangents are carried along in the solve, piece by piece, so that Jacobians are as right as the states.

    Parameters
    ----------
    field : callable, Dynamics or Solved
        ``f(t, z)`` with ``f(t + period, z) = f(t, z)``.
    period : float
        In the time of the field.
    t0 : float
        Phase at which the states are looked at. Multipliers and exponents do not depend on it.
    names : sequence of str, optional
        Of the coordinates.
    solver : Solver, optional
        By default one that sees stiffness, as tight as the use of the map asks for.

    Returns
    -------
    PeriodMap
        For every function of `tsode.stability` that takes a map.

    Raises
    ------
    ParameterError
        If the period is not positive; once it is used, if the field does not come back after it.

    References
    ----------
    Guckenheimer, Holmes, "Nonlinear Oscillations, Dynamical Systems, and Bifurcations of Vector Fields", 1983,
    section 1.5.

    Examples
    --------
    A force ``cos t`` on a damped spring, whose orbit of the same period is ``sin t`` here:

    >>> import math
    >>> import torch
    >>> from tsode.stability import fixed_points, period_map
    >>> def driven(t, z):
    ...     return torch.stack([z[:, 1], t.cos() - z[:, 1] - z[:, 0]], dim=1)
    >>> points = fixed_points(period_map(driven, 2 * math.pi), starts=[[0.5, 0.5]])
    >>> points[["z1", "z2"]].round(6).abs().to_numpy().tolist(), points["kind"].tolist()
    ([[0.0, 1.0]], ['sink, focus'])
    """
    if not 0 < period < float("inf"):
        raise ParameterError(f"period must be a positive length of time, but is {period}.")
    return PeriodMap(field, float(period), float(t0), None if names is None else tuple(names), solver)


@dataclass(frozen=True, eq=False)
class PeriodMap(Stepping):
    """A driven field with its period, see `period_map`."""

    field: Any
    period: float
    t0: float = 0.0
    names: tuple[str, ...] | None = None
    solver: Solver | None = None

    def flow(self, n_state: int | None, names: Sequence[str] | None, solver: Solver | None) -> PeriodFlow:
        inner = as_flow(self.field, n_state, names or self.names, self.solver or solver)
        if inner.is_map:
            raise ParameterError("A map has no period map: give a field that is driven.")
        return PeriodFlow(inner, self.period, self.t0)


@dataclass(frozen=True, eq=False)
class PeriodFlow(Flow):
    """Steps of one period of a driven flow, all from the same phase."""

    inner: Flow
    period: float
    t0: float
    unit: str = "step"
    is_map: ClassVar[bool] = True
    is_solved: ClassVar[bool] = True
    n_steps: ClassVar[int] = 100

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.names

    def reads_time(self, t: Tensor, z: Tensor) -> bool:
        return False  # always looked at in the same phase

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        end, status = self.advance(z, torch.zeros_like(t), torch.ones_like(t))
        return torch.where((status == 0)[:, None], end - z, torch.nan)

    def linearise(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        eye = torch.eye(z.shape[1], dtype=z.dtype).expand(len(z), -1, -1)
        end, tangents, _, status = self.carry(z, eye, torch.zeros_like(t), torch.ones_like(t))
        is_there = status == 0
        return (
            torch.where(is_there[:, None], end - z, torch.nan),
            torch.where(is_there[:, None, None], tangents - eye, torch.nan),
        )

    def advance(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        begin, end = self._clock(z)
        status = torch.zeros_like(begin, dtype=torch.int64)
        for _ in range(n_steps_between(t0, t1)):
            z, now = self.inner.advance(z, begin, end)
            status = torch.where(status == 0, now, status)
        return z, status

    def advance_together(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        begin, end = self._clock(z[:, 0])
        status = torch.zeros_like(begin, dtype=torch.int64)
        for _ in range(n_steps_between(t0, t1)):
            z, now = self.inner.advance_together(z, begin, end)
            status = torch.where(status == 0, now, status)
        return z, status

    def carry(self, z: Tensor, tangents: Tensor, t0: Tensor, t1: Tensor) -> Carried:
        begin, end = self._clock(z)
        status, divergence = torch.zeros_like(begin, dtype=torch.int64), torch.zeros_like(begin)
        basis, total = torch.linalg.qr(tangents)
        is_whole = True
        for _ in range(n_steps_between(t0, t1)):
            t = begin
            while (t < end).any():
                # tangents are made orthonormal again before any has faded below the tolerance of the solve
                steepest = torch.linalg.matrix_norm(self.inner.linearise(t, z)[1], ord=2)
                until = torch.minimum(t + GROWTH / steepest.nan_to_num(nan=1e-12).clamp(min=1e-12), end)
                z, turned, trace, now = self.inner.carry(z, basis, t, until)
                status = torch.where(status == 0, now, status)
                basis, upper = torch.linalg.qr(turned)
                total, t = upper @ total, until
                is_whole = is_whole and trace is not None
                divergence = divergence if trace is None else divergence + trace
        return Carried(z, basis @ total, divergence if is_whole else None, status)

    def _clock(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Begin and end (b,) of a period.

        Raises
        ------
        ParameterError
            If the field is another one at the end than at the beginning.
        """
        begin = torch.full_like(z[:, 0], self.t0, dtype=torch.float64)
        end = begin + self.period
        now, later = self.inner.slope(begin, z), self.inner.slope(end, z)
        apart = (later - now).abs() > RETURNS * (now.abs().amax(dim=1, keepdim=True) + later.abs())
        if apart.any():
            row, i = (int(x) for x in apart.nonzero()[0])
            at = ", ".join(f"{x:.6g}" for x in z[row].tolist())
            raise ParameterError(
                f"The field does not come back after period={self.period:.9g}: at ({at}) the rate of {self.names[i]} "
                f"is {float(now[row, i]):.6g} at t = {self.t0:.6g}, and {float(later[row, i]):.6g} a period later. "
                "Give the period of what drives it."
            )
        return begin, end
