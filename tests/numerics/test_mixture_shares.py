"""Shares of a mixture: the maximum of its likelihood, also at the edge and where components are alike."""

from __future__ import annotations

import pytest
import torch

from tsode.numerics.mixture_shares import mixture_shares


@pytest.mark.parametrize(
    ("n", "p", "power"), [(500, 11, 1.0), (5, 11, 1.0), (300, 5, 0.02), (1, 3, 1.0), (2000, 30, 8.0)]
)
def test_no_way_from_the_shares_is_up(n, p, power):
    generator = torch.Generator().manual_seed(n)
    # columns of very different size, alike where the power is small
    size = torch.exp(5.0 * torch.randn(p, generator=generator, dtype=torch.float64))
    densities = torch.rand(n, p, generator=generator, dtype=torch.float64) ** power * size
    shares = mixture_shares(densities)
    assert shares.sum().item() == pytest.approx(1.0, abs=1e-9)
    rise = (densities / (densities @ shares)[:, None]).mean(dim=0) - 1.0
    assert rise.max() < 1e-10
    assert (shares * rise).abs().max() < 1e-10
    assert shares.min() > 0.0


def test_shares_of_what_is_told_apart_are_counts():
    densities = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 0]]
    torch.testing.assert_close(mixture_shares(densities), torch.tensor([0.75, 0.25, 0.0]).double(), atol=1e-9, rtol=0)
