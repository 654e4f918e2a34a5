"""Bridge sampling: the evidence from draws of the posterior and of a law that is like it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.mixture import Mixture
from tsode.inference.mixture_fit import fit_mixture

__all__ = ["Bridge", "build_bridge"]

N_PROPOSALS = 4096
N_STEPS = 100  # of the fixed point, which gains a digit in each few


class Bridge(NamedTuple):
    """Evidence, and the draws of both laws together.

    Parameters
    ----------
    log_evidence, se : Tensor[g]
        NaN where time was up.
    nodes, log_weights : Tensor[g k p], Tensor[g k]
        Draws of chains and of the law, each weighed by the posterior over the mixture of both (Veach & Guibas 1995,
        balance heuristic): they reach farther than the chains alone. Those of the chains where time was up.
    """

    log_evidence: Tensor
    se: Tensor
    nodes: Tensor
    log_weights: Tensor


def build_bridge(evaluator: Evaluator, law: Mixture, draws: Tensor, values: Tensor, end: Tensor, ess: Tensor) -> Bridge:
    """Log evidence and its standard error by the optimal bridge (Meng & Wong 1996, equation 4.1).

    The law is fitted to half of the chains, and the bridge built on the other half, which it has not seen.

    Parameters
    ----------
    evaluator : Evaluator
    law : Mixture
        To begin the fit with.
    draws : Tensor[g c n p]
    values : Tensor[g c n]
        Log densities of the draws.
    end : Tensor[g]
        Draws of each chain that count.
    ess : Tensor[g]
        Effective number of all draws.
    """
    g, c, n, p = draws.shape
    is_kept = (torch.arange(n) < end[:, None])[:, None].expand(-1, c, -1)
    everything, all_kept = draws.reshape(g, -1, p), is_kept.reshape(g, -1)
    even = torch.where(all_kept, -(end * c).double().log()[:, None], -torch.inf)
    seen, held = slice(0, None, 2), slice(1, None, 2)
    weights = is_kept[:, seen].reshape(g, -1).double()
    law = fit_mixture(law, draws[:, seen].reshape(g, -1, p), (weights / weights.sum(dim=1, keepdim=True)).log())
    evaluator.stage("evidence")
    proposals = law.sample(N_PROPOSALS, evaluator.streams.branch("bridge"))
    try:
        theirs = evaluator.value(proposals) - law.log_prob(proposals)
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
        nothing = torch.full_like(ess, torch.nan)
        return Bridge(nothing, nothing, everything, even)
    points = draws[:, held].reshape(g, -1, p)
    ours = values[:, held].reshape(g, -1) - law.log_prob(points)
    is_kept = is_kept[:, held].reshape(g, -1)
    n_ours = is_kept.sum(dim=1, keepdim=True).double()
    # shares of the optimal bridge by effective draws
    effective = (0.5 * ess)[:, None].clamp(min=1.0)
    log_s1 = (effective / (effective + N_PROPOSALS)).log()
    log_s2 = (N_PROPOSALS / (effective + N_PROPOSALS)).log()
    log_r = theirs.logsumexp(dim=1, keepdim=True) - math.log(N_PROPOSALS)
    nothing = torch.full_like(ours, -torch.inf)
    for _ in range(N_STEPS):
        above = (theirs - torch.logaddexp(log_s1 + theirs, log_s2 + log_r)).where(theirs.isfinite(), -torch.inf)
        below = torch.where(is_kept, -torch.logaddexp(log_s1 + ours, log_s2 + log_r), nothing)
        log_r = above.logsumexp(1, True) - math.log(N_PROPOSALS) - below.logsumexp(1, True) + n_ours.log()
    # relative variances of numerator and denominator (Fruehwirth-Schnatter 2004, equation 8)
    spread = _relative_variance(above, torch.ones_like(above)) / N_PROPOSALS
    spread = spread + _relative_variance(below, is_kept.double()) / effective[:, 0]

    own_value = values.reshape(g, -1)
    ratio = torch.cat([own_value - law.log_prob(everything), theirs], dim=1)  # of posterior to law, unnormalised
    share = torch.cat([even + log_s1, torch.full_like(theirs, -math.log(N_PROPOSALS)) + log_s2], dim=1)
    weights = share + (ratio - torch.logaddexp(log_s1 + ratio, log_s2 + log_r))
    weights = weights.where(ratio.isfinite() & share.isfinite(), -torch.inf)
    weights = weights - weights.logsumexp(dim=1, keepdim=True)
    return Bridge(log_r[:, 0], spread.sqrt(), torch.cat([everything, proposals], dim=1), weights)


def _relative_variance(logs: Tensor, weights: Tensor) -> Tensor:
    x = (logs - logs.amax(dim=1, keepdim=True)).exp() * weights
    n = weights.sum(dim=1)
    mean = x.sum(dim=1) / n
    return (x.square().sum(dim=1) / n / mean.square() - 1.0).clamp(min=0.0)
