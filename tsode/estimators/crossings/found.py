"""Numbers that the paths of one series say of its crossings, in model time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tsode.estimators.crossings.grid import Grid
from tsode.numerics.first_passage import passage_probability, passage_times, refine_bridges, time_beyond

__all__ = ["Found", "find_crossings"]

_N_HALVINGS = 2  # of a step, before times are drawn: two levels are then rarely crossed in one


@dataclass(frozen=True, eq=False)
class Found:
    """What paths say. Shapes are (l a): levels, times asked about; (l q): quantiles; NaN where all paths failed.

    Parameters
    ----------
    probability, error, reached, incidence, incidence_error : array[l a]
    duration, duration_error : array[l a]
    duration_quantiles : array[l a q]
    first_times : array[l q]
        Infinite beyond the last time asked about.
    beyond : array[l]
    nearest : array[l]
        Distance of the path that comes nearest to the level; 0 where one crosses.
    span : (float, float)
        Smallest and largest value.
    n_paths : int
        Different paths that did not fail.
    """

    probability: np.ndarray
    error: np.ndarray
    reached: np.ndarray
    incidence: np.ndarray
    incidence_error: np.ndarray
    duration: np.ndarray
    duration_error: np.ndarray
    duration_quantiles: np.ndarray
    first_times: np.ndarray
    beyond: np.ndarray
    nearest: np.ndarray
    span: tuple[float, float]
    n_paths: int

    @classmethod
    def nothing(cls, n_levels: int, n_asked: int, n_quantiles: int) -> Found:
        """Of a series whose paths have all failed."""
        asked, each = np.full((n_levels, n_asked), np.nan), np.full(n_levels, np.nan)
        return cls(
            probability=asked, error=asked, reached=asked, incidence=asked, incidence_error=asked, duration=asked,
            duration_error=asked, duration_quantiles=np.full((n_levels, n_asked, n_quantiles), np.nan),
            first_times=np.full((n_levels, n_quantiles), np.nan), beyond=each, nearest=each, span=(np.nan, np.nan),
            n_paths=0,
        )  # fmt: skip


def find_crossings(
    grid: Grid,
    paths: np.ndarray,
    variation: np.ndarray | None,
    levels: np.ndarray,
    directions: Sequence[str],
    quantiles: np.ndarray,
    generator: torch.Generator,
    crossed: np.ndarray | None = None,
) -> Found:
    """Say what paths that did not fail say.

    Parameters
    ----------
    grid : Grid
    paths : array[s m]
    variation : array[s m-1] or None
        As in `tsode.numerics.first_passage.passage_probability`.
    levels : array[l]
    directions : sequence of str
    quantiles : array[q]
    generator : torch.Generator
    crossed : array[l s], optional
        First times of curves, from their roots. The default is drawn, between the times of the grid.
    """
    is_fine = ~np.isnan(paths).any(axis=1)
    paths = paths[is_fine]
    if not len(paths):
        return Found.nothing(len(levels), len(grid.at), len(quantiles))
    until = grid.times[grid.at]
    gap = paths - levels[:, None, None]
    beyond = np.stack([_is_beyond(one[:, 0], way) for one, way in zip(gap, directions)])
    times, finer, n_paths, n_parts = grid.times, paths, len(paths), 1
    if crossed is None:
        if variation is not None:
            variation = np.where(grid.is_jump, 0.0, variation[is_fine])  # a path is a line where it jumps
            n_parts = 2**_N_HALVINGS
        every = [passage_probability(one, variation, way) for one, way in zip(gap, directions)]
        before = np.stack(every)[:, :, grid.at]
        times, finer, between = refine_bridges(times, paths, variation, n_parts.bit_length() - 1, generator)
        drawn = passage_times(times, finer, levels, between, directions, generator)
        place = drawn.interval // n_parts
        is_at_jump = (place >= 0) & grid.is_jump[place]
        crossed, order = np.where(is_at_jump, grid.times[place], drawn.times), drawn.order
    else:
        crossed = crossed[:, is_fine]
        before = (crossed[:, :, None] < until).astype(float)
        # levels that a jump crosses at one time are met from the nearest one on
        order = np.lexsort((np.abs(gap[:, :, 0]), crossed), axis=0).argsort(axis=0)
        n_paths = len(np.unique(paths[:, [0, paths.shape[1] // 2, -1]], axis=0))
    is_first = (order == 0)[..., None] & (crossed[..., None] < until)
    turned = [levels[k] - finer if way == "down" else finer - levels[k] for k, way in enumerate(directions)]
    spent = np.stack([time_beyond(times, one)[:, n_parts * grid.at] for one in turned])
    probability, error = _mean(before, n_paths, np.ones(1))
    incidence, incidence_error = _mean(is_first.astype(float), n_paths, np.ones(1))
    duration, duration_error = _mean(spent, n_paths, until - grid.times[0])
    reached = np.where(beyond[..., None], 1.0, before).mean(axis=1)
    is_crossing = (gap.min(axis=(1, 2)) <= 0.0) & (gap.max(axis=(1, 2)) >= 0.0)
    return Found(
        probability, error, reached, incidence, incidence_error, duration, duration_error,
        np.quantile(spent, quantiles, axis=1).transpose(1, 2, 0),
        np.quantile(crossed, quantiles, axis=1, method="inverted_cdf").T,
        beyond.mean(axis=1),
        np.where(is_crossing, 0.0, np.abs(gap).min(axis=(1, 2))),
        (float(paths.min()), float(paths.max())),
        n_paths,
    )  # fmt: skip


def _is_beyond(gap: np.ndarray, direction: str) -> np.ndarray:
    if direction == "either":
        return np.zeros(len(gap), dtype=bool)
    return gap >= 0.0 if direction == "up" else gap <= 0.0


def _mean(x: np.ndarray, n_paths: int, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over paths (l s a) and its Monte Carlo error, which holds what one more path could add: up to `most` (a)."""
    return x.mean(axis=1), np.sqrt(x.var(axis=1) / n_paths + (most / n_paths) ** 2)
