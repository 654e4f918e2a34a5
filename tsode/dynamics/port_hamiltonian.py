"""Port-Hamiltonian field: energy flows in by inputs alone, and out by friction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.dynamics.energy import EnergyField
from tsode.dynamics.structured import Guarantee
from tsode.errors import ParameterError
from tsode.nn.potential import Potential

__all__ = ["PortHamiltonian"]


class PortHamiltonian(EnergyField):
    """Field ``dx/dt = (A - A' - B B') grad H(x, theta) + G u`` with an energy ``H`` and inputs ``u``.

    The state is ``[x, theta, u]``, where the inputs ``u`` stand still between events as ``theta`` does; ``H`` does not
    read them. Guarantee, for all weights and inputs: ``dH/dt - y . u = -|B' grad H|**2 <= 0`` with the output
    ``y = G' grad H``, of which ``y . u`` is the work of the input per time; without inputs the energy cannot grow, and
    states stay bounded where no stiffness of the `Potential` is 0. A drive, as of an infusion, is an input with
    ``G = 1``: it brings in ``grad H . drive``. Measured in `tests/dynamics/test_port_hamiltonian.py`; solvers keep it
    to their error.

    What it costs: a linear friction on the slopes of the energy, the same everywhere; no source of energy but inputs,
    hence no limit cycle.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta`` and ``u``.
    n_inputs : int
        Coordinates of ``u``, the last ones.
    width, depth : int
        Of the hidden layers of the energy, see `tsode.nn.potential.Potential`.

    References
    ----------
    van der Schaft and Jeltsema, "Port-Hamiltonian systems theory: an introductory overview", Foundations and Trends in
    Systems and Control 1, 2014, eq. 4.26.
    """

    def __init__(self, n_state: int, n_static: int = 0, n_inputs: int = 0, width: int = 64, depth: int = 2) -> None:
        super().__init__(n_state, n_static)
        if not 0 <= n_inputs <= n_static:
            raise ParameterError(f"n_inputs={n_inputs} must be some of the n_static={n_static} that stand still.")
        n = self.n_moving
        self.n_read = n_static - n_inputs
        self.potential = Potential(n, self.n_read, width, depth)
        # oscillations of a frequency of about 1 and a friction far below it, until trained
        self.exchange = nn.Parameter(torch.randn(n, n) / (2.0 * n) ** 0.5)
        self.friction = nn.Parameter(0.3 * torch.randn(n, n) / n**0.5)
        self.ports = nn.Parameter(torch.randn(n, n_inputs) / max(n_inputs, 1) ** 0.5) if n_inputs else None

    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.potential(x, theta[:, : self.n_read])

    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        slope = self.potential.slope(x, theta[:, : self.n_read])
        rate = slope @ (self.exchange.T - self.exchange) - (slope @ self.friction) @ self.friction.T
        return rate if self.ports is None else rate + theta[:, self.n_read :] @ self.ports.T

    def work(self, x: Tensor, theta: Tensor) -> Tensor:
        """Energy that the inputs bring in per time: arguments as of `energy` -> (b,)."""
        if self.ports is None:
            return x.new_zeros(len(x))
        output = self.potential.slope(x, theta[:, : self.n_read]) @ self.ports
        return (output * theta[:, self.n_read :]).sum(dim=1)

    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        return (self.dissipation(t, x, theta, self.work(x, theta)),)
