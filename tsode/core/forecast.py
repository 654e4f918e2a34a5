"""Forecast of a model at its query times, in model units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Distribution", "Forecast"]


class Distribution(Protocol):
    """Interface that a forecast needs of a likelihood family; the members are in `tsode.likelihoods`."""

    def mean(self, params: Tensor) -> Tensor: ...
    def variance(self, params: Tensor) -> Tensor: ...
    def quantile(self, params: Tensor, p: Tensor) -> Tensor: ...
    def rescale(self, params: Tensor, factor: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Forecast:
    """Predictive distribution of every channel at every query time.

    Parameters
    ----------
    query_times : Tensor[b m], float64
    params : Tensor[b m c p]
        Parameters of the family, per channel.
    family : Distribution
        A member of `tsode.likelihoods`.
    status : Tensor[b], int64
        `Status` of each row's solve.
    """

    query_times: Tensor
    params: Tensor
    family: Distribution
    status: Tensor

    @property
    def mean(self) -> Tensor:
        """Tensor[b m c]."""
        return self.family.mean(self.params)

    @property
    def variance(self) -> Tensor:
        """Tensor[b m c]."""
        return self.family.variance(self.params)

    def quantile(self, p: Tensor) -> Tensor:
        """Quantiles at the probabilities `p` (q,): Tensor[b m c q]."""
        return self.family.quantile(self.params[..., None, :], p)

    def rescale(self, factor: float) -> Forecast:
        """The same forecast with its spread multiplied by `factor`."""
        params = self.family.rescale(self.params, torch.as_tensor(factor, dtype=self.params.dtype))
        return Forecast(self.query_times, params, self.family, self.status)
