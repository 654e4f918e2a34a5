"""Pass of a jump filter over a batch of histories, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.path import ListedEvents, Path
from tsode.models.held_rates import HeldRates

__all__ = ["Filtered"]


@dataclass(frozen=True)
class Filtered:
    """Everything one pass over a batch of histories gives.

    Parameters
    ----------
    batch : IrregularBatch
        The events that were run over: those with an observation or input.
    path : Path
        Of the last pass; its states between two events may depend on later events.
    first : Path
        Of the first pass, in which every state depends on its own past alone.
    last : Tensor[b n+1 c]
        ``last[:, k]`` is the value last seen before event ``k``.
    seen : Tensor[b n+1 c], the values' dtype
        1 where there was one.
    features : Tensor[b n f] or None
        Covariates at each event; 0 in the padding.
    held : HeldRates or None
        Rates of infusions that hold after each number of events; None where the models read none.
    """

    batch: IrregularBatch
    path: Path
    first: Path
    last: Tensor
    seen: Tensor
    features: Tensor | None = None
    held: HeldRates | None = None

    @cached_property
    def acted_at(self) -> Tensor:
        """Time of the last event that was more than a change of a rate, after each number: Tensor[b n+1], float64."""
        if self.held is not None:
            return self.held.acted_at
        times = self.path.times
        return torch.cat([times[:, :1] if self.batch.n_events else times.new_zeros(len(times), 1), times], dim=1)

    @cached_property
    def events(self) -> ListedEvents:
        """The events without padding, with what the first pass predicted for them."""
        return self.first.list_events(self.batch.is_event)

    @cached_property
    def n_observed(self) -> Tensor:
        """Number of events up to the last observation: Tensor[b]."""
        if self.batch.inputs is None:
            return self.batch.lengths
        steps = torch.arange(1, self.batch.n_events + 1, device=self.batch.mask.device)
        return (self.batch.mask.any(dim=2) * steps).amax(dim=1)
