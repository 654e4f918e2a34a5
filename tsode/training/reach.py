"""Fit of a model's reach: what its training data have shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tsode.core.series import Series
from tsode.models.reach import Reach

__all__ = ["learn_reach", "reset_reach"]

TRIMMED = 2e-4  # share of values, and of changes, at either end that do not count, where there are so many
MARGIN = 1e-3  # of the range, by which its ends are beyond all that was seen


def learn_reach(module: torch.nn.Module, series: Sequence[Series], horizon: float) -> None:
    """Set ranges, changes and horizon of a model that has a reach, in place.

    Parameters
    ----------
    module : nn.Module
    series : sequence of Series
        All that a model has learned from, or was chosen by.
    horizon : float
        Longest lead of training, in model time.
    """
    reach = getattr(module, "reach", None)
    if not isinstance(reach, Reach):
        return
    reach.horizon.fill_(horizon)
    reach.gap.fill_(max((float(np.diff(row.times).max(initial=0.0)) for row in series), default=0.0))
    for channel in range(len(reach.low)):
        columns = [row.values[:, channel] for row in series]
        columns = [column[~np.isnan(column)] for column in columns]
        values = np.concatenate([*columns, np.empty(0)])
        if not len(values):
            continue
        low, high = _ends(values)
        changes = np.abs(np.concatenate([*map(np.diff, columns), np.empty(0)]))
        width = max(high - low, 1e-7 * max(abs(low), abs(high), 1.0))
        reach.low[channel], reach.high[channel] = low - MARGIN * width, high + MARGIN * width
        reach.change[channel] = _ends(changes)[1] if len(changes) else width
        reach.middle[channel] = values.mean()
        reach.size[channel] = max(float(values.std()), MARGIN * width)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Least and greatest value, of many without the outermost ones."""
    n_left_out = int(TRIMMED * len(values))
    ordered = np.partition(values, [n_left_out, len(values) - 1 - n_left_out])
    return float(ordered[n_left_out]), float(ordered[len(values) - 1 - n_left_out])


def reset_reach(module: torch.nn.Module) -> None:
    """Put everything within the reach of a model that has one."""
    reach = getattr(module, "reach", None)
    if isinstance(reach, Reach):
        reach.reset()
