"""Multiple shooting of latent paths: windows cut into segments that each start in a state of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.training.windows import Window

__all__ = ["in_segments", "with_end"]


def in_segments(window: Window, n_segments: int) -> tuple[Window, Tensor, Tensor]:
    """Cut the context of each row into segments of about as many observation times each; targets join the last.

    A segment is a row of its own, which is shown the context from its first time on, and scored on its own part.

    Returns
    -------
    window : Window
        Segments of a row stand one after the other.
    until : Tensor[b s], float64
        First time of the segment after each one; of the last, its own.
    is_joined : Tensor[b s], bool
        Whether a segment has something in it and goes on in another.
    """
    hidden = window.hidden
    is_seen = hidden.mask.any(dim=2)
    n_seen = is_seen.sum(dim=1, keepdim=True)
    # a cut is the time of the first observation of its segment; of more segments than observations some are empty
    numbers = (torch.arange(n_segments, device=n_seen.device) * n_seen).div(n_segments, rounding_mode="floor")
    order = (~is_seen).to(torch.int8).argsort(dim=1, stable=True)
    cuts = hidden.times.gather(1, order).gather(1, numbers.clamp(max=hidden.n_events - 1)).contiguous()
    ends = torch.cat([cuts[:, 1:], torch.full_like(cuts[:, :1], torch.inf)], dim=1)
    rows = torch.arange(hidden.n_series, device=n_seen.device).repeat_interleave(n_segments)
    begin, end = cuts.reshape(-1, 1), ends.reshape(-1, 1)

    def within(batch: IrregularBatch, begin: Tensor, end: Tensor) -> IrregularBatch:
        chosen = batch.select(rows)
        is_within = (chosen.times >= begin) & (chosen.times < end)
        return chosen.replace(mask=chosen.mask & is_within[..., None])

    cut = Window(
        within(window.context, begin, torch.full_like(end, torch.inf)),
        within(window.targets, begin, end),
        within(hidden, begin, end),
        None if window.number is None else window.number[rows],
    )
    is_joined = ends.isfinite() & (ends > cuts)
    return cut, torch.where(is_joined, ends, cuts), is_joined


def with_end(batch: IrregularBatch, until: Tensor) -> IrregularBatch:
    """The batch with an event in which nothing is seen after all others, at the times `until` (b,)."""
    nothing = torch.zeros_like(batch.values[:, :1])
    return IrregularBatch(
        torch.cat([batch.times, until[:, None]], dim=1),
        torch.cat([batch.values, nothing], dim=1),
        torch.cat([batch.mask, nothing.bool()], dim=1),
        batch.lengths + 1,
        covariates=batch.covariates,
    )
