"""Encoder interface: from the events of a series to a summary of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from tsode._checks import check_shapes
from tsode.core.batch import IrregularBatch

__all__ = ["Encoded", "Encoder"]


@dataclass(frozen=True)
class Encoded:
    """Summary of the events of each row, and the context at each event.

    Parameters
    ----------
    summary : Tensor[b h]
        Of all events, as of the reference time. The same for all rows without observations.
    context : Tensor[b n h]
        At each event, of that event and all later ones; of no meaning in the padding.
    status : Tensor[b], int64
        `tsode.core.status.Status` of each row.
    """

    summary: Tensor
    context: Tensor
    status: Tensor

    def __post_init__(self) -> None:
        check_shapes(summary=(self.summary, "b h"), context=(self.context, "b n h"), status=(self.status, "b"))


class Encoder(nn.Module, ABC):
    """Family of encoders: from the events of a series to a summary for the start of its latent path.

    A member promises: rows do not see each other; padding changes nothing; unseen values are never read; only
    differences of times count.

    Attributes
    ----------
    n_channels : int
    n_hidden : int
        Width ``h`` of the summary.
    reads_a_set : bool
        Whether the summary is of a set of (time, channel, value) triples: then events at one time may stand in any
        order, together or apart.
    """

    n_channels: int
    n_hidden: int
    reads_a_set: bool = False

    @abstractmethod
    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        """Read a batch.

        Parameters
        ----------
        batch : IrregularBatch
            Compact: something was seen at every event before the padding.
        start : Tensor[b], float64
            Reference time of each row, at or before its first event.
        """

    def forward(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        return self.encode(batch, start)
