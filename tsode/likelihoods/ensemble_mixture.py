"""Equal-weight mixtures of the distributions that the members of an ensemble predict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.quantiles import implicit_quantile, in_blocks, invert_cdf

__all__ = ["EnsembleMixture", "NormalEnsemble", "mix_members"]

# Levels at which the quadrature of a score is cut, for each member. Beyond the outermost, a member of four degrees of
# freedom contributes less than 1e-9 of its scale.
LEVELS = (1e-5, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.999, 0.99999)
MOST_CUTS = 400  # of many members: every so many of theirs
MOST_COUNTS = 1000  # whole numbers that a score is summed over
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


class EnsembleMixture(Likelihood):
    """Equal-weight mixture of members of any family.

    By the law of total variance its variance has two parts: the members' mean variance (aleatoric: what each of them
    holds for noise) and the variance of their means (epistemic: what they disagree about, `epistemic`).

    The parameters are those of the members, one after the other.

    Parameters
    ----------
    n_members : int
    member : Likelihood
        Family of each member.
    """

    def __init__(self, n_members: int, member: Likelihood) -> None:
        self.n_members = n_members
        self.member = member
        self.n_params = n_members * member.n_params
        self.n_shape = member.n_shape
        self.is_discrete = member.is_discrete

    def members(self, params: Tensor) -> Tensor:
        """Parameters of each member: (... p) -> (... k p/k)."""
        return params.unflatten(-1, (self.n_members, -1))

    def merge_members(self, params: Sequence[Tensor]) -> Tensor:
        """Parameters of the mixture from those of each member."""
        return torch.cat(list(params), dim=-1)

    def compose(self, location: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
        return self.merge_members([self.member.compose(location, log_scale, shape)] * self.n_members)

    def from_moments(self, mean: Tensor, scale: Tensor) -> Tensor:
        return self.merge_members([self.member.from_moments(mean, scale)] * self.n_members)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.member.log_prob(self.members(params), x[..., None]).logsumexp(dim=-1) - math.log(self.n_members)

    def cdf(self, params: Tensor, x: Tensor) -> Tensor:
        return self.member.cdf(self.members(params), x[..., None]).mean(dim=-1)

    def log_below(self, params: Tensor, x: Tensor) -> Tensor:
        tail = self.member.log_below(self.members(params), x[..., None])
        return tail.logsumexp(dim=-1) - math.log(self.n_members)

    def log_above(self, params: Tensor, x: Tensor) -> Tensor:
        tail = self.member.log_above(self.members(params), x[..., None])
        return tail.logsumexp(dim=-1) - math.log(self.n_members)

    def mean(self, params: Tensor) -> Tensor:
        return self.member.mean(self.members(params)).mean(dim=-1)

    def variance(self, params: Tensor) -> Tensor:
        return self.member.variance(self.members(params)).mean(dim=-1) + self.epistemic(params)

    def epistemic(self, params: Tensor) -> Tensor:
        return self.member.mean(self.members(params)).var(dim=-1, correction=0)

    def quantile(self, params: Tensor, p: Tensor) -> Tensor:
        p = p.to(params)
        with torch.no_grad():
            x = in_blocks(self._solve, params, p, self.n_params)
        if self.is_discrete:
            return x
        return implicit_quantile(self, params, p, x)

    def _solve(self, params: Tensor, p: Tensor) -> Tensor:
        """Quantiles (q r), without a graph, of parameters (p r): a mixture's lies between those of its members."""
        return torch.stack([self._solve_level(params, level) for level in p])

    def _solve_level(self, params: Tensor, p: Tensor) -> Tensor:
        members = self.members(params.mT)
        ends = self.member.quantile(members, p[:, None])
        low, high = ends.amin(dim=1), ends.amax(dim=1)
        if self.is_discrete:
            return self._search(params, p, low, high)

        def excess(x: Tensor, p: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
            value = self.cdf(params.mT, x) - p
            return value, -value / self.log_prob(params.mT, x).exp()

        # the error of a step of Newton is of the second order in its length by the narrowest width
        close = 1e-7 * self.member.variance(members).amin(dim=1).sqrt()
        return invert_cdf(excess, low, high, ends.mean(dim=1), close, p, params)

    def _search(self, params: Tensor, p: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The smallest whole numbers (r,) in these ranges at which the distribution function reaches `p`."""
        for _ in range(int((high - low + 1.0).log2().amax().ceil()) if len(low) else 0):
            middle = ((low + high) / 2).floor()
            is_enough = self.cdf(params.mT, middle) >= p
            low, high = torch.where(is_enough, low, (middle + 1.0).minimum(high)), torch.where(is_enough, middle, high)
        return high

    def crps(self, params: Tensor, x: Tensor) -> Tensor:
        """Mean score of the members, less the integral over all values of the variance of their cdfs.

        ``int (mean F_k - H)^2 = mean int (F_k - H)^2 - int var F_k`` for the step function ``H`` at `x`. The last
        integral is by Gauss-Legendre with five nodes between any two of the members' quantiles at `LEVELS`; of whole
        numbers that lie close it is a sum.
        """
        members = self.members(params)
        levels = params.new_tensor(LEVELS)
        with torch.no_grad():
            cuts = self.member.quantile(members[..., None, :], levels).flatten(-2).sort(dim=-1).values
        score = self.member.crps(members, x[..., None]).mean(dim=-1)
        if self.is_discrete and cuts.numel() and (cuts[..., -1] - cuts[..., 0]).max() <= MOST_COUNTS:
            return score - self._summed_variance(members, cuts)
        if cuts.shape[-1] > MOST_CUTS:
            cuts = cuts[..., torch.linspace(0, cuts.shape[-1] - 1, MOST_CUTS, dtype=torch.float64).round().long()]
        disagreement = torch.zeros_like(params[..., 0])
        for low, high in zip(cuts[..., :-1].unbind(-1), cuts[..., 1:].unbind(-1)):
            half = 0.5 * (high - low)
            y = 0.5 * (high + low)[..., None] + half[..., None] * params.new_tensor(NODES)
            spread = self.member.cdf(members[..., None, :, :], y[..., None]).var(dim=-1, correction=0)
            disagreement = disagreement + half * (spread @ params.new_tensor(WEIGHTS))
        return score - disagreement

    def _summed_variance(self, members: Tensor, cuts: Tensor) -> Tensor:
        """Sum over the whole numbers between the outermost `cuts` of the variance of the members' cdfs there."""
        total = torch.zeros_like(cuts[..., 0])
        for k in range(int((cuts[..., -1] - cuts[..., 0]).max()) + 1):
            at = cuts[..., :1] + k
            total = total + self.member.cdf(members, at).var(dim=-1, correction=0) * (at <= cuts[..., -1:])[..., 0]
        return total

    def rescale(self, params: Tensor, factor: Tensor) -> Tensor:
        """Stretched about the mean, which stays."""
        return self.affine(params, (1.0 - factor) * self.mean(params), factor)

    def affine(self, params: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return self.member.affine(self.members(params), shift[..., None], scale[..., None]).flatten(-2)


class NormalEnsemble(NormalMixture):
    """Equal-weight mixture of normals, or of mixtures of normals: again a mixture of normals, in closed form.

    Parameters
    ----------
    n_members : int
    n_components : int
        Of each member; 1 for a normal.
    """

    def __init__(self, n_members: int, n_components: int = 1) -> None:
        super().__init__(n_members * n_components)
        self.n_members, self.sizes = n_members, [n_components] * n_members

    def epistemic(self, params: Tensor) -> Tensor:
        location, _, weight = (part.unflatten(-1, (self.n_members, -1)) for part in self.parts(params))
        means = (weight * location).sum(dim=-1) / weight.sum(dim=-1)
        return means.var(dim=-1, correction=0)

    def merge_members(self, params: Sequence[Tensor]) -> Tensor:
        """Parameters of the mixture from those of each member."""
        return self.merge(torch.stack(list(params)))


def mix_members(n_members: int, member: Likelihood) -> EnsembleMixture | NormalEnsemble:
    """Likelihood of an ensemble whose members have the likelihood `member`."""
    if type(member) is Normal:
        return NormalEnsemble(n_members)
    if type(member) is NormalMixture:
        return NormalEnsemble(n_members, member.n_components)
    return EnsembleMixture(n_members, member)
