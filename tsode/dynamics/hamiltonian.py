"""Hamiltonian field: the energy stands still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.dynamics.energy import EnergyField
from tsode.dynamics.structured import Guarantee
from tsode.nn.potential import GivenPotential, Potential

__all__ = ["Hamiltonian"]


class Hamiltonian(EnergyField):
    """Field ``dq/dt = dH/dp, dp/dt = -dH/dq`` of an energy ``H(q, p, theta)``, learned or given.

    The state is ``[q, p, theta]``. Guarantee: ``dH/dt = 0`` along the drift, for all weights; solvers keep it to their
    error (`tsode.numerics.Midpoint` and the like drift slowly). `SeparableHamiltonian` is the narrower family whose
    orbits keep it for ever, by symplectic steps. Measured in `tests/dynamics/test_hamiltonian.py`.

    What it costs: no friction, no attractor, no forgetting of the start can be learned; what is not conserved in the
    data is taken for noise or for a part of ``theta``. The learned ``p`` is a momentum only up to a canonical change
    of ``[q, p]``, and the energy one only up to a scale and a constant.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``; those before are ``q`` and ``p``, half and half.
    width, depth : int
        Of the hidden layers of a learned energy, see `tsode.nn.potential.Potential`.
    given : callable, optional
        Energy of your own, instead of a learned one: ``[q, p]`` (b n), ``theta`` (b s) -> (b,), each row by itself; it
        may be a module with weights.

    References
    ----------
    Greydanus, Dzamba, Yosinski, "Hamiltonian neural networks", NeurIPS 2019, eq. 2.
    """

    def __init__(
        self,
        n_state: int,
        n_static: int = 0,
        width: int = 64,
        depth: int = 2,
        given: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(n_state, n_static)
        n = 2 * self.n_pairs
        made = Potential(n, n_static, width, depth) if given is None else GivenPotential(given)
        self.potential: Potential | GivenPotential = made

    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.potential(x, theta)

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        slope = self.potential.slope(x, theta)
        return torch.cat([slope[:, self.n_pairs :], -slope[:, : self.n_pairs]], dim=1)

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        return (self.conservation(t, x, theta),)
