"""Symplectic solvers against Kepler's orbits, the pendulum, and the definition."""

import math

import pandas as pd
import pytest
import torch

from tests.helpers import solve
from tsode import solve as solve_frame
from tsode.dynamics import Hamiltonian, SeparableHamiltonian
from tsode.errors import ParameterError
from tsode.evolutions.base import Solved
from tsode.numerics import RK4, SOLVERS, BlanesMoan, Leapfrog
from tsode.numerics.integrate import integrate_to
from tsode.numerics.symplectic import SymplecticComposition

SYMPLECTIC = [made for made in SOLVERS.values() if issubclass(made, SymplecticComposition)]
every_method = pytest.mark.parametrize("made", SYMPLECTIC)


def free(p, theta):
    return 0.5 * p.square().sum(dim=1)


def learned(n_state=4, n_static=0, size=1.0):
    """A separable field at random weights."""
    torch.manual_seed(0)
    field = SeparableHamiltonian(n_state, n_static, width=8).double()
    for weight in field.parameters():
        weight.data.copy_(size * torch.randn_like(weight))
    return field.requires_grad_(False)


def kepler():
    """Field of the plane with its centre at the origin, and an orbit of eccentricity .6 at its perihelion."""
    field = SeparableHamiltonian(4, kinetic=free, potential=lambda q, theta: -1.0 / q.square().sum(dim=1).sqrt())
    return field, torch.tensor([[0.4, 0.0, 0.0, 2.0]], dtype=torch.float64)


def energy_errors(field, z, solver, times):
    start = torch.zeros(len(z), dtype=torch.float64)
    with torch.no_grad():
        states = integrate_to(field, z, start, times, solver).z
    return (field.energies(states.flatten(0, 1)).reshape(times.shape) - field.energies(z)[:, None]).abs()


@pytest.mark.slow
def test_leapfrog_keeps_the_energy_of_keplers_orbit_as_well_as_is_known():
    field, z = kepler()
    steps = 0.01 * torch.arange(1, 629, dtype=torch.float64)[None]
    worst = energy_errors(field, z, Leapfrog(max_step=0.01), steps).max()
    assert float(worst) == pytest.approx(3.707e-4, abs=5e-8)


@pytest.mark.slow
@every_method
def test_values_between_steps_keep_the_energy_as_well_as_those_at_steps(made):
    field, z = kepler()
    h = 0.05
    at_steps = h * torch.arange(1, 127, dtype=torch.float64)[None]
    between = (at_steps[..., None] - h * torch.tensor([0.81, 0.5, 0.13], dtype=torch.float64)).flatten(1)
    worst, inside = (energy_errors(field, z, made(max_step=h), times).max() for times in (at_steps, between))
    assert inside <= 1.001 * worst


@every_method
def test_one_step_is_a_canonical_map_at_random_weights(made):
    field = learned(6, n_static=2)
    canonical = torch.zeros(4, 4, dtype=torch.float64)
    canonical[:2, 2:], canonical[2:, :2] = torch.eye(2), -torch.eye(2)
    generator = torch.Generator().manual_seed(1)
    for z in torch.randn(5, 6, dtype=torch.float64, generator=generator):
        map_of = lambda x, theta=z[4:]: solve(field, torch.cat([x, theta])[None], 0.1, solver=made())[0, :4]  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(map_of, z[:4])
        assert (jacobian.T @ canonical @ jacobian - canonical).abs().max() < 1e-12 * jacobian.norm() ** 2


@pytest.mark.slow
@every_method
def test_angular_momentum_of_a_central_force_is_kept_to_rounding(made):
    field, z = kepler()
    end = solve(field, z, 10.0, solver=made(max_step=0.05))
    assert float(end[0, 0] * end[0, 3] - end[0, 1] * end[0, 2]) == pytest.approx(0.8, abs=1e-14)


@every_method
def test_a_solve_there_and_back_ends_where_it_began(made):
    field = learned()
    z = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    there = solve(field, z, 3.0, solver=made(n_steps=100))
    back = solve(field, there, -3.0, t0=3.0, solver=made(n_steps=100))
    assert (there - z).abs().max() > 0.1
    torch.testing.assert_close(back, z, rtol=0, atol=1e-11)


@pytest.mark.slow
def test_order_four_is_worth_its_evaluations():
    field, z = kepler()
    times = torch.linspace(0.0, 2.0 * math.pi, 100, dtype=torch.float64)[None]
    leapfrog, blanes_moan = (
        energy_errors(field, z, solver, times).max() for solver in (Leapfrog(max_step=0.01), BlanesMoan(max_step=0.06))
    )
    assert blanes_moan < 0.03 * leapfrog


def test_the_period_of_the_pendulum_is_met():
    field = SeparableHamiltonian(2, kinetic=free, potential=lambda q, theta: -q.cos().sum(dim=1))
    z = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    end = solve(field, z, 8.34975292691849, solver=BlanesMoan(n_steps=100))
    force = math.sin(2.0)  # at the turning point: the momentum there tells how late it is
    assert abs(float(end[0, 1])) / force < 1e-6


def test_what_is_not_separable_is_refused_by_name():
    z = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(
        ParameterError,
        match=r"Leapfrog needs a SeparableField, .*which Hamiltonian .*'separable_hamiltonian'.*'implicit_midpoint'",
    ):
        solve(Hamiltonian(4).double(), z, 1.0, solver=Leapfrog())


def test_an_infusion_goes_into_a_separable_field_as_into_any_other():
    field, z = learned(5, n_static=1, size=0.3), torch.full((1, 5), 0.3, dtype=torch.float64)
    t0, drive = torch.zeros(1, dtype=torch.float64), torch.tensor([[0.2, -0.1, 0.4, 0.3, 9.0]], dtype=torch.float64)
    ends = [
        Solved(field, solver).evolve(z, t0, t0 + 0.5, drive).z for solver in (BlanesMoan(n_steps=50), RK4(n_steps=50))
    ]
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-8)
    assert ends[0][0, 4] == 0.3


@pytest.mark.slow
def test_known_energies_are_solved_through_doses_and_infusions():
    field = SeparableHamiltonian(2, kinetic=free, potential=lambda q, theta: 0.5 * q.square().sum(dim=1))
    events = pd.DataFrame({"ds": [1.0, 2.0], "target": ["p", "p"], "amount": [1.0, 0.5], "duration": [0.0, 1.0]})
    answers = [
        solve_frame(field, {"q": 1.0, "p": 0.0}, [0.5, 1.5, 2.5, 6.0], t0=0.0, events=events, solver=solver)
        for solver in (BlanesMoan(max_step=0.02), RK4(max_step=0.01))
    ]
    for name in ("q", "p"):
        assert answers[0][name].to_numpy() == pytest.approx(answers[1][name].to_numpy(), abs=1e-8)
