"""Time scales of a direct regression, found in the gaps and spans of the series that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tsode.core.series import Series
from tsode.models.direct.model import DirectModel

__all__ = ["set_time_scales"]


@torch.no_grad()
def set_time_scales(model: DirectModel, series: Sequence[Series], horizon: float) -> None:
    """Tell a model the horizon, how far apart observations are, and how long doses may stay."""
    gaps = np.concatenate([np.diff(row.times) for row in series] or [np.empty(0)])
    gaps = gaps if len(gaps) else np.array([horizon])
    typical = float(np.median(gaps))
    longest = max(float(np.max([row.span for row in series], initial=0.0)), 2.0 * typical)
    model.span.fill_(horizon)
    model.gap.fill_(typical)
    model.quick.fill_(typical)
    model.residence.copy_(torch.from_numpy(np.geomspace(typical, longest, len(model.residence))))
