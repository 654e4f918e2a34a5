"""Derivatives of states by their start and by parameters, against closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, expm_frechet
from torch import nn

from tsode.diagnostics import state_sensitivities
from tsode.errors import ParameterError, SolverError
from tsode.numerics import ALF, RK4, Dopri5, Rodas4, Switching
from tsode.numerics.integrate import integrate

MATRIX = np.array([[-0.3, 1.2, 0.0], [-1.0, -0.1, 0.4], [0.2, 0.0, -0.7]])
STARTS = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.2, 0.0]], dtype=torch.float64)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.from_numpy(MATRIX.copy()))

    def forward(self, t, z):
        return z @ self.matrix.T


@pytest.mark.slow
def test_a_linear_field_has_the_derivatives_of_its_exponential():
    found = state_sensitivities(Linear(), STARTS, 0.2, 1.7)
    flow = expm(1.5 * MATRIX)
    for row, start in enumerate(STARTS.numpy()):
        np.testing.assert_allclose(found.z[row], flow @ start, atol=1e-8)
        np.testing.assert_allclose(found.by_start[row], flow, atol=1e-8)
        for i in range(3):
            for j in range(3):
                direction = np.zeros((3, 3))
                direction[i, j] = 1.5
                truth = expm_frechet(1.5 * MATRIX, direction, compute_expm=False) @ start
                np.testing.assert_allclose(found.by_parameters["matrix"][row, :, i, j], truth, atol=1e-8)


def test_time_runs_backward_too_and_no_time_has_the_identity():
    there = state_sensitivities(Linear(), STARTS[0], 1.0, 0.0, parameters={})
    np.testing.assert_allclose(there.by_start[0], expm(-MATRIX), atol=1e-8)
    nowhere = state_sensitivities(Linear(), STARTS[0], 1.0, 1.0)
    np.testing.assert_array_equal(nowhere.by_start[0], np.eye(3))
    assert not nowhere.by_parameters["matrix"].any()


def test_what_cannot_be_answered_is_named():
    rate, other = (torch.tensor([-0.5], dtype=torch.float64, requires_grad=True) for _ in range(2))
    field, z = lambda t, z: rate * z, torch.ones(1, 1)
    with pytest.raises(ParameterError, match="does not read the parameter 'other' itself"):
        state_sensitivities(field, z, 0.0, 1.0, parameters={"rate": rate, "other": other})
    with pytest.raises(ParameterError, match="'rate' requires no gradient"):
        state_sensitivities(field, z, 0.0, 1.0, parameters={"rate": rate.detach()})
    for solver in (Rodas4(), ALF()):
        with pytest.raises(ParameterError, match="use another solver, for instance Dopri5"):
            state_sensitivities(field, z, 0.0, 1.0, solver=solver)
    with pytest.raises(SolverError, match="Row 0 left the range of finite numbers"):
        state_sensitivities(lambda t, z: z * z, z, 0.0, 30.0, solver=RK4(n_steps=100))


@pytest.mark.parametrize("derivative", [torch.func.jacrev, torch.func.jacfwd])
@pytest.mark.parametrize(
    "solver",
    [
        RK4(n_steps=100),
        Dopri5(rtol=1e-10, atol=1e-12, max_steps=5000),
        Switching(rtol=1e-10, atol=1e-12, max_steps=5000),
    ],
)
def test_functional_derivatives_of_a_solve_are_those_of_the_exponential(derivative, solver):
    start = torch.zeros(1, dtype=torch.float64)
    matrix = torch.from_numpy(MATRIX)

    def end(z):
        return integrate(lambda t, x: x @ matrix.T, z[None], start, start + 1.5, solver).z[0]

    np.testing.assert_allclose(derivative(end)(STARTS[0]), expm(1.5 * MATRIX), atol=1e-8)
