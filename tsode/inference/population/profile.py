"""Profile likelihood: how the objective rises along a coordinate, with all others at their best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from tsode.inference.population.estimate import Estimate
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.refit import first_metric, refit
from tsode.inference.population.subjects import LOG_2PI

__all__ = ["Profile", "profile_likelihood"]

CLOSE = 0.005  # of the signed root of the rise to its quantile, where the search ends
ROUNDS = 14
FARTHEST = 10.0  # widths of the prior, or Wald half-widths if these are more, beyond which a side is open
LONGER = 3.0  # at most, of a search that has not come to the other side yet
LEAST_SHARE = 0.1  # of a bracket that a point keeps from its ends


class Profile(NamedTuple):
    """Profile along one coordinate.

    Parameters
    ----------
    ends : tuple of float
        Of the confidence interval, on the line of the coordinate; infinite where the objective never rises so far.
    points : Tensor[m p]
        Best coordinates, the estimate among them, in the order of the one that is held.
    rise : Tensor[m]
        Of the objective ``-2 log L`` over that of the estimate; infinite where there is no likelihood.
    is_done : Tensor[m], bool
        Whether the others have come to their best.
    """

    ends: tuple[float, float]
    points: Tensor
    rise: Tensor
    is_done: Tensor


class _Point(NamedTuple):
    """Rise with a coordinate held at a distance, all coordinates then, and whether the others are at their best."""

    distance: float
    rise: float
    theta: Tensor
    is_done: bool


class _Side:
    """Search along one coordinate in one direction: by the signed root of the rise, which is nearly a straight line."""

    def __init__(self, place: int, sign: float, theta: Tensor, covariance: Tensor, wanted: float) -> None:
        self.place, self.sign, self.theta, self.wanted = place, sign, theta, wanted
        own = covariance[place, place]
        self.slope = sign * covariance[:, place] / own  # how the others move, about
        self.metric = covariance - covariance[:, place, None] * covariance[place] / own
        self.first = wanted * math.sqrt(float(own))
        self.farthest = FARTHEST * max(1.0, self.first)
        self.low: tuple[float, float, Tensor] = (0.0, 0.0, theta)  # distance, root of the rise, coordinates
        self.high: tuple[float, float, Tensor] | None = None
        self.found: list[_Point] = []
        self.end = math.nan

    @property
    def next(self) -> float:
        """Distance to look at next."""
        at, root, _ = self.low
        if not self.found:
            return self.first
        if self.high is None:
            gain = root / at if at else 0.0
            longer = at + (self.wanted - root) / gain * 1.05 if gain > 0 else LONGER * self.first
            return min(max(longer, 1.02 * at), LONGER * max(at, self.first), self.farthest)
        share = (self.wanted - root) / (self.high[1] - root) if math.isfinite(self.high[1]) else 0.5
        return at + min(max(share, LEAST_SHARE), 1.0 - LEAST_SHARE) * (self.high[0] - at)

    def start(self, distance: float) -> Tensor:
        """Where the others are, about: on the line through two points that are known, or by the curvature."""
        at, _, point = self.low
        slope = self.slope
        others = [other for other in self.found if other.distance != at and math.isfinite(other.rise)]
        if others:
            far = min(others, key=lambda other: abs(other.distance - distance))
            slope = (far.theta - point) / (far.distance - at)
        elif at:
            slope = (point - self.theta) / at
        moved = point + (distance - at) * slope
        moved[self.place] = self.theta[self.place] + self.sign * distance
        return moved

    def look(self, distance: float, rise: float, point: Tensor, is_done: bool) -> None:
        """Take note of what was found at a distance."""
        self.found.append(_Point(distance, rise, point, is_done))
        root = math.sqrt(max(rise, 0.0))
        if abs(root - self.wanted) < CLOSE:
            self.end = distance + (self.wanted - root) * distance / root
        elif root > self.wanted:
            self.high = (distance, root, point)
        else:
            self.low = (distance, root, point)
            if distance >= self.farthest:
                self.end = math.inf


def profile_likelihood(
    density: MarginalDensity,
    estimate: Estimate,
    places: Sequence[int],
    level: float = 0.95,
    tell: Callable[[int], None] = lambda n_left: None,
) -> list[Profile]:
    """Confidence intervals by the likelihood ratio: where the objective has risen by the quantile of chi squared.

    Both sides of all coordinates climb side by side; each search is a secant on the root of the rise, kept within what
    is known to lie below and above, and needs about three climbs that begin near their ends.

    Parameters
    ----------
    density : MarginalDensity
        Of one problem.
    estimate : Estimate
    places : sequence of int
        Of the coordinates.
    level : float
    tell : callable
        Told how many searches go on.

    References
    ----------
    Venzon and Moolgavkar, "A method for computing profile-likelihood-based confidence intervals", Appl. Stat. 37, 1988.
    """
    covariance, theta = first_metric(estimate), estimate.theta
    wanted = math.sqrt(chi2.ppf(level, 1))
    sides = [_Side(place, sign, theta, covariance, wanted) for place in places for sign in (-1.0, 1.0)]
    at_best = 0.5 * (estimate.objective + estimate.n_observations * LOG_2PI)
    for _ in range(ROUNDS):
        left = [side for side in sides if math.isnan(side.end)]
        if not left:
            break
        tell(len(left))
        distances = [side.next for side in left]
        start = torch.stack([side.start(distance) for side, distance in zip(left, distances)])
        is_held = torch.zeros_like(start, dtype=torch.bool)
        is_held[range(len(left)), [side.place for side in left]] = True
        found = refit(density, estimate, start, torch.stack([side.metric for side in left]), is_held=is_held)
        for side, distance, point, loss, is_done in zip(left, distances, *found):
            side.look(distance, 2.0 * (float(loss) - at_best), point, bool(is_done))
    return [_joined(down, up, theta) for down, up in zip(sides[::2], sides[1::2])]


def _joined(down: _Side, up: _Side, theta: Tensor) -> Profile:
    below = [point._replace(distance=-point.distance) for point in down.found]
    points = sorted([*below, _Point(0.0, 0.0, theta, True), *up.found], key=lambda point: point.distance)
    centre = float(theta[down.place])
    return Profile(
        (centre - down.end, centre + up.end), torch.stack([point.theta for point in points]),
        torch.tensor([point.rise for point in points], dtype=torch.float64),
        torch.tensor([point.is_done for point in points]),
    )  # fmt: skip
