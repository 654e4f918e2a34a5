"""Hold back part of a panel: whole series, or the end of each."""

from __future__ import annotations

from dataclasses import replace

import torch

from tsode.errors import DataError, ParameterError
from tsode.frames.panel import Panel

__all__ = ["split_series", "split_time"]


def split_series(panel: Panel, fraction: float, generator: torch.Generator) -> tuple[Panel, Panel]:
    """Hold back a random share of the series, at least one and never all.

    Returns
    -------
    kept, held_back : Panel
        Series in their order in `panel`.

    Raises
    ------
    DataError
        If there is only one series.
    """
    _check_fraction(fraction)
    if len(panel) < 2:
        raise DataError("There is only one series, so none can be held back: hold back its end with `split_time`.")
    n_held = min(max(round(fraction * len(panel)), 1), len(panel) - 1)
    shuffled = torch.randperm(len(panel), generator=generator).tolist()
    return panel.select(sorted(shuffled[n_held:])), panel.select(sorted(shuffled[:n_held]))


def split_time(panel: Panel, fraction: float) -> tuple[Panel, Panel]:
    """Hold back the last share of the rows of each series, at least one; a series of one row keeps it.

    Returns
    -------
    past, future : Panel
        The same series, in the same order.
    """
    _check_fraction(fraction)
    cuts = [max(len(t) - max(round(fraction * len(t)), 1), min(len(t), 1)) for t in panel.times]
    return _cut(panel, [slice(None, cut) for cut in cuts]), _cut(panel, [slice(cut, None) for cut in cuts])


def _cut(panel: Panel, parts: list[slice]) -> Panel:
    return replace(
        panel,
        times=[t[part] for t, part in zip(panel.times, parts)],
        values=[v[part] for v, part in zip(panel.values, parts)],
    )


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ParameterError(f"The fraction to hold back must be between 0 and 1, but is {fraction}.")
