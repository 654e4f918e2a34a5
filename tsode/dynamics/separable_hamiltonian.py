"""Hamiltonian field whose energy is one of momenta and one of positions: symplectic steps are explicit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.dynamics.energy import EnergyField
from tsode.dynamics.structured import Guarantee
from tsode.nn.potential import GivenPotential, Potential

__all__ = ["SeparableHamiltonian"]


class SeparableHamiltonian(EnergyField):
    """Field ``dq/dt = dT/dp, dp/dt = -dV/dq`` of an energy ``T(p, theta) + V(q, theta)``, learned or given.

    The state is ``[q, p, theta]``. Guarantee: ``dH/dt = 0`` along the drift, for all weights. With
    `tsode.numerics.Leapfrog` or `BlanesMoan` the energy error stays bounded however long the solve, by the square or
    the fourth power of the step. Measured in `tests/dynamics/test_hamiltonian.py` and
    `tests/numerics/test_symplectic.py`.

    What it costs: as of `Hamiltonian`, and energies that mix ``q`` and ``p`` (a magnetic field, a double pendulum in
    angles) are out of reach.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``; those before are ``q`` and ``p``, half and half.
    width, depth : int
        Of the hidden layers of each learned part, see `tsode.nn.potential.Potential`.
    kinetic, potential : callable, optional
        Parts of your own, instead of learned ones: ``p`` or ``q`` (b n), ``theta`` (b s) -> (b,), each row by itself;
        they may be modules with weights.

    References
    ----------
    Chen, Zhang, Arjovsky, Bottou, "Symplectic recurrent neural networks", ICLR 2020, eq. 6.
    """

    def __init__(
        self,
        n_state: int,
        n_static: int = 0,
        width: int = 64,
        depth: int = 2,
        kinetic: Callable[[Tensor, Tensor], Tensor] | None = None,
        potential: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(n_state, n_static)
        n = self.n_pairs
        self.kinetic: Potential | GivenPotential
        self.potential: Potential | GivenPotential
        self.kinetic = Potential(n, n_static, width, depth) if kinetic is None else GivenPotential(kinetic)
        self.potential = Potential(n, n_static, width, depth) if potential is None else GivenPotential(potential)

    def velocity(self, t: Tensor, p: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``q``: ``t`` (b,), ``p`` (b n), ``theta`` (b n_static) -> (b n)."""
        return self.kinetic.slope(p, theta)

    def force(self, t: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        """Rate of ``p``: ``t`` (b,), ``q`` (b n), ``theta`` (b n_static) -> (b n)."""
        return -self.potential.slope(q, theta)

    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.kinetic(x[:, self.n_pairs :], theta) + self.potential(x[:, : self.n_pairs], theta)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        q, p = x[:, : self.n_pairs], x[:, self.n_pairs :]
        return torch.cat([self.velocity(t, p, theta), self.force(t, q, theta)], dim=1)

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        return (self.conservation(t, x, theta),)
