"""Leave-one-out predictive densities from draws of one posterior, by Pareto-smoothed importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tsode.inference.pareto import smooth_weights

__all__ = ["LeaveOneOut", "leave_one_out"]

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


def leave_one_out(log_likelihood: Tensor, groups: Tensor | None = None) -> LeaveOneOut:
    """Leave out each value, or each group of values together, from equally weighted draws.

    Parameters
    ----------
    log_likelihood : Tensor[... s n]
        Of each of `n` values at each of `s` draws.
    groups : Tensor[n], int64, or None
        Places 0, 1, ... of groups, such as series: their values are left out together, by their joint density. The sum
        of what single values give is another quantity.

    References
    ----------
    Vehtari, Gelman and Gabry, "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
    Statistics and Computing 27, 2017.
    """
    if groups is not None:
        joint = log_likelihood.new_zeros(*log_likelihood.shape[:-1], int(groups.max()) + 1)
        log_likelihood = joint.index_add(-1, groups, log_likelihood)
    of_values = log_likelihood.mT  # (... n s)
    log_weights, k = smooth_weights(-of_values)
    pointwise = (log_weights + of_values).logsumexp(dim=-1)
    with_itself = of_values.logsumexp(dim=-1) - math.log(of_values.shape[-1])
    return LeaveOneOut(pointwise, k, (with_itself - pointwise).sum(dim=-1))
