"""Symplectic compositions of drifts and kicks, for separable fields: the base class and the Protocol of the fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from tsode.numerics.base import VectorField, is_finite_row
from tsode.numerics.fixed_step import FixedStep
from tsode.numerics.hermite import hermite
from tsode.numerics.stepwise import Step, StepRecord, StopRule, locate

__all__ = ["SeparableField", "SymplecticComposition"]


@runtime_checkable
class SeparableField(Protocol):
    """A vector field of ``[q, p, theta]``: the rate of ``q`` reads ``p`` alone, that of ``p`` reads ``q`` alone.

    There are as many ``q`` as ``p``; both rates may read the time and ``theta``, the last `n_static` coordinates,
    which stand still.
    """

    n_static: int

    def __call__(self, t: Tensor, z: Tensor) -> Tensor: ...

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``q``: ``t`` (b,), ``p`` (b n), ``theta`` (b n_static) -> (b n)."""
        ...

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``p``: ``t`` (b,), ``q`` (b n), ``theta`` (b n_static) -> (b n)."""
        ...


@dataclass(frozen=True)
class SymplecticComposition(FixedStep):
    """Family of solvers whose step goes along the velocities, then along the forces, and so on.

    A step is a canonical map: its Jacobian has ``J' S J = S``, and the steps of one length follow the exact flow of an
    energy close to that of the field, so that the energy error does not grow with time. A value between steps is a
    shorter step of its own from the one before, so that its energy is as good as theirs; state-triggered events are
    looked for on a cubic through the ends of a step. Steps are fixed: changed from step to step they lose all this.

    Time goes with both halves of the state: forces read the time up to which positions have come, velocities that of
    the momenta, so that the order holds for fields that read the time too.
    """

    field_type = SeparableField
    remedy = (
        "the dynamics 'separable_hamiltonian' where the energy is of q alone plus of p alone, the solver "
        "'implicit_midpoint' (symplectic too, for any energy), or one for all fields, Midpoint()"
    )
    # other ways read between steps by a polynomial, which is another answer than a step of its own
    gradients: ClassVar[tuple[str, ...]] = ("backprop",)
    drifts: ClassVar[tuple[float, ...]]
    """Shares of a step along the velocities, one more than `kicks`; an end of 0 is left out."""
    kicks: ClassVar[tuple[float, ...]]
    """Shares of a step along the forces, each after the drift of its place."""

    def step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """One step, with what the cubic needs."""
        bare = self.bare_step(field, t, dt, z)
        return Step(bare.z, (bare.z, field(t, z), field(t + dt, bare.z)), bare.is_finite)

    def bare_step(self, field: VectorField, t: Tensor, dt: Tensor, z: Tensor) -> Step:
        """One step without stages."""
        separable = cast(SeparableField, field)
        n = (z.shape[1] - separable.n_static) // 2
        q, p, theta = z[:, :n], z[:, n : 2 * n], z[:, 2 * n :]
        length = dt.to(z.dtype)[:, None]
        drifted = kicked = 0.0
        for drift, kick in zip(self.drifts, (*self.kicks, 0.0)):
            if drift:
                q = q + drift * length * separable.velocity(t + kicked * dt, p, theta)
                drifted += drift
            if kick:
                p = p + kick * length * separable.force(t + drifted * dt, q, theta)
                kicked += kick
        end = torch.cat([q, p, theta], dim=1)
        return Step(end, (), is_finite_row(end) & dt.isfinite())

    def advance(
        self, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, gradient: object, query_step: float | None = None,
        stop_rule: StopRule | None = None, first_length: Tensor | None = None,
    ) -> StepRecord:  # fmt: skip
        step = self.bare_step if stop_rule is None else self.step
        grid, is_recorded = self.grid(t1 - t0, query_step), query_step is not None or stop_rule is not None
        return self.take_steps(partial(step, field), z, t0, grid, gradient, is_recorded, stop_rule)

    def states_at(self, record: StepRecord, field: VectorField, t0: Tensor, elapsed: Tensor, sign: float) -> Tensor:
        at = locate(record, elapsed)
        start, passed = t0[:, None] + sign * at.start, sign * at.theta * at.length
        states = [  # column by column: a field may hold numbers of each row
            torch.where(at.theta[:, k, None] > 0, self.bare_step(field, *about, at.z[:, k]).z, at.z[:, k])
            for k, about in enumerate(zip(start.unbind(dim=1), passed.unbind(dim=1)))
        ]
        return torch.stack(states, dim=1)

    def interpolate(self, z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
        return hermite(z, stages, dt, theta)
