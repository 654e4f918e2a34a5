"""Grid of times on which a series is followed from its start to the last time asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsode.core.timeline import Timeline

__all__ = ["SHORT", "Grid", "lay_grid"]

SHORT = 1e-9  # of the way to the horizon: what comes just after an observation or an event


@dataclass(frozen=True, eq=False)
class Grid:
    """Times of one series.

    Parameters
    ----------
    origin : array[1]
        Native time of the start: of the last observation, or of the first event where there is none.
    native : array[m]
        As the data have them, increasing. The first is at the origin, or just after it.
    times : array[m]
        The same in model time.
    is_jump : array[m-1], bool
        Intervals from just before to just after an event.
    at : array[a], int
        Places of the times asked about.
    """

    origin: np.ndarray
    native: np.ndarray
    times: np.ndarray
    is_jump: np.ndarray
    at: np.ndarray


def lay_grid(
    timeline: Timeline, origin: float, is_seen: bool, asked: np.ndarray, events: np.ndarray, n_steps: int
) -> Grid:
    """Lay even steps, the times asked about, and those just before and just after events.

    Parameters
    ----------
    timeline : Timeline
    origin : float
        Start, in model time.
    is_seen : bool
        Whether something was observed there: then the grid begins just after it, where forecasts know of it.
    asked : array[a]
        Native times, in increasing order.
    events : array[e]
        Model times at which something is given.
    n_steps : int
        Even steps.
    """
    until = timeline.to_model(asked)
    span = float(until[-1] - origin)
    tick = SHORT * span if timeline.resolution is None else max(SHORT * span, 1.0 / timeline.unit)
    if timeline.resolution is None:
        tick = max(tick, 4.0 * float(np.spacing(np.abs(asked).max())) / timeline.unit)
    start = origin + tick if is_seen else origin
    inside = np.unique(events[(events >= start) & (events < until[-1])])
    even = origin + span * np.arange(1, n_steps) / n_steps
    # what lies between an event and the time just after it would cut the jump in two
    for edge in (start, *inside):
        even = even[(even <= edge - tick) | (even > edge + tick)]
    wanted = np.concatenate([[start], even[even > start], until, inside, inside + tick])
    native = np.unique(timeline.to_native(np.unique(wanted)))
    times = timeline.to_model(native)
    at = np.minimum(np.searchsorted(times, until - 0.25 * tick), len(times) - 1)
    before = np.minimum(np.searchsorted(times, inside - 0.25 * tick), len(times) - 2)
    is_jump = np.zeros(len(times) - 1, dtype=bool)
    is_jump[before] = True
    return Grid(timeline.to_native(np.array([origin])), native, times, is_jump, at)
