"""Rows that a direct regression learns from: random cuts of the series, and a few targets after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.core.series import Series
from tsode.models.direct.scales import Scales
from tsode.models.direct.signals import Signals
from tsode.training.windows import FEWEST_SERIES, WindowSampler

__all__ = ["DirectRows", "draw_rows"]

TARGETS = 16  # of a window: those of one cut tell much the same
BATCH = 64
N_FOLDS = 10  # of series
N_PARTS = 5  # of the time of each, where there are few
FEWEST_SHORT, SHORT = (
    3,
    50,
)  # series of so few rows that a part of one tells nothing of another: whole ones are left out


@dataclass(frozen=True)
class DirectRows:
    """Targets, each with what a forecast of it reads.

    Parameters
    ----------
    signals : Signals
        Of r targets.
    values, mask : Tensor[r c]
    fold : Tensor[r], int64
        Part of the series, or of the time where there are few series, that a target belongs to.
    event : Tensor[r], int64
        Number of the observation that a target is: after several cuts it is the same.
    window, time : Tensor[r], int64 and float64
        Number of the cut that a target comes after, and when it is.
    """

    signals: Signals
    values: Tensor
    mask: Tensor
    fold: Tensor
    event: Tensor
    window: Tensor
    time: Tensor


class CutsByEvent(WindowSampler):
    """Windows that are cut after any event of a short series but its last, each as likely as another.

    Such series are often dense where they begin, and asked from there.
    """

    def cut(self, row: int, share: float, is_standard: bool) -> float:
        times = self.series[row].times
        if len(times) >= SHORT:
            return super().cut(row, share, is_standard)
        return float(times[int(share * (len(times) - 1))])


@torch.no_grad()
def draw_rows(
    series: Sequence[Series], scales: Scales, max_context: int, max_rows: int, generator: torch.Generator
) -> DirectRows | None:
    """Rows of random windows, in double precision; None where no series has an event on either side of a cut.

    Parameters
    ----------
    series : sequence of Series
    scales : Scales
        The horizon, in model time, is the longest lead.
    max_context : int
        Most events before a cut.
    max_rows : int
        At most, about: a batch of windows more or less.
    generator : torch.Generator
    """
    events = sum(len(row.times) for row in series if len(row.times) > 1)
    horizon = float(scales.horizon)
    # neighbouring cuts of a short series give the same rows again
    n_windows = min(-(-max_rows // TARGETS), max(events, 2 * BATCH))
    sampler = CutsByEvent(
        series, horizon, BATCH, max_context, min_batches=-(-n_windows // BATCH), drop=0.0, dtype=torch.float64
    )
    if not sampler.series:
        return None
    edges = _edges(sampler.series)
    parts, n_rows, n_cuts = [], 0, 0
    while n_rows < max_rows and n_cuts < n_windows:
        for places in sampler.order(generator):
            window = sampler.draw(places, generator)
            targets = window.targets
            is_there = targets.mask.any(dim=2)
            chance = torch.rand(is_there.shape, generator=generator, dtype=torch.float64).masked_fill(~is_there, -1.0)
            width = min(TARGETS, chance.shape[1])
            drawn = chance.topk(width, dim=1).indices.sort(dim=1).values
            row, slot = is_there.gather(1, drawn).nonzero(as_tuple=True)
            times = targets.times.gather(1, drawn)
            column = drawn[row, slot]
            fold = (
                places[row] % N_FOLDS
                if edges is None
                else torch.searchsorted(edges[places[row]], times[row, slot, None])[:, 0]
            )
            parts.append(
                DirectRows(
                    Signals.of(window.context, times, "left", scales).at(row, slot),
                    targets.values[row, column],
                    targets.mask[row, column],
                    fold,
                    places[row],
                    row + n_cuts,
                    times[row, slot],
                )
            )
            n_rows, n_cuts = n_rows + len(row), n_cuts + len(places)
            if n_rows >= max_rows or n_cuts >= n_windows:
                break
    values, mask, fold, place, number, time = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("values", "mask", "fold", "event", "window", "time")
    )
    event = torch.stack([place.double(), time]).unique(dim=1, return_inverse=True)[1]
    return DirectRows(Signals.join([part.signals for part in parts]), values, mask, fold, event, number, time)


def _edges(series: Sequence[Series]) -> Tensor | None:
    """Times at which parts of each series end (b 4), where there are too few series to leave some out."""
    is_short = len(series) >= FEWEST_SHORT and float(np.median([len(row.times) for row in series])) < SHORT
    if len(series) >= FEWEST_SERIES or is_short:
        return None
    inner = np.arange(1, N_PARTS) / N_PARTS
    return torch.from_numpy(np.stack([np.quantile(row.times, inner) for row in series]))
