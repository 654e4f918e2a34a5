"""Bridge sampling: the evidence from draws of the posterior and of a law that is like it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.mixture import Mixture
from tsode.inference.mixture_fit import fit_mixture

__all__ = ["bridge_evidence"]

N_PROPOSALS = 4096
N_STEPS = 100  # of the fixed point, which gains a digit in each few


def bridge_evidence(
    evaluator: Evaluator, law: Mixture, draws: Tensor, values: Tensor, end: Tensor, ess: Tensor
) -> tuple[Tensor, Tensor]:
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
    seen, held = slice(0, None, 2), slice(1, None, 2)
    weights = is_kept[:, seen].reshape(g, -1).double()
    law = fit_mixture(law, draws[:, seen].reshape(g, -1, p), (weights / weights.sum(dim=1, keepdim=True)).log())
    evaluator.stage("evidence")
    proposals = law.sample(N_PROPOSALS, evaluator.streams.branch("bridge"))
    try:
        theirs = evaluator.value(proposals) - law.log_prob(proposals)
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
        return torch.full_like(ess, torch.nan), torch.full_like(ess, torch.nan)
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
    return log_r[:, 0], spread.sqrt()


def _relative_variance(logs: Tensor, weights: Tensor) -> Tensor:
    x = (logs - logs.amax(dim=1, keepdim=True)).exp() * weights
    n = weights.sum(dim=1)
    mean = x.sum(dim=1) / n
    return (x.square().sum(dim=1) / n / mean.square() - 1.0).clamp(min=0.0)
