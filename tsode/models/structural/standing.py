"""Standing of the filters of a channel after an event, and its packing as the state of any filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.models.filter_state import FilterState
from tsode.models.structural.member import ChannelFit

__all__ = ["Standing", "pack", "state_sizes", "unpack"]


class Standing(NamedTuple):
    """Of all draws of a channel in some series.

    Parameters
    ----------
    mean : Tensor[r d m]
    cov : Tensor[r d m m]
    run : Tensor[r]
        Values in a row, up to here, that stand out on one side; those below count as negative.
    """

    mean: Tensor
    cov: Tensor
    run: Tensor


def state_sizes(fits: Sequence[ChannelFit]) -> list[int]:
    """Numbers of each part of the standing of each channel."""
    draws = [(len(fit.log_weights), fit.n_states) for fit in fits]
    return [size for d, m in draws for size in (d * m, d * m * m, 1)]


def pack(batch: IrregularBatch, ends: Sequence[Standing]) -> FilterState:
    """The standings of all channels after all events of a batch that has some."""
    z = torch.cat([part.flatten(1) for end in ends for part in (*end[:2], end.run[:, None])], dim=1)
    times, nothing = batch.times[:, -1], torch.zeros_like(batch.values[:, 0])
    return FilterState(times, times, z[:, None], nothing, nothing, z[:, :0].double(), times, z[:, :0])


def unpack(state: FilterState | None, fits: Sequence[ChannelFit], c: int, rows: Tensor) -> Standing | None:
    """The standing of one channel in these series; none where they begin."""
    if state is None:
        return None
    mean, cov, run = state.z[rows, 0].split(state_sizes(fits), dim=1)[3 * c : 3 * c + 3]
    m = fits[c].n_states
    return Standing(mean.reshape(len(rows), -1, m), cov.reshape(len(rows), -1, m, m), run[:, 0])
