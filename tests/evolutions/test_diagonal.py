"""The diagonal flow against the matrix exponential of its generator."""

from __future__ import annotations

import pytest
import torch

from tsode.evolutions import DiagonalFlow


@pytest.fixture(params=[0, 3], ids=["fixed rates", "rates set by statics"])
def flow(request):
    torch.manual_seed(0)
    made = DiagonalFlow(4, request.param).double()
    with torch.no_grad():
        made.rate.uniform_(-3.0, 1.0)
    return made


def states(flow, n=6):
    return torch.randn(n, flow.n_state, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator_of(flow, z):
    """The matrix A of dz/dt = A z for one state, whose statics set it."""
    decay, frequency = flow.rates(z[2 * flow.n_modes :])
    matrix = torch.zeros(flow.n_state, flow.n_state, dtype=torch.float64)
    for k, (alpha, omega) in enumerate(zip(decay, frequency)):
        i, j = k, flow.n_modes + k
        matrix[i, i] = matrix[j, j] = -alpha
        matrix[i, j], matrix[j, i] = -omega, omega
    return matrix


def test_the_flow_is_the_matrix_exponential_of_its_generator(flow):
    z = states(flow)
    t0 = torch.linspace(-1.0, 2.0, len(z), dtype=torch.float64)
    t1 = t0 + torch.tensor([0.0, 1e-3, 0.7, 3.0, 11.0, -0.5], dtype=torch.float64)
    moved = flow.evolve(z, t0, t1).z
    expected = torch.stack(
        [torch.linalg.matrix_exp(generator_of(flow, row) * gap) @ row for row, gap in zip(z, t1 - t0)]
    )
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-12)


def test_two_steps_are_one_and_there_and_back_is_nothing(flow):
    z = states(flow)
    t = torch.zeros(len(z), dtype=torch.float64)
    whole = flow.evolve(z, t, t + 0.9).z
    torch.testing.assert_close(
        flow.evolve(flow.evolve(z, t, t + 0.4).z, t + 0.4, t + 0.9).z, whole, rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(flow.evolve(whole, t + 0.9, t).z, z, rtol=1e-10, atol=1e-12)


def test_zero_length_is_the_identity_bit_for_bit(flow):
    z = states(flow).float()
    t = torch.full((len(z),), 123.456, dtype=torch.float64)
    assert torch.equal(flow.float().evolve(z, t, t).z, z)


def test_modes_decay_and_statics_stay(flow):
    z = states(flow)
    t = torch.zeros(len(z), dtype=torch.float64)
    moved = flow.evolve(z, t, t + 5.0).z
    n = flow.n_modes
    modulus = (z[:, :n] ** 2 + z[:, n : 2 * n] ** 2).sqrt()
    moved_modulus = (moved[:, :n] ** 2 + moved[:, n : 2 * n] ** 2).sqrt()
    assert (moved_modulus < modulus).all()
    assert torch.equal(moved[:, 2 * n :], z[:, 2 * n :])


def test_many_times_are_as_many_steps_from_the_start(flow):
    z = states(flow)
    t0 = torch.linspace(0.0, 1.0, len(z), dtype=torch.float64)
    times = t0[:, None] + torch.tensor([0.0, 2.0, 0.5], dtype=torch.float64)
    together = flow.evolve_to(z, t0, times).z
    for k in range(3):
        torch.testing.assert_close(together[:, k], flow.evolve(z, t0, times[:, k]).z, rtol=1e-13, atol=1e-14)


def test_large_times_keep_short_gaps():
    torch.manual_seed(0)
    flow = DiagonalFlow(2)
    z = torch.randn(3, 4)
    near, far = torch.zeros(3, dtype=torch.float64), torch.full((3,), 2.0**40, dtype=torch.float64)
    assert torch.equal(flow.evolve(z, far, far + 0.125).z, flow.evolve(z, near, near + 0.125).z)


def test_statics_set_rates_per_series():
    torch.manual_seed(0)
    flow = DiagonalFlow(2, 1)
    with torch.no_grad():
        flow.modulation.weight.fill_(1.0)
    decay, frequency = flow.rates(torch.tensor([[-2.0], [2.0]]))
    assert (decay[1] > decay[0]).all()
    assert (frequency[1] > frequency[0]).all()
    # the frequency is bent by at most a factor of exp(1/2) either way
    assert (frequency / flow.frequency).log().abs().max() <= 0.5
