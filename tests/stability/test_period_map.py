"""Period maps of driven fields beside closed forms and the fields themselves."""

import math

import numpy as np
import pytest
import torch

from tsode.errors import ParameterError
from tsode.numerics import Dopri5
from tsode.stability import (
    Map,
    finite_time_exponents,
    fixed_points,
    limit_cycle,
    lyapunov_spectrum,
    period_map,
)

TURN = 2 * math.pi


def spring(damping, stiffness):
    """``x'' = cos t - damping x' - stiffness x``."""
    return lambda t, z: torch.stack([z[:, 1], t.cos() - damping * z[:, 1] - stiffness * z[:, 0]], dim=1)


def pendulum(t, z):
    """A chaotic one, damped by a half."""
    return torch.stack([z[:, 1], -z[:, 0].sin() - 0.5 * z[:, 1] + 1.5 * (2 / 3 * t).cos()], dim=1)


def breathing(t, z):
    """``x' = (cos t - 1/2) x``, whose multiplier is ``exp(-pi)``."""
    return (t.cos()[:, None] - 0.5) * z


@pytest.mark.slow
@pytest.mark.parametrize("t0", [0.0, 1.0])
def test_the_driven_springs_orbit_is_a_fixed_point_with_its_multipliers(t0):
    solver = Dopri5(rtol=1e-8, atol=1e-10, max_steps=10_000)
    driven = period_map(spring(1.0, 1.0), TURN, t0=t0, names=["x", "v"], solver=solver)
    points = fixed_points(driven, starts=[[0.5, 0.5]], tolerance=1e-9)
    np.testing.assert_allclose(points[["x", "v"]].to_numpy()[0], [math.sin(t0), math.cos(t0)], atol=1e-7)
    truth = np.exp(TURN * np.array([-0.5 - math.sqrt(0.75) * 1j, -0.5 + math.sqrt(0.75) * 1j]))
    np.testing.assert_allclose(
        sorted(points.filter(like="eigenvalue").iloc[0], key=np.imag), sorted(truth, key=np.imag), atol=1e-7
    )


@pytest.mark.slow
def test_exponents_per_step_are_those_of_the_field_times_the_period():
    steps = lyapunov_spectrum(period_map(breathing, TURN), [1.0], duration=2, transient=2, n_starts=2)
    field = lyapunov_spectrum(breathing, [1.0], duration=4 * TURN, transient=0.0, interval=TURN / 5, n_starts=2)
    assert steps["exponent_per_step"][1] == pytest.approx(-math.pi, abs=1e-6)
    assert field["exponent_per_unit"][1] * TURN == pytest.approx(-math.pi, abs=1e-6)
    assert field.attrs["is_clock_left_out"]
    assert not steps.attrs["is_clock_left_out"]


@pytest.mark.slow
def test_exponents_on_a_periodic_orbit_are_logarithms_of_its_multipliers():
    table = lyapunov_spectrum(period_map(spring(1.0, 1.0), TURN), [0.0, 1.0], duration=2, transient=10, n_starts=2)
    assert table.attrs["method"] == "closed form"
    np.testing.assert_allclose(table["exponent_per_step"], [-math.pi, -math.pi], atol=1e-6)


@pytest.mark.slow
def test_finite_time_exponents_of_a_chaotic_pendulum_are_those_of_its_field_times_the_period():
    start = [[0.3, 0.7], [2.0, -1.0]]
    steps = finite_time_exponents(period_map(pendulum, 1.5 * TURN), start, [1, 2]).filter(like="exponent")
    field = finite_time_exponents(pendulum, start, [1.5 * TURN, 3 * TURN]).filter(like="exponent")
    np.testing.assert_allclose(steps, field * 1.5 * TURN, atol=1e-6)


@pytest.mark.slow
def test_exponents_of_a_chaotic_pendulum_sum_to_minus_its_damping_per_period():
    table = lyapunov_spectrum(period_map(pendulum, 1.5 * TURN), [0.3, 0.7], duration=4, transient=1, n_starts=4)
    assert table.attrs["sum"] == pytest.approx(-0.5 * 1.5 * TURN, abs=1e-6)
    assert table.attrs["trace_error"] < 1e-6


@pytest.mark.slow
def test_multipliers_of_saddles_multiply_to_the_shrinking_of_areas():
    points = fixed_points(period_map(pendulum, 1.5 * TURN), box=[(-3, 3), (-3, 3)], n_starts=4)
    product = points["eigenvalue_1"] * points["eigenvalue_2"]
    np.testing.assert_allclose(product, math.exp(-0.75 * TURN), atol=1e-6)
    assert set(points["kind"]) == {"saddle"}


def test_a_period_that_is_none_is_named_with_the_rates_at_both_ends():
    message = r"does not come back after period=3: at \(1, 0\) the rate of z2 is 0\.658.* at t = 0, and -1\.465.* later"
    with pytest.raises(ParameterError, match=message):
        fixed_points(period_map(pendulum, 3.0), starts=[[1.0, 0.0]])


@pytest.mark.parametrize("period", [0.0, -1.0, math.inf, math.nan])
def test_a_period_must_be_a_positive_length(period):
    with pytest.raises(ParameterError, match="period must be a positive length of time"):
        period_map(pendulum, period)


def test_a_map_has_no_period_map():
    with pytest.raises(ParameterError, match="A map has no period map: give a field"):
        fixed_points(period_map(Map(lambda z: z), 1.0), starts=[[1.0]])


def test_the_error_of_limit_cycle_names_the_period_map():
    with pytest.raises(ParameterError, match=r"fixed_points\(period_map\(field, period\), starts\)"):
        limit_cycle(pendulum, [0.0, 0.0])
