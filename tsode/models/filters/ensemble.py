"""Ensemble of jump filters that run over the events together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.status import worst
from tsode.evolutions.base import Evolution
from tsode.evolutions.diagonal import DiagonalFlow
from tsode.jumps.innovation_gru import InnovationGRU
from tsode.likelihoods.ensemble_mixture import EnsembleMixture, NormalEnsemble, mix_members
from tsode.models.filter_state import FilterState
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.jump_filter import JumpFilter, advance_filters, predict_params_of, run_filters
from tsode.models.filters.zero_input import SeriesJump

__all__ = ["Ensemble", "can_be_several"]


class Ensemble(MarginalModel):
    """Jump filters of one kind with weights of their own; the forecast is the equal-weight mixture of theirs.

    Members of the default parts share one pass over the events, with a leading axis of members; those of other parts
    run one after the other. What their means disagree about is the epistemic part of the variance, see
    `tsode.likelihoods.ensemble_mixture.EnsembleMixture` (Lakshminarayanan, Pritzel & Blundell 2017).

    Parameters
    ----------
    members : sequence of JumpFilter
    """

    likelihood: EnsembleMixture | NormalEnsemble

    def __init__(self, members: Sequence[JumpFilter]) -> None:
        super().__init__(members[0].n_channels, mix_members(len(members), members[0].likelihood))
        self._modules["members"] = nn.ModuleList(members)  # their name in model files

    @property
    def members(self) -> list[JumpFilter]:
        return list(self._modules["members"])  # type: ignore[call-overload]

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Make room for as many members as a file holds, and for its expert."""
        n_members = len({name.split(".")[1] for name in state if name.startswith("members.")})
        if 0 < n_members != len(self.members):
            first = self.members[0]
            self._modules["members"] = nn.ModuleList(copy.deepcopy(first) for _ in range(n_members))
            self.likelihood = mix_members(n_members, first.likelihood)
        super().resize_like(state)

    @property
    def evolution(self) -> Evolution:
        """That of the first member: all are of one kind."""
        return self.members[0].evolution

    def encode(self, batch: IrregularBatch) -> Tensor:
        """States of all members after the last event of each row, side by side: Tensor[b d]."""
        return torch.cat([filtered.path.z_end for filtered in run_filters(self.members, batch)], dim=1)

    @property
    def can_resume(self) -> bool:
        return self.members[0].can_resume

    @property
    def event_width(self) -> int:
        return sum(member.event_width for member in self.members)

    def query_width(self, n_between: int = 0) -> int:
        # the members answer one after the other, but what they make of histories stays
        first = self.members[0]
        again = (len(self.members) - 1) * (first.query_width(n_between) - first.query_width())
        return first.query_width(n_between) + again + 3 * self.n_params

    def step_width(self, n_events: int, n_queries: int) -> float:
        # the scores of the members are taken one after the other: half of what they hold is passing
        return 0.5 * (len(self.members) + 1) * self.members[0].step_width(n_events, n_queries)

    def predict_params(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> tuple[Tensor, Tensor]:
        params, statuses = zip(*predict_params_of(self.members, batch, query_times, side, state))
        return self.likelihood.merge_members(params), worst(*statuses)

    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        batch = self.reach.plausible(batch, state)
        return self.with_expert(advance_filters(self.members, batch, state), batch, state)


def can_be_several(model: JumpFilter) -> bool:
    """Whether filters like this are quick to run and their mixture has a closed form."""
    is_linear = type(model.evolution) is DiagonalFlow and type(model.jump) in (InnovationGRU, SeriesJump)
    return is_linear and isinstance(mix_members(2, model.likelihood), NormalEnsemble)
