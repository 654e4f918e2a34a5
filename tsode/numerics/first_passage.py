"""First passage of sampled paths through a level, with Brownian bridges between the times of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from tsode.errors import ParameterError

__all__ = [
    "DIRECTIONS",
    "PassageTimes",
    "check_direction",
    "hit_probability",
    "hit_share",
    "passage_probability",
    "passage_times",
    "refine_bridges",
    "time_beyond",
]

DIRECTIONS = ("up", "down", "either")


class PassageTimes(NamedTuple):
    """First times at which paths cross levels.

    Parameters
    ----------
    times : array[l s]
        Infinite where a path does not cross the level on the grid.
    interval : array[l s], int
        Interval of the grid that holds the crossing; -1 where there is none.
    order : array[l s], int
        Place of each level among those that a path crosses, by time; levels that are crossed in one instant, by a
        jump, in the order in which it meets them. Levels that are not crossed come last.
    """

    times: np.ndarray
    interval: np.ndarray
    order: np.ndarray


def hit_probability(start: np.ndarray, end: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """Probability that a Brownian bridge touches zero.

    Parameters
    ----------
    start, end : array[...]
        Its two ends.
    variation : array[...]
        Variance of the free motion over the interval; where zero the bridge is a straight line.

    Returns
    -------
    array[...]
        ``exp(-2 start end / variation)`` where both ends are on one side of zero, and else 1. NaN where an end is.

    References
    ----------
    Karatzas and Shreve, "Brownian motion and stochastic calculus", 1991, eq. 4.3.40.
    """
    product = np.maximum(start * end, 0.0)
    exponent = np.divide(-2.0 * product, variation, out=np.full_like(product, -np.inf), where=variation > 0.0)
    return np.where(np.isnan(product), np.nan, np.where(product > 0.0, np.exp(exponent), 1.0))


def hit_share(start: np.ndarray, end: np.ndarray, variation: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Draw when a Brownian bridge that touches zero does so first, as a share of its interval.

    With ``tau`` that share, ``tau / (1 - tau)`` has the inverse Gaussian law of mean ``|start| / |end|`` and shape
    ``start^2 / variation``, on whichever side of zero the end is. It is drawn by Michael, Schucany & Haas, in a form
    that holds for a mean without bound. A straight line touches where it crosses.

    Parameters
    ----------
    start, end, variation : array[k]
        See `hit_probability`.
    generator : torch.Generator

    References
    ----------
    Michael, Schucany and Haas, "Generating random variates using transformations with multiple roots", The American
    Statistician 30, 1976; Beskos, Papaspiliopoulos and Roberts, "Retrospective exact simulation of diffusion sample
    paths", Bernoulli 12, 2006, proposition 2, for the law.
    """
    noise = torch.randn(len(start), generator=generator, dtype=torch.float64).numpy()
    uniform = torch.rand(len(start), generator=generator, dtype=torch.float64).numpy()
    start, end = np.abs(start), np.abs(end)
    total = start + end
    line = np.divide(start, total, out=np.zeros_like(total), where=total > 0.0)
    is_moved = (variation > 0.0) & (start > 0.0)
    size = np.where(is_moved, start, 1.0)
    rate = end / size  # one over the mean
    half = 0.5 * noise**2 * variation / size**2
    small_inverse = rate + half + np.sqrt(half * (2.0 * rate + half))  # one over the smaller root
    # with this probability the smaller of the two roots, whose product is the square of the mean
    is_small = uniform * (small_inverse + rate) <= small_inverse
    inverse = np.where(is_small, small_inverse, rate**2 / np.maximum(small_inverse, np.finfo(float).tiny))
    return np.where(is_moved, 1.0 / (1.0 + inverse), line)


def check_direction(direction: str) -> str:
    """The direction, if there is such a one.

    Raises
    ------
    ParameterError
    """
    if direction not in DIRECTIONS:
        raise ParameterError(f"direction={direction!r} is not known: choose one of {', '.join(DIRECTIONS)}.")
    return direction


def _interval_probability(gap: np.ndarray, variation: np.ndarray | None, direction: str) -> np.ndarray:
    """Probability (... m-1), given both ends, that a path crosses zero between neighbouring times."""
    check_direction(direction)
    start, end = gap[..., :-1], gap[..., 1:]
    goes_up, goes_down = (start < 0.0) & (end >= 0.0), (start > 0.0) & (end <= 0.0)
    by_line = {"up": goes_up, "down": goes_down, "either": goes_up | goes_down}[direction].astype(float)
    by_line = np.where(np.isnan(start) | np.isnan(end), np.nan, by_line)
    if variation is None:
        return by_line
    variation = np.broadcast_to(variation, by_line.shape)
    # Brownian motion that touches a level crosses it at once, in both directions
    return np.where(variation > 0.0, hit_probability(start, end, variation), by_line)


def passage_probability(gap: np.ndarray, variation: np.ndarray | None, direction: str) -> np.ndarray:
    """Probability that each path has crossed zero by each time of a grid, given its values on the grid.

    The mean over paths is the probability of the first passage: what happens between the times is averaged over by a
    formula, which leaves less to chance than a draw of it (Rao-Blackwell).

    Parameters
    ----------
    gap : array[... m]
        Paths minus the level.
    variation : array[... m-1] or None
        Variance of the Brownian part of each path over each interval. None: straight lines between the times.
    direction : {"up", "down", "either"}
        A path that starts beyond the level has to come back first; one that moves as Brownian motion crosses a level
        in both directions in the instant in which it touches it.

    Returns
    -------
    array[... m]
        Zero at the first time.

    Examples
    --------
    >>> import numpy as np
    >>> gap, variation = np.array([[-1.0, -1.0]]), np.array([[1.0]])
    >>> passage_probability(gap, variation, "up").round(4)  # exp(-2)
    array([[0.    , 0.1353]])
    """
    inside = _interval_probability(gap, variation, direction)
    with np.errstate(divide="ignore"):
        log_survival = np.cumsum(np.log1p(-inside), axis=-1)
    return np.concatenate([np.zeros_like(gap[..., :1]), -np.expm1(log_survival)], axis=-1)


