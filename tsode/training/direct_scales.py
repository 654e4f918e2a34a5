"""Time scales of a direct regression, found in the gaps and spans of the series that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tsode.core.series import Series
from tsode.models.direct.model import DirectModel

__all__ = ["set_time_scales"]

OFTEN = 0.25  # share of the gaps that are shorter than those that a forecast is told apart within
SHARE_OF_GAP = 0.25  # of such a gap a forecast has left the last value to 98 per cent


@torch.no_grad()
def set_time_scales(model: DirectModel, series: Sequence[Series], horizon: float) -> None:
    """Tell a model the horizon, how soon forecasts leave the last value, and how long doses may stay."""
    gaps = np.concatenate([np.diff(row.times) for row in series] or [np.empty(0)])
    gaps = gaps if len(gaps) else np.array([horizon])
    shortest = float(np.median(gaps))
    longest = max(float(np.max([row.span for row in series], initial=0.0)), 2.0 * shortest)
    model.span.fill_(horizon)
    model.quick.fill_(SHARE_OF_GAP * float(np.quantile(gaps, OFTEN)))
    model.residence.copy_(torch.from_numpy(np.geomspace(shortest, longest, len(model.residence))))
