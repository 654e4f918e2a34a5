"""Equal-weight mixture of the distributions of several models."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture

__all__ = ["EnsembleMixture"]


class EnsembleMixture(NormalMixture):
    """Equal-weight mixture of the normals, or mixtures of normals, that the members of an ensemble predict.

    By the law of total variance its variance has two parts: the members' mean variance (aleatoric: what each of them
    holds for noise) and the variance of their means (epistemic: what they disagree about, `epistemic`).

    Parameters
    ----------
    n_members : int
    member : Likelihood
        Family of each member.
    """

    def __init__(self, n_members: int, member: Likelihood) -> None:
        if not isinstance(member, Normal | NormalMixture):
            raise ParameterError(
                f"An ensemble mixes normals, but its members predict a {type(member).__name__}: "
                "choose likelihood='normal' or 'normal_mixture', or n_members=1."
            )
        super().__init__(n_members * (member.n_components if isinstance(member, NormalMixture) else 1))
        self.n_members = n_members

    def epistemic(self, params: Tensor) -> Tensor:
        location, _, weight = (part.unflatten(-1, (self.n_members, -1)) for part in self.parts(params))
        means = (weight * location).sum(dim=-1) / weight.sum(dim=-1)
        return means.var(dim=-1, correction=0)

    def merge_members(self, params: list[Tensor]) -> Tensor:
        """Parameters of the mixture from those of each member."""
        return self.merge(torch.stack(params))
