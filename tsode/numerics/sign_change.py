"""Sign changes of surface functions inside the steps of a solver."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.numerics.stepwise import Step, StepwiseSolver
from tsode.numerics.surfaces import Trigger, surface_values

__all__ = ["SignChangeDetector"]

_NODES = 8  # equal parts of a step, at whose ends the surface functions are evaluated
_FINE = 4  # points in each part, at which the polynomial through the ends is read


def _fit() -> Tensor:
    """Matrix (fine, node) that reads the polynomial through its values at the nodes on a finer grid."""
    nodes = torch.linspace(0, 1, _NODES + 1, dtype=torch.float64)
    fine = torch.linspace(0, 1, _NODES * _FINE + 1, dtype=torch.float64)
    powers = torch.arange(_NODES + 1, dtype=torch.float64)
    return fine[:, None] ** powers @ torch.linalg.inv(nodes[:, None] ** powers)


class SignChangeDetector:
    """Stops a row at the start of the first step inside of which one of its events happens.

    Each surface function is evaluated at the ends of eight equal parts of a step and, a ninth time, where the
    polynomial through these comes closest to a change of sign that the ends do not show. A Runge-Kutta path inside a
    step is a polynomial of degree four at most, so a surface that is linear or quadratic in the state has no dip that
    this polynomial misses. A function that turns more than once within an eighth of a step can hide a pair of
    crossings: it needs shorter steps.

    The functions are called with the rows as they are, once for each point, so they may hold a tensor for each row.

    Parameters
    ----------
    solver : StepwiseSolver
    events : sequence of Trigger
    value, sign : Tensor[b e], float64
        Of the surface functions at the start; the sign is the last one that was not zero.
    rounding : Tensor[b e], float64
        Values closer to zero than this have no sign.

    Attributes
    ----------
    dt : Tensor[b], float64
        Length of the step in which a row was stopped.
    crossing : Tensor[b e]
        Sign that the event's function takes on in that step, or 0 where it does not happen there.
    low, high : Tensor[b e]
        Shares of the step between which it happens.
    largest : Tensor[b e]
        Largest size of the function before that.
    """

    def __init__(
        self, solver: StepwiseSolver, events: Sequence[Trigger], value: Tensor, sign: Tensor, rounding: Tensor
    ) -> None:
        self.solver, self.events = solver, events
        self.value, self.sign, self.rounding = value, sign, rounding
        self.dt = value.new_zeros(len(value))
        self.crossing, self.low, self.high = torch.zeros_like(value), torch.zeros_like(value), torch.zeros_like(value)
        self.largest = value.abs()
        self._direction = value.new_tensor([event.direction for event in events])
        self._fit = _fit().to(value.device)
        self._nodes = torch.linspace(0, 1, _NODES + 1, dtype=value.dtype, device=value.device)

    @torch.no_grad()
    def __call__(self, z: Tensor, step: Step, t: Tensor, dt: Tensor, is_accepted: Tensor) -> Tensor:
        def states(theta: Tensor) -> Tensor:
            """State at shares (b s) of the step: Tensor[b s d]."""
            stages = [part[:, None] for part in step.stages]
            return self.solver.interpolate(z[:, None], stages, dt[:, None, None].to(z), theta[..., None].to(z))

        b, e = self.value.shape
        nodes = self._nodes[1:].expand(b, -1)
        inside = states(nodes).unbind(dim=1)
        values = [self.value] + [
            surface_values(self.events, t + dt * self._nodes[k + 1], inside[k]) for k in range(_NODES)
        ]
        at_nodes = torch.stack(values, dim=1)  # (b node e)
        probe = self._probe(at_nodes)
        inside = states(probe).unbind(dim=1)
        extra = torch.stack(
            [event.surface(t + dt * probe[:, k], inside[k]).double() for k, event in enumerate(self.events)], dim=1
        )
        theta = torch.cat([nodes[..., None].expand(-1, -1, e), probe[:, None]], dim=1)
        theta, order = theta.sort(dim=1)
        value = torch.cat([at_nodes[:, 1:], extra[:, None]], dim=1).gather(1, order)

        sign, before = self._signs(value)
        is_crossing = (sign != before) & (before != 0) & ((self._direction == 0) | (sign == self._direction))
        is_crossing = is_crossing & is_accepted[:, None, None]
        happens = is_crossing.any(dim=1)
        first = is_crossing.to(torch.int8).argmax(dim=1, keepdim=True)
        is_stopped = happens.any(dim=1)

        low = torch.cat([torch.zeros_like(theta[:, :1]), theta[:, :-1]], dim=1).gather(1, first)[:, 0]
        self.dt = torch.where(is_stopped, dt, self.dt)
        self.crossing = torch.where(happens, sign.gather(1, first)[:, 0], self.crossing)
        self.low = torch.where(happens, low, self.low)
        self.high = torch.where(happens, theta.gather(1, first)[:, 0], self.high)
        is_seen = is_accepted[:, None] & ~is_stopped[:, None]
        is_past = torch.where(happens, low, is_seen.to(low.dtype))[:, None]
        self.largest = torch.maximum(self.largest, torch.where(theta <= is_past, value.abs(), 0.0).amax(dim=1))
        self.sign = torch.where(is_seen, sign[:, -1], self.sign)
        self.value = torch.where(is_seen, at_nodes[:, -1], self.value)
        return is_stopped

    def _signs(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Sign at each point (b s e), and before it; the last one that was not zero stands for a zero."""
        sign = torch.where(value.abs() > self.rounding[:, None], value.sign(), 0.0).nan_to_num()
        sign = torch.cat([self.sign[:, None], sign], dim=1)
        index = torch.arange(sign.shape[1], device=sign.device)[:, None]
        sign = sign.gather(1, torch.where(sign != 0, index, 0).cummax(dim=1).values)
        return sign[:, 1:], sign[:, :-1]

    def _probe(self, at_nodes: Tensor) -> Tensor:
        """Share of the step (b e) where the polynomial through the nodes comes closest to an unseen change of sign."""
        b, _, e = at_nodes.shape
        fine = self._fit @ at_nodes  # (b fine e)
        after, before = self._signs(at_nodes[:, 1:])
        sign = torch.where(after == before, after, 0.0)  # where a change is seen, no second one is looked for
        towards = fine[:, 1:].reshape(b, _NODES, _FINE, e)[:, :, :-1] * sign[:, :, None]
        depth = torch.where(sign[:, :, None] != 0, towards, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
        depth = torch.nn.functional.pad(depth, (0, 0, 0, 1), value=torch.inf).reshape(b, -1, e)
        index = depth.argmin(dim=1, keepdim=True) + 1
        index = index.clamp(max=fine.shape[1] - 2)
        left, middle, right = (fine.gather(1, index + k)[:, 0] for k in (-1, 0, 1))
        bend = left - 2.0 * middle + right
        shift = torch.where(bend != 0, 0.5 * (left - right) / torch.where(bend != 0, bend, 1.0), 0.0)
        shift = shift.nan_to_num().clamp(-1.0, 1.0)
        return (index[:, 0] + shift) / (_NODES * _FINE)
