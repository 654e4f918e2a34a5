"""Information that one more observation is expected to give about the structure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood

__all__ = ["expected_information"]

MOST_NUMBERS = 2**24  # densities at once


@torch.no_grad()
def expected_information(
    families: Sequence[Likelihood], params: Sequence[Sequence[Tensor]], weights: Tensor, n: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mutual information of the structure and an observation, in nats, and its Monte Carlo error.

    ``I = sum_m w_m E[log p(y | m) - log p(y)]``, each structure's predictive density being the mean over draws of its
    posterior. Observations are drawn from one half of the draws and judged by the other, so that a density that is made
    of few draws does not know its own: with too few the number is too small on average, never too large. Which
    structure and which draw an observation comes from is dealt out evenly, the noise is spread evenly too.

    Parameters
    ----------
    families : sequence of Likelihood
        Of each channel that is seen, ``c``; several are one joint observation, independent given a draw.
    params : sequence (m) of sequence (c) of Tensor[q k r]
        Of each structure and channel: parameters of its law at ``q`` times, at ``k`` draws.
    weights : Tensor[m]
        Probabilities of the structures.
    n : int
        Observations, from each structure.
    rng : torch.Generator

    Returns
    -------
    Tensor[q], Tensor[q]

    References
    ----------
    Lindley, "On a measure of the information provided by an experiment", Annals of Mathematical Statistics 27, 1956;
    Box and Hill, "Discrimination among mechanistic models", Technometrics 9, 1967, who bound it from above.
    """
    weights = weights / weights.sum()
    here = [m for m in range(len(weights)) if float(weights[m]) > 0]
    log_w = weights[here].log()
    q = params[0][0].shape[0]
    total, variance = torch.zeros(q, dtype=torch.float64), torch.zeros(q, dtype=torch.float64)
    for place, m in enumerate(here):
        k = params[m][0].shape[1]
        half = k // 2
        drawn = torch.arange(n) * half // n  # evenly among the first half
        y = []
        for c, family in enumerate(families):
            level = (torch.randperm(n, generator=rng) + torch.rand(n, generator=rng, dtype=torch.float64)) / n
            law = params[m][c][:, :half][:, drawn]
            y.append(family.quantile(law, level.clamp(1e-12, 1.0 - 1e-12).expand(q, n)))
        log_p = torch.stack([_log_density(families, params[j], y) for j in here], dim=-1)  # (q n m)
        gain = torch.log_softmax(log_p + log_w, dim=-1)[..., place] - log_w[place]
        total += weights[m] * gain.mean(dim=1)
        variance += weights[m].square() * gain.var(dim=1) / n
    return total, variance.sqrt()


def _log_density(families: Sequence[Likelihood], params: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
    """Log predictive density (q n) of observations by the second half of a structure's draws."""
    q, k = params[0].shape[:2]
    half, n = k // 2, y[0].shape[1]
    parts = []
    width = max(1, MOST_NUMBERS // (q * (k - half)))
    for start in range(0, n, width):
        joint = sum(
            family.log_prob(of[:, None, half:], own[:, start : start + width, None])
            for family, of, own in zip(families, params, y)
        )
        parts.append(torch.logsumexp(joint, dim=2))  # type: ignore[arg-type]
    return torch.cat(parts, dim=1) - torch.log(torch.tensor(float(k - half), dtype=torch.float64))
