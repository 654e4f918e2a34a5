"""Failures told apart: what a solve says that blew up, met a NaN, or was stiff."""

import pytest
import torch

from tsode import part
from tsode.core.status import Status
from tsode.errors import SolverError, TsodeWarning
from tsode.numerics import Dopri5, Rodas4, Switching, Tsit5
from tsode.numerics.integrate import integrate, integrate_to
from tsode.solve import solve

ADAPTIVE = [Dopri5, Tsit5, Rodas4, Switching]


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def square(t, z):
    return z * z


def root(t, z):  # the second slope is NaN once the first state is negative, at t = 0.5
    return torch.stack([-torch.ones_like(t), (z[:, 0]).sqrt()], dim=1)


def behind(t, z):
    return -1e5 * (z - torch.cos(t)[:, None]) * (1 + z * z)


@pytest.mark.parametrize(
    ("made", "tolerance"),
    [*((made, 1e-4) for made in ADAPTIVE), *(pytest.param(made, 1e-10, marks=pytest.mark.slow) for made in ADAPTIVE)],
)
def test_a_pole_is_told_from_a_jump_and_from_a_nan(made, tolerance):
    solver = made(rtol=tolerance, atol=tolerance / 100, max_steps=20_000)
    t0 = numbers(0.0, 0.0)
    for field, pole in ((square, 0.5), (lambda t, z: z.exp(), 0.135335283)):
        found = integrate(field, numbers([2.0], [-1.0]), t0, t0 + 1.0, solver)
        assert found.status.tolist() == [Status.BLOW_UP, Status.OK]
        assert found.reached.tolist() == pytest.approx([pole, 1.0], rel=1e-2 if tolerance == 1e-4 else 1e-6)
    found = integrate(root, numbers([0.5, 0.0], [2.0, 0.0]), t0, t0 + 1.0, solver)
    assert found.status.tolist() == [Status.UNDEFINED, Status.OK]
    assert found.reached.tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("made", ADAPTIVE)
def test_time_may_run_back_into_a_pole(made):
    found = integrate_to(square, numbers([-2.0]), numbers(0.0), numbers([-1.0]), made(max_steps=20_000))
    assert found.status.item() == Status.BLOW_UP


@pytest.mark.slow
def test_growth_over_all_numbers_is_a_blow_up():
    found = integrate(lambda t, z: z, numbers([1.0]), numbers(0.0), numbers(2000.0), Dopri5(max_steps=100_000))
    assert found.status.item() == Status.BLOW_UP
    assert 600 < found.reached.item() < 720


def fails(field, z0, **settings):
    with pytest.raises(SolverError) as caught:
        solve(field, z0, {"a": [1.0], "b": [2.0]}, t0=0.0, **settings)
    return str(caught.value)


@pytest.mark.slow
def test_a_blow_up_is_named_with_its_time_and_state():
    said = fails(square, {"a": {"x": 0.1}, "b": {"x": 0.75}})
    assert "series 'b' grows without bound at t = 1.33333, where 'x' is" in said
    assert "Nor did" not in said


def test_a_nan_is_named_with_its_time_and_the_states_whose_slope_it_is():
    said = fails(root, {"a": {"level": 0.5, "way": 0.0}, "b": {"level": 3.0, "way": 0.0}})
    assert (
        "series 'a' came at t = 0.5 to where the field is not finite in 'way' (nan), the state being {'level'" in said
    )
    said = fails(root, {"level": 0.5, "way": 0.0})
    assert "Nor did series 'b' reach the end" in said


def test_a_stiff_series_is_told_which_solver_to_take():
    said = fails(behind, {"x": 1.0}, solver=part("tsit5", max_steps=500))
    assert "the fastest rate there is" in said
    assert 'use solver="auto" or "rodas4"' in said


def test_too_few_steps_of_an_implicit_method_are_too_few_steps():
    said = fails(behind, {"x": 1.0}, solver=part("rodas4", max_steps=20))
    assert "raise max_steps of Rodas4" in said


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tolerance_below_the_digits_of_the_state_is_told(dtype):
    z, t = torch.ones(1, 1, dtype=dtype), torch.zeros(1, dtype=torch.float64)
    eps = torch.finfo(dtype).eps
    with pytest.warns(TsodeWarning, match="asks for more digits than float(32|64) has"):
        integrate(lambda t, z: -z, z, t, t + 1, Dopri5(rtol=eps))
    integrate(lambda t, z: -z, z, t, t + 1, Dopri5(rtol=8 * eps, atol=8 * eps))
