"""Rows of adaptive solvers: alone and in any batch the same to the bit, with the same steps."""

import pytest
import torch

from tsode.numerics import SOLVERS
from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.integrate import integrate, integrate_to

ADAPTIVE = [name for name, made in SOLVERS.items() if issubclass(made, AdaptiveSolver)]


def van_der_pol(mu):
    def field(t, z):
        x, v = z.unbind(dim=1)
        return torch.stack([v, mu[: len(z)] * (1 - x * x) * v - x], dim=1)

    return field


@pytest.mark.slow
@pytest.mark.parametrize("solver", ADAPTIVE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_row_is_the_same_to_the_bit_alone_and_in_any_batch(solver, dtype):
    generator = torch.Generator().manual_seed(0)
    z = (torch.rand(23, 2, generator=generator, dtype=torch.float64) * 4 - 2).to(dtype)
    mu = torch.rand(23, generator=generator, dtype=torch.float64).to(dtype) * 3
    mu[4] = 100.0  # stiff
    t0, span = torch.zeros(23, dtype=torch.float64), torch.rand(23, generator=generator, dtype=torch.float64) * 2
    made = SOLVERS[solver](rtol=1e-5, atol=1e-6, max_steps=5000)
    whole = integrate(van_der_pol(mu), z, t0, t0 + span, made)
    times = span[:, None] * torch.tensor([0.3, 0.8], dtype=torch.float64)
    inside = integrate_to(van_der_pol(mu), z, t0, times, made)
    assert not whole.status.any()
    for rows in (*torch.tensor([[0], [4], [11], [22]]), torch.arange(3, 20)):
        alone = integrate(van_der_pol(mu[rows]), z[rows], t0[rows], t0[rows] + span[rows], made)
        assert torch.equal(alone.z, whole.z[rows])
        assert torch.equal(alone.n_steps, whole.n_steps[rows])
        read = integrate_to(van_der_pol(mu[rows]), z[rows], t0[rows], times[rows], made)
        assert torch.equal(read.z, inside.z[rows])
