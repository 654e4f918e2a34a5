"""Responses to inputs alone: zero without any, in proportion to them, and decaying after the last."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.observation import Observation
from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.jumps.base import JumpMap
from tsode.readouts import Readout

__all__ = ["ResponseReadout", "SeriesJump", "decaying"]

DECAYS = (0.1, 30.0)  # per horizon: what lasts ten of them, and what is gone in an hour of a day


class SeriesJump(JumpMap):
    """GRU cell on what was not predicted, which moves the statics of a series and none of its response.

    An error is told in standard deviations of the prediction, for it is as a share of what is measured that it says
    what a series is like. The cell reads how the response is made up too, on a scale that has an end: of an hour and of
    a day after a dose, an error says different things. Inputs are not read: they only add to the response.

    Parameters
    ----------
    n_response, n_static : int
        Of the state ``[response, theta]``.
    n_channels, n_inputs, n_features : int
    """

    needs_scale = True

    def __init__(self, n_response: int, n_static: int, n_channels: int, n_inputs: int, n_features: int) -> None:
        super().__init__(n_response + n_static, n_channels, n_inputs + n_features)
        self.n_response = n_response
        self.n_features = n_features
        self.cell = nn.GRUCell(3 * n_channels + n_response + n_features, n_static)

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        response, static = z.tensor_split([self.n_response], dim=1)
        mask, x = observation.mask, observation.values * observation.mask
        mean, log_scale = observation.predicted.unbind(dim=-1)
        # in standard deviations; far ones count for less
        error = torch.asinh((x - mask * mean) * torch.exp(-log_scale))
        read = [error, x, mask, squash(response)]
        if self.n_features:
            assert observation.inputs is not None
            read.append(observation.inputs[:, self.n_inputs - self.n_features :])
        return torch.cat([response, self.cell(torch.cat(read, dim=1), static)], dim=1)

    def forward(self, z: Tensor, observation: Observation) -> Tensor:
        """State after the observation; inputs alone move nothing here."""
        is_seen = (observation.mask > 0).any(dim=1, keepdim=True)
        return self.jump(z, observation).where(is_seen, z)


class ResponseReadout(Readout):
    """Location ``level + (C u) exp(gain(theta))`` of a response ``u`` and the statics ``theta`` of a series.

    Without inputs ``u`` is zero, and after the last one it decays: what is left is the learned ``level``, whatever was
    seen. No last value is read. The scale is a network of statics, lead time and how the response is made up, times a
    part that does not change and one in proportion to the response, for noise grows with what is measured.

    Parameters
    ----------
    n_response, n_static : int
    n_channels, n_hidden, dropout, n_shape, n_features
        See `tsode.readouts.Readout`.
    """

    def __init__(
        self,
        n_response: int,
        n_static: int,
        n_channels: int,
        n_hidden: int = 128,
        dropout: float = 0.0,
        n_shape: int = 0,
        n_features: int = 0,
    ) -> None:
        super().__init__(n_response + n_static, n_channels, n_hidden, False, dropout, n_shape, n_features)
        self.n_response = n_response
        self.location_hidden = nn.Linear(n_static + n_features, n_hidden)
        nn.init.zeros_(self.location_out.weight)
        nn.init.zeros_(self.location_out.bias)
        self.response = nn.Linear(n_response, n_channels, bias=False)
        self.level = nn.Parameter(torch.zeros(n_channels))
        # before training a fifth of the response, and a fiftieth of a standard deviation
        self.log_parts = nn.Parameter(torch.tensor([[0.2], [0.02]]).log().expand(2, n_channels).clone())

    def location(self, z: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        return self.level + self._respond(z, features)

    def spread(self, z: Tensor, lead: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        response, static = z.tensor_split([self.n_response], dim=-1)
        found = super().spread(torch.cat([squash(response), static], dim=-1), lead, last, seen, features)
        share, floor = self.log_parts.exp()
        size = (self._respond(z, features).abs() * share + floor).log()
        return torch.cat([found[..., :1] + size[..., None], found[..., 1:]], dim=-1)

    def _respond(self, z: Tensor, features: Tensor | None) -> Tensor:
        response, static = z.tensor_split([self.n_response], dim=-1)
        read = static if features is None else torch.cat([static, features], dim=-1)
        gain = self.location_out(self.dropout(functional.silu(self.location_hidden(read))))
        return self.response(response) * gain.exp()


def squash(response: Tensor) -> Tensor:
    """A response on a scale from -1 to 1, so that a network which reads a large one knows what it makes of it."""
    return response / (1.0 + response.abs())


def decaying(flow: Evolution) -> DiagonalFlow:
    """The flow, whose modes now start as decays of all lengths that hardly turn.

    Raises
    ------
    ParameterError
        If it is none of decaying modes and statics.
    """
    if type(flow) is not DiagonalFlow or not flow.n_static:
        got = f"n_static={flow.n_static}" if type(flow) is DiagonalFlow else f"an evolution {type(flow).__name__}"
        raise ParameterError(
            f"zero_input_response=True is for modes that decay, and statics that say what a series is like, but got "
            f"{got}: leave evolution= at 'linear' and n_static= at 1 or more, or leave out zero_input_response."
        )
    low, high = map(math.log, DECAYS)
    with torch.no_grad():
        flow.rate.copy_(torch.linspace(low, high, flow.n_modes).exp().expm1().log())  # the inverse of softplus
        flow.frequency.mul_(0.05)
    return flow
