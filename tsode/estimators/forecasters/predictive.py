"""The predictive distributions of one series, in the data's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["METRICS", "Predictive", "quantiles_of_all"]

METRICS = ("nll", "crps", "mse", "mae")


@dataclass(frozen=True)
class Predictive:
    """Predictive distribution of every channel at a series' query times.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[m c p], float64
    """

    family: Likelihood
    params: Tensor

    @property
    def mean(self) -> np.ndarray:
        """Array[m c]."""
        return self.family.mean(self.params).numpy()

    @property
    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance, and its epistemic part: two arrays[m c]."""
        return self.family.variance(self.params).numpy(), self.family.epistemic(self.params).numpy()

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Array[m c q]."""
        p = torch.tensor(list(levels), dtype=torch.float64)
        return self.family.quantile(self.params[..., None, :], p).numpy()

    def error(self, x: np.ndarray, metric: str) -> np.ndarray:
        """Error by a name in `METRICS`, lower is better: ``x`` (m c) with NaN = not seen -> (m c)."""
        truth = torch.from_numpy(np.nan_to_num(x))
        if metric == "nll":
            return -self.family.log_prob(self.params, truth).numpy()
        if metric == "crps":
            return self.family.crps(self.params, truth).numpy()
        if metric == "mse":
            return (x - self.mean) ** 2
        return np.abs(x - self.quantiles([0.5])[..., 0])


def quantiles_of_all(answers: Sequence[Predictive], levels: Sequence[float]) -> list[np.ndarray]:
    """`Predictive.quantiles` of several series of one forecaster: array[m c q] each, solved for in one go."""
    if not answers:
        return []
    whole = replace(answers[0], params=torch.cat([answer.params for answer in answers]))
    return np.split(whole.quantiles(levels), np.cumsum([len(answer.params) for answer in answers])[:-1])
