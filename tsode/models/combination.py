"""Combination of forecasts: averages of their quantiles, with weights by channel and lead time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LEVELS", "Combination", "stretched"]

LEVELS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995)
"""Quantiles that are averaged."""


class Combination(nn.Module):
    """Averages of the quantiles of some members, and what is made of their spread.

    Weights and factors are known at some lead times; between these they are on straight lines, outside constant.

    Parameters
    ----------
    n_members, n_channels, n_leads : int
    """

    lead: Tensor
    weight: Tensor
    stretch: Tensor
    is_bounded: Tensor

    def __init__(self, n_members: int, n_channels: int, n_leads: int) -> None:
        super().__init__()
        self.register_buffer("lead", torch.arange(float(n_leads), dtype=torch.float64))
        self.register_buffer("weight", torch.full((n_channels, n_leads, n_members), 1.0 / n_members).double())
        self.register_buffer("stretch", torch.zeros(n_channels, n_leads, dtype=torch.float64))
        self.register_buffer("is_bounded", torch.ones(n_members, dtype=torch.float64))

    can_resume = False
    can_smooth = False

    def forward(self, knots: Tensor, lead: Tensor) -> Tensor:
        """Average the quantiles of members.

        Where a member has none, the others share its weight; beyond the horizon so do those that stay near the data.

        Parameters
        ----------
        knots : Tensor[m n c k], float64
            NaN = this member has no forecast.
        lead : Tensor[n]
            In horizons.

        Returns
        -------
        Tensor[n c k]
            NaN where no member has a forecast.
        """
        weight = self._at(lead, self.weight)
        if bool(self.is_bounded.any()):
            is_free = (lead > 1.0)[:, None, None] & (self.is_bounded == 0.0)
            left = weight.masked_fill(is_free, 0.0)
            weight = torch.where(left.sum(dim=2, keepdim=True) > 0.0, left, self.is_bounded.expand_as(weight))
        is_there = knots.isfinite().all(dim=3).permute(1, 2, 0)
        left = weight * is_there
        # those that count for nothing here stand in where all that count have failed
        left = torch.where(left.sum(dim=2, keepdim=True) > 0.0, left, is_there.double())
        weight = left / left.sum(dim=2, keepdim=True)
        mixed = torch.einsum("ncm,mnck->nck", weight, knots.nan_to_num())
        mixed = mixed.masked_fill(~is_there.any(dim=2)[..., None], torch.nan)
        return stretched(mixed, self._at(lead, self.stretch))

    def _at(self, lead: Tensor, table: Tensor) -> Tensor:
        """What stands in (c l ...) at these leads: Tensor[n c ...]."""
        by_lead = table.transpose(0, 1).to(lead)
        if len(self.lead) == 1:
            return by_lead.expand(len(lead), *by_lead.shape[1:])
        known = self.lead.to(lead)
        after = torch.searchsorted(known, lead.contiguous()).clamp(1, len(known) - 1)
        low, high = known[after - 1], known[after]
        share = ((lead - low) / (high - low)).clamp(0.0, 1.0).reshape(-1, *[1] * (by_lead.dim() - 1))
        return by_lead[after - 1] + share * (by_lead[after] - by_lead[after - 1])


def stretched(knots: Tensor, log_factor: Tensor) -> Tensor:
    """Quantiles (... k) at `LEVELS`, stretched about the median by the exponentials of factors (...)."""
    middle = knots[..., LEVELS.index(0.5), None]
    return middle + log_factor.exp()[..., None] * (knots - middle)
