"""Ensemble of jump filters that run over the events together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.status import worst
from tsode.evolutions.base import Evolution
from tsode.likelihoods.ensemble_mixture import EnsembleMixture
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.jump_filter import JumpFilter, advance_together, answer_together, filter_together
from tsode.models.filters.state import FilterState

__all__ = ["Ensemble"]


class Ensemble(MarginalModel):
    """Jump filters of one kind with weights of their own; the forecast is the equal-weight mixture of theirs.

    Members of the default parts share one pass over the events, with a leading axis of members; those of other parts
    run one after the other. What their means disagree about is the epistemic part of the variance, see
    `tsode.likelihoods.ensemble_mixture.EnsembleMixture` (Lakshminarayanan, Pritzel & Blundell 2017).

    Parameters
    ----------
    members : sequence of JumpFilter
    """

    likelihood: EnsembleMixture

    def __init__(self, members: Sequence[JumpFilter]) -> None:
        super().__init__(members[0].n_channels, EnsembleMixture(len(members), members[0].likelihood))
        self.members = nn.ModuleList(members)

    @property
    def evolution(self) -> Evolution:
        """That of the first member: all are of one kind."""
        return self.filters[0].evolution

    @property
    def filters(self) -> list[JumpFilter]:
        """The members."""
        return list(self.members)  # type: ignore[arg-type]

    def encode(self, batch: IrregularBatch) -> Tensor:
        """States of all members after the last event of each row, side by side: Tensor[b d]."""
        return torch.cat([filtered.path.z_end for filtered in filter_together(self.filters, batch)], dim=1)

    @property
    def can_resume(self) -> bool:
        return self.filters[0].can_resume

    def answer(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> tuple[Tensor, Tensor]:
        found = answer_together(self.filters, batch, query_times, side, state)
        params = self.likelihood.merge_members([params for params, _ in found])
        return params, worst(*(status for _, status in found))

    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        return advance_together(self.filters, batch, state)
