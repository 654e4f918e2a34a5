"""Mixtures of normals in groups of different sizes: what models of different kinds predict, together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.likelihoods.normal_mixture import NormalMixture

__all__ = ["NormalGroups"]


class NormalGroups(NormalMixture):
    """Mixture of normals whose components come in groups, one a model.

    Parameters
    ----------
    sizes : sequence of int
        Components of each group, in order.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(sum(sizes))
        self.sizes = list(sizes)

    def epistemic(self, params: Tensor) -> Tensor:
        """Variance of the groups' means, each with the weight of its group."""
        location, _, weight = self.parts(params)
        shares = torch.stack([part.sum(dim=-1) for part in weight.split(self.sizes, dim=-1)], dim=-1)
        sums = torch.stack([part.sum(dim=-1) for part in (weight * location).split(self.sizes, dim=-1)], dim=-1)
        means = sums / shares.clamp(min=torch.finfo(shares.dtype).tiny)
        middle = sums.sum(dim=-1, keepdim=True)
        return (shares * (means - middle) ** 2).sum(dim=-1)
