"""Choice of the scale on which a channel is modelled, by how well straight lines forecast it on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tsode.core.transforms import Transform
from tsode.likelihoods.transformed_mixture import TransformedMixture

__all__ = ["Scores", "is_better", "likeliest", "scores_of_scales"]

N_CLASSES = 3  # of gaps
FEWEST = 8  # pairs of a class, for a line and a spread to be fitted
FEWEST_BLOCKS = 10  # parts of the data that are compared
MOST_PAIRS = 4000
MOST_NATS = 3.0  # that one value may tell
SURE = 2.0  # standard errors by which a scale must be better


class Scores(NamedTuple):
    """Scores of forecasts (n), lower is better, and the parts of the data that they are of (n).

    ``nll`` is in nats of the channel's own units, ``crps`` in these units.
    """

    nll: np.ndarray
    crps: np.ndarray
    block: np.ndarray


class _Pairs(NamedTuple):
    """What is forecast (n): a value, one before it (NaN where there is none), the gap, and the part of the data.

    ``half`` (0 or 1) alternates from part to part of a series, and from series to series.
    """

    before: np.ndarray
    after: np.ndarray
    gap: np.ndarray
    block: np.ndarray
    half: np.ndarray


def scores_of_scales(
    series: Sequence[tuple[np.ndarray, np.ndarray]], transforms: Mapping[str, Transform], reach: float
) -> dict[str, Scores]:
    """Scores of each scale, by forecasts of one half of the data with what was fitted to the other.

    A value is forecast from the one before it, and from one about half of `reach` before it, by a straight line with
    normal errors on the scale; short, middling and long gaps have lines of their own. First values are forecast by
    their mean. Scales are only compared by it, so that it has to be fair, and need not be good.

    Parameters
    ----------
    series : sequence of (array[n], array[n])
        Times and values, all of them seen.
    transforms : dict of name to Transform
    reach : float
        How far ahead forecasts will be asked, in the unit of the times.
    """
    pairs = _pairs([one for one in series if len(one[0])], reach)
    step = max(1, math.ceil(len(pairs.after) / MOST_PAIRS))
    pairs = _Pairs(*(column[::step] for column in pairs))
    groups = _groups(pairs)
    fits = {name: _fit(pairs, groups, transform) for name, transform in transforms.items()}
    # the same values on each: where one was met exactly on a scale, or leaves it, nothing is compared
    is_told = np.logical_and.reduce([(scale > 0.0) & np.isfinite(location) for location, scale in fits.values()])
    told = _Pairs(*(column[is_told] for column in pairs))
    return {
        name: _scores(told, location[is_told], scale[is_told], transforms[name])
        for name, (location, scale) in fits.items()
    }


def is_better(scores: Scores, than: Scores) -> bool:
    """Whether forecasts on a scale are better by either score, and by the likelihood for more than chance.

    Of a single value no more than `MOST_NATS` count, lest one that stands out decide.
    """
    gain = _gain(scores, than)
    blocks, of = np.unique(scores.block, return_inverse=True)
    if len(blocks) < FEWEST_BLOCKS:
        return False
    error = math.sqrt(float((np.bincount(of, gain - gain.mean()) ** 2).sum())) / len(gain)
    return bool(gain.mean() > SURE * error and scores.crps.mean() <= than.crps.mean())


def likeliest(scores: Mapping[str, Scores], otherwise: str) -> str:
    """The scale on which forecasts are likeliest; `otherwise` where nothing tells."""
    best = otherwise
    for name, own in scores.items():
        if len(own.nll) and (best not in scores or _gain(own, scores[best]).mean() > 0.0):
            best = name
    return best


def _gain(scores: Scores, than: Scores) -> np.ndarray:
    """Nats that forecasts are likelier by (n)."""
    return np.nan_to_num(np.clip(than.nll - scores.nll, -MOST_NATS, MOST_NATS))


def _pairs(series: Sequence[tuple[np.ndarray, np.ndarray]], reach: float) -> _Pairs:
    """All pairs, in the order of the series; few series are cut into parts."""
    n_parts = math.ceil(FEWEST_BLOCKS / max(1, len(series)))
    rows: list[tuple[np.ndarray, ...]] = [(np.empty(0),) * 5]
    for number, (times, values) in enumerate(series):
        here, n = np.arange(len(times)), len(times)
        part = here * n_parts // n
        block, half = number * n_parts + part, (number + part) % 2
        far = np.searchsorted(times, times + 0.5 * reach)
        is_far = (far > here + 1) & (far < n)
        start, end = np.concatenate([here[:-1], here[is_far]]), np.concatenate([here[1:], far[is_far]])
        rows.append((np.array([np.nan]), values[:1], np.zeros(1), block[:1], half[:1]))
        rows.append((values[start], values[end], times[end] - times[start], block[end], half[end]))
    return _Pairs(*(np.concatenate(column) for column in zip(*rows)))


def _groups(pairs: _Pairs) -> list[np.ndarray]:
    """Pairs that share a line: array[n], bool, each."""
    is_first = np.isnan(pairs.before)
    if is_first.all():
        return [is_first]
    edges = np.unique(np.quantile(pairs.gap[~is_first], np.arange(1, N_CLASSES) / N_CLASSES))
    place = np.searchsorted(edges, pairs.gap)
    return [is_first, *(~is_first & (place == k) for k in range(len(edges) + 1))]


def _fit(pairs: _Pairs, groups: Sequence[np.ndarray], transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """Location and spread of the forecast of each pair (n) on a scale; NaN where there are too few to learn from."""
    before, after = (transform.forward(torch.from_numpy(part)).numpy() for part in (pairs.before, pairs.after))
    location, scale = np.full((2, len(after)), np.nan)
    for group in groups:
        for half in (0, 1):
            learned, told = group & (pairs.half != half), group & (pairs.half == half)
            if np.count_nonzero(learned) < FEWEST or not told.any():
                continue
            x = np.stack([np.ones_like(before), np.nan_to_num(before - before[learned].mean())], axis=1)
            line = np.linalg.lstsq(x[learned], after[learned], rcond=None)[0]
            location[told], scale[told] = x[told] @ line, (after - x @ line)[learned].std()
    return location, scale


def _scores(pairs: _Pairs, location: np.ndarray, scale: np.ndarray, transform: Transform) -> Scores:
    if not len(scale):
        return Scores(location, scale, pairs.block)
    normal = torch.from_numpy(np.stack([location, np.log(scale), np.zeros_like(scale)], axis=1))
    family = TransformedMixture(1)
    params, truth = family.from_normals(normal, transform), torch.from_numpy(pairs.after)
    nll, crps = -family.log_prob(params, truth), family.crps(params, truth)
    return Scores(nll.numpy(), crps.numpy(), pairs.block)
