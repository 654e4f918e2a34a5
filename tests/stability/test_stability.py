"""Stability analysis beside closed forms and published values."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm

from tsode.dynamics import Oscillator
from tsode.errors import ParameterError, SolverError, UnsettledError
from tsode.evolutions.base import Solved
from tsode.evolutions.orthogonal import OrthogonalFlow
from tsode.numerics import SOLVERS
from tsode.stability import (
    Map,
    finite_time_exponents,
    fixed_points,
    invariant_manifold,
    limit_cycle,
    lyapunov_spectrum,
    normal_form,
    predictability_horizon,
)

MATRIX = torch.tensor([[-1.0, 2.0, 0.0], [0.5, -3.0, 1.0], [0.0, 0.2, 0.4]], dtype=torch.float64)


def linear(t, z):
    return z @ MATRIX.mT


def lorenz(t, z):
    x, y, w = z.unbind(dim=1)
    return torch.stack([10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w], dim=1)


def van_der_pol(t, z):
    return torch.stack([z[:, 1], (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)


def pendulum(t, z):
    return torch.stack([z[:, 1], -z[:, 0].sin()], dim=1)


def damped_pendulum(t, z):
    return torch.stack([z[:, 1], -z[:, 0].sin() - 0.3 * z[:, 1]], dim=1)


def with_a_bend(rate):
    """``x' = x, y' = rate y + x**2``."""
    return lambda t, z: torch.stack([z[:, 0], rate * z[:, 1] + z[:, 0] ** 2], dim=1)


HENON = Map(lambda z: torch.stack([1 - 1.4 * z[:, 0] ** 2 + z[:, 1], 0.3 * z[:, 0]], dim=1))


# -- fixed points ------------------------------------------------------------------------------------------------------


def test_fixed_points_of_lorenz_equations_have_their_eigenvalues():
    points = fixed_points(lorenz, box=[(-30, 30), (-30, 30), (0, 50)], n_starts=60)
    assert len(points) == 3
    assert points["kind"].tolist() == ["saddle, focus", "saddle, focus", "saddle"]
    found = points.filter(like="eigenvalue").to_numpy()
    np.testing.assert_allclose(sorted(found[2].real), [-22.827723, -8 / 3, 11.827723], atol=1e-6)
    np.testing.assert_allclose(found[0], [0.093956 + 10.194505j, 0.093956 - 10.194505j, -13.854578], atol=1e-6)
    assert points["n_starts"].sum() <= 60


def test_states_of_very_different_sizes_have_their_fixed_point():
    points = fixed_points(lambda t, z: torch.tensor([[1e-9, 1e9]], dtype=torch.float64) - z, starts=[[1.0, 1.0]])
    np.testing.assert_allclose(points[["z1", "z2"]].to_numpy()[0], [1e-9, 1e9], rtol=1e-9)


def test_multipliers_of_a_map_tell_its_kind():
    points = fixed_points(Map(lambda z: 2.5 * z * (1 - z)), box=[(-0.5, 1.5)], n_starts=20)
    assert points["z1"].round(9).tolist() == [0.6, -0.0]
    assert points["kind"].tolist() == ["sink", "source"]
    assert points["max_modulus"].tolist() == pytest.approx([0.5, 2.5])


@pytest.mark.parametrize(("field", "kind"), [(pendulum, "centre"), (lambda t, z: -(z**3), "not hyperbolic")])
def test_what_first_derivatives_cannot_tell_is_not_called_stable(field, kind):
    assert fixed_points(field, starts=[[0.0, 0.0]])["kind"].tolist() == [kind]


def test_where_nothing_rests_the_smallest_slope_is_told():
    with pytest.raises(ParameterError, match=r"None of 20 starts came to a fixed point: the smallest slope met is 1"):
        fixed_points(lambda t, z: z**2 + 1, box=[(-1, 1)], n_starts=20)


# -- exponents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_exponents_of_a_linear_field_are_the_real_parts_also_from_its_rest(start):
    table = lyapunov_spectrum(linear, start)
    truth = np.sort(np.linalg.eigvals(MATRIX.numpy()).real)[::-1]
    np.testing.assert_allclose(table["exponent_per_unit"], truth, atol=1e-12)


def test_orbits_that_come_to_rest_have_the_exponents_of_the_rest():
    table = lyapunov_spectrum(damped_pendulum, [1.0, 0.0], n_starts=2)
    assert table.attrs["method"] == "closed form"
    np.testing.assert_allclose(table["exponent_per_unit"], [-0.15, -0.15], atol=1e-9)


def test_exponents_of_a_map_have_its_sum_and_an_error_that_covers():
    table = lyapunov_spectrum(HENON, [0.1, 0.1], duration=400)
    exponents = table["exponent_per_step"]
    assert exponents.sum() == pytest.approx(math.log(0.3), abs=1e-10)
    assert abs(exponents[1] - 0.4194) < 4 * table["standard_error"][1]
    assert table["standard_error"][1] < 0.01


def test_the_first_exponents_are_those_of_a_whole_run():
    some, every = (lyapunov_spectrum(HENON, [0.1, 0.1], k=k, duration=100) for k in (1, 2))
    assert some["exponent_per_step"][1] == pytest.approx(every["exponent_per_step"][1], abs=1e-8)


@pytest.mark.slow
def test_exponents_of_lorenz_equations_are_right_within_their_errors_and_sum_to_the_divergence():
    table = lyapunov_spectrum(lorenz, [1.0, 1.0, 1.0], duration=15.0, transient=30.0)
    assert (abs(table["exponent_per_unit"] - [0.9056, 0.0, -14.5723]) < 4 * table["standard_error"]).all()
    assert table.attrs["sum"] == pytest.approx(-41 / 3, abs=1e-3)
    assert table.attrs["trace_error"] < 1e-3


def test_a_run_that_is_too_short_is_not_settled():
    drifting = Map(lambda z: z + 0.01 * torch.tanh(z) * (1 + z**2))
    with pytest.raises(UnsettledError, match=r"has not settled: .* Give a longer duration"):
        lyapunov_spectrum(drifting, [0.01], duration=150, transient=1)


def test_an_orbit_that_leaves_is_named():
    with pytest.raises(SolverError, match=r"The flow from \(.*\) did not reach t = .*: grows without bound"):
        lyapunov_spectrum(lambda t, z: z**2, [2.0], n_starts=1, duration=10.0, transient=10.0)


def test_the_horizon_is_the_logarithm_over_the_exponent():
    assert predictability_horizon(0.9056, 1e-6, 1e-1) == pytest.approx(12.713036, abs=1e-6)
    assert predictability_horizon(-0.1, 1e-6, 1e-1) == math.inf
    assert predictability_horizon(1.0, 1.0, 0.1) == 0.0


def test_finite_time_exponents_are_singular_values_of_the_exponential():
    table = finite_time_exponents(linear, [1.0, -1.0, 0.5], [0.5, 4.0])
    for time, row in zip((0.5, 4.0), table.filter(like="exponent").to_numpy()):
        np.testing.assert_allclose(row, np.log(np.linalg.svd(expm(time * MATRIX.numpy()))[1]) / time, atol=1e-6)


def test_fields_with_weights_and_evolutions_that_are_solved_are_analysed_alike():
    torch.manual_seed(0)
    field, start = Oscillator(4).double(), torch.randn(4, dtype=torch.float64)
    solved = Solved(field, SOLVERS["dopri5"]())
    for analyse in (fixed_points, lambda system, z: finite_time_exponents(system, z, [0.5])):
        pd.testing.assert_frame_equal(analyse(solved, start[None]), analyse(field, start[None]))
    assert fixed_points(field, start[None])["residual"][0] < 1e-9


def test_an_evolution_in_closed_form_is_refused_by_name():
    with pytest.raises(ParameterError, match="OrthogonalFlow cannot be analysed: give a function"):
        fixed_points(OrthogonalFlow(2), [0.0, 0.0, 0.0, 0.0])


@pytest.mark.slow
def test_an_orbit_does_not_depend_on_those_beside_it():
    starts = torch.tensor([[1.0, 1.0, 1.0], [5.0, -3.0, 30.0]], dtype=torch.float64)
    both, alone = (finite_time_exponents(lorenz, z, [0.7, 2.0]) for z in (starts, starts[1:]))
    # to what the flow makes of the last digit
    np.testing.assert_allclose(both.iloc[2:, 1:].to_numpy(), alone.iloc[:, 1:].to_numpy(), rtol=1e-9)


# -- cycles ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("period", [None, 13.3])
def test_van_der_pols_cycle_has_its_smallest_period_and_multiplier(period):
    cycle = limit_cycle(van_der_pol, [2.0, 0.1], period=period)
    assert cycle.attrs["period"] == pytest.approx(6.663286859, abs=1e-8)
    assert cycle.attrs["kind"] == "stable"
    assert sum(cycle.attrs["log_multipliers"]) == pytest.approx(cycle.attrs["divergence"], abs=1e-6)
    assert cycle["z1"].max() == pytest.approx(2.008619861, abs=1e-3)


@pytest.mark.slow
def test_cycles_side_by_side_are_not_called_stable():
    cycle = limit_cycle(pendulum, [2.0, 0.0], transient=0.0)
    assert cycle.attrs["kind"] == "not isolated"
    assert cycle.attrs["period"] == pytest.approx(8.34975, abs=1e-4)


def test_a_flow_that_comes_to_rest_has_no_cycle():
    with pytest.raises(ParameterError, match=r"comes to rest at .* a fixed point, not a cycle"):
        limit_cycle(lambda t, z: -z, [1.0, 0.5])


# -- normal forms and manifolds ----------------------------------------------------------------------------------------


def brusselator(t, z):
    x, y = z.unbind(dim=1)
    return torch.stack([1 - 3 * x + x**2 * y, 2 * x - x**2 * y], dim=1)


def turning(sign):
    def field(t, z):
        return torch.stack([-z[:, 1], z[:, 0]], dim=1) + sign * z * z.square().sum(dim=1, keepdim=True)

    return field


@pytest.mark.parametrize(
    ("field", "point", "kind"),
    [
        (brusselator, [1.0, 2.0], "supercritical"),
        (turning(-1.0), [0.0, 0.0], "supercritical"),
        (turning(1.0), [0.0, 0.0], "subcritical"),
        (turning(0.0), [0.0, 0.0], "degenerate"),
    ],
)
def test_the_kind_of_a_hopf_point_is_that_of_its_cycles(field, point, kind):
    assert normal_form(field, point)["kind"] == kind


def test_a_point_that_is_no_hopf_point_is_refused_with_its_eigenvalues():
    with pytest.raises(
        ParameterError, match="one pair of imaginary eigenvalues and no other on the axis, but these are"
    ):
        normal_form(linear, [0.0, 0.0, 0.0])


def test_an_unstable_manifold_has_its_series():
    series = invariant_manifold(with_a_bend(-1.0), [0.0, 0.0], order=8)
    truth = np.zeros((9, 2))
    truth[1, 0], truth[2, 1] = 1.0, 1 / 3
    np.testing.assert_allclose(series.to_numpy(), truth, atol=1e-12)
    assert series.attrs["residual"] < 1e-12


def test_a_resonance_is_named():
    with pytest.raises(ParameterError, match=r"in resonance: 2 times it is the eigenvalue -2.*order=1"):
        invariant_manifold(lambda t, z: -with_a_bend(2.0)(t, z), [0.0, 0.0], which="slow")
