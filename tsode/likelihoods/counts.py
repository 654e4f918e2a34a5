"""Likelihoods of counts: what Poisson and negative binomial share."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood

__all__ = ["Counts", "log_geometric_tail"]

_SMALLEST = 1e-290  # probability below which a tail is added up from its first term


class Counts(Likelihood):
    """Family of laws of 0, 1, 2, ...; the first parameter is the log of the mean.

    `log_prob` is the log probability of a count. A count has no other unit, so that nothing can be stretched or
    shifted: these families stand beside those of `LIKELIHOODS`, which networks may move anywhere.
    """

    is_discrete = True

    @abstractmethod
    def _log_below(self, k: Tensor, params: Tensor) -> Tensor:
        """Log probability of at most ``k`` (...), whole and not negative."""

    @abstractmethod
    def _log_above(self, k: Tensor, params: Tensor) -> Tensor:
        """Log probability of at least ``k`` (...), whole and positive."""

    def mean(self, params: Tensor) -> Tensor:
        return params[..., 0].exp()

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        is_any = x >= 0
        return torch.where(is_any, self._log_below(x.floor().clamp(min=0), params), -torch.inf)

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        return torch.where(x > 0, self._log_above(x.ceil().clamp(min=1), params), 0.0)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return self.log_below(params, x).exp()

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        raise ParameterError(f"{type(self).__name__} has no spread of its own to be stretched: its values are counts.")

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        if (shift != 0).any() or (scale != 1).any():
            raise ParameterError(f"{type(self).__name__} cannot be moved or scaled: its values are counts.")
        return params


def log_geometric_tail(tail: np.ndarray, log_first: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Log of a tail, or of a geometric series from its first term on, where the tail is too small for a number.

    Parameters
    ----------
    tail : array[...]
        The probability, 0 where there is no number so small.
    log_first, ratio : array[...]
        Log of its largest term, and how the next compares with it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        series = log_first - np.log1p(-np.clip(ratio, 0.0, 1.0 - 1e-12))
        return np.where(tail > _SMALLEST, np.log(tail), series)
