"""Bayes-like GRU jump of GRU-ODE-Bayes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsode.core.observation import Observation
from tsode.jumps.base import JumpMap

__all__ = ["BayesGRU"]


class BayesGRU(JumpMap):
    """GRU cell on features of each seen channel's value, predicted moments and normalised error.

    De Brouwer et al. 2019, section 2.3 and appendix B: every channel has its own small map of
    ``[x, mean, log scale, (x - mean) / scale]``; channels that are not seen give zeros.

    Parameters
    ----------
    n_features : int
        Width of each channel's map.
    """

    needs_scale = True

    def __init__(self, n_state: int, n_channels: int, n_inputs: int = 0, n_features: int = 4) -> None:
        super().__init__(n_state, n_channels, n_inputs)
        self.weight = nn.Parameter(torch.randn(n_channels, 4, n_features) / 2.0)
        self.bias = nn.Parameter(torch.zeros(n_channels, n_features))
        self.cell = nn.GRUCell(n_channels * n_features + n_inputs, n_state)

    def jump(self, z: Tensor, observation: Observation) -> Tensor:
        mask = observation.mask
        location, log_scale = observation.predicted[..., 0], observation.predicted[..., 1]
        # a far outlier would saturate every gate, so the normalised error is bounded
        error = 5.0 * ((observation.values - location) * (-log_scale).exp() / 5.0).tanh()
        features = torch.stack([observation.values, location, log_scale, error], dim=-1) * mask[..., None]
        mapped = torch.einsum("bcf,cfg->bcg", features, self.weight) + self.bias
        return self.cell(self.read(observation, (mapped.relu() * mask[..., None]).flatten(1)), z)
