"""Encoder that runs a whole jump filter back through the events."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.status import worst
from tsode.encoders.base import Encoded, Encoder
from tsode.encoders.reversal import reverse
from tsode.evolutions.base import Evolution

__all__ = ["BackwardFilter", "Filter"]


class Filter(Protocol):
    """A jump filter; the members are in `tsode.models`."""

    evolution: Evolution
    n_channels: int

    @property
    def z_start(self) -> Tensor: ...

    def filter(self, batch: IrregularBatch) -> Any:
        """Run over events; the result has a ``path``."""


class BackwardFilter(Encoder):
    """Jump filter from the last event back to the first, in a clock that runs backward.

    With a jump on what the filter's own readout did not predict, the hidden state has to carry a model of the series
    rather than a record of it.

    Parameters
    ----------
    inner : Filter
        It is trained through the summary alone; its scale is not read.
    """

    def __init__(self, inner: Filter) -> None:
        super().__init__()
        assert isinstance(inner, nn.Module)
        self.inner: Any = inner
        self.n_channels = inner.n_channels
        self.n_hidden = inner.evolution.n_state

    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        if not batch.n_events:
            hidden = self.inner.z_start.expand(batch.n_series, -1)
            return Encoded(hidden, hidden[:, None][:, :0], torch.zeros_like(batch.lengths))
        flipped, order = reverse(batch)
        path = self.inner.filter(flipped).path
        # a row without observations has padding alone, which left its state as it was
        first = torch.where(batch.lengths > 0, flipped.times[:, -1], -start)
        summary = self.inner.evolution.evolve(path.z_end, first, -start)
        context = path.z_plus.gather(1, order[..., None].expand_as(path.z_plus))
        return Encoded(summary.z, context, worst(path.status, summary.status))
