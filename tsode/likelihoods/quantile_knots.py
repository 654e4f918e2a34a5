"""Quantile knots: a law given by its quantiles at fixed levels, straight lines between them, exponential tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood

__all__ = ["QuantileKnots"]

LEAST_GAP = 1e-6  # between neighbouring quantiles, in standard deviations of the channel: ties have a density too


class QuantileKnots(Likelihood):
    """Law whose quantile function is straight between its values at fixed levels.

    Below the lowest level and above the highest it is that of the exponential law through the two outermost knots, so
    that the mean, the variance and the CRPS are known in closed form. It has ``k`` parameters: the median, and the
    logarithms of the ``k - 1`` gaps between neighbouring knots; `from_quantiles` makes them, `knots` undoes it. Laws of
    the same levels are averaged by their knots.

    Parameters
    ----------
    levels : sequence of float
        At least three, increasing, inside (0, 1), with 1/2 between others.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(float(level) for level in levels)
        inside = (0.0, *self.levels, 1.0)
        if any(not a < b for a, b in pairwise(inside)) or 0.5 not in self.levels[1:-1]:
            raise ParameterError(
                f"levels must increase inside (0, 1) with 0.5 between others, but are {list(levels)}: "
                "try (0.05, 0.25, 0.5, 0.75, 0.95)."
            )
        self.n_params = len(self.levels)
        self.n_shape = self.n_params - 1
        self.middle = self.levels.index(0.5)
        low, low_next, high_before, high = (self.levels[k] for k in (0, 1, -2, -1))
        # lengths of the tails, as shares of the outermost gaps
        self.tails = 1.0 / math.log(low_next / low), 1.0 / math.log((1.0 - high_before) / (1.0 - high))

    # -- parameters ------------------------------------------------------------------------------------------------

    def from_quantiles(self, knots: Tensor) -> Tensor:
        """Parameters (... k) of the law with these quantiles at `levels` (... k), in any order: they are sorted."""
        ordered = knots.sort(dim=-1).values
        gaps = ordered.diff(dim=-1).clamp(min=LEAST_GAP).log()
        return torch.cat([ordered[..., self.middle, None], gaps], dim=-1)

    def knots(self, params: Tensor) -> Tensor:
        """Quantiles at `levels` (... k)."""
        return params[..., :1] + self._offsets(params)

    def _offsets(self, params: Tensor) -> Tensor:
        """Knots less the median."""
        steps = nn.functional.pad(params[..., 1:].exp().cumsum(dim=-1), (1, 0))
        return steps - steps[..., self.middle, None]

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Knots less the median, gaps (... k-1), and the lengths of the tails (...)."""
        gaps = params[..., 1:].exp()
        return self._offsets(params), gaps, self.tails[0] * gaps[..., 0], self.tails[1] * gaps[..., -1]

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """The knots of a normal, with gaps stretched by the exponentials of `shape`; `location` is their mean."""
        unit = self._normal(log_scale)
        gaps = unit[..., 1:] + log_scale[..., None] + shape
        params = torch.cat([torch.zeros_like(location)[..., None], gaps], dim=-1)
        return torch.cat([(location - self.mean(params))[..., None], gaps], dim=-1)

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """With the knots of a normal, but for a factor that makes up for the tails."""
        params = self._normal(mean).expand(*mean.shape, self.n_params)
        params = self.affine(params, torch.zeros_like(mean), scale / self.variance(params).sqrt())
        return self.affine(params, mean - self.mean(params), torch.ones_like(mean))

    def _normal(self, like: Tensor) -> Tensor:
        """Parameters (k,) with the knots of the standard normal."""
        return self.from_quantiles(torch.special.ndtri(self._levels(like)))

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.levels, dtype=like.dtype, device=like.device)

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the median, which stays."""
        factor = torch.as_tensor(factor, dtype=params.dtype, device=params.device)
        return torch.cat([params[..., :1], params[..., 1:] + factor.log()[..., None]], dim=-1)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        location = shift[..., None] + scale[..., None] * params[..., :1]
        return torch.cat([location, params[..., 1:] + scale.log()[..., None]], dim=-1)

    # -- the law ---------------------------------------------------------------------------------------------------

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        p, levels = p.to(params), self.levels
        _, gaps, lower, upper = self._parts(params)
        below, above = (p / levels[0]).clamp(max=1.0), ((1.0 - p) / (1.0 - levels[-1])).clamp(max=1.0)
        x = params[..., 0] + lower * below.log() - upper * above.log()
        # by segments, not by a table of all of them: of many samples it would be large
        for k, (low, high) in enumerate(pairwise(levels)):
            share = ((p - low) / (high - low)).clamp(0.0, 1.0)
            x = x + gaps[..., k] * (share if k >= self.middle else share - 1.0)
        return x

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        knots, gaps, lower, upper = self._parts(params)
        y = (x - params[..., 0])[..., None]
        steps = self._levels(params).diff()
        inside = (((y - knots[..., :-1]) / gaps).clamp(0.0, 1.0) * steps).sum(dim=-1)
        below = self.levels[0] * ((y[..., 0] - knots[..., 0]).clamp(max=0.0) / lower).exp()
        above = (1.0 - self.levels[-1]) * torch.expm1(-(y[..., 0] - knots[..., -1]).clamp(min=0.0) / upper)
        return below + inside - above

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        knots, _, lower, upper = self._parts(params)
        y = x - params[..., 0]
        steps = self._levels(params).diff().log()
        log_density = torch.cat(
            [
                (math.log(self.levels[0]) - lower.log())[..., None],
                steps - params[..., 1:],
                (math.log(1.0 - self.levels[-1]) - upper.log())[..., None],
            ],
            dim=-1,
        )
        segment = (y[..., None] >= knots).sum(dim=-1, keepdim=True)
        log_density = log_density.expand(*segment.shape[:-1], -1).gather(-1, segment)[..., 0]
        decay = (y - knots[..., 0]).clamp(max=0.0) / lower - (y - knots[..., -1]).clamp(min=0.0) / upper
        return log_density + decay

    def mean(self, params: Tensor) -> Tensor:
        return params[..., 0] + self._mean_offset(params)

    def _mean_offset(self, params: Tensor) -> Tensor:
        """The mean less the median."""
        knots, _, lower, upper = self._parts(params)
        steps = self._levels(params).diff()
        inside = 0.5 * ((knots[..., 1:] + knots[..., :-1]) * steps).sum(dim=-1)
        low, high = self.levels[0], 1.0 - self.levels[-1]
        return inside + low * (knots[..., 0] - lower) + high * (knots[..., -1] + upper)

    def variance(self, params: Tensor) -> Tensor:
        knots, _, lower, upper = self._parts(params)
        around = knots - self._mean_offset(params)[..., None]
        left, right = around[..., :-1], around[..., 1:]
        steps = self._levels(params).diff()
        inside = ((left**2 + left * right + right**2) * steps).sum(dim=-1) / 3.0
        first, last = around[..., 0] - lower, around[..., -1] + upper
        low, high = self.levels[0], 1.0 - self.levels[-1]
        return inside + low * (first**2 + lower**2) + high * (last**2 + upper**2)

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Integral of ``(F - 1[y >= x])^2`` over the segments and the tails, in closed form."""
        knots, gaps, lower, upper = self._parts(params)
        y = (x - params[..., 0])[..., None]
        low, high = self._levels(params)[:-1], self._levels(params)[1:]
        # of each segment, the share before x, where F^2 counts, and the rest, where (1 - F)^2 does
        share = ((y - knots[..., :-1]) / gaps).clamp(0.0, 1.0)
        at = low + share * (high - low)
        before = share * (low**2 + low * at + at**2)
        after = (1.0 - share) * ((1.0 - at) ** 2 + (1.0 - at) * (1.0 - high) + (1.0 - high) ** 2)
        inside = (gaps * (before + after)).sum(dim=-1) / 3.0
        return (
            inside
            + _tail(self.levels[0], knots[..., 0] - y[..., 0], lower)
            + _tail(1.0 - self.levels[-1], y[..., 0] - knots[..., -1], upper)
        )


def _tail(mass: float, beyond: Tensor, length: Tensor) -> Tensor:
    """Score of a tail of so much mass, into which the value lies `beyond` the outermost knot, or not at all.

    With ``e = mass exp(-y / length)`` the mass outside: the integral of ``(1 - e)^2`` up to the value, of ``e^2`` on.
    """
    depth = beyond.clamp(min=0.0)
    left = torch.expm1(-depth / length)
    within = depth + 2.0 * mass * length * left - 0.5 * mass**2 * length * torch.expm1(-2.0 * depth / length)
    return within + 0.5 * mass**2 * length * (1.0 + left) ** 2
