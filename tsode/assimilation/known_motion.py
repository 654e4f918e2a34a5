"""Motion of a stochastic system at points of its parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tsode.assimilation.motion import Motion
from tsode.assimilation.system import StochasticSystem
from tsode.evolutions.linear_rows import discretise_rows
from tsode.evolutions.linear_sde import Transition
from tsode.inference.along_time import AlongTime
from tsode.inference.parameters import Parameters
from tsode.numerics.row_jacobian import linearise

__all__ = ["KnownMotion"]


class KnownMotion(Motion):
    """Motion of ``r`` rows of a stochastic system on the way to one stop.

    Parameters
    ----------
    system : StochasticSystem
    values : mapping of str to Tensor[r]
        Parameters of each row.
    along : callable
        Inputs of the rows at times (r,), by name.
    size : Tensor[r d]
        Of the states.
    is_linear : bool
    """

    def __init__(
        self,
        system: StochasticSystem,
        values: Mapping[str, Tensor],
        along: AlongTime,
        size: Tensor,
        is_linear: bool,
        inputs: Tensor | None = None,
        until: Tensor | None = None,
        members: dict[int, dict[str, Tensor]] | None = None,
    ) -> None:
        self.system, self.values, self.along, self.size, self.is_linear = system, values, along, size, is_linear
        self.n_state, self.n_noise = len(system.states), len(system.noise.noisy)
        self._inputs, self._until = inputs, until
        self._members: dict[int, dict[str, Tensor]] = {} if members is None else members

    def to(self, until: Tensor, inputs: Tensor | None) -> KnownMotion:
        """The motion on the way to stops at `until` (r,), where other values of inputs along time may begin.

        Parameters
        ----------
        inputs : Tensor[r d] or None
            What goes into the states per unit of time.
        """
        last = torch.nextafter(until.detach(), torch.full_like(until, -torch.inf))
        return KnownMotion(self.system, self.values, self.along, self.size, self.is_linear, inputs, last, self._members)

    def parameters(self, t: Tensor, m: int) -> tuple[Tensor, Parameters]:
        """Times and parameters of the ``r m`` rows that members are."""
        if self._until is not None:
            t = torch.where(t > self._until, self._until, t)
        if m not in self._members:
            self._members[m] = {name: value.repeat_interleave(m) for name, value in self.values.items()}
        known = {name: value.repeat_interleave(m) for name, value in self.along(t).items()}
        return t.repeat_interleave(m), Parameters(self._members[m]).beside(known)

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        when, p = self.parameters(t, z.shape[1])
        slope = self.system.derivatives(when, z.flatten(0, 1), p).reshape(z.shape)
        return slope if self._inputs is None else slope + self._inputs[:, None]

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        when, p = self.parameters(t, z.shape[1])
        return self.system.noise.root(when, z.flatten(0, 1), p).unflatten(0, z.shape[:2])

    def transition(self, t: Tensor, z: Tensor, h: Tensor) -> Transition:
        root = self.diffusion(t, z[:, None])[:, 0]
        if self.is_linear:
            return self._exact(t, h, root @ root.mT)
        value, by_state, by_time = linearise(lambda when, at: self.drift(when, at[:, None])[:, 0], t, z)
        law = discretise_rows(by_state, value, by_time, root @ root.mT, h)  # of the difference from z
        return Transition(law.phi, z + law.shift - (law.phi @ z[..., None]).squeeze(-1), law.cov)

    def _exact(self, t: Tensor, h: Tensor, noise: Tensor) -> Transition:
        """The transition of a drift that is affine in state and time."""
        unit = torch.diag_embed(self.size)
        none = torch.zeros_like(unit[:, :1])
        value = self.drift(t, torch.cat([none, unit], dim=1))
        offset, by_state = value[:, 0], (value[:, 1:] - value[:, :1]).mT / self.size[:, None]
        late = self.drift(t + h, none)[:, 0]
        ramp = torch.where((h > 0)[:, None], (late - offset) / torch.where(h > 0, h, 1.0)[:, None], 0.0)
        return discretise_rows(by_state, offset, ramp, noise, h)
