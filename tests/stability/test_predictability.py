"""Predictability classes beside those that Wernecke, Sandor and Gros (2017) and ChaosTools' tests give."""

import math

import numpy as np
import pytest
import torch

from tsode.errors import ParameterError, SolverError
from tsode.stability import Map, period_map, predictability_class


def henon(a):
    return Map(lambda z: torch.stack([1 - a * z[:, 0] ** 2 + z[:, 1], 0.3 * z[:, 0]], dim=1))


def lorenz(rho):
    def field(t, z):
        x, y, w = z.unbind(dim=1)
        return torch.stack([10 * (y - x), x * (rho - w) - y, x * y - 8 / 3 * w], dim=1)

    return field


@pytest.mark.parametrize(
    ("a", "kind"), [(0.8, "regular"), (1.0, "regular"), (1.11, "partially predictable"), (1.4, "chaotic")]
)
def test_henons_map_has_its_classes(a, kind):
    table = predictability_class(henon(a), [0.1, 0.1])
    assert table["class"].tolist() == [kind]
    assert table["cross_distance_exponent"][0] == pytest.approx(1.0 if kind == "regular" else 0.0, abs=0.05)
    assert table["separation_time"].isin([math.inf])[0] == (kind == "regular")


@pytest.mark.slow
def test_lorenz_equations_are_partially_predictable_where_the_paper_has_them_so():
    """Their other classes are in ``tests/benchmarks/stability.py points``."""
    row = predictability_class(lorenz(180.78), [1.0, 1.0, 20.0], n_pairs=20).iloc[0]
    assert row["class"] == "partially predictable"
    # the thresholds of ChaosTools' own test
    assert row["cross_distance_exponent"] < 0.9 < row["cross_correlation"]


def test_each_start_has_a_row_of_its_own():
    # a rest at the left, and at the right a map of its own that is chaotic
    both = Map(lambda z: torch.where(z < 0, 0.5 * z - 0.25, 3.9 * z * (1 - z)))
    table = predictability_class(both, [[-1.0], [0.3]], duration=1000)
    assert table["class"].tolist() == ["regular", "chaotic"]
    assert np.isnan(table["cross_correlation"][0])


def test_a_turn_by_an_irrational_angle_is_regular():
    angle = 1.0

    def turn(z):
        x, y = z.unbind(dim=1)
        return torch.stack(
            [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y], dim=1
        )

    row = predictability_class(Map(turn), [1.0, 0.0], duration=500).iloc[0]
    assert row["class"] == "regular"
    assert row["cross_distance_exponent"] == pytest.approx(1.0, abs=1e-3)
    assert row["cross_correlation"] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.slow
def test_a_driven_field_is_classed_by_its_period_map():
    def field(t, z):
        return (t.cos()[:, None] - 0.5) * z

    row = predictability_class(period_map(field, 2 * math.pi), [1.0], duration=5, n_pairs=2).iloc[0]
    assert row["class"] == "regular"


def test_an_orbit_that_leaves_is_named():
    with pytest.raises(SolverError, match=r"The flow from \(.*\) did not reach t = "):
        predictability_class(Map(lambda z: 2 * z**2), [3.0])


def test_a_duration_must_be_positive():
    with pytest.raises(ParameterError, match="duration must be positive"):
        predictability_class(henon(1.4), [0.1, 0.1], duration=0)
