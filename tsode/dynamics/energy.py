"""Fields that know an energy, and how its promises are measured."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from tsode.dynamics.structured import Guarantee, Structured

__all__ = ["EnergyField", "relative_power"]

# The terms of a perceptron's gradient cancel, most near an equilibrium.
_ROUNDINGS = 1e4


class EnergyField(Structured):
    """Family of fields with an energy ``H(x, theta)``, per row."""

    @abstractmethod
    def energy(self, x: Tensor, theta: Tensor) -> Tensor:
        """Energy: ``x`` (b n_moving), ``theta`` (b n_static) -> (b,)."""

    def energies(self, states: Tensor) -> Tensor:
        """Energy of whole states (b n_state) -> (b,)."""
        return self.energy(states[:, : self.n_moving], states[:, self.n_moving :])

    def conservation(self, t: Tensor, x: Tensor, theta: Tensor) -> Guarantee:
        """Promise that the energy stands still along the drift; arguments as of `measure`."""
        power = relative_power(self, x, theta, self.motion(t, x, theta))
        rounding = _ROUNDINGS * torch.finfo(x.dtype).eps
        return Guarantee("|dH/dt| / (|grad H| |f|) = 0", float(power.abs().max()), 0.0, rounding)

    def dissipation(self, t: Tensor, x: Tensor, theta: Tensor, work: Tensor) -> Guarantee:
        """Promise that no more energy comes in than the ``work`` (b,) of an input."""
        power = relative_power(self, x, theta, self.motion(t, x, theta), work)
        rounding = _ROUNDINGS * torch.finfo(x.dtype).eps
        return Guarantee("(dH/dt - work of the input) / (|grad H| |f|) <= 0", float(power.max()), 0.0, rounding)


def relative_power(field: EnergyField, x: Tensor, theta: Tensor, rate: Tensor, work: Tensor | None = None) -> Tensor:
    """Energy gained along `rate` (b n) less `work` (b,), as share of ``|grad H| |rate|``: Tensor[b].

    The gradient is that of automatic differentiation, not the field's own.
    """
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(field.energy(at, theta.detach().clone()).sum(), at)
    gained = (slope * rate.detach()).sum(dim=1)
    if work is not None:
        gained = gained - work.detach()
    return torch.where(gained == 0, 0.0, gained / (slope.norm(dim=1) * rate.detach().norm(dim=1)))
