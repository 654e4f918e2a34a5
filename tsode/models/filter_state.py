"""Filter state after the last event, from which filtering resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["FilterState"]


@dataclass(frozen=True)
class FilterState:
    """State of some filters after the last event of each row.

    Parameters
    ----------
    times : Tensor[b], float64
        Of that event.
    seen_at : Tensor[b], float64
        Of the last observation; NaN where there was none.
    z : Tensor[b k d]
        States of the k filters.
    last : Tensor[b c]
        Value last seen of every channel, 0 where there was none.
    seen : Tensor[b c], the values' dtype
        1 where there was one.
    rates : Tensor[b r], float64
        Rates at which infusions run from that event on, see `tsode.models.held_rates`.
    acted_at : Tensor[b], float64
        Of the last event that was more than a change of these.
    beside : Tensor[b e]
        State of a model beside the filters; e is 0 where there is none.
    """

    times: Tensor
    seen_at: Tensor
    z: Tensor
    last: Tensor
    seen: Tensor
    rates: Tensor
    acted_at: Tensor
    beside: Tensor

    @classmethod
    def stack(cls, rows: Sequence[FilterState]) -> FilterState:
        """States side by side."""
        return cls(*(torch.cat([getattr(row, f.name) for row in rows]) for f in fields(cls)))

    def split(self) -> list[FilterState]:
        """A state for each row, in memory of its own."""
        parts = zip(*(getattr(self, f.name) for f in fields(self)))
        return [FilterState(*(part[None].clone() for part in row)) for row in parts]

    def before(self, batch: IrregularBatch) -> IrregularBatch:
        """The batch that continues from here: each row begins with an empty event."""
        times = torch.cat([self.times[:, None], batch.times], dim=1)
        # the padding of a row without events has no time of its own to repeat
        times = torch.where((batch.lengths > 0)[:, None], times, self.times[:, None])
        nothing = torch.zeros_like(self.last)[:, None]
        inputs = batch.inputs
        if inputs is not None:
            inputs = torch.cat([inputs.new_zeros(len(inputs), 1, inputs.shape[2]), inputs], dim=1)
        return batch.replace(
            times=times,
            values=torch.cat([nothing, batch.values], dim=1),
            mask=torch.cat([nothing.bool(), batch.mask], dim=1),
            lengths=batch.lengths + 1,
            inputs=inputs,
        )

    def carry(self, last: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`IrregularBatch.last_seen` of a batch that continues from here (b n+1 c), with the values seen before."""
        is_new = seen > 0
        return torch.where(is_new, last, self.last[:, None]), torch.maximum(seen, self.seen[:, None])

    def since_last(self, batch: IrregularBatch, query_times: Tensor, side: str) -> Tensor:
        """`IrregularBatch.since_last` of a batch that continues from here: Tensor[b m]."""
        times = torch.where(batch.mask.any(dim=2), batch.times, -torch.inf)
        times = torch.cat([self.seen_at.nan_to_num(nan=-torch.inf)[:, None], times], dim=1).cummax(dim=1).values
        behind = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        latest = times.gather(1, behind)
        return torch.where(latest.isfinite(), query_times - latest, 0.0)