def refine_bridges(
    times: np.ndarray, paths: np.ndarray, variation: np.ndarray | None, n_halvings: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Draw paths between the times of their grid, by halving each interval some times over.

    Parameters
    ----------
    times : array[m]
    paths : array[s m]
    variation : array[s m-1] or None
        As in `passage_probability`.
    n_halvings : int
    generator : torch.Generator

    Returns
    -------
    times : array[p], ``p = (m - 1) 2^n_halvings + 1``
    paths : array[s p]
    variation : array[s p-1] or None
    """
    for _ in range(n_halvings):
        middle = 0.5 * (paths[:, :-1] + paths[:, 1:])
        if variation is not None:
            noise = torch.randn(middle.shape, generator=generator, dtype=torch.float64).numpy()
            middle = middle + 0.5 * np.sqrt(variation) * noise
            variation = np.repeat(0.5 * variation, 2, axis=1)
        times, paths = _interleave(times, 0.5 * (times[:-1] + times[1:])), _interleave(paths, middle)
    return times, paths, variation


def _interleave(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    both = np.empty((*outer.shape[:-1], outer.shape[-1] + inner.shape[-1]))
    both[..., ::2], both[..., 1::2] = outer, inner
    return both


def passage_times(
    times: np.ndarray,
    paths: np.ndarray,
    levels: np.ndarray,
    variation: np.ndarray | None,
    direction: str | Sequence[str],
    generator: torch.Generator,
) -> PassageTimes:
    """Draw when paths first cross each of some levels, given their values on a grid.

    One uniform number of an interval stands for the largest value in it and one for the smallest, so that a path never
    crosses a far level in an interval without the nearer ones on the same side. The largest and the smallest are taken
    for independent given both ends, which they are where the interval is short beside the distance of two levels:
    `refine_bridges` shortens it.

    Parameters
    ----------
    times : array[m]
    paths : array[s m]
        A path with a value that is NaN has no crossing, in any interval.
    levels : array[l]
    variation : array[s m-1] or None
    direction : {"up", "down", "either"} or sequence of these
        One for all levels or for each; see `passage_probability`.
    generator : torch.Generator

    Returns
    -------
    PassageTimes
    """
    gap = paths - np.asarray(levels, dtype=float)[:, None, None]
    each = [direction] * len(gap) if isinstance(direction, str) else direction
    inside = np.stack([_interval_probability(one, variation, way) for one, way in zip(gap, each, strict=True)])
    of_max, of_min = torch.rand((2, *inside.shape[1:]), generator=generator, dtype=torch.float64).numpy()
    crosses = np.where(gap[..., :-1] < 0.0, of_max, of_min) < inside
    crosses &= ~np.isnan(paths).any(axis=1)[:, None]
    is_crossed = crosses.any(axis=-1)
    interval = np.where(is_crossed, crosses.argmax(axis=-1), -1)
    at = np.maximum(interval, 0)[..., None]
    start, end = (np.take_along_axis(gap, at + k, axis=-1)[..., 0] for k in (0, 1))
    moved = np.zeros_like(start)
    if variation is not None:
        moved = np.take_along_axis(np.broadcast_to(variation, inside.shape), at, axis=-1)[..., 0]
    share = np.full(start.shape, np.inf)
    share[is_crossed] = hit_share(start[is_crossed], end[is_crossed], moved[is_crossed], generator)
    keys = np.where(is_crossed, interval, len(times)), start > 0.0
    # the nearer of two levels on one side is met first: shares drawn apart are put in that order
    nearest, soonest = (np.lexsort((last, *reversed(keys)), axis=0) for last in (np.abs(start), share))
    np.put_along_axis(share, nearest, np.take_along_axis(share, soonest, axis=0), axis=0)
    step = np.diff(times)
    found = times[at[..., 0]] + np.where(is_crossed, share, 0.0) * step[at[..., 0]]
    order = np.lexsort((np.abs(start), share, keys[0]), axis=0).argsort(axis=0)
    return PassageTimes(np.where(is_crossed, found, np.inf), interval, order)


def time_beyond(times: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Time that each path has spent above zero until each time of a grid, on straight lines between them.

    Parameters
    ----------
    times : array[m]
    gap : array[... m]
        Paths minus the level.

    Returns
    -------
    array[... m]
        Zero at the first time.

    Examples
    --------
    >>> import numpy as np
    >>> time_beyond(np.array([0.0, 2.0, 3.0]), np.array([-1.0, 1.0, 1.0]))
    array([0., 1., 2.])
    """
    above, below = np.maximum(gap, 0.0), np.maximum(-gap, 0.0)
    up, down = (side[..., :-1] + side[..., 1:] for side in (above, below))
    total = up + down
    share = np.divide(up, total, out=np.zeros_like(total), where=total > 0.0)
    share = np.where(np.isnan(gap[..., :-1] + gap[..., 1:]), np.nan, share)
    return np.concatenate([np.zeros_like(gap[..., :1]), np.cumsum(share * np.diff(times), axis=-1)], axis=-1)
