"""Flows and maps as stability analysis sees them: states forward, tangents along, slopes and Jacobians."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from tsode.core.status import Status
from tsode.errors import ParameterError, ShapeError, SolverError
from tsode.estimators.forecasters.fitted import FittedForecaster
from tsode.evolutions.base import Evolution, Solved
from tsode.numerics import Switching
from tsode.numerics.affine_field import AffineField
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.row_jacobian import linearise, load_rules

__all__ = [
    "FieldFlow", "Flow", "Map", "MapFlow", "Stepping", "as_flow", "check_arrived", "derivative_along",
    "n_steps_between", "read_states",
]  # fmt: skip

# Tangents are in the error norm, so that they are as right as the states.
SOLVER = Switching(rtol=1e-7, atol=1e-9, max_steps=100_000)
ROUGH = Switching(rtol=1e-6, atol=1e-9, max_steps=100_000)  # for the way to a root
TIGHT = Switching(rtol=1e-11, atol=1e-13, max_steps=100_000)  # where the end of a solve is a root's own digits
GROWTH = 5.0  # of tangents between two orthonormalisations, in powers of e, by the size of the Jacobian


class Carried(NamedTuple):
    """States and tangents at the end of a span.

    Parameters
    ----------
    z : Tensor[b d]
    tangents : Tensor[b d k]
    divergence : Tensor[b] or None
        Trace of the Jacobian, integrated over the span, where it was at hand.
    status : Tensor[b], int64
    """

    z: Tensor
    tangents: Tensor
    divergence: Tensor | None
    status: Tensor


class Flow(ABC):
    """Family of what can be analysed: a vector field, a map.

    Attributes
    ----------
    names : tuple of str
        Of the coordinates.
    unit : str
        What one unit of its time is called: "unit" of a field, "step" of a map; of a forecaster, one of the clock.
    is_map : bool
    is_solved : bool
        Whether a solve stands behind the slope, as of a period map.
    n_steps : int
        Of a map: as many steps are a long orbit.
    """

    names: tuple[str, ...]
    unit: str
    is_map: ClassVar[bool] = False
    is_solved: ClassVar[bool] = False
    n_steps: ClassVar[int] = 1000

    @property
    def n_state(self) -> int:
        """Number of coordinates."""
        return len(self.names)

    def at(self, rows: Tensor) -> Flow:
        """The flow of some of its rows, by their places: another one where each row has something of its own."""
        return self

    def whole(self, length: float) -> float:
        """The length of time nearest to one that can be gone without changing what is analysed."""
        return length

    @abstractmethod
    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        """What is zero at a fixed point: the field at ``t`` (b,) and ``z`` (b d), or the step that a map takes."""

    def reads_time(self, t: Tensor, z: Tensor) -> bool:
        """Whether the slope at ``z`` (b d) is another one later than ``t`` (b,)."""
        return not torch.equal(self.slope(t, z), self.slope(t + 0.37, z))

    def linearise(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Slope (b d) and its Jacobian (b d d)."""
        value, jacobian, _ = linearise(self.slope, t, z)
        return value, jacobian

    @abstractmethod
    def advance(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """States (b d) at ``t1`` (b,) of those at ``t0`` (b,), and the status (b,) of each row."""

    @abstractmethod
    def carry(self, z: Tensor, tangents: Tensor, t0: Tensor, t1: Tensor) -> Carried:
        """As `advance`, with ``tangents`` (b d k) carried along."""

    def advance_together(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """As `advance`, of states (b m d) of which those of a row are solved by the same steps.

        Their distances are then right to their own digits, however small, and not only to those of the solve.
        """
        b, m, d = z.shape
        end, status = self.advance(z.reshape(b * m, d), t0.repeat_interleave(m), t1.repeat_interleave(m))
        return end.view(b, m, d), status.view(b, m).amax(dim=1)

    def path(self, z: Tensor, times: Tensor) -> Tensor:
        """States (b m d) of those at the first of ``times`` (m,), which rise, at each of them.

        Raises
        ------
        SolverError
            If a row did not get there.
        """
        states = [z]
        for begin, end in pairwise(times):
            states.append(self.arrive(states[-1], begin.expand(len(z)), end.expand(len(z))))
        return torch.stack(states, dim=1)

    def arrive(self, z: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        """States of `advance`.

        Raises
        ------
        SolverError
            If a row did not get there.
        """
        end, status = self.advance(z, t0, t1)
        check_arrived(status, z, t1)
        return end


def check_arrived(status: Tensor, z: Tensor, t1: Tensor) -> None:
    """Raise a `SolverError` with the first start that did not get to its time."""
    if not status.any():
        return
    row = int(status.ne(0).nonzero()[0, 0])
    start = ", ".join(f"{x:.6g}" for x in z[row].tolist())
    raise SolverError(
        f"The flow from ({start}) did not reach t = {float(t1[row]):.6g}: {Status(int(status[row])).meaning}. "
        "Start from states that stay bounded, or shorten the duration."
    )


@dataclass(frozen=True, eq=False)
class FieldFlow(Flow):
    """Flow of a vector field, solved.

    Parameters
    ----------
    rate : callable
        ``rate(t, z)``: ``t`` (b,), ``z`` (b d) -> (b d), each row by itself.
    names : tuple of str
    solver : Solver
    unit : str
    stride : float, optional
        Length of the solver's steps, where these are what is analysed, and not the field that they are of.
    """

    rate: VectorField
    names: tuple[str, ...]
    solver: Solver = SOLVER
    unit: str = "unit"
    stride: float | None = None

    def whole(self, length: float) -> float:
        """The length nearest to one that is of whole steps."""
        return length if self.stride is None else max(round(length / self.stride), 1) * self.stride

    @property
    def is_affine(self) -> bool:
        """Whether it is known to be, whatever it does with its state."""
        return isinstance(self.rate, AffineField)

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return _checked(self.rate(t, z), z, "f(t, z)")

    def advance(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.rate, AffineField):
            z = _exactly(self.rate, z, t1 - t0)[0]
            return z, _status(z)
        return self.advance_with(self.rate, z, t0, t1)

    def carry(self, z: Tensor, tangents: Tensor, t0: Tensor, t1: Tensor) -> Carried:
        if isinstance(self.rate, AffineField):
            end, turn = _exactly(self.rate, z, t1 - t0)
            divergence = self.rate.matrix.diagonal(dim1=1, dim2=2).sum(dim=1) * (t1 - t0)
            return Carried(end, turn @ tangents, divergence, _status(end))
        (b, d), k = z.shape, tangents.shape[2]
        load_rules()
        is_whole = d <= 2 * k  # of few tangents in a large state the Jacobian is not asked for

        def along(t: Tensor, x: Tensor) -> Tensor:
            state, spread = x[:, :d], x[:, d : d + d * k].reshape(b, d, k)
            if not is_whole:
                directions: Any = (None, 2)

                def push(v: Tensor) -> Any:
                    return jvp(lambda x: self.rate(t, x), (state,), (v,))

                slope, turned = vmap(push, 2, directions)(spread)
                return torch.cat([slope, turned.reshape(b, d * k)], dim=1)
            slope, jacobian, _ = linearise(self.rate, t, state)
            trace = jacobian.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
            return torch.cat([slope, (jacobian @ spread).reshape(b, d * k), trace], dim=1)

        parts = [z, tangents.reshape(b, d * k)] + [torch.zeros_like(z[:, :1])] * is_whole
        end, status = self.advance_with(along, torch.cat(parts, dim=1), t0, t1)
        turned = end[:, d : d + d * k].reshape(b, d, k)
        return Carried(end[:, :d], turned, end[:, -1] if is_whole else None, status)

    def advance_together(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        b, m, d = z.shape

        def beside(t: Tensor, x: Tensor) -> Tensor:
            return self.rate(t.repeat_interleave(m), x.reshape(b * m, d)).reshape(b, m * d)

        end, status = self.advance_with(beside, z.reshape(b, m * d), t0, t1)
        return end.view(b, m, d), status

    def path(self, z: Tensor, times: Tensor) -> Tensor:
        if isinstance(self.rate, AffineField):
            return super().path(z, times)
        start, asked = times[:1].expand(len(z)), times.expand(len(z), -1)
        solution = integrate_to(self.rate, z, start, asked, self.solver)
        check_arrived(solution.status, z, asked[:, -1])
        return solution.z

    def advance_with(self, rate: VectorField, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """States and status of another field by the same solver."""
        solution = integrate(rate, z, t0, t1, self.solver)
        return solution.z, solution.status


class Stepping(ABC):
    """Family of what takes steps in place of time: a flow once it is known how many coordinates there are."""

    @abstractmethod
    def flow(self, n_state: int | None, names: Sequence[str] | None, solver: Solver | None) -> Flow:
        """The flow of as many coordinates, if not of as many as it has of itself."""


@dataclass(frozen=True)
class Map(Stepping):
    """A map whose steps take the place of time.

    Parameters
    ----------
    step : callable
        ``step(z)``: (b d) -> (b d), each row by itself.
    """

    step: Callable[[Tensor], Tensor]

    def flow(self, n_state: int | None, names: Sequence[str] | None, solver: Solver | None) -> MapFlow:
        return MapFlow(self.step, _labels(n_state, names))


@dataclass(frozen=True, eq=False)
class MapFlow(Flow):
    """Steps of a map; times are whole numbers of them."""

    step: Callable[[Tensor], Tensor]
    names: tuple[str, ...]
    unit: str = "step"
    is_map: ClassVar[bool] = True

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return _checked(self.step(z), z, "step(z)") - z

    def reads_time(self, t: Tensor, z: Tensor) -> bool:
        return False

    def advance(self, z: Tensor, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(n_steps_between(t0, t1)):
            z = self.step(z)
        return z, _status(z)

    def carry(self, z: Tensor, tangents: Tensor, t0: Tensor, t1: Tensor) -> Carried:
        for _ in range(n_steps_between(t0, t1)):
            value, jacobian, _ = linearise(lambda t, x: self.step(x), t0, z)
            z, tangents = value, jacobian @ tangents
        return Carried(z, tangents, None, _status(z))


def _checked(value: Tensor, z: Tensor, what: str) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != z.shape:
        came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ShapeError(
            f"{what} must give a tensor of the shape of z, a row a state: of z {tuple(z.shape)} it gave {came}. Split "
            "z by z.unbind(dim=1), and put rates together by torch.stack([...], dim=1)."
        )
    return value


def n_steps_between(t0: Tensor, t1: Tensor) -> int:
    """Steps of a map from ``t0`` (b,) to ``t1`` (b,), the same of all rows."""
    spans = (t1 - t0).unique()
    if len(spans) != 1 or float(spans) != round(float(spans)) or float(spans) < 0:
        shown = ", ".join(f"{x:g}" for x in spans.tolist())
        raise ParameterError(f"A map takes whole steps forward, all rows as many, but was asked for {shown}.")
    return int(spans)


def derivative_along(function: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor) -> Tensor:
    """Derivative of a function of a tensor along a direction of its shape, which may itself be differentiated."""
    load_rules()
    slope: Tensor = jvp(function, (z,), (direction,))[1]
    return slope


def _exactly(field: AffineField, z: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """States (b d) of an affine field after spans (b,), and how tangents turn on the way (b d d)."""
    d = z.shape[1]
    drift = torch.zeros(len(z), d + 1, d + 1, dtype=z.dtype)
    drift[:, :d, :d] = field.matrix
    if field.offset is not None:
        drift[:, :d, d] = field.offset
    moved = torch.linalg.matrix_exp(drift * span[:, None, None])
    return (moved[:, :d, :d] @ z[..., None])[..., 0] + moved[:, :d, d], moved[:, :d, :d]


def _status(z: Tensor) -> Tensor:
    return torch.where(z.isfinite().all(dim=1), int(Status.OK), int(Status.NON_FINITE))


def as_flow(system: Any, n_state: int | None = None, names: Sequence[str] | None = None, solver: Solver | None = None
            ) -> Flow:  # fmt: skip
    """Read what a user gives as a flow: a function ``f(t, z)``, a field, an evolution that is solved, a `Map`, or
    a `period_map`.

    Parameters
    ----------
    n_state : int, optional
        Number of coordinates, where `system` does not tell.
    names : sequence of str, optional
        Of the coordinates; by default z1, z2, ...
    """
    if isinstance(system, Flow):
        return system
    if isinstance(system, FittedForecaster) or hasattr(system, "of_one"):
        raise ParameterError(
            f"A {type(system).__name__} has a field for each of its series: give one, "
            "fitted_system(forecaster).of_one(series)."
        )
    if isinstance(system, Stepping):
        return system.flow(n_state, names, solver)
    labels = _labels(getattr(system, "n_state", n_state), names)
    if isinstance(system, Solved):
        return FieldFlow(system.dynamics, labels, solver or SOLVER)
    if not callable(system) or isinstance(system, Evolution):
        raise ParameterError(
            f"A {type(system).__name__} cannot be analysed: give a function f(t, z) of tensors (b,) and (b d), a field "
            "of tsode, an evolution that is solved, or a Map."
        )
    return FieldFlow(system, labels, solver or SOLVER)


def _labels(n_state: int | None, names: Sequence[str] | None) -> tuple[str, ...]:
    if n_state is None:
        raise ParameterError("How many states there are is not known: give starts, or n_state=.")
    labels = tuple(names) if names is not None else tuple(f"z{i + 1}" for i in range(n_state))
    if len(labels) != n_state:
        raise ParameterError(f"There are {n_state} states, but {len(labels)} names: {', '.join(labels)}.")
    return labels


def read_states(states: Any, names: Sequence[str] | None = None) -> Tensor:
    """States (b d) in float64 of what a user gives: a vector, rows of them, a dict of names, or a frame.

    Raises
    ------
    ShapeError
        If they are neither.
    """
    if isinstance(states, dict):
        states = np.stack([np.asarray(value, dtype=float) for value in states.values()], axis=-1)
    if hasattr(states, "to_numpy"):
        states = states.to_numpy(dtype=float)
    if not isinstance(states, Tensor):
        states = np.array(states, dtype=float)  # a copy: what is read-only becomes no tensor without a warning
    z = torch.as_tensor(states).detach().to(torch.float64)
    z = z[None] if z.dim() == 1 else z
    if z.dim() != 2 or not z.numel():
        raise ShapeError(f"States must be a vector (d,) or rows of them (b, d), not of the shape {tuple(z.shape)}.")
    if not z.isfinite().all():
        raise ParameterError("States must be finite numbers.")
    return z
