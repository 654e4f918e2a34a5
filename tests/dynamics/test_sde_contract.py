"""What every stochastic differential equation promises, checked on all of them."""

import pickle

import pytest
import torch

from tsode.dynamics import SDES
from tsode.numerics.sde import DiagonalSDE, Ito, Stratonovich

every_sde = pytest.mark.parametrize("name", SDES)
T = torch.tensor([0.0, 1.5, -2.0, 7.0], dtype=torch.float64)


def make(name, dtype=torch.float64):
    torch.manual_seed(0)
    return SDES[name](n_state=3).to(dtype)


@pytest.fixture
def z():
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_sde
def test_the_type_says_the_calculus(name):
    assert isinstance(make(name), Ito) != isinstance(make(name), Stratonovich)


@every_sde
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_terms_have_shape_and_dtype_of_the_state(name, dtype, z):
    sde = make(name, dtype)
    z = z.to(dtype)
    for term in (*sde.terms(T, z), sde.diffusion_slope(T, z)):
        assert (term.shape, term.dtype) == (z.shape, dtype)
        assert term.isfinite().all()
    assert torch.equal(sde.terms(T, z)[0], sde.drift(T, z))
    assert torch.equal(sde.terms(T, z)[1], sde.diffusion(T, z))


@every_sde
def test_rows_do_not_see_each_other(name, z):
    sde = make(name)
    order = torch.tensor([2, 0, 3, 1])
    for together, permuted in zip(sde.terms(T, z), sde.terms(T[order], z[order])):
        torch.testing.assert_close(permuted, together[order], rtol=1e-12, atol=1e-12)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(sde.drift(T[one], z[one]), sde.drift(T, z)[one], rtol=1e-12, atol=1e-12)


@every_sde
def test_noise_of_a_coordinate_reads_that_coordinate_alone(name, z):
    sde = make(name)
    jacobian = torch.autograd.functional.jacobian(lambda state: sde.diffusion(T, state).sum(dim=0), z)
    by_rows = jacobian.permute(1, 0, 2)
    torch.testing.assert_close(by_rows, torch.diag_embed(sde.diffusion_slope(T, z)), rtol=1e-12, atol=1e-12)


@every_sde
def test_slope_of_the_diffusion_is_its_derivative(name, z):
    sde = make(name)
    torch.testing.assert_close(DiagonalSDE.diffusion_slope(sde, T, z), sde.diffusion_slope(T, z))


@every_sde
def test_sdes_survive_pickling_and_a_state_dict(name, z):
    sde = make(name)
    other = SDES[name](n_state=3).double()
    other.load_state_dict(sde.state_dict())
    for again in (other, pickle.loads(pickle.dumps(sde))):
        assert all(torch.equal(a, b) for a, b in zip(again.terms(T, z), sde.terms(T, z)))
