"""Event ticks on the time axis."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tsode.frames.events import read_events
from tsode.frames.meeting import check_rows_about
from tsode.frames.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_event_ticks", "event_spans"]


def event_spans(
    events: Any, series: Hashable, panel: Panel, first: Any, last: Any, id_col: Hashable, time_col: Hashable
) -> tuple[np.ndarray, np.ndarray]:
    """Native times of the events of one series of `panel` from `first` to `last`, and when they end, `last` at most."""
    rows = read_events(events, [series], id_col=id_col, time_col=time_col)
    check_rows_about(rows["id"], panel, [series], "events=")
    rows = rows[(rows["id"] == series) & (rows["time"] >= first) & (rows["time"] <= last)]
    starts = rows["time"].to_numpy()
    ends = np.where(rows["duration"].isna(), starts, starts + rows["duration"].to_numpy()) if len(rows) else starts
    return starts, np.minimum(ends, np.asarray(last).astype(ends.dtype))


def draw_event_ticks(
    ax: Axes, starts: Any, ends: Any, row: int = 0, color: Any = "C3", label: str | None = None
) -> None:
    """Draw a triangle at the foot of the axes at each start, and a bar to its end, in x as the axes have them.

    Parameters
    ----------
    ax : Axes
    starts, ends : sequence
        Of equal length; what happens at once ends when it starts.
    row : int
        Rows of ticks stand one above the other.
    color, label
        Of matplotlib.
    """
    if not len(starts):
        return
    height = 0.015 + 0.03 * row
    transform = ax.get_xaxis_transform()
    for start, end in zip(starts, ends):
        if end > start:
            ax.plot([start, end], [height, height], transform=transform, color=color, linewidth=2.5, alpha=0.5)
    ax.plot(
        starts, [height] * len(starts), transform=transform, color=color, linestyle="none", marker="^", markersize=5,
        label=label, clip_on=False, zorder=5,
    )  # fmt: skip
