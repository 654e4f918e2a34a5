"""Part of training that is left out: a series, or one observation of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tsode.core.series import Series
from tsode.frames.panel import Panel

__all__ = ["LeftOut", "each_observation", "each_series"]


@dataclass(frozen=True)
class LeftOut:
    """Series `k` of those of training, or the value in one of its rows and channels.

    Parameters
    ----------
    k : int
    row : int or None
        Among the rows in which anything was seen; None leaves out the whole series.
    channel : int
    """

    k: int
    row: int | None = None
    channel: int = 0

    def rest(self, series: Series) -> Series | None:
        """What stays of the series; the time at which there is nothing left stays too."""
        if self.row is None:
            return None
        values = series.values.copy()
        values[self.row, self.channel] = np.nan
        return replace(series, values=values)


def each_series(panel: Panel) -> list[LeftOut]:
    return [LeftOut(k) for k in range(len(panel.ids))]


def each_observation(panel: Panel, of: Sequence[Hashable]) -> list[LeftOut]:
    """Values of the series with these ids, in the order of the panel."""
    wanted, seen = set(of), panel.rows_seen
    return [
        LeftOut(k, row, channel)
        for k, key in enumerate(panel.ids)
        if key in wanted
        for row, channel in np.argwhere(~np.isnan(panel.values[k][seen[k]])).tolist()
    ]
