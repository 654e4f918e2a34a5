"""Evolution that can be run back to its start bit for bit, so that its gradient needs no memory of the way."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tsode._registry import build
from tsode.core.status import Status
from tsode.dynamics import DYNAMICS
from tsode.errors import ParameterError
from tsode.evolutions.base import DrivenEvolution, Evolved, StateField
from tsode.numerics.driven import driven
from tsode.numerics.symplectic import SeparableField

__all__ = ["Reversible"]


class Reversible(DrivenEvolution):
    """Leapfrog of a separable field on a lattice, with an exact inverse and a gradient in memory flat in the steps.

    States are held in float64 as multiples of ``largest * 2**-52``, and every kick and drift is rounded to one. A sum
    of multiples below `largest` has no rounding error and can be taken back exactly: `inverse` gives the start to the
    bit, after any number of steps, of chaotic fields too, but for the rounding of the start itself to the lattice. The
    backward pass goes back along the way instead of storing it. Measured in `tests/evolutions/test_reversible.py`.

    What it costs: an error of half a spacing, 3e-14 by default, in each kick and drift; a gradient that is one pass
    more; no second derivatives. States beyond `largest` are as right, but lose their last bits on the way back. The
    inverse needs no extra state, but all digits: of states in float32 it is as exact as they are.

    Parameters
    ----------
    dynamics : nn.Module or str
        A separable field of ``[q, p, theta]``, such as `tsode.dynamics.SeparableHamiltonian`, or the name of one.
    n_steps : int
        Leapfrog steps of each interval.
    largest : float
        What no coordinate exceeds, a power of 2.
    n_state, n_static : int
        Widths of ``[q, p]`` and of ``theta``, of a field that is given by name.

    References
    ----------
    Chang, Meng, Haber, Ruthotto, Begert, Holtham, "Reversible architectures for arbitrarily deep residual neural
    networks", AAAI 2018, eq. 8; Levesque and Verlet, "Molecular dynamics and time reversibility", Journal of
    Statistical Physics 72, 1993, for the lattice.
    """

    runs_backward = True

    def __init__(
        self,
        dynamics: StateField | str = "separable_hamiltonian",
        n_steps: int = 1,
        largest: float = 256.0,
        n_state: int = 64,
        n_static: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(dynamics, str):
            made = build(DYNAMICS, dynamics, "dynamics", n_state=n_state + n_static, n_static=n_static)
            dynamics = cast(StateField, made)
        if not isinstance(dynamics, SeparableField):
            raise ParameterError(
                f"Reversible needs a SeparableField, a field with velocity and force, which {type(dynamics).__name__} "
                "has not: try the dynamics 'separable_hamiltonian'."
            )
        if n_steps < 1 or not 0 < largest < float("inf"):
            raise ParameterError(f"n_steps and largest must be positive, but are {n_steps} and {largest}.")
        self.dynamics = dynamics
        self.n_steps = n_steps
        self.spacing = largest * 2.0**-52
        self.n_state = dynamics.n_state

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor, drive: Tensor | None = None) -> Evolved:
        inputs = [*([] if drive is None else [drive]), *cast(nn.Module, self.dynamics).parameters()]
        reached: Tensor = _Leapfrogs.apply(self, drive is not None, z, t0, t1, *inputs)
        is_good = (reached.isfinite() & z.isfinite()).all(dim=1) & (t1 - t0).isfinite()
        end = torch.where((is_good & (t0 != t1))[:, None], reached.to(z.dtype), z)
        is_ok = is_good | ((t0 == t1) & z.isfinite().all(dim=1))
        return Evolved(end, z.new_zeros(len(z)), torch.where(is_ok, int(Status.OK), int(Status.NON_FINITE)))

    def slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.dynamics(t, z)

    @property
    def n_standing(self) -> int:
        return int(getattr(self.dynamics, "n_static", 0))

    def inverse(self, states: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        """Starts at ``t0`` (b,) from the states (b d), float64, that `evolve` reached at ``t1`` (b,)."""
        with torch.no_grad():
            z, dt = states.double(), (t1 - t0) / self.n_steps
            for k in reversed(range(self.n_steps)):
                z = self._step(self.dynamics, z, t0 + k * dt, dt, states.dtype, -1.0)
            return z

    def _step(
        self, field: Any, z: Tensor, t: Tensor, dt: Tensor, dtype: torch.dtype, sign: float, on_lattice: bool = True
    ) -> Tensor:
        """Half a kick, a drift, half a kick from ``t`` (b,) on; with a `sign` of -1 what leads from their end back."""
        n = (z.shape[1] - field.n_static) // 2
        q, p, theta = z[:, :n], z[:, n : 2 * n], z[:, 2 * n :].to(dtype)

        def change(rate: Tensor, length: Tensor) -> Tensor:
            moved = sign * length[:, None] * rate.double()
            return (moved / self.spacing).round() * self.spacing if on_lattice else moved

        first, last = (t, t + dt) if sign > 0 else (t + dt, t)
        p = p + change(field.force(first, q.to(dtype), theta), 0.5 * dt)
        q = q + change(field.velocity(t + 0.5 * dt, p.to(dtype), theta), dt)
        p = p + change(field.force(last, q.to(dtype), theta), 0.5 * dt)
        return torch.cat([q, p, z[:, 2 * n :]], dim=1)


class _Leapfrogs(torch.autograd.Function):
    """All steps, of which the end alone is kept; the gradient is that of the steps without their rounding."""

    @staticmethod
    def forward(
        ctx: Any, evolution: Reversible, is_driven: bool, z: Tensor, t0: Tensor, t1: Tensor, *inputs: Tensor
    ) -> Tensor:
        field = driven(evolution.dynamics, inputs[0]) if is_driven else evolution.dynamics
        dt, end = (t1 - t0) / evolution.n_steps, (z.double() / evolution.spacing).round() * evolution.spacing
        for k in range(evolution.n_steps):
            end = evolution._step(field, end, t0 + k * dt, dt, z.dtype, 1.0)
        ctx.settings = evolution, is_driven, z.dtype
        ctx.save_for_backward(end, t0, t1, *inputs)
        return end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        evolution, is_driven, dtype = ctx.settings
        z, t0, t1, *inputs = ctx.saved_tensors
        held = driven(evolution.dynamics, inputs[0]) if is_driven else evolution.dynamics
        weights = inputs[1:] if is_driven else inputs
        leaves = [x.detach().requires_grad_() for x in (t0, t1, *(inputs[:1] if is_driven else []))]
        wanted = [*leaves, *(weight for weight in weights if weight.requires_grad)]
        sums = [torch.zeros_like(x) for x in wanted]
        dt = (t1 - t0) / evolution.n_steps
        for k in reversed(range(evolution.n_steps)):
            z = evolution._step(held, z, t0 + k * dt, dt, dtype, -1.0)
            with torch.enable_grad():
                start = z.detach().requires_grad_()
                length = (leaves[1] - leaves[0]) / evolution.n_steps
                field = driven(evolution.dynamics, leaves[2]) if is_driven else evolution.dynamics
                end = evolution._step(field, start, leaves[0] + k * length, length, dtype, 1.0, on_lattice=False)
                grad, *found = torch.autograd.grad(end, [start, *wanted], grad, allow_unused=True)
            for total, new in zip(sums, found):
                if new is not None:
                    total += new
        found_of = iter(sums[len(leaves) :])
        of_weights = [next(found_of) if weight.requires_grad else None for weight in weights]
        return None, None, grad.to(dtype), *sums[: len(leaves)], *of_weights
