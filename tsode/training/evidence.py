"""Evidence of a latent model: lower bounds on its logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.status import worst
from tsode.models.latent.base import Draws, Inference, LatentModel, log_likelihood

__all__ = ["Evidence", "elbo", "free_kl", "gather_evidence", "importance_bound"]


@dataclass(frozen=True)
class Evidence:
    """What the bounds are made of, in nats.

    Parameters
    ----------
    log_likelihood : Tensor[s b]
        Of all values seen of a row, for each sampled path.
    kl : Tensor[b d]
        Of the posterior of the start from the prior, by coordinate.
    log_ratio : Tensor[s b]
        ``log p(z) - log q(z)`` of each sampled start.
    cost : Tensor[s b]
        Divergence along the path.
    params : Tensor[s b m c 2]
        Normal distributions of the observations.
    z : Tensor[s b m d]
        States of the paths.
    status : Tensor[b], int64
    """

    log_likelihood: Tensor
    kl: Tensor
    log_ratio: Tensor
    cost: Tensor
    params: Tensor
    z: Tensor
    status: Tensor


def gather_evidence(model: LatentModel, inference: Inference, seen: IrregularBatch, draws: Draws) -> Evidence:
    """Run sampled paths through the events in `seen`, all at or after each row's start."""
    paths = model.paths(inference, seen.times, draws)
    params = model.emit(paths)
    return Evidence(
        log_likelihood(params, seen),
        inference.kl(),
        inference.log_ratio(draws.start),
        paths.cost,
        params,
        paths.z,
        worst(inference.status, paths.status),
    )


def elbo(evidence: Evidence) -> Tensor:
    """Evidence lower bound of each row, in nats: Tensor[b].

    The log likelihood is summed over the values seen and averaged over samples; the KL is summed over coordinates.
    """
    return (evidence.log_likelihood - evidence.cost).mean(dim=0) - evidence.kl.sum(dim=1)


def importance_bound(evidence: Evidence) -> Tensor:
    """Importance-weighted bound of each row (Burda, Grosse & Salakhutdinov 2016, equation 8), in nats: Tensor[b].

    With one sample it is the evidence bound with the KL estimated; it rises to the log evidence with their number.
    """
    weights = evidence.log_likelihood + evidence.log_ratio - evidence.cost
    return weights.logsumexp(dim=0) - math.log(len(weights))


def free_kl(kl: Tensor, free_bits: float) -> Tensor:
    """KL of a row with each coordinate's mean over rows held at no less than `free_bits` nats (Kingma et al. 2016).

    A coordinate that tells less costs nothing more and is not pushed further: (b d) -> scalar.
    """
    return torch.clamp(kl.mean(dim=0), min=free_bits).sum()
