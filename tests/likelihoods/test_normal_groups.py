"""Mixtures of normals in groups."""

from __future__ import annotations

import torch

from tsode.likelihoods.normal_groups import NormalGroups


def test_what_groups_disagree_about_is_the_variance_of_their_means_by_weight() -> None:
    torch.manual_seed(0)
    family = NormalGroups([1, 3, 2])
    params = torch.randn(4, 18, dtype=torch.float64)
    location, _, weight = family.parts(params)
    groups = [slice(0, 1), slice(1, 4), slice(4, 6)]
    shares = torch.stack([weight[:, g].sum(dim=1) for g in groups], dim=1)
    means = torch.stack([(weight[:, g] * location[:, g]).sum(dim=1) for g in groups], dim=1) / shares
    middle = (shares * means).sum(dim=1, keepdim=True)
    torch.testing.assert_close(family.epistemic(params), (shares * (means - middle) ** 2).sum(dim=1))


def test_a_group_without_weight_disagrees_with_nobody() -> None:
    params = torch.tensor([[1.0, 50.0, 0.0, 0.0, 0.0, -1e4]])
    assert float(NormalGroups([1, 1]).epistemic(params)) == 0.0
