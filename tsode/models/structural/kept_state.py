"""State of the filters of structural channels after the last event, packed as that of any filter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.kernels.paired_filter import Belief
from tsode.models.filters.state import FilterState
from tsode.models.structural.member import ChannelFit

__all__ = ["pack", "state_sizes", "unpack"]


def state_sizes(fits: Sequence[ChannelFit]) -> list[int]:
    """Numbers of the mean and of the covariance of each channel, of all draws."""
    both = [(len(fit.log_weights) * fit.n_states, fit.n_states) for fit in fits]
    return [size for mean, m in both for size in (mean, mean * m)]


def pack(batch: IrregularBatch, beliefs: Sequence[Belief]) -> FilterState:
    """The beliefs of each channel, (b d m) and (b d m m), after all events of a batch that has some."""
    z = torch.cat([part.flatten(1) for belief in beliefs for part in belief], dim=1)
    times, nothing = batch.times[:, -1], torch.zeros_like(batch.values[:, 0])
    return FilterState(times, times, z[:, None], nothing, nothing)


def unpack(state: FilterState, fits: Sequence[ChannelFit], c: int, rows: Tensor) -> Belief:
    """Of one channel, the draws of these rows set end to end: (rd m), (rd m m)."""
    mean, cov = state.z[rows, 0].split(state_sizes(fits), dim=1)[2 * c : 2 * c + 2]
    m = fits[c].n_states
    return Belief(mean.reshape(-1, m), cov.reshape(-1, m, m))
