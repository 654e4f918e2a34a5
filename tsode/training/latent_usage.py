"""Usage of a latent model: how much its posterior tells about the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ACTIVE", "LatentUsage", "measure_usage", "mutual_information"]

ACTIVE = 0.01  # variance of a posterior mean over the data from which on a unit counts as active
USED = 0.01  # nats of mutual information, or along the path, below which nothing is used


@dataclass(frozen=True)
class LatentUsage:
    """Measures of how much a posterior tells about the series it was given.

    Parameters
    ----------
    active_units : int
        Coordinates whose posterior mean varies over the series by more than 0.01 (Burda et al. 2016, section 5.2).
    n_units : int
    mutual_information : float
        Between series and latent start, in nats; an estimate from the aggregate posterior, at most the log of the
        number of series.
    kl : Tensor[d]
        Mean divergence from the prior of each coordinate, in nats.
    n_series : int
        Number of series measured.
    path_kl : float
        Mean divergence of the path from the prior's after its start, in nats; 0 where paths have no noise.
    """

    active_units: int
    n_units: int
    mutual_information: float
    kl: Tensor
    n_series: int
    path_kl: float = 0.0

    @property
    def is_used(self) -> bool:
        """Whether forecasts differ between series by what was seen of them; of one series nobody can say."""
        is_start_used = self.active_units > 0 or self.mutual_information > USED
        return self.n_series < 2 or is_start_used or self.path_kl > USED


def measure_usage(mean: Tensor, log_scale: Tensor, generator: torch.Generator, path_kl: float = 0.0) -> LatentUsage:
    """Usage of normal posteriors (n d) of `n` series, with a mean divergence of `path_kl` along their paths."""
    kl = 0.5 * (mean**2 + (2.0 * log_scale).exp() - 1.0) - log_scale
    n_active = int((mean.var(dim=0, correction=0) > ACTIVE).sum())
    information = mutual_information(mean, log_scale, generator)
    return LatentUsage(n_active, mean.shape[1], information, kl.mean(dim=0), len(mean), path_kl)


def mutual_information(mean: Tensor, log_scale: Tensor, generator: torch.Generator) -> float:
    """Mutual information of row number and latent, in nats (Hoffman & Johnson 2016).

    ``E log q(z | x) - log q(z)`` with ``q(z)`` the mean of the rows' posteriors and one draw of ``z`` a row.

    Parameters
    ----------
    mean, log_scale : Tensor[n d]
    """
    mean, log_scale = mean.double(), log_scale.double()
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64, device=generator.device).to(mean.device)
    z, precision = mean + log_scale.exp() * noise, (-2.0 * log_scale).exp()
    # sum_d (z - mean)^2 precision for all pairs of a draw and a posterior, as products of matrices
    square = (z**2) @ precision.T - 2.0 * z @ (mean * precision).T + (mean**2 * precision).sum(dim=1)
    log_q = -0.5 * square - log_scale.sum(dim=1)
    return float((log_q.diagonal() - log_q.logsumexp(dim=1)).mean()) + math.log(len(mean))
