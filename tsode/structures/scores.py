"""Scores of structures value by value: likelihood, predictive laws of the data, leave-one-out, and stacking weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.inference.loo import leave_one_out
from tsode.structures.evidence import Member

__all__ = ["Scores", "score", "stack"]

MOST_NODES = 1024
MOST_STEPS = 20_000  # of the climb to stacking weights
GAP = 1e-3  # nats a value that are left of the score at its end: less than the error of the scores


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one structure, of each of ``n`` values.

    Attributes
    ----------
    log_likelihood : float
        Of the data at the highest mode of the posterior.
    lpd, lpd_se : Tensor[n]
        Log density of each value by the posterior predictive law, which has seen it, and its Monte Carlo error.
    share, share_se : Tensor[n]
        Share of that law below the value, and its error; NaN where the engine tells no laws.
    loo, k : Tensor[n]
        Log density of each value given all others, and Pareto shapes; above .7 it is not to be trusted.
    """

    log_likelihood: float
    lpd: Tensor
    lpd_se: Tensor
    share: Tensor
    share_se: Tensor
    loo: Tensor
    k: Tensor


@torch.no_grad()
def score(member: Member) -> Scores:
    """Scores of a fitted member."""
    found, density = member.found, member.density
    assert found is not None
    is_rule = found.nodes.shape[1] > MOST_NODES
    if is_rule:
        u = found.draws.flatten(1, 2)[:, :MOST_NODES]
        log_weights = torch.full(u.shape[:2], -math.log(u.shape[1]), dtype=u.dtype)
    else:
        u, log_weights = found.nodes, found.log_weights
    with isolated():
        way = density.evaluate(u)
        at_mode = density.evaluate(found.modes.point[:, :1])
    values, shares, problems = [], [], []
    for channel, noise in density.system.observed.items():
        cells = density.cells[channel]
        value = way.scores[channel].where(~way.is_bad[channel], -torch.inf)
        problem = cells.series // density.space.n_series
        is_lost = torch.stack(list(way.causes.values())).any(dim=0)[problem].mT
        values.append(value.where(~is_lost, -torch.inf))
        problems.append(problem)
        law = way.laws.get(channel)
        below = value.new_full(value.shape, torch.nan) if law is None else noise.family.cdf(law, cells.values)
        shares.append(below)
    log_prob, below, problem = torch.cat(values, dim=1).mT, torch.cat(shares, dim=1).mT, torch.cat(problems)  # (n k)
    weight = log_weights[problem]
    lpd = (weight + log_prob).logsumexp(dim=1)
    relative = (log_prob - lpd[:, None]).exp()
    share_of = weight.exp()
    share = (share_of * below.where(share_of > 0, 0.0)).sum(dim=1)
    loo, k = torch.empty_like(lpd), torch.empty_like(lpd)
    for g in range(found.n_problems):
        own = problem == g
        if bool(own.any()):
            left = leave_one_out(log_prob[own].mT, log_weights=log_weights[g])
            loo[own], k[own] = left.pointwise, left.k
    likelihood = sum(float(scores.sum()) for scores in at_mode.scores.values())
    return Scores(
        likelihood, lpd, _error(share_of, relative - 1.0), share, _error(share_of, below - share[:, None]), loo, k
    )


def _error(weight: Tensor, apart: Tensor) -> Tensor:
    """Standard error (n) of a weighted mean over draws (n k)."""
    return (weight * apart.where(weight > 0, 0.0)).square().sum(dim=1).sqrt()


def stack(log_density: Tensor) -> Tensor:
    """Weights (m) of a mixture that gives values the highest sum of log densities, each as if it had not been seen.

    Parameters
    ----------
    log_density : Tensor[n m]
        Leave-one-out, of each of `n` values by each of `m` models.

    Returns
    -------
    Tensor[m]
        By expectation and maximisation from even weights: each step raises the score, which is concave. It ends where
        the mean log density is within .001 of the highest there is (by the slopes at the corners), so that models which
        score alike stay as even as they began.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman, "Using stacking to average Bayesian predictive distributions", Bayesian Analysis
    13, 2018, equation 4.
    """
    is_there = (log_density > -torch.inf).all(dim=0)
    weight = is_there.double() / is_there.sum()
    if not len(log_density):
        return weight
    top = log_density.where(is_there, -torch.inf).amax(dim=1, keepdim=True)
    density = (log_density - top).exp().where(is_there, 0.0)
    for _ in range(MOST_STEPS):
        slope = (density / (density @ weight)[:, None]).mean(dim=0)
        if float(slope.max()) - 1.0 < GAP:
            break
        weight = weight * slope
    return weight / weight.sum()
