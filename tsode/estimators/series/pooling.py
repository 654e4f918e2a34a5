"""Pooling of the states of a model along a series, to a vector of one length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import JumpFilter, run_filters
from tsode.models.linear.gaussian import LinearGaussianModel

__all__ = ["pool_states"]


def pool_states(module: Any, batch: IrregularBatch) -> dict[str, Tensor]:
    """State after the last event of each row; of filters also mean and deviation of the states after its events.

    Where in its cycle a wave ends is chance, and so is much of its last state; the mean and the deviation tell how it
    moved. A model with one latent state for a whole series has that alone.

    Returns
    -------
    dict of str to Tensor[b d]
        "state", "state_mean", "state_deviation". Of a row without events: the start state, twice, and zeros.
    """
    if not isinstance(module, JumpFilter | Ensemble | LinearGaussianModel):
        return {"state": module.encode(batch)}
    if not batch.n_events:
        start = module.encode(batch)
        return {"state": start, "state_mean": start, "state_deviation": torch.zeros_like(start)}
    if isinstance(module, LinearGaussianModel):
        states = module.filter(batch).updated.mean
        last = states[:, -1]
    else:
        filtered = run_filters(module.members, batch)
        batch = filtered[0].batch
        last = torch.cat([member.path.z_end for member in filtered], dim=1)
        states = torch.cat([member.path.z_plus for member in filtered], dim=2)
    weight = (batch.is_event / batch.lengths.clamp(min=1)[:, None].float())[..., None].to(states.dtype)
    mean = torch.where(batch.lengths[:, None] > 0, (weight * states).sum(dim=1), last)
    deviation = (weight * (states - mean[:, None]).square()).sum(dim=1).sqrt()
    return {"state": last, "state_mean": mean, "state_deviation": deviation}
