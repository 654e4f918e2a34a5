"""Weights of draws of the parameters, by what has been seen since they were inferred."""

from __future__ import annotations

import warnings
from collections.abc import Hashable

import torch
from torch import Tensor

from tsode.errors import TsodeWarning

__all__ = ["chosen_draws", "tell_of_few"]

FEW = 5.0  # effective draws, below which it is said


def chosen_draws(log_weights: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Places (q k) of draws that weigh the same, by log weights (q k) of each; and the effective number of draws (q,).

    Systematic, by one number for all: draws that weigh the same already are all chosen, once each.
    """
    q, k = log_weights.shape
    usable = torch.where(log_weights.isfinite(), log_weights, -torch.inf)
    usable = torch.where(usable.isfinite().any(dim=1, keepdim=True), usable, 0.0)
    share = usable.softmax(dim=1)
    start = torch.rand((), generator=torch.Generator().manual_seed(seed % 2**63), dtype=torch.float64)
    ticks = ((torch.arange(k) + start) / k).expand(q, k).contiguous()
    places = torch.searchsorted(share.cumsum(dim=1).contiguous(), ticks).clamp(max=k - 1)
    return places, 1.0 / share.square().sum(dim=1)


def tell_of_few(key: Hashable, n_effective: Tensor, k: int) -> None:
    """Warn where next to no draw of the parameters goes with what was seen."""
    if len(n_effective) and float(n_effective.min()) < min(FEW, k):
        warnings.warn(
            f"Series {key!r} has rows that the posterior did not expect ({float(n_effective.min()):.1f} effective "
            f"draws of {k} of the parameters): add them by update(..., refit=True).",
            TsodeWarning,
            stacklevel=2,
        )
