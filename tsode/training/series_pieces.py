"""Pieces of series: what a likelihood is maximised on, and what it is validated on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tsode.core.series import Series
from tsode.training.windows import Split

__all__ = ["held_out_pieces", "pieces_of"]


def held_out_pieces(split: Split, n_events: int) -> list[tuple[Series, Series]]:
    """Pieces to validate on: the context, and the context with the held-out values after it."""
    if split.valid_from is None:
        return [(p.part(slice(0)), p) for series in split.valid for p in pieces_of(series, n_events)]
    pairs = []
    for series, start in zip(split.valid, split.valid_from):
        cut = int(np.searchsorted(series.times, start, side="right"))
        context = slice(max(cut - n_events, 0), cut)
        pairs.append((_part(series, context), _part(series, slice(context.start, cut + n_events))))
    return pairs


def pieces_of(series: Series, n_events: int) -> list[Series]:
    """Consecutive pieces of about equal length, at most `n_events` each; none of a series with fewer than two times."""
    n = len(series.times)
    if n < 2:
        return []
    cuts = np.linspace(0, n, -(-n // n_events) + 1).astype(int).tolist()
    return [_part(series, slice(i, j)) for i, j in pairwise(cuts)]


def _part(series: Series, rows: slice) -> Series:
    """Some of the observations, and the inputs up to the last of them, from the first of these observations on."""
    times = series.times[rows]
    if not len(times):
        return series.part(rows, slice(0))
    begin = times[0] if rows.start else -np.inf
    return series.part(rows, slice(*np.searchsorted(series.input_times, [begin, times[-1]])))
