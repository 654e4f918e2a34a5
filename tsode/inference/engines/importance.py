"""Importance sampling from heavy-tailed laws at the modes, with Pareto-smoothed weights, in a few wide calls."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tsode.inference.draws import Posterior, resample
from tsode.inference.evaluation import Evaluator, Stopped
from tsode.inference.mixture import Mixture, fitted, laplace_mixture
from tsode.inference.modes import Modes
from tsode.inference.pareto import smooth_weights
from tsode.inference.settings import Settings

__all__ = ["answer_by_importance", "effective"]

GOOD_K = 0.5  # shape of the weights up to which no further round is wanted


def answer_by_importance(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Weighted draws of a mixture of Student t laws: first Laplace's, then, where weights are uneven, fitted to them.

    All rounds are weighted together against the mixture of their laws (Cornuet, Marin, Mira & Robert 2012, "Adaptive
    multiple importance sampling"), which is what keeps the evidence unbiased in all but the fit. Its standard error
    takes the draws as independent; they are more even than that.
    """
    evaluator.stage("importance sampling")
    g, _, p = modes.point.shape
    law = laplace_mixture(modes)
    left = torch.arange(g)
    nodes = modes.point.new_zeros(g, 0, p)
    log_weights = nodes.new_zeros(g, 0)
    k, ess, log_evidence, se, share_failed = (nodes.new_full((g,), torch.nan) for _ in range(5))
    laws, own_nodes, own_value = [law], nodes, log_weights
    for n in range(settings.n_rounds):
        asked = evaluator.select(left)
        try:
            new = laws[-1].sample(settings.n_importance, asked.streams.branch(f"importance {n}"))
            value = asked.value(new)
        except (Stopped, KeyboardInterrupt) as stopped:
            evaluator.stop(str(stopped) or "interrupted")
            if n == 0:
                raise Stopped(evaluator.why_stopped) from None
            break
        own_nodes, own_value = torch.cat([own_nodes, new], dim=1), torch.cat([own_value, value], dim=1)
        of_laws = torch.stack([own.log_prob(own_nodes) for own in laws]).logsumexp(dim=0) - math.log(len(laws))
        log_ratio = own_value - of_laws
        own_weights, own_k = smooth_weights(log_ratio)
        own_ess = effective(own_weights)

        nodes, log_weights = _longer(nodes, new.shape[1]), _longer(log_weights, new.shape[1], -torch.inf)
        nodes[left], log_weights[left] = own_nodes, own_weights
        k[left], ess[left] = own_k, own_ess
        log_evidence[left] = log_ratio.logsumexp(dim=1) - math.log(own_nodes.shape[1])
        se[left] = (1.0 / own_ess - 1.0 / own_nodes.shape[1]).clamp(min=0.0).sqrt()
        share_failed[left] = (~own_value.isfinite()).double().mean(dim=1)

        goes_on = ~((own_k < GOOD_K) & (own_ess > settings.n_effective)) & own_value.isfinite().any(dim=1)
        if not goes_on.any():
            break
        places = goes_on.nonzero().squeeze(1)
        left, own_nodes, own_value = left[places], own_nodes[places], own_value[places]
        laws = [own.select(places) for own in laws]
        laws.append(fitted(laws[-1], own_nodes, own_weights[places]))
    per_axis = ess[:, None].expand(-1, p)
    return Posterior(
        evaluator.names,
        ("importance",) * g,
        resample(nodes, log_weights, evaluator.streams.branch("draws"), settings.n_chains, settings.n_draws),
        nodes,
        log_weights,
        modes,
        log_evidence,
        se,
        torch.full_like(per_axis, torch.nan),
        per_axis.clone(),
        per_axis.clone(),
        k,
        share_failed,
        evaluator.effort,
        ((),) * g,
    )


def effective(log_weights: Tensor) -> Tensor:
    """Effective number of weighted draws (Kish), of normalised log weights (g k) -> (g)."""
    return (-(2.0 * log_weights).logsumexp(dim=1)).exp()


def _longer(x: Tensor, n: int, filler: float = 0.0) -> Tensor:
    """Room for so many more columns."""
    return torch.cat([x, x.new_full((len(x), n, *x.shape[2:]), filler)], dim=1)
