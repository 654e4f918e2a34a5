"""Closed-form rotation of modes against complex arithmetic and numerical derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.kernels.rotation import rotate


def inputs(n_queries: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 1, 7), (3, 1, 2), (3, 1, 2), (3, n_queries, 1)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_modes_are_multiplied_by_the_complex_exponential():
    z, decay, frequency, gap = inputs()
    modes = torch.complex(z[..., :2], z[..., 2:4]) * torch.exp(torch.complex(-decay, frequency) * gap)
    truth = torch.cat([modes.real, modes.imag, z[..., 4:].expand(-1, 4, -1)], dim=-1)
    torch.testing.assert_close(rotate(z, decay, frequency, gap), truth)


def test_gaps_of_length_zero_leave_the_state_bit_for_bit():
    z, decay, frequency, gap = inputs()
    assert torch.equal(rotate(z, decay, frequency, torch.zeros_like(gap)), z.expand(-1, 4, -1))


def test_first_and_second_derivatives_are_right():
    assert torch.autograd.gradcheck(rotate, inputs())
    assert torch.autograd.gradgradcheck(rotate, inputs(2))


def test_a_kept_graph_can_be_walked_twice_and_beside_another():
    given = inputs()
    first, other = rotate(*given).square().sum(), rotate(*given).sum()
    once = torch.autograd.grad(first, given, retain_graph=True)
    torch.autograd.grad(other, given)
    torch.testing.assert_close(torch.autograd.grad(first, given), once, rtol=0.0, atol=0.0)


def test_forward_without_gradients_gives_the_same_bits():
    given = inputs()
    with torch.no_grad():
        without = rotate(*given)
    assert torch.equal(rotate(*given), without)
