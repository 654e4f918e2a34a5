"""Sample of a channel: series on one scale, standardised, as problems of fit read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, log
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.models.structural.component import DataScale
from tsode.models.structural.given_errors import noise_of_errors
from tsode.models.structural.problems import Data, Doubts

__all__ = ["Sample", "Seen", "sample_of"]

CHI_SQUARED_MEDIAN = 0.455  # of one degree of freedom


@dataclass(frozen=True)
class Sample:
    """Series (n s) on one scale, standardised."""

    plain: Data
    data: Data  # with the doubts
    scale: DataScale
    shift: float
    spread: float
    log_slope: float  # of the transform and the standardisation, summed over all values
    reach: float  # greatest less least of the values that do not stand out, in the data's own units
    doubts: Doubts | None = None
    given_ahead: float = 0.0  # median of the given variances of noise, in those of the series

    @property
    def n_doubts(self) -> int:
        return 0 if self.doubts is None else int((self.doubts.noise > 0.0).sum())


class Seen(NamedTuple):
    """What was seen of one channel of one series.

    Parameters
    ----------
    times, values : array[n]
        In model time and the data's own units.
    features : array[n f]
        Covariates.
    errors : array[n]
        Standard errors of the values, in their units; NaN where none is given.
    """

    times: np.ndarray
    values: np.ndarray
    features: np.ndarray
    errors: np.ndarray

    def at(self, rows: np.ndarray) -> Seen:
        return Seen(*(part[rows] for part in self))


def sample_of(
    series: Sequence[Seen],
    transform: Transform,
    span: float,
    doubts: Doubts | None = None,
    like: Sample | None = None,
) -> Sample:
    """Series on the scale of a transform, padded to one length; on the scale of another sample if there is one.

    What is doubted does not count in the scale, nor what its standard error makes nothing of.
    """
    n = max(len(t) for t, *_ in series)
    padded = [[np.pad(x, [(0, n - len(x))] + [(0, 0)] * (x.ndim - 1), mode="edge") for x in one] for one in series]
    times, values, features, errors = (torch.from_numpy(np.stack(part, axis=1)) for part in zip(*padded))
    is_seen = torch.arange(n)[:, None] < torch.tensor([len(t) for t, *_ in series])
    scaled, own_time = transform.forward(values), times / span
    is_sound = is_seen if doubts is None else is_seen & (doubts.noise == 0.0)
    is_sound = _told(scaled, noise_of_errors(errors, values, transform, 1.0), is_sound)
    seen = scaled[is_sound]
    size = 2.0 ** (frexp(float(seen.abs().max()))[1] - 1)  # so that no square leaves the range of numbers
    shift, spread = float((seen / size).mean()) * size, float((seen / size).std(correction=0)) * size
    spread = spread if spread > 1e-12 * abs(shift) else 0.01 * abs(shift) or 1.0  # constant, but for rounding
    if like is not None:
        shift, spread = like.shift, like.spread
    scaled = torch.where(is_seen, (scaled - shift) / spread, 0.0)
    log_slope = float(transform.log_slope(values[is_seen]).sum()) - int(is_seen.sum()) * log(spread)
    gap, is_apart = own_time.diff(dim=0), is_seen[1:] & (own_time.diff(dim=0) > 0.0)
    change = scaled.diff(dim=0)[is_apart]
    typical = float(gap[is_apart].median()) if len(change) else 1.0
    scale = like.scale if like else DataScale(typical, max(_roughness(change), 1e-6))
    given = torch.where(is_seen, noise_of_errors(errors, values, transform, spread), 0.0)
    plain = Data.of(own_time, scaled, is_seen.double(), given, features.double())
    data = plain if doubts is None else plain.with_doubts(doubts.scaled(spread**-2))
    reach = float(values[is_sound].max() - values[is_sound].min())
    is_given = is_seen & ~errors.isnan()
    given_ahead = float(given[is_given].median()) if is_given.any() else 0.0
    return Sample(plain, data, scale, shift, spread, log_slope, reach, doubts, given_ahead)


def _told(values: Tensor, noise: Tensor, is_sound: Tensor) -> Tensor:
    """Those of the sound values whose noise is no more than the variance of the half that is known best."""
    if not bool(noise.any()):
        return is_sound
    best = is_sound & (noise <= noise[is_sound].median())
    told = is_sound & (noise <= values[best].var(correction=0))
    return told if int(told.sum()) > 1 else is_sound


def _roughness(change: Tensor) -> float:
    """Half the variance of first differences, robust where not most of them are zero."""
    if not len(change):
        return 1.0 / CHI_SQUARED_MEDIAN / 2.0
    typical = float((change**2).median()) / CHI_SQUARED_MEDIAN
    return (typical or float((change**2).mean())) / 2.0
