"""Leave-one-out predictive densities from draws of one posterior, by Pareto-smoothed importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.pareto import smooth_weights

__all__ = ["LeaveOneOut", "leave_one_out", "weights_without"]

MAX_K = 0.7


@dataclass(frozen=True)
class LeaveOneOut:
    """Log densities of each value given all others.

    Attributes
    ----------
    pointwise : Tensor[... n]
    k : Tensor[... n]
        Pareto shapes; above .7 the value is too influential for this method, and should be left out in fact.
    n_effective : Tensor[...]
        Effective number of parameters: how much more the values are expected with themselves among the data.
    """

    pointwise: Tensor
    k: Tensor
    n_effective: Tensor

    @property
    def elpd(self) -> Tensor:
        """Expected log predictive density, summed over values, (...)."""
        return self.pointwise.sum(dim=-1)

    @property
    def se(self) -> Tensor:
        """Standard error of `elpd` over values, (...)."""
        return self.pointwise.std(dim=-1) * math.sqrt(self.pointwise.shape[-1])

    @property
    def is_reliable(self) -> Tensor:
        """Whether the density of each value can be trusted, (... n)."""
        return self.k <= MAX_K


def leave_one_out(
    log_likelihood: Tensor,
    groups: Tensor | None = None,
    log_weights: Tensor | None = None,
    is_rule: bool = False,
) -> LeaveOneOut:
    """Leave out each value, or each group of values together.

    Parameters
    ----------
    log_likelihood : Tensor[... s n]
        Of each of `n` values at each of `s` draws, or nodes.
    groups : Tensor[n], int64, or None
        Places 0, 1, ... of groups, such as series: their values are left out together, by their joint density. The sum
        of what single values give is another quantity.
    log_weights : Tensor[... s] or None
        Normalised weights of the draws. Those of importance sampling reach farther than equally weighted draws of the
        posterior, and so nearer to what it is without a value.
    is_rule : bool
        Whether the weights are those of a quadrature: nothing is smoothed, and there is no k.

    References
    ----------
    Vehtari, Gelman and Gabry, "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
    Statistics and Computing 27, 2017.
    """
    if groups is not None:
        joint = log_likelihood.new_zeros(*log_likelihood.shape[:-1], int(groups.max()) + 1)
        log_likelihood = joint.index_add(-1, groups, log_likelihood)
    of_values = log_likelihood.mT  # (... n s)
    if log_weights is None:
        log_weights = torch.full_like(of_values[..., 0, :], -math.log(of_values.shape[-1]))
    left, k = weights_without(of_values, log_weights, is_rule)
    given_all = log_weights[..., None, :]
    pointwise = (left + of_values.nan_to_num(neginf=-1e300)).logsumexp(dim=-1)
    with_itself = (given_all + of_values).logsumexp(dim=-1)
    return LeaveOneOut(pointwise, k, (with_itself - pointwise).sum(dim=-1))


def weights_without(log_likelihood: Tensor, log_weights: Tensor, is_rule: bool) -> tuple[Tensor, Tensor]:
    """Normalised log weights (... n s) of the draws, or nodes, without each value, and their Pareto shapes (... n).

    Parameters
    ----------
    log_likelihood : Tensor[... n s]
    log_weights : Tensor[... s]
    is_rule : bool
        See `leave_one_out`.
    """
    given_all = log_weights[..., None, :]
    log_ratio = (given_all - log_likelihood).where(given_all.isfinite(), -torch.inf)
    if is_rule:
        shape = torch.full_like(log_likelihood[..., 0], -torch.inf)
        return log_ratio - log_ratio.logsumexp(dim=-1, keepdim=True), shape
    return smooth_weights(log_ratio)
