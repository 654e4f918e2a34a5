"""Penalty on an energy that does not stand still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsode.dynamics.base import Dynamics
from tsode.dynamics.energy import EnergyField
from tsode.errors import ParameterError
from tsode.nn.potential import GivenPotential, Potential
from tsode.training.penalties.base import Penalty

__all__ = ["EnergyDrift"]


class EnergyDrift(Penalty):
    """Sum of squares of ``dH/dt = grad H . f`` over visited states, as share of the sum of ``|grad H|**2 |f|**2``.

    The share is 0 where the field moves along levels of ``H`` and 1 where it moves straight across them, whatever the
    units of ``H`` and of time; states at rest do not count. A learned energy is therefore never made to vanish, but to
    find what the motion keeps. The field may still lose energy where the data say so against the penalty.

    Parameters
    ----------
    n_moving, n_static, weight, n_states
        See `Penalty`.
    energy : {"learned", "own"} or callable
        "learned" beside the field, by `tsode.nn.potential.Potential`; the field's "own", of one that has an energy but
        need not keep it ("port_hamiltonian", "stable"); or what you know, of the moving part ``x`` (b n) and the rest
        ``theta`` (b s) -> (b,), in model units.
    width, depth : int
        Of the hidden layers of a learned energy.

    References
    ----------
    Greydanus, Dzamba, Yosinski, "Hamiltonian neural networks", NeurIPS 2019, section 2: what a field that keeps ``H``
    by construction has in place of a penalty.
    """

    def __init__(
        self,
        n_moving: int,
        n_static: int = 0,
        weight: float = 1.0,
        n_states: int = 64,
        energy: str | Callable[[Tensor, Tensor], Tensor] = "learned",
        width: int = 32,
        depth: int = 2,
    ) -> None:
        super().__init__(n_moving, n_static, weight, n_states)
        if isinstance(energy, str) and energy not in ("learned", "own"):
            raise ParameterError(f'energy={energy!r} must be "learned", "own" or a function of the state.')
        self.energy: Potential | GivenPotential | None = None
        if energy == "learned":
            self.energy = Potential(n_moving, n_static, width, depth)
        elif not isinstance(energy, str):
            self.energy = GivenPotential(energy)

    def forward(self, field: Dynamics, t: Tensor, z: Tensor) -> Tensor:
        x, theta = z[:, : self.n_moving], z[:, self.n_moving :]
        rate = field(t, z)[:, : self.n_moving]
        energy = self.energy
        if energy is None:
            if not isinstance(field, EnergyField):
                raise ParameterError(
                    f'{type(field).__name__} has no energy of its own: let energy= be "learned", or a function.'
                )
            energy = GivenPotential(field.energy)
        slope = energy.slope(x, theta)
        power = (slope * rate).sum(dim=1).square().sum()
        most = (slope.square().sum(dim=1) * rate.square().sum(dim=1)).sum()
        return power / most.clamp(min=torch.finfo(most.dtype).tiny)
