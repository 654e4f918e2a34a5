"""Split of the series of a fit into training and validation, and the windows of validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tsode.core.series import Series
from tsode.training.windows import Window, make_window

__all__ = ["Split", "split_for_validation", "validation_windows"]

FEWEST_SERIES = 10  # with fewer, a share of the series is too few to validate on, so the last part of each is held out
WINDOWS_WANTED = 200


@dataclass(frozen=True)
class Split:
    """Series to train on, and series to validate on.

    Parameters
    ----------
    train, valid : list of Series
    valid_from : list of float or None
        First time at which each series of `valid` may be cut; None = anywhere.
    n_targets : int or None
        Channels that are forecast, the first ones; None = all.
    """

    train: list[Series]
    valid: list[Series]
    valid_from: list[float] | None
    n_targets: int | None = None


def split_for_validation(
    series: Sequence[Series], fraction: float, horizon: float, generator: torch.Generator
) -> Split:
    """Hold out a share of the series, or the last part of each where there are few.

    The last part is `fraction` of the span or one horizon, whichever is longer, but at most a quarter of the span.
    """
    usable = [row for row in series if len(row.times) > 1]
    if len(usable) >= FEWEST_SERIES:
        n_valid = max(1, round(fraction * len(usable)))
        order = torch.randperm(len(usable), generator=generator).tolist()
        return Split([usable[i] for i in sorted(order[n_valid:])], [usable[i] for i in sorted(order[:n_valid])], None)
    train, cuts = [], []
    for row in usable:
        held_out = min(max(fraction * row.span, horizon), 0.25 * row.span)
        cut = float(row.times[-1]) - held_out
        before = int(np.searchsorted(row.times, cut, side="right"))
        train.append(row.part(slice(before)))
        cuts.append(cut)
    return Split(train, usable, cuts)


def validation_windows(
    series: Sequence[Series],
    valid_from: Sequence[float] | None,
    horizon: float,
    max_context: int,
    dtype: torch.dtype,
    batch_size: int = 256,
) -> list[Window]:
    """Fixed windows: each series cut one horizon before its end, and evenly before that while few windows are there."""
    chosen: list[Series] = []
    cuts: list[float] = []
    n_cuts = max(1, min(32, -(-WINDOWS_WANTED // max(len(series), 1))))
    for number, row in enumerate(series):
        last = float(row.times[-1])
        if valid_from is None:
            first = float(row.times[0]) + 0.2 * row.span
            final = max(last - horizon, float(row.times[0]) + 0.5 * row.span)
        else:
            first, final = valid_from[number], last - min(horizon, 0.5 * (last - valid_from[number]))
        candidates = np.linspace(final, first, n_cuts) if n_cuts > 1 else np.array([final])
        # a cut that falls between the same two events as another gives the same window
        behind = np.searchsorted(row.times, candidates, side="right")
        for k in sorted(np.unique(behind, return_index=True)[1]):
            if 0 < behind[k] < len(row.times):
                chosen.append(row)
                cuts.append(float(candidates[k]))
    return [
        make_window(chosen[i : i + batch_size], cuts[i : i + batch_size], horizon, max_context, dtype=dtype)
        for i in range(0, len(chosen), batch_size)
    ]
