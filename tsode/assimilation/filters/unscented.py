"""Unscented Kalman filter: moments by points that stand for the normal law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.assimilation.filters.gaussian import GaussianBelief, GaussianFilter
from tsode.assimilation.motion import Motion, Seen
from tsode.evolutions.linear_sde import Transition

__all__ = ["UnscentedKalman"]


@dataclass(frozen=True)
class UnscentedKalman(GaussianFilter):
    """Unscented Kalman filter of continuous time.

    The points are drawn anew from mean and covariance at every step, after its noise, and for every value. They match
    fourth moments up to three states, and have equal weights beyond (the rule of third degree), so that no weight is
    ever negative. The noise of a step is that of the equation linearised at the mean.

    References
    ----------
    Julier and Uhlmann, "Unscented filtering and nonlinear estimation", Proc. IEEE 92, 2004, equation 12; Särkkä, "On
    unscented Kalman filtering for state estimation of continuous-time nonlinear systems", IEEE TAC 52, 2007.
    """

    def _moved(
        self, belief: GaussianBelief, motion: Motion, law: Transition, t: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        points, weights = _points(belief)
        moved = motion.moved(t, points, h)
        mean = (weights[:, None] * moved).sum(dim=1)
        return mean, (weights.sqrt()[:, None] * (moved - mean[:, None])).mT

    def regressed(self, belief: GaussianBelief, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        points, weights = _points(belief)
        d = belief.mean.shape[1]
        value = seen.predict(points)
        mean = value @ weights
        reach = math.sqrt(_total(d))
        plus, minus = value[:, 1 : d + 1], value[:, d + 1 :]
        slope = (plus - minus) / (2.0 * reach)
        line = torch.cat([torch.zeros_like(mean)[:, None], reach * slope, -reach * slope], dim=1)
        beside = (value - mean[:, None] - line).square() @ weights
        return mean, slope, beside


def _total(d: int) -> float:
    """Square of the distance of the points, in standard deviations."""
    return max(3.0, float(d))


def _points(belief: GaussianBelief) -> tuple[Tensor, Tensor]:
    """Points (r 2d+1 d), the mean first, and their weights (2d+1,)."""
    d = belief.mean.shape[1]
    total = _total(d)
    apart = math.sqrt(total) * belief.root.mT
    centre = belief.mean[:, None]
    weights = torch.full((2 * d + 1,), 0.5 / total, dtype=belief.mean.dtype)
    weights[0] = 1.0 - d / total
    return torch.cat([centre, centre + apart, centre - apart], dim=1), weights
