"""Importance sampling from heavy-tailed laws at the modes, with Pareto-smoothed weights, in a few wide calls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.draws import Posterior, resample
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.mixture import Mixture, laplace_mixture
from tsode.inference.mixture_fit import fit_mixture, split_mixture
from tsode.inference.modes import Modes
from tsode.inference.pareto import smooth_weights
from tsode.inference.settings import Settings

__all__ = ["answer_by_importance", "effective"]

WORTH = 1.2  # times the effective draws of the best round so far, that must come for another round
GOOD_K = 0.5  # shape of the weights up to which no further round is wanted


def answer_by_importance(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Weighted draws of a mixture of Student t laws: first Laplace's, then, where weights are uneven, fitted to them.

    Of the rounds one with light tails and most effective draws is kept. They are not pooled: laws that are fitted to a
    round are largest where its draws are, and would weigh them too lightly. The standard error of the evidence takes
    the draws as independent; they are more even than that.
    """
    evaluator.stage("importance sampling")
    g, _, p = modes.point.shape
    n_draws = settings.n_importance
    law, left, past = laplace_mixture(modes), torch.arange(g), _Past()
    nodes, log_weights = modes.point.new_zeros(g, n_draws, p), modes.point.new_zeros(g, n_draws)
    k, ess, log_evidence, share_failed = (nodes.new_full((g,), -1.0) for _ in range(4))
    for n in range(settings.n_rounds):
        asked = evaluator.select(left)
        drawn = law.sample(n_draws, asked.streams.branch(f"importance {n}"))
        try:
            value = asked.value(drawn)
        except (Stopped, KeyboardInterrupt) as stopped:
            evaluator.stop(str(stopped) or INTERRUPTED)
            if n == 0:
                raise Stopped(evaluator.why_stopped) from None
            break
        log_ratio = value - law.log_prob(drawn)
        own_weights, own_k = smooth_weights(log_ratio)
        own_ess = effective(own_weights)
        best, is_light = ess[left], own_k <= GOOD_K
        is_better = torch.where(is_light == (k[left] <= GOOD_K), own_ess > best, is_light) | (n == 0)
        better = left[is_better]
        nodes[better], log_weights[better] = drawn[is_better], own_weights[is_better]
        k[better], ess[better] = own_k[is_better], own_ess[is_better]
        log_evidence[better] = log_ratio[is_better].logsumexp(dim=1) - math.log(n_draws)
        share_failed[better] = (~value[is_better].isfinite()).double().mean(dim=1)
        is_worth = (own_ess < settings.share_effective * n_draws) & ((n < 2) | (own_ess > WORTH * best))
        goes_on = (is_worth | ~is_light | (own_ess < settings.enough)) & value.isfinite().any(dim=1)
        if not goes_on.any():
            break
        places = goes_on.nonzero().squeeze(1)
        past = past.plus(law, drawn, value).select(places)
        law, everything, weights = law.select(places), *past.pooled()
        if n == 0:
            law = fit_mixture(law, everything, weights)
        else:
            n_laws = max(settings.n_laws, law.weight.shape[1])
            law = split_mixture(law, everything, weights, n_laws, asked.select(places).streams.branch(f"split {n}"))
        left = left[places]
    per_axis = ess[:, None].expand(-1, p)
    return Posterior(
        evaluator.names,
        ("importance",) * g,
        resample(nodes, log_weights, evaluator.streams.branch("draws"), settings.n_chains, settings.n_draws),
        nodes,
        log_weights,
        modes,
        log_evidence,
        (1.0 / ess - 1.0 / n_draws).clamp(min=0.0).sqrt(),
        torch.full_like(per_axis, torch.nan),
        per_axis.clone(),
        per_axis.clone(),
        k,
        share_failed,
        evaluator.effort,
        ((),) * g,
    )


@dataclass(frozen=True)
class _Past:
    """Rounds so far: their laws, draws (g k p) and log densities (g k)."""

    laws: tuple[Mixture, ...] = ()
    nodes: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    def plus(self, law: Mixture, nodes: Tensor, value: Tensor) -> _Past:
        return _Past((*self.laws, law), (*self.nodes, nodes), (*self.values, value))

    def select(self, places: Tensor) -> _Past:
        return _Past(
            tuple(law.select(places) for law in self.laws),
            tuple(nodes[places] for nodes in self.nodes),
            tuple(value[places] for value in self.values),
        )

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Draws of all rounds, weighed as those of the mixture of their laws (Cornuet et al. 2012)."""
        nodes = torch.cat(self.nodes, dim=1)
        law = torch.stack([law.log_prob(nodes) for law in self.laws]).logsumexp(dim=0)
        return nodes, smooth_weights(torch.cat(self.values, dim=1) - law)[0]


def effective(log_weights: Tensor) -> Tensor:
    """Effective number of weighted draws (Kish), of normalised log weights (g k) -> (g)."""
    return (-(2.0 * log_weights).logsumexp(dim=1)).exp()
