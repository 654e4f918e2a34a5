"""Fit of a mixture of Student t laws to weighted draws, which takes no evaluation of the density."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsode.inference.mixture import Mixture
from tsode.inference.streams import Streams

__all__ = ["PRIOR_DRAWS", "fit_mixture", "split_mixture"]

N_STEPS = 12  # of expectation and maximisation
PRIOR_DRAWS = 2.0  # per axis, that the covariance of a law leans on the mean of all
WIDER = 5.0 / 3.0  # times the fitted scale: a law may reach too far, but not fall short of what the draws have not seen
LEAST_SHARE = 0.02  # of the draws, dealt out evenly among the laws


def fit_mixture(law: Mixture, nodes: Tensor, log_weights: Tensor, n_steps: int = N_STEPS) -> Mixture:
    """The mixture nearest to weighted draws (in the divergence from them to it), by EM from a first one.

    Laws that answer for few draws take the width of the others, and all that of the first mixture where the weights are
    those of few. In the end all are widened.

    Parameters
    ----------
    law : Mixture
    nodes : Tensor[g k p]
    log_weights : Tensor[g k]
        Normalised.
    n_steps : int

    References
    ----------
    Peel and McLachlan, "Robust mixture modelling using the t distribution", Statistics and Computing 10, 2000;
    Cappé, Douc, Guillin, Marin and Robert, "Adaptive importance sampling in general mixture classes", ibid. 18, 2008.
    """
    weights, p = log_weights.exp(), nodes.shape[-1]
    used = law.weight > 0
    n_all = 1.0 / weights.square().sum(dim=1)
    trust_all = (n_all / (n_all + PRIOR_DRAWS * p))[:, None, None]
    before = _pooled(law)
    for _ in range(n_steps):
        shares = torch.softmax(law.parts(nodes), dim=-1) * weights[..., None]  # (g k m)
        mass = shares.sum(dim=1)
        trust = mass.square() / shares.square().sum(dim=1).clamp(min=1e-300)
        trust = (trust / (trust + PRIOR_DRAWS * p)).where(mass > 0, 0.0)
        places, scales = [], []
        for m in range(law.weight.shape[1]):
            pull = shares[..., m] * (law.degrees + p) / (law.degrees + law.squares(nodes, m))
            total = pull.sum(dim=1)
            mean = torch.einsum("gk,gkp->gp", pull, nodes) / total.clamp(min=1e-300)[:, None]
            mean = mean.where((total > 1e-300)[:, None], law.location[:, m])
            apart = nodes - mean[:, None]
            places.append(mean)
            scales.append((apart * pull[..., None]).mT @ apart / mass[:, m].clamp(min=1e-300)[:, None, None])
        scale = torch.stack(scales, dim=1)
        pooled = (mass[..., None, None] * scale).sum(dim=1)
        pooled = (before + trust_all * (pooled - before))[:, None]  # few draws span no volume
        scale = pooled + trust[..., None, None] * (scale - pooled)
        factor, failed = torch.linalg.cholesky_ex(scale)
        is_fine = (failed == 0) & factor.flatten(2).isfinite().all(dim=-1)
        weight = (1.0 - LEAST_SHARE) * mass + LEAST_SHARE * used / used.sum(dim=1, keepdim=True)
        weight = weight.where(used, 0.0)
        law = Mixture(
            weight / weight.sum(dim=1, keepdim=True),
            torch.stack(places, dim=1).where(is_fine[..., None], law.location),
            factor.where(is_fine[..., None, None], law.factor),
            law.degrees,
        )
    return replace(law, factor=law.factor * WIDER**0.5)


def split_mixture(law: Mixture, nodes: Tensor, log_weights: Tensor, n_laws: int, streams: Streams) -> Mixture:
    """A mixture of more and narrower laws, set down on draws at random, and fitted."""
    g, _, p = nodes.shape
    share = log_weights.exp().cumsum(dim=1)
    ticks = (torch.arange(n_laws) + streams.uniform(1)) / n_laws * share[:, -1:]
    chosen = torch.searchsorted(share, ticks).clamp(max=nodes.shape[1] - 1)
    factor = torch.linalg.cholesky(_pooled(law)) * n_laws ** (-1.0 / p)
    weight = torch.full((g, n_laws), 1.0 / n_laws, dtype=nodes.dtype)
    location = nodes.gather(1, chosen[..., None].expand(-1, -1, p))
    first = Mixture(weight, location, factor[:, None].expand(-1, n_laws, -1, -1), law.degrees)
    return fit_mixture(first, nodes, log_weights)


def _pooled(law: Mixture) -> Tensor:
    """Mean scale within the laws, (g p p)."""
    return (law.weight[..., None, None] * (law.factor @ law.factor.mT)).sum(dim=1)
