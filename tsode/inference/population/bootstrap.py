"""Bootstrap of a population: series drawn anew with replacement, and estimates from them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.inference.population.estimate import Estimate
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.refit import Refitted, first_metric, refit

__all__ = ["bootstrap", "draw_weights"]


def draw_weights(n: int, strata: Sequence[Hashable], seed: int) -> Tensor:
    """How often each series stands in each of `n` data sets (n s), as many of each stratum as there are.

    Fewer data sets are the first of more.
    """
    generator = np.random.default_rng(seed)
    members = [[k for k, x in enumerate(strata) if x == stratum] for stratum in dict.fromkeys(strata)]
    weights = np.zeros((n, len(strata)))
    for row in weights:
        for own in members:
            np.add.at(row, np.asarray(own)[generator.integers(len(own), size=len(own))], 1.0)
    return torch.from_numpy(weights)


def bootstrap(
    density: MarginalDensity,
    estimate: Estimate,
    weights: Tensor,
    tell: Callable[[int], None] = lambda n_left: None,
) -> Refitted:
    """Estimates from data sets in which series stand so often (b s): all climb side by side from the estimate.

    Whole series are drawn, since values of one are not independent. A series drawn twice counts twice in the sum of log
    likelihoods, so that nothing but its weight is new.

    Parameters
    ----------
    density : MarginalDensity
        Of one problem.
    estimate : Estimate
    weights : Tensor[b s]
    tell : callable
        Told how many data sets still climb.

    References
    ----------
    Efron, "Bootstrap methods: another look at the jackknife", Ann. Stat. 7, 1979.
    """
    b = len(weights)
    start = estimate.theta.expand(b, -1).clone()
    return refit(density, estimate, start, first_metric(estimate).expand(b, -1, -1), weights, tell=tell)
