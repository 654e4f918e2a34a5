"""Intensity of observation times, read off the state of a filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ObservationIntensity"]


class ObservationIntensity(nn.Module):
    """Rate at which observations of a series come, read off its state: ``softplus(w' silu(W z + b) + c)``.

    Parameters
    ----------
    n_state : int
    n_hidden : int
    """

    def __init__(self, n_state: int, n_hidden: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_state + 1, n_hidden)
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, z: Tensor, lead: Tensor) -> Tensor:
        """Events per unit of model time, in a state (... d) that stands `lead` (...) after the event before it."""
        features = torch.cat([z, torch.log1p(10.0 * lead)[..., None]], dim=-1)
        rate = functional.softplus(self.out(functional.silu(self.hidden(features)))[..., 0])
        return rate + 1e-6  # no observation is impossible
