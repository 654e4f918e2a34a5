"""The maximum principle: Riccati's equations, adjoint equations integrated by SciPy, and a constant Hamiltonian."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.control.patients import asked, patient
from tests.control.pendulum import adjoint, planned
from tests.control.riccati import best_doses, best_input, planned_doses, planned_input, pushed
from tsode.control import Doses, TargetRange, Tracking, plan
from tsode.control.maximum_principle import costate, hamiltonian
from tsode.errors import ParameterError


@pytest.fixture(autouse=True)
def _unidentified_noise():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The posterior has problems")
        yield


def test_doses_are_those_of_the_discrete_riccati_equation():
    found = planned_doses(6, 0.5, 0.1)
    np.testing.assert_allclose(found._candidate.amounts, best_doses(6, 0.5, 0.1), atol=1e-6)
    assert found.residual < 1e-6


@pytest.mark.slow
def test_the_costate_is_the_solution_of_the_adjoint_equation():
    found, times = planned(0.004), np.array([0.3, 0.9, 1.4])
    truth = adjoint(found, times)
    assert np.abs(costate(found, list(times)) - truth).max() < 1e-10 * np.abs(truth).max()


def test_the_costate_of_a_dose_is_the_derivative_by_its_amount():
    found = plan(patient(), Tracking({"concentration": 6.0}), actions=Doses([8.0, 16.0], high=30.0), **asked())
    slopes = costate(found, [8.0, 16.0]).mean(axis=0)[:, 0]
    problem, amounts = found._problem, found._candidate.amounts
    for k in range(2):
        step = 1e-3 * np.eye(2)[k]
        up, down = problem.worths(np.stack([amounts + step, amounts - step]))
        assert (up.score - down.score) / 2e-3 == pytest.approx(slopes[k], rel=1e-4, abs=1e-9)
    assert (amounts[0] < 30.0) == (abs(slopes[0]) < 1e-6)


@pytest.mark.slow
def test_the_best_input_is_that_of_riccatis_equation_and_its_hamiltonian_is_constant():
    found = planned_input(8, 2.0)
    grid = np.linspace(0.0, 2.0, 41)
    u = pushed(grid, found.inputs.iloc[0, 1:].to_numpy(dtype=float), 2.0)
    np.testing.assert_allclose(u, best_input(grid, 2.0), atol=1e-4)
    along = hamiltonian(found, list(np.linspace(0.01, 1.99, 30)))
    assert np.ptp(along, axis=1).max() < 1e-6


def test_infusions_flow_into_the_hamiltonian():
    doses = Doses([8.0], low=20.0, high=20.1, duration=4.0)
    found = plan(patient(), TargetRange("concentration", 4.0, 9.0, 0.01), actions=doses, **asked())
    slope, along = costate(found, [9.0, 13.0]), hamiltonian(found, [9.0, 13.0])
    response = found._problem.response
    rate = found.doses["amount"].item() / 4.0
    _, way = response.solve(torch.tensor([[rate * 4.0]]).double(), None, torch.tensor([9.0, 13.0]).double())
    p = response.values(1)
    off = -(p["clearance"] / p["volume"])[0] * way.states[:, 0, :, 0]
    np.testing.assert_allclose(along, slope[..., 0] * (off + torch.tensor([rate, 0.0])).numpy(), rtol=1e-6, atol=1e-9)


def test_only_plans_of_states_have_a_costate():
    with pytest.raises(ParameterError, match="plan with a KnownODEForecaster"):
        costate(plan_without_states(), [1.0])


def plan_without_states():
    found = plan(patient(), Tracking({"concentration": 6.0}), actions=Doses([8.0], high=30.0), **asked())
    return replace(found, _problem=None)
