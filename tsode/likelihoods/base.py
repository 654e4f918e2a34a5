"""Likelihood interface: a family of distributions of what is observed."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["LOG_SCALE_RANGE", "Likelihood"]

LOG_SCALE_RANGE = (-5.0, 3.0)  # in standard deviations of the channel: 0.7 % to twenty-fold


class Likelihood(ABC):
    """Distribution of one channel's value given its parameters; channels are independent given the state.

    Parameters stand on the last axis: ``params`` is (..., p), and all results have the shape (...). The first
    parameter is the location; all are unconstrained reals, so that a network may produce them.
    Missing entries integrate out: a caller multiplies the pointwise scores by the mask.

    Attributes
    ----------
    n_params : int
        Width ``p`` of the last axis.
    n_shape : int
        Numbers that a readout gives beside a location and a log scale, see `compose`.
    is_discrete : bool
        Whether it is a law of whole numbers, and `log_prob` the log of probabilities.
    """

    n_params: int
    n_shape: int = 0
    is_discrete: bool = False

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        """Parameters (... p) from what a readout gives: location and log scale (...), unbounded `shape` (... n_shape).

        `location` becomes the mean.
        """
        return torch.stack([location, log_scale.clamp(*LOG_SCALE_RANGE)], dim=-1)

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density at `x` (...), in nats."""

    @abstractmethod
    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Continuous ranked probability score at `x` (...), in the units of `x`; lower is better."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Expectation (...)."""

    @abstractmethod
    def variance(self, params: Tensor) -> Tensor:
        """Variance (...)."""

    def epistemic(self, params: Tensor) -> Tensor:
        """Part of the variance (...) that the members of an ensemble disagree about; one model has none."""
        return torch.zeros_like(params[..., 0])

    @abstractmethod
    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        """Quantile function; `p` broadcasts against (...)."""

    @abstractmethod
    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        """Distribution function at `x` (...)."""

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        """Log probability (...) of a value at or below `x`; a member that has a better one for far tails gives it."""
        return self.cdf(params, x).log()

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        """Log probability (...) of a value at or above `x`; likewise."""
        return torch.log1p(-self.cdf(params, x))

    @abstractmethod
    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Parameters (..., p) of the member with this mean and standard deviation (...)."""

    @abstractmethod
    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Parameters with the same location and the spread multiplied by `factor` > 0."""

    @abstractmethod
    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Parameters of ``shift + scale * X`` where ``X`` has `params`; ``scale > 0``."""

    def pinball(self, params: Tensor, x: Tensor, levels: Tensor) -> Tensor:
        """Mean pinball loss over the quantiles at `levels` (q,), times two (so it tends to the CRPS)."""
        error = x[..., None] - self.quantile(params[..., None, :], levels)
        return 2.0 * torch.maximum(levels * error, (levels - 1.0) * error).mean(dim=-1)
