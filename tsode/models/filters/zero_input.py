"""Readout of a response to inputs alone: it decays to a level of rest without any, whatever a series is like."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.readouts import Readout

__all__ = ["ZeroInputReadout", "spread_decays"]

DECAYS = (0.1, 30.0)  # per horizon: what lasts ten of them, and what is gone in an hour of a day
FLOOR = 0.02  # of the scale, in standard deviations of the channel


class ZeroInputReadout(Readout):
    """Location ``level + (C u) exp(gain(theta))`` of modes ``u`` that inputs feed and statics ``theta``.

    The modes decay, and so does the location, to the learned ``level``. A series has a gain of its own, by its statics
    and covariates; no last value is read. The scale is a network, as in `tsode.readouts.Readout`, times what is read,
    for noise grows with what is measured.

    Parameters
    ----------
    n_modes, n_static : int
        Of the state ``[Re u, Im u, theta]``.
    n_channels, n_hidden, dropout, n_shape, n_features
        As in `tsode.readouts.Readout`.
    """

    def __init__(
        self,
        n_modes: int,
        n_static: int,
        n_channels: int,
        n_hidden: int = 128,
        dropout: float = 0.0,
        n_shape: int = 0,
        n_features: int = 0,
    ) -> None:
        super().__init__(2 * n_modes + n_static, n_channels, n_hidden, False, dropout, n_shape, n_features)
        self.n_moving = 2 * n_modes
        self.location_hidden = nn.Linear(n_static + n_features, n_hidden)
        nn.init.zeros_(self.location_out.weight)
        nn.init.zeros_(self.location_out.bias)
        self.response = nn.Linear(self.n_moving, n_channels, bias=False)
        self.level = nn.Parameter(torch.zeros(n_channels))
        self.log_share = nn.Parameter(torch.full((n_channels,), -1.5))  # of what is read, in the scale: a fifth

    def location(self, z: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        return self.level + self._responds(z, features)

    def spread(self, z: Tensor, lead: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        found = super().spread(z, lead, last, seen, features)
        size = (self._responds(z, features).abs() * self.log_share.exp() + FLOOR).log()
        return torch.cat([found[..., :1] + size[..., None], found[..., 1:]], dim=-1)

    def _responds(self, z: Tensor, features: Tensor | None) -> Tensor:
        moving, static = z.tensor_split([self.n_moving], dim=-1)
        read = static if features is None else torch.cat([static, features], dim=-1)
        gain = self.location_out(self.dropout(functional.silu(self.location_hidden(read))))
        return self.response(moving) * gain.exp()


def spread_decays(flow: Evolution) -> DiagonalFlow:
    """The flow, whose modes now start as decays of all lengths that hardly turn.

    Raises
    ------
    ParameterError
        If it is none of decaying modes and statics.
    """
    if type(flow) is not DiagonalFlow or not flow.n_static:
        raise ParameterError(
            "zero_input_response=True is of modes that decay, and of statics: leave evolution= at 'linear', and let "
            "n_static be at least 1."
        )
    low, high = map(math.log, DECAYS)
    decay = torch.linspace(low, high, flow.n_modes).exp()
    with torch.no_grad():
        flow.rate.copy_(decay.expm1().log())  # the inverse of softplus
        flow.frequency.mul_(0.05)
    return flow
