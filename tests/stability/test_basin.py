"""Basins and their edges beside what symmetry and stable manifolds say."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tsode.errors import ParameterError
from tsode.stability import Map, as_flow, basin, basin_distance


def wells(t, z):
    return z - z**3


def duffing(t, z):
    return torch.stack([z[:, 1], z[:, 0] - z[:, 0] ** 3 - 0.2 * z[:, 1]], dim=1)


def rest_within_a_cycle(t, z):
    """``r' = r (r - 1) (2 - r)``: a sink, an unstable cycle at 1 and a stable one at 2."""
    r = z.norm(dim=1, keepdim=True)
    return (r - 1) * (2 - r) * z + torch.stack([-z[:, 1], z[:, 0]], dim=1)


@pytest.mark.parametrize("is_random", [False, True])
def test_eight_wells_share_the_box_evenly(is_random):
    generator = torch.Generator().manual_seed(1)
    starts = 4 * torch.rand(2000, 3, dtype=torch.float64, generator=generator) - 2 if is_random else None
    table = basin(wells, [(-2, 2)] * 3, n=10, starts=starts)
    found = table.attrs["attractors"]
    assert len(found) == 8
    assert all(abs(one["share"] - 1 / 8) < (3 * one["standard_error"] if is_random else 1e-12) for one in found)
    states = np.array([one["states"][0] for one in found])
    assert (np.sign(table[["z1", "z2", "z3"]]).to_numpy() == np.round(states[table["attractor"]])).all()
    assert table.attrs["undecided"] == {"unsettled": 0.0, "diverged": 0.0}


