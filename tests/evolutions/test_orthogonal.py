from dataclasses import replace

import pytest
import torch
from scipy.linalg import expm

from tests.helpers import solve
from tsode import JumpODEForecaster, part
from tsode.evolutions.orthogonal import OrthogonalFlow
from tsode.nn.orthogonal import ORTHONORMAL
from tsode.testing import check_evolution

N_GAPS = 10_000


def with_random_weights(**how):
    torch.manual_seed(0)
    flow = OrthogonalFlow(**how).double()
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=2.0)
    return flow


def skew(flow):
    """The generator of the flow without statics."""
    basis, n = flow.basis(), flow.n_modes
    turn = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    turn[range(n), range(n, 2 * n)], turn[range(n, 2 * n), range(n)] = -flow.frequency, flow.frequency
    return (basis @ turn @ basis.mT).detach()


@pytest.mark.parametrize("basis", ORTHONORMAL)
def test_every_basis_keeps_the_contract(basis):
    torch.manual_seed(0)
    check_evolution(OrthogonalFlow(2, 1, basis=basis))


@pytest.mark.slow
def test_the_norm_is_kept_over_ten_thousand_irregular_gaps():
    flow = with_random_weights(n_modes=4, n_static=2)
    z = start = torch.randn(3, flow.n_state, dtype=torch.float64)
    t = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for gap in torch.empty(N_GAPS, 3, dtype=torch.float64).log_normal_(std=2.0):
            z, t = flow.evolve(z, t, t + gap).z, t + gap
    norms, before = (torch.linalg.vector_norm(x[:, :8], dim=1) for x in (z, start))
    assert (norms / before - 1).abs().max() < 1e-10
    assert torch.equal(z[:, 8:], start[:, 8:])
    assert (z - start)[:, :8].abs().max() > 0.1


def test_the_flow_is_the_exponential_of_a_skew_matrix():
    flow = with_random_weights(n_modes=3)
    generator, z = skew(flow), torch.randn(4, 6, dtype=torch.float64)
    assert (generator + generator.mT).abs().max() < 1e-14
    gap = torch.tensor([0.3, -2.0, 0.0, 11.0], dtype=torch.float64)
    truth = torch.stack([torch.as_tensor(expm(generator.numpy() * g)) @ one for g, one in zip(gap.tolist(), z)])
    t0 = torch.full_like(gap, 5.0)
    torch.testing.assert_close(flow.evolve(z, t0, t0 + gap).z, truth, rtol=1e-12, atol=1e-12)


def test_a_drive_is_a_constant_in_the_rate():
    flow = with_random_weights(n_modes=2, n_static=1)
    z, drive = torch.randn(2, 3, 5, dtype=torch.float64)
    t0, t1 = torch.zeros(3, dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)
    middle = flow.evolve(z, t0, 0.4 * t1, drive).z
    whole = flow.evolve(z, t0, t1, drive).z
    torch.testing.assert_close(flow.evolve(middle, 0.4 * t1, t1, drive).z, whole, rtol=1e-12, atol=1e-12)
    plain = with_random_weights(n_modes=2)
    truth = solve(lambda t, x: x @ skew(plain).mT + drive[:, :4], z[:, :4], span=0.7)
    torch.testing.assert_close(plain.evolve(z[:, :4], t0, t1, drive[:, :4]).z, truth, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_check_measures_the_norm(dtype):
    flow = with_random_weights(n_modes=4, n_static=1).to(dtype)
    (norm,) = flow.check(torch.randn(100, 9, dtype=dtype))
    assert norm.holds

    class Fading(OrthogonalFlow):
        def evolve_to(self, z, t0, times, drive=None):
            evolved = super().evolve_to(z, t0, times, drive)
            return replace(evolved, z=0.999 * evolved.z)

    (norm,) = Fading(4).check(torch.randn(100, 8))
    assert not norm.holds


def test_a_forecaster_takes_it_by_name_with_settings():
    forecaster = JumpODEForecaster(evolution=part("orthogonal", basis="givens", frequencies=(0.5, 5.0)))
    assert forecaster.evolution.name == "orthogonal"
