"""Orthonormal columns, whatever becomes of the weights, by every parametrisation."""

import copy
import io

import pytest
import torch
from scipy.linalg import expm

from tsode.errors import ParameterError, UnknownNameError
from tsode.nn.orthogonal import ORTHONORMAL, orthonormal
from tsode.nn.orthogonal_cayley import CayleyMatrix
from tsode.nn.orthogonal_exponential import ExponentialMatrix
from tsode.nn.orthogonal_givens import GivensMatrix
from tsode.nn.orthogonal_householder import HouseholderMatrix

every_name = pytest.mark.parametrize("name", ORTHONORMAL)
SHAPES = [(1, 1), (5, 5), (12, 4), (64, 64)]


def error_of(made):
    q = made().detach()
    return float((q.mT @ q - torch.eye(q.shape[1], dtype=q.dtype)).abs().max())


def assert_orthonormal(made):
    for dtype, most in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        other = copy.deepcopy(made).to(dtype)
        assert other().dtype == dtype
        assert error_of(other) <= most


@every_name
@pytest.mark.parametrize("shape", SHAPES)
def test_columns_are_orthonormal_as_built_copied_loaded_and_in_either_precision(name, shape):
    torch.manual_seed(0)
    made, other = orthonormal(name, *shape), orthonormal(name, *shape)
    assert_orthonormal(made)
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(), made())
    assert torch.equal(copy.deepcopy(made)(), made())


@every_name
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1e-3, 10.0, 1000.0])
def test_columns_are_orthonormal_at_random_weights(name, shape, size):
    torch.manual_seed(1)
    made = orthonormal(name, *shape).double()
    torch.nn.init.normal_(made.raw, std=size)
    assert_orthonormal(made)


@every_name
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_are_orthonormal_after_200_steps_of_adamw_with_weight_decay_1(name, dtype):
    torch.manual_seed(0)
    made, target = orthonormal(name, 12, 4).to(dtype), torch.randn(12, 4, dtype=dtype)
    optimiser = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        (made() * target).sum().backward()
        optimiser.step()
    assert_orthonormal(made)


@every_name
def test_weights_of_zero_are_no_harm(name):
    made = orthonormal(name, 6, 3).double()
    torch.nn.init.zeros_(made.raw)
    assert_orthonormal(made)
    made().sum().backward()
    assert made.raw.grad.isfinite().all()


@every_name
def test_gradients_are_right(name):
    torch.manual_seed(0)
    made = orthonormal(name, 5, 3).double()
    assert torch.autograd.gradcheck(made.exact, made.raw)


@every_name
def test_columns_point_anywhere(name):
    torch.manual_seed(0)
    made = orthonormal(name, 6, 2).double()
    target = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q
    optimiser = torch.optim.LBFGS(made.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = (made() - target).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    assert loss().item() < 1e-8


@pytest.mark.parametrize("k", range(1, 8))
def test_k_reflections_are_their_product_of_determinant_minus_1_to_the_k(k):
    torch.manual_seed(k)
    made = HouseholderMatrix(7, n_reflections=k).double()
    product = torch.eye(7, dtype=torch.float64)
    for v in made.vectors:
        product = product @ (torch.eye(7, dtype=torch.float64) - 2 * torch.outer(v, v) / (v @ v))
    torch.testing.assert_close(made(), product, rtol=0, atol=1e-14)
    assert torch.linalg.det(made()).item() == pytest.approx((-1.0) ** k, abs=1e-13)


@pytest.mark.parametrize("shape", [(5, 5), (9, 4)])
def test_reflections_keep_a_given_start(shape):
    torch.manual_seed(0)
    for start in (torch.eye(*shape), torch.linalg.qr(torch.randn(shape)).Q, -torch.eye(*shape)):
        made = HouseholderMatrix(*shape, start=start)
        torch.testing.assert_close(made(), start, rtol=0, atol=5e-7)
        assert_orthonormal(made)


@pytest.mark.parametrize("made", [CayleyMatrix, ExponentialMatrix, GivensMatrix])
def test_the_identity_is_kept_as_a_start(made):
    assert torch.equal(made(6, 4, start="identity")(), torch.eye(6, 4))


def test_reflections_that_are_nearly_the_same_or_tiny_or_huge_are_as_exact():
    torch.manual_seed(0)
    made = HouseholderMatrix(64).double()
    with torch.no_grad():
        made.vectors.copy_(torch.randn(64, dtype=torch.float64) + 1e-9 * torch.randn(64, 64, dtype=torch.float64))
        made.vectors.mul_(torch.logspace(-100, 100, 64, dtype=torch.float64)[:, None])
    assert error_of(made) <= 1e-12


def test_the_exponential_is_that_of_scipy():
    torch.manual_seed(0)
    made = ExponentialMatrix(6).double()
    weight = made.weight.detach().numpy()
    torch.testing.assert_close(made(), torch.as_tensor(expm(weight - weight.T)), rtol=0, atol=1e-14)


def test_two_layers_of_rotations_reach_two_neighbours():
    torch.manual_seed(0)
    assert GivensMatrix(6, n_layers=2).angles.shape == (2, 3)
    reached = GivensMatrix(6, n_layers=2)().abs() > 0
    assert reached[0].tolist() == [True, True, False, False, False, False]
    assert torch.linalg.det(GivensMatrix(7).double()()).item() == pytest.approx(1.0, abs=1e-13)


def test_what_cannot_be_is_told():
    with pytest.raises(ParameterError, match="7 orthonormal columns do not fit into 6 rows"):
        HouseholderMatrix(6, 7)
    with pytest.raises(ParameterError, match="orthonormal columns"):
        HouseholderMatrix(3, start=torch.ones(3, 3))
    with pytest.raises(ParameterError, match="'random' or 'identity'"):
        CayleyMatrix(3, start="zero")
    with pytest.raises(UnknownNameError, match="givens"):
        orthonormal("given", 3)