@pytest.mark.slow
def test_labels_are_the_same_on_any_grid_and_when_asked_again():
    tables = [basin(duffing, [(-2, 2)] * 2, n=n) for n in (8, 8, 12)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert [one["states"] for one in tables[0].attrs["attractors"]] == [
        one["states"] for one in tables[2].attrs["attractors"]
    ]
    again = basin(duffing, [(-2, 2)] * 2, n=8, attractors=tables[2], random_state=7)
    assert again["attractor"].tolist() == tables[0]["attractor"].tolist()


def test_a_grid_in_two_coordinates_holds_the_others():
    table = basin(wells, [(-2, 2)] * 3, n=4, coordinates=(0, 2), at=[0.0, 1.5, 0.0])
    assert len(table) == 16
    assert table["z2"].eq(1.5).all()
    assert table["attractor"].nunique() == 4
    held = {round(one["states"][0][1]) for one in table.attrs["attractors"] if one["share"]}
    assert held == {1}


def test_a_state_on_the_edge_does_not_settle_and_one_that_leaves_is_said_to_diverge():
    table = basin(lambda t, z: z**2 - 1, [(-2, 2)], starts=[[-0.5], [1.0], [1.5]])
    assert table["attractor"].tolist() == [0, -1, -1]
    assert table["reason"].tolist() == ["", "unsettled", "diverged"]
    assert table.attrs["undecided"] == pytest.approx({"unsettled": 1 / 3, "diverged": 1 / 3})


def test_an_attractor_outside_of_the_box_is_found_and_said_to_be_there():
    table = basin(wells, [(0.1, 0.5)], n=10)
    (one,) = [one for one in table.attrs["attractors"] if one["share"] == 1.0]
    assert not one["is_in_box"]
    assert one["states"] == [[pytest.approx(1.0)]]


@pytest.mark.slow
def test_a_stable_cycle_around_a_sink_has_the_states_beyond_the_unstable_one():
    table = basin(rest_within_a_cycle, [(-3, 3)] * 2, n=20)
    kinds = [one["kind"] for one in table.attrs["attractors"]]
    assert kinds == ["fixed point", "cycle"]
    radius = np.hypot(table["z1"], table["z2"])
    assert (table["attractor"] == (radius > 1)).all()
    near = basin_distance(rest_within_a_cycle, [[0.3, 0.0], [0.0, 2.0]], table)
    np.testing.assert_allclose(near["distance"], [0.7, 1.0], rtol=1e-3)
    assert (near["distance"] >= [0.7 - 1e-7, 1.0 - 1e-7]).all()
    np.testing.assert_allclose(np.hypot(near["edge_z1"], near["edge_z2"]), 1.0, atol=1e-6)
    assert near["beyond"].tolist() == [1, 0]


def test_the_edge_between_two_wells_is_at_zero():
    near = basin_distance(wells, [[0.3], [-0.7]], basin(wells, [(-2, 2)], n=10))
    np.testing.assert_allclose(near["distance"], [0.3, 0.7], atol=1e-6)
    np.testing.assert_allclose(near["edge_z1"], [0.0, 0.0], atol=1e-6)
    assert near["beyond"].tolist() == [0, 1]


@pytest.mark.slow
def test_the_edge_of_a_basin_may_be_that_of_divergence():
    def field(t, z):
        return z**2 - 1

    near = basin_distance(field, [[0.25], [1.5]], basin(field, [(-2, 2)], n=10))
    assert near["attractor"].tolist() == [0, -1]
    np.testing.assert_allclose(near["distance"], [0.75, 0.5], atol=1e-6)
    assert near["beyond"].tolist() == [-1, 0]


def test_coordinates_are_divided_by_their_scale_before_a_distance_is_taken():
    near = basin_distance(wells, [[0.3]], basin(wells, [(-2, 2)], n=10), scale=[0.1])
    assert near["distance"].tolist() == pytest.approx([3.0], abs=1e-6)


@pytest.mark.slow
def test_distances_in_a_double_well_are_those_to_the_stable_manifold_of_its_saddle():
    starts = [[1.0, 0.0], [0.3, 0.0], [-1.0, 0.8]]
    near = basin_distance(duffing, starts, basin(duffing, [(-2, 2)] * 2, n=40))
    slope = -0.1 - math.sqrt(1.01)
    backward = as_flow(lambda t, z: -duffing(t, z), 2)
    begin = 1e-5 * torch.tensor([[1.0, slope], [-1.0, -slope]], dtype=torch.float64)
    edge = backward.path(begin, torch.linspace(0.0, 16.0, 4001, dtype=torch.float64)).reshape(-1, 2).numpy()
    truth = np.array([np.hypot(*(edge - start).T).min() for start in starts])
    np.testing.assert_allclose(near["distance"], truth, rtol=2e-3)
    assert near["attractor"].tolist() == [1, 1, 0]


def test_cycles_and_strange_sets_of_maps_are_attractors():
    doubled = basin(Map(lambda z: 3.5 * z * (1 - z)), [(-0.5, 1.5)], n=20)
    (cycle,) = doubled.attrs["attractors"]
    assert cycle["kind"] == "cycle"
    np.testing.assert_allclose(np.sort(np.ravel(cycle["states"])), [0.38282, 0.50088, 0.82694, 0.875], atol=1e-5)
    inside = doubled["z1"].between(0, 1)
    assert (doubled["reason"] == "diverged").tolist() == (~inside).tolist()
    henon = basin(
        Map(lambda z: torch.stack([1 - 1.4 * z[:, 0] ** 2 + z[:, 1], 0.3 * z[:, 0]], dim=1)), [(-2, 2)] * 2, n=20
    )
    assert [one["kind"] for one in henon.attrs["attractors"]] == ["set"]
    assert henon.attrs["undecided"]["unsettled"] == 0


@pytest.mark.slow
def test_where_something_is_kept_nothing_attracts():
    with pytest.raises(ParameterError, match=r"Nothing was found that attracts: of 9 states 0 diverged and 9 did not"):
        basin(lambda t, z: torch.stack([z[:, 1], -z[:, 0]], dim=1), [(-2, 2)] * 2, n=3, duration=60.0)


def test_a_field_that_reads_the_time_is_refused():
    with pytest.raises(ParameterError, match="reads the time"):
        basin(lambda t, z: -z + t[:, None].sin(), [(-1, 1)])


def test_more_than_three_coordinates_are_filled_evenly():
    table = basin(wells, [(-2, 2)] * 4, n_starts=512)
    assert len(table) == 512
    assert len(table.attrs["attractors"]) == 16
    assert all(one["share"] == pytest.approx(1 / 16, abs=0.01) for one in table.attrs["attractors"])
