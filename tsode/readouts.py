"""Readouts: from a state to the parameters of a likelihood, with a gated last value or from the state alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.nn.perceptron import perceptron

__all__ = ["Emission", "Readout"]


class Readout(nn.Module):
    """Two small networks on the state: one for the location, one for the log scale.

    Location: ``c(z) + seen * last * sigmoid(2 + g(z))``, where ``last`` is the value last seen of the channel and
    ``c`` and ``g`` share one hidden layer of SiLU units that also reads ``(last, seen)``. The gate starts nearly
    open (0.88), so that an untrained model already carries the last value forward; where dynamics say more, training
    closes it. Without the gate the location is ``c(z)`` and ``last`` is not read.

    Log scale, and the shape of a likelihood that has one: a network on the state, ``(last, seen)`` and the lead time.

    Both networks read the covariates at that time as well.

    Parameters
    ----------
    n_state, n_channels : int
    n_hidden : int
        Units of either hidden layer.
    gate : bool
        Whether the last value is read.
    dropout : float
        Share of hidden units dropped in training.
    n_shape : int
        Numbers a channel beside location and log scale, see `tsode.likelihoods.base.Likelihood.compose`.
    n_features : int
        Width of the covariates.
    """

    def __init__(
        self,
        n_state: int,
        n_channels: int,
        n_hidden: int = 128,
        gate: bool = True,
        dropout: float = 0.0,
        n_shape: int = 0,
        n_features: int = 0,
    ) -> None:
        super().__init__()
        self.n_state = n_state
        self.n_channels = n_channels
        self.gate = gate
        n_last = (2 * n_channels if gate else 0) + n_features
        self.location_hidden = nn.Linear(n_state + n_last, n_hidden)
        self.location_out = nn.Linear(n_hidden, 2 * n_channels if gate else n_channels)
        self.scale_hidden = nn.Linear(n_state + n_last + 2, n_hidden)
        self.scale_out = nn.Linear(n_hidden, n_channels * (1 + n_shape))
        self.dropout = nn.Dropout(dropout)

    def location(self, z: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        """Location of every channel.

        Parameters
        ----------
        z : Tensor[... d]
        last : Tensor[... c]
            Value last seen, 0 where `seen` is 0.
        seen : Tensor[... c], the state's dtype
            1 where the channel has been seen.
        features : Tensor[... f] or None
            Covariates; None without any.

        Returns
        -------
        Tensor[... c]
        """
        inputs = self._join(z, last, seen, features)
        out = self.location_out(self.dropout(nn.functional.silu(self.location_hidden(inputs))))
        if not self.gate:
            return out
        correction, gate = out.chunk(2, dim=-1)
        return correction + last * torch.sigmoid(2.0 + gate)

    def spread(self, z: Tensor, lead: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None) -> Tensor:
        """Log scale and shape of every channel; ``lead`` (...) is the time since the last event: -> (... c 1+shape)."""
        lead = lead[..., None]
        # two views of the lead time: one resolves short leads, the other grows without end
        inputs = torch.cat([self._join(z, last, seen, features), lead, torch.log1p(10.0 * lead.abs())], dim=-1)
        hidden = self.dropout(nn.functional.silu(self.scale_hidden(inputs)))
        return self.scale_out(hidden).unflatten(-1, (self.n_channels, -1))

    def _join(self, z: Tensor, last: Tensor, seen: Tensor, features: Tensor | None) -> Tensor:
        parts = [z, last, seen] if self.gate else [z]
        return torch.cat(parts if features is None else [*parts, features], dim=-1)

    def forward(
        self, z: Tensor, lead: Tensor, last: Tensor, seen: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Location (... c), log scale (... c) and shape (... c n_shape) of every channel."""
        spread = self.spread(z, lead, last, seen, features)
        return self.location(z, last, seen, features), spread[..., 0], spread[..., 1:]


class Emission(nn.Module):
    """Location and log scale of every channel from a latent state alone: the ``p(x | z)`` of a latent model.

    Parameters
    ----------
    n_state, n_channels : int
    n_hidden : int
        Hidden SiLU units of the location, and of the scale where it depends on the state; 0 = linear.
    scale : {"channel", "state"}
        Whether the observation scale is one learned number a channel, or depends on the state as well.
    """

    def __init__(self, n_state: int, n_channels: int, n_hidden: int = 64, scale: str = "channel") -> None:
        super().__init__()
        if scale not in ("channel", "state"):
            raise ParameterError(f"scale={scale!r} is not known: choose 'channel' or 'state'.")
        self.n_state = n_state
        self.n_channels = n_channels
        self.location = perceptron(n_state, n_hidden, n_channels)
        self.log_scale = nn.Parameter(torch.full((n_channels,), -0.5))
        self.scale = perceptron(n_state, n_hidden, n_channels) if scale == "state" else None

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Location and log scale of every channel: (... d) -> (... c), (... c)."""
        location = self.location(z)
        log_scale = self.log_scale.expand_as(location) if self.scale is None else self.log_scale + self.scale(z)
        return location, log_scale
