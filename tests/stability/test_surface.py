"""Invariant surfaces beside closed forms."""

import math

import numpy as np
import pytest
import torch

from tsode.errors import ParameterError
from tsode.stability import invariant_manifold
from tsode.stability.taylor import taylor


def two_rates(t, z):
    x, y, w = z.unbind(dim=1)
    return torch.stack([x, 2.5 * y, -w + x**2 + x * y], dim=1)


def turning(t, z):
    """Outward spirals at a rate of 0.3, over which ``w = (x**2 + y**2) / 1.6``."""
    x, y, w = z.unbind(dim=1)
    return torch.stack([0.3 * x - 2 * y, 2 * x + 0.3 * y, -w + x**2 + y**2], dim=1)


def lorenz(t, z):
    x, y, w = z.unbind(dim=1)
    return torch.stack([10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w], dim=1)


def test_a_surface_of_two_real_eigenvalues_has_its_series():
    series = invariant_manifold(two_rates, [0.0, 0.0, 0.0], dimension=2, order=4)
    fast, slow = series.attrs["eigenvalues"]
    assert (fast, slow) == (2.5, 1.0)
    truth = {(0, 1, "z1"): 1.0, (1, 0, "z2"): 1.0, (0, 2, "z3"): 1 / 3, (1, 1, "z3"): 1 / 4.5}
    for (j, k), row in series.iterrows():
        for name, value in row.items():
            assert value == pytest.approx(truth.get((j, k, name), 0.0), abs=1e-12)
    assert series.attrs["residual"] < 1e-12


def test_a_surface_of_a_complex_pair_has_its_series():
    series = invariant_manifold(turning, [0.0, 0.0, 0.0], dimension=2, order=4)
    # the eigenvector is (1, -i), so that x is z1 and y is z2 or its opposite, by a factor
    size = np.hypot(*series.loc[(1, 0), ["z1", "z2"]])
    assert series.loc[(2, 0), "z3"] == pytest.approx(size**2 / 1.6, abs=1e-12)
    assert series.loc[(0, 2), "z3"] == pytest.approx(size**2 / 1.6, abs=1e-12)
    assert series.loc[(1, 1), "z3"] == pytest.approx(0.0, abs=1e-12)
    assert np.abs(series.to_numpy()[[sum(key) > 2 for key in series.index]]).max() < 1e-12
    assert series.attrs["eigenvalues"][0] == pytest.approx(0.3 + 2j)
    assert series.attrs["residual"] < 1e-12


def test_the_stable_surface_of_lorenz_equations_is_left_by_no_more_than_its_last_term():
    residuals = []
    for order in (2, 3, 4):
        series = invariant_manifold(lorenz, [0.0, 0.0, 0.0], dimension=2, which="stable", order=order, scale=0.5)
        assert series.attrs["eigenvalues"] == pytest.approx([-22.827723, -8 / 3], abs=1e-6)
        states = np.array([[0.6**j * 0.5**k for j, k in series.index]]) @ series.to_numpy()
        # along the surface x falls by exp(-22.8 t) and y by exp(-8/3 t)
        slope = lorenz(None, torch.from_numpy(states)).numpy()
        fast, slow = series.attrs["eigenvalues"]
        wanted = np.array([[(j * fast + k * slow) * 0.6**j * 0.5**k for j, k in series.index]]) @ series.to_numpy()
        residuals.append(np.abs(slope - wanted).max())
    assert residuals[1] < 0.2 * residuals[0]
    assert residuals[2] < 0.5 * residuals[1]


def test_a_surface_of_a_curved_pair_is_met_to_its_order():
    def field(t, z):
        x, y, w = z.unbind(dim=1)
        return torch.stack([0.1 * x - y + x * w, x + 0.1 * y - x**3, -w + x**2 * y.cos()], dim=1)

    series = invariant_manifold(field, [0.0, 0.0, 0.0], dimension=2)
    assert 0.01 < series.attrs["radius"] < 1
    assert series.attrs["residual"] < 1e-5 * series.attrs["radius"]


def test_resonances_of_two_eigenvalues_are_named():
    with pytest.raises(ParameterError, match=r"in resonance: 0 times the first and 2 times the second .*order=1"):
        invariant_manifold(lambda t, z: z * torch.tensor([2.0, 1.0], dtype=z.dtype), [0.0, 0.0], dimension=2)


def test_one_of_a_pair_is_no_surface():
    with pytest.raises(ParameterError, match="take one of a pair from the other"):
        invariant_manifold(_slow_real, [0.0, 0.0, 0.0], dimension=2, which="slow")


def _slow_real(t, z):
    x, y, w = z.unbind(dim=1)
    return torch.stack([-x - 2 * y, 2 * x - y, -0.1 * w], dim=1)


def test_a_dimension_of_three_is_refused():
    with pytest.raises(ParameterError, match="dimension=3 is neither 1, a curve, nor 2, a surface"):
        invariant_manifold(turning, [0.0, 0.0, 0.0], dimension=3)


def without_reverse(s):
    with torch.no_grad():
        return s.sin()


@pytest.mark.parametrize("sine", [torch.sin, without_reverse])
def test_taylor_coefficients_are_exact_also_where_reverse_mode_loses_them(sine):
    found = [taylor(lambda s: sine(s)[:, None], torch.zeros(2, dtype=torch.float64), k)[0, 0] for k in range(1, 6)]
    np.testing.assert_allclose(found, [1, 0, -1 / math.factorial(3), 0, 1 / math.factorial(5)], atol=1e-15)
