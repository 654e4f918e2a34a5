"""Crossings of smooth curves: bracketed between the times of a grid, and found to the digits that the curves have.

A curve that goes beyond a level and back between two times is seen too, by the peak of a cubic through its values and
slopes at the grid, at which the curve is then evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from tsode.numerics.bracketed_root import narrow_bracket
from tsode.numerics.first_passage import check_direction

__all__ = ["Brackets", "Humps", "bracket_crossings", "crossing_roots", "find_humps"]

_TOL = 1e-5  # share of a bracket; a line inside it leaves the square of that
_DOUBT = 0.5  # share of the height of a hump, seen from the grid, by which its peak may be off


class Humps(NamedTuple):
    """Places between two times of a grid where a curve may go beyond zero and back.

    Parameters
    ----------
    curve, interval : array[k], int
    peak : array[k]
        Time of the peak, by a cubic.
    """

    curve: np.ndarray
    interval: np.ndarray
    peak: np.ndarray


class Brackets(NamedTuple):
    """First crossings of curves, each between two times.

    Parameters
    ----------
    curve : array[k], int
        Curves that cross.
    low, high, value_low, value_high : array[k]
        Times around the crossing, and the curves there.
    is_jump : array[k], bool
        Whether the curve jumps between the two times, so that there is no root: it crosses at `low`.
    """

    curve: np.ndarray
    low: np.ndarray
    high: np.ndarray
    value_low: np.ndarray
    value_high: np.ndarray
    is_jump: np.ndarray


def find_humps(times: np.ndarray, gap: np.ndarray, is_jump: np.ndarray, direction: str) -> Humps:
    """Find where curves may cross zero twice between two times, before they cross it from one time to another.

    Parameters
    ----------
    times : array[m]
    gap : array[s m]
        Curves minus the level; one with NaN has no humps.
    is_jump : array[m-1], bool
        Intervals in which curves jump.
    direction : {"up", "down", "either"}
    """
    crosses = _crosses(gap, direction)
    until = np.where(crosses.any(axis=1), crosses.argmax(axis=1), crosses.shape[1])
    slope = np.empty_like(gap)
    cuts = np.concatenate([[0], np.flatnonzero(is_jump) + 1, [len(times)]])
    for begin, stop in pairwise(cuts):
        piece, n = slice(begin, stop), stop - begin
        slope[:, piece] = 0.0
        if n > 1:
            slope[:, piece] = np.gradient(gap[:, piece], times[piece], axis=1, edge_order=2 if n > 2 else 1)
    side = -np.sign(gap[:, :-1])  # from either side, towards zero is upwards
    height, rise = side * gap[:, :-1], side * (gap[:, 1:] - gap[:, :-1])
    step = np.diff(times)
    first, last = side * slope[:, :-1] * step, side * slope[:, 1:] * step
    # height + first u + b / 2 u^2 + a / 3 u^3: at its peak the slope is zero, and falls
    a, b = 3.0 * (first + last - 2.0 * rise), 2.0 * (3.0 * rise - 2.0 * first - last)
    with np.errstate(invalid="ignore", divide="ignore"):
        u = 2.0 * first / (np.sqrt(b**2 - 4.0 * a * first) - b)
        top = height + first * u + 0.5 * b * u**2 + a / 3.0 * u**3
        bulge = top - np.maximum(height, height + rise)
        is_near = (u > 0.0) & (u < 1.0) & (height + rise < 0.0) & (top + _DOUBT * bulge > 0.0)
    is_near &= ~is_jump & (np.arange(len(step)) < until[:, None]) & ~np.isnan(gap).any(axis=1)[:, None]
    curve, interval = np.nonzero(is_near)
    return Humps(curve, interval, times[interval] + u[curve, interval] * step[interval])


def bracket_crossings(
    times: np.ndarray, gap: np.ndarray, is_jump: np.ndarray, direction: str, humps: Humps, beyond: np.ndarray
) -> Brackets:
    """Put the first crossing of each curve between two times.

    Parameters
    ----------
    times, gap, is_jump, direction
        See `find_humps`.
    humps : Humps
    beyond : array[k]
        What the curves are at the peaks of these, minus the level.
    """
    crosses = _crosses(gap, direction)
    curve, interval = np.nonzero(crosses & ~np.isnan(gap).any(axis=1)[:, None])
    by_line = (
        curve, interval, times[interval], times[interval + 1], gap[curve, interval], gap[curve, interval + 1],
        is_jump[interval],
    )  # fmt: skip
    start = gap[humps.curve, humps.interval]
    is_turned = beyond * start <= 0.0
    (curve, interval, peak), beyond, start = (x[is_turned] for x in humps), beyond[is_turned], start[is_turned]
    # of there and back, the part that goes in the direction asked for
    is_back = {"up": start > 0.0, "down": start < 0.0, "either": np.zeros(len(start), dtype=bool)}[direction]
    by_hump = (
        curve, interval,
        np.where(is_back, peak, times[interval]), np.where(is_back, times[interval + 1], peak),
        np.where(is_back, beyond, start), np.where(is_back, gap[curve, interval + 1], beyond),
        np.zeros(len(start), dtype=bool),
    )  # fmt: skip
    every = [np.concatenate(both) for both in zip(by_line, by_hump)]
    order = np.lexsort(every[1::-1])
    first = order[np.unique(every[0][order], return_index=True)[1]]
    return Brackets(every[0][first], *(column[first] for column in every[2:]))


def _crosses(gap: np.ndarray, direction: str) -> np.ndarray:
    """Whether each curve is on the other side at the next time."""
    start, end = gap[:, :-1], gap[:, 1:]
    goes_up, goes_down = (start < 0.0) & (end >= 0.0), (start > 0.0) & (end <= 0.0)
    return {"up": goes_up, "down": goes_down, "either": goes_up | goes_down}[check_direction(direction)]


def crossing_roots(brackets: Brackets, evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Times at which curves cross zero within their brackets: array[k].

    Parameters
    ----------
    brackets : Brackets
    evaluate : callable
        Of places in the brackets (k), int, and times (k): what the curves are there, minus the level.

    Notes
    -----
    By `tsode.numerics.bracketed_root.narrow_bracket` to 1e-5 of a bracket and a line within that.
    """
    span = np.where(brackets.is_jump, 0.0, brackets.high - brackets.low)
    sign = np.where(brackets.value_low > 0.0, 1.0, -1.0)

    def above(share: torch.Tensor) -> torch.Tensor:
        at = np.flatnonzero(span > 0.0)
        found = np.zeros(len(span))
        found[at] = sign[at] * evaluate(at, brackets.low[at] + share.numpy()[at, 0] * span[at])
        return torch.from_numpy(found)[:, None]

    one = np.where(span > 0.0, 1.0, 0.0)
    given = (np.zeros(len(span)), one, sign * brackets.value_low, sign * brackets.value_high)
    low, high, value_low, value_high = (torch.from_numpy(x)[:, None] for x in given)
    found = narrow_bracket(above, low, high, value_low, value_high, _TOL)
    share = found.low + (found.high - found.low) * _share_of_line(found.value_low, found.value_high)
    return brackets.low + np.where(one > 0.0, share.numpy()[:, 0], 0.0) * span


def _share_of_line(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Where a line between two values is zero."""
    fall = above - below
    return torch.where(fall > 0.0, above / fall.where(fall > 0.0, 1.0), 0.0)
