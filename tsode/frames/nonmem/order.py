"""Order of records at one time: by how little times are moved so that an observation comes after what it has seen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["ANY", "count_moves", "time_steps"]

ANY = "any compartment"
_SHARE = 1e-12  # of the span of a series: less than the error of any solve


def time_steps(ids: Sequence[Hashable], times: np.ndarray) -> np.ndarray:
    """By how much a time (n,) is moved in one step: a share of what the times of its ID span, as far as floats tell."""
    step = np.empty(len(times))
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(ids):
        rows.setdefault(key, []).append(row)
    for own in rows.values():
        of_series = times[own]
        step[own] = max(_SHARE * np.ptp(of_series), 8.0 * np.spacing(np.abs(of_series).max()), _SHARE)
    return step


def count_moves(
    ids: Sequence[Hashable], times: np.ndarray, observed: Sequence[Hashable], changed: Sequence[Hashable]
) -> np.ndarray:
    """Steps (n,) by which each record is later than its time says.

    An observation comes before the events of its time here, and in a data file after those of earlier records: there it
    is one step later, and so is what follows it.

    Parameters
    ----------
    ids, times : sequence, array
    observed, changed : sequence
        Compartment that each record looks at, and that it changes at its time; None where it does not, `ANY` where it
        may be any.
    """
    moves = np.zeros(len(times), dtype=np.int64)
    before: set[Hashable] = set()  # compartments that have changed since the last move
    for row in range(len(times)):
        goes_on = row > 0 and ids[row] == ids[row - 1] and times[row] == times[row - 1]
        moves[row] = moves[row - 1] if goes_on else 0
        before = before if goes_on else set()
        if changed[row] is not None:
            before.add(changed[row])
        elif observed[row] is not None and before and (observed[row] == ANY or before & {ANY, observed[row]}):
            moves[row] += 1
            before = set()
    return moves
