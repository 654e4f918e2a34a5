"""Branches along a parameter beside closed forms and published values."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tsode.errors import ParameterError, SolverError
from tsode.stability import Map, continuation, fixed_points, limit_cycle, normal_form


def cubic(t, z, p):
    return p[:, None] + z - z**3


def pitchfork(t, z, p):
    return p[:, None] * z - z**3


def transcritical(t, z, p):
    return p[:, None] * z - z**2


def brusselator(t, z, p):
    x, y = z.unbind(dim=1)
    return torch.stack([1 - (p + 1) * x + x**2 * y, p * x - x**2 * y], dim=1)


def lorenz(t, z, r):
    x, y, w = z.unbind(dim=1)
    return torch.stack([10 * (y - x), x * (r - w) - y, x * y - 8 / 3 * w], dim=1)


def fitzhugh_nagumo(t, z, current):
    v, w = z.unbind(dim=1)
    return torch.stack([v - v**3 / 3 - w + current, 0.08 * (v + 0.7 - 0.8 * w)], dim=1)


def van_der_pol(t, z, mu):
    return torch.stack([z[:, 1], mu * (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)


def bautin(t, z, p):
    """``r' = p r + r**3 - r**5``, the angle turning at 1."""
    square = z.square().sum(dim=1)
    growth = (p + square - square**2)[:, None]
    return growth * z + torch.stack([-z[:, 1], z[:, 0]], dim=1)


def roessler(t, z, c):
    x, y, w = z.unbind(dim=1)
    return torch.stack([-y - w, x + 0.2 * y, 0.2 + w * (x - c)], dim=1)


def events(table):
    return table[table["event"] != ""]


# -- fixed points ------------------------------------------------------------------------------------------------------


def test_folds_of_a_cubic_are_where_its_slope_vanishes():
    table = continuation(cubic, [-1.3], (-1.0, 1.0))
    folds = events(table)
    assert folds["event"].tolist() == ["fold", "fold"]
    truth = 2 / (3 * math.sqrt(3))
    np.testing.assert_allclose(folds["p"], [truth, -truth], atol=1e-12)
    np.testing.assert_allclose(folds["z1"], [-1 / math.sqrt(3), 1 / math.sqrt(3)], atol=1e-9)
    assert table.attrs["ends"] == [{"branch": 0, "first": "range", "last": "range"}]
    assert table["p"].iloc[[0, -1]].tolist() == pytest.approx([-1.0, 1.0], abs=1e-12)


def test_every_point_of_a_branch_is_a_root_and_stable_where_its_slope_falls():
    table = continuation(cubic, [-1.3], (-1.0, 1.0))
    x, p = table["z1"], table["p"]
    np.testing.assert_allclose(p + x - x**3, 0.0, atol=1e-10)
    between = table["event"] == ""
    assert (table["is_stable"] == (1 - 3 * x**2 < 0))[between].all()
    assert (table["n_unstable"] == (1 - 3 * x**2 > 0))[between].all()
    np.testing.assert_allclose(table["max_real"], 1 - 3 * x**2, atol=1e-9)
    assert table["arclength"].is_monotonic_increasing


def test_a_fold_without_other_states_is_at_zero():
    table = events(continuation(lambda t, z, p: p[:, None] + z**2, [-1.0], (-1.0, 1.0)))
    assert table["event"].tolist() == ["fold"]
    np.testing.assert_allclose(table[["p", "z1"]].to_numpy(), [[0.0, 0.0]], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "start", "at"), [(pitchfork, 0.0, -1.0), (pitchfork, 1.0, 1.0), (transcritical, 0.0, -1.0)]
)
def test_crossing_branches_are_branch_points_from_either_branch_and_both_are_followed(field, start, at):
    table = continuation(field, [start], (-1.0, 1.0), at=at)
    found = events(table)
    assert found["event"].tolist() == ["branch point", "branch point"]
    np.testing.assert_allclose(found[["p", "z1"]].to_numpy(), 0.0, atol=1e-9)
    assert sorted(table["branch"].unique()) == [0, 1]
    ends = table[table["p"] == table["p"].max()]["z1"]
    truth = [-1.0, 0.0, 1.0] if field is pitchfork else [0.0, 1.0]
    np.testing.assert_allclose(sorted(ends), truth, atol=1e-9)


def test_without_switching_only_the_branch_of_the_start_is_followed():
    assert continuation(pitchfork, [0.0], (-1.0, 1.0), switch=False)["branch"].eq(0).all()


def test_the_hopf_point_of_the_brusselator_is_where_its_trace_vanishes():
    found = events(continuation(brusselator, [1.0, 0.5], (0.5, 3.0), name="b"))
    assert found["event"].tolist() == ["hopf"]
    np.testing.assert_allclose(found[["b", "z1", "z2"]].to_numpy(), [[2.0, 1.0, 2.0]], atol=1e-10)
    assert found["first_lyapunov_coefficient"].iloc[0] < 0


@pytest.mark.slow
def test_lorenz_equations_lose_their_stability_at_470_over_19_subcritically():
    table = events(continuation(lorenz, [0.0, 0.0, 0.0], (0.0, 30.0), name="r"))
    hopf = table[table["event"] == "hopf"]
    assert len(hopf) == 2
    np.testing.assert_allclose(hopf["r"], 470 / 19, atol=1e-9)
    assert (hopf["first_lyapunov_coefficient"] > 0).all()
    assert table[table["event"] == "branch point"]["r"].tolist() == pytest.approx([1.0, 1.0], abs=1e-10)
    # at the origin two eigenvalues are -(11 -+ sqrt(121 + 40 (r - 1))) / 2, the third -8/3: opposite at 4.6444
    neutral = table[table["event"] == "neutral saddle"]["r"]
    assert neutral.tolist() == pytest.approx([((16 / 3 + 11) ** 2 - 121) / 40 + 1], abs=1e-8)


@pytest.mark.slow
def test_hopf_points_of_a_nerve_are_where_its_trace_vanishes():
    found = events(continuation(fitzhugh_nagumo, [-1.2, -0.6], (0.0, 2.0), name="current"))
    assert found["event"].tolist() == ["hopf", "hopf"]
    v = np.array([-1.0, 1.0]) * math.sqrt(1 - 0.08 * 0.8)
    truth = -v + v**3 / 3 + (v + 0.7) / 0.8
    np.testing.assert_allclose(found["current"], truth, atol=1e-10)


def test_states_of_very_different_sizes_have_their_folds():
    def field(t, z, p):
        x, y = z[:, 0] * 1e9, z[:, 1] * 1e-9
        return torch.stack([(p + x - x**3) * 1e-9, (x - y) * 1e9], dim=1)

    found = events(continuation(field, [-1.3e-9, -1.3e9], (-1.0, 1.0)))
    assert found["event"].tolist() == ["fold", "fold"]
    np.testing.assert_allclose(found["p"], np.array([1.0, -1.0]) * 2 / (3 * math.sqrt(3)), atol=1e-10)
    np.testing.assert_allclose(found["z2"], np.array([-1.0, 1.0]) * 1e9 / math.sqrt(3), rtol=1e-8)


def test_a_closed_branch_that_no_other_leads_to_is_found_from_a_box_once():
    def island(t, z, p):
        return 0.3 - (p[:, None] - 0.1) ** 2 - z**2

    table = continuation(island, None, (-1.0, 1.0), box=[(-2, 2)])
    assert table.attrs["ends"] == [{"branch": 0, "first": "closed", "last": "closed"}]
    folds = sorted(events(table)["p"])
    assert folds == pytest.approx([0.1 - math.sqrt(0.3), 0.1 + math.sqrt(0.3)], abs=1e-10)
    np.testing.assert_allclose(table[["p", "z1"]].iloc[0], table[["p", "z1"]].iloc[-1], atol=1e-6)


def test_fixed_points_at_several_parameters_are_starts_and_each_branch_is_followed_once():
    frames = [
        fixed_points(lambda t, z, p=p: cubic(t, z, torch.tensor([p])), box=[(-2, 2)]).assign(p=p) for p in (-0.9, 0.0)
    ]
    assert [len(frame) for frame in frames] == [1, 3]
    table = continuation(cubic, pd.concat(frames), (-1.0, 1.0))
    assert table["branch"].eq(0).all()
    assert len(events(table)) == 2


def test_a_map_doubles_its_period_where_its_multiplier_is_minus_one():
    logistic = Map(lambda z, r: r[:, None] * z * (1 - z))
    found = events(continuation(logistic, [0.5], (0.5, 3.5), at=2.0, name="r"))
    assert found["event"].tolist() == ["branch point", "period doubling", "branch point"]
    np.testing.assert_allclose(found["r"], [1.0, 3.0, 1.0], atol=1e-9)


def test_a_delayed_map_has_a_torus_where_a_pair_of_multipliers_has_modulus_one():
    delayed = Map(lambda z, r: torch.stack([r * z[:, 0] * (1 - z[:, 1]), z[:, 0]], dim=1))
    found = events(continuation(delayed, [1 / 3, 1 / 3], (1.2, 2.5), at=1.5, name="r"))
    assert found["event"].tolist() == ["torus"]
    assert found["r"].iloc[0] == pytest.approx(2.0, abs=1e-10)


def test_a_branch_goes_on_to_ten_thousand_scales_and_no_farther():
    table = continuation(lambda t, z, p: (p - 2)[:, None] * z, [0.0], (0.0, 3.0))
    assert table.attrs["ends"][1] == {"branch": 1, "first": "far", "last": "far"}


def test_a_start_that_is_no_root_is_told_its_residual_and_the_nearest_root():
    with pytest.raises(
        ParameterError, match=r"is no root: its residual is 0.75, .* nearest root found is \(0.\d+\) at -0"
    ):
        continuation(lambda t, z, p: p[:, None] + z**2, [0.5], (-1.0, 1.0), at=0.5)


def test_solutions_side_by_side_are_named():
    with pytest.raises(SolverError, match=r"not isolated: .* A field that keeps something"):
        continuation(lambda t, z, p: z * 0 + p[:, None] * 0, [1.0, 2.0], (-1.0, 1.0))


def test_a_parameter_by_rows_is_asked_for():
    with pytest.raises(ParameterError, match=r"p comes as \(b,\), like t: write p \* z\[:, 0\]"):
        continuation(lambda t, z, p: p * z, [0.0, 0.0], (-1.0, 1.0))


def test_a_start_outside_the_range_is_refused():
    with pytest.raises(ParameterError, match=r"The start's p = 2 is not in the range -1 to 1"):
        continuation(cubic, [1.5], (-1.0, 1.0), at=2.0)


# -- cycles ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cycles_from_a_hopf_point_are_those_of_the_normal_form_and_turn_at_its_fold():
    hopf = continuation(bautin, [0.0, 0.0], (-0.5, 0.5))
    table = continuation(bautin, hopf[hopf["event"] == "hopf"], (-0.5, 0.5), of="cycles")
    radius = table["max_z1"]
    np.testing.assert_allclose(table["p"] + radius**2 - radius**4, 0.0, atol=1e-7)
    np.testing.assert_allclose(table["period"], 2 * math.pi, atol=1e-9)
    assert events(table)["event"].tolist() == ["hopf", "fold"]
    fold = table[table["event"] == "fold"].iloc[0]
    assert fold["p"] == pytest.approx(-0.25, abs=1e-9)
    assert fold["max_z1"] == pytest.approx(math.sqrt(0.5), abs=1e-7)
    inner = table["event"] == ""
    assert (table["is_stable"] == (radius > math.sqrt(0.5)))[inner].all()
    # r' = p r + r**3 - r**5 along the radius: the multiplier is exp(2 pi (p + 3 r**2 - 5 r**4))
    truth = np.exp(2 * math.pi * (table["p"] + 3 * radius**2 - 5 * radius**4))
    np.testing.assert_allclose(np.stack(table["multiplier_1"])[inner].real, truth[inner], atol=1e-6)


@pytest.mark.slow
def test_amplitudes_and_periods_near_a_hopf_point_are_those_of_the_normal_form():
    branch = continuation(brusselator, [1.0, 0.5], (0.5, 3.0))
    hopf = branch[branch["event"] == "hopf"]
    table = continuation(brusselator, hopf, (0.5, 2.01), of="cycles")
    last = table.iloc[-1]
    assert last["p"] == pytest.approx(2.01)
    form = normal_form(lambda t, z: brusselator(t, z, torch.full((len(z),), 2.0)), [1.0, 2.0])
    # |w|**2 = -Re(lambda') (p - p0) / (omega l1) with Re(lambda) = (p - 2) / 2; z = z0 + 2 Re(w q), |q| = 1 and
    # q ~ (1, i - 1), of which the first entry is 1 / sqrt(3)
    size = math.sqrt(-0.5 * 0.01 / (form["omega"] * form["first_lyapunov_coefficient"]))
    assert (last["max_z1"] - last["min_z1"]) / 2 == pytest.approx(2 * size / math.sqrt(3), rel=0.02)
    assert last["period"] == pytest.approx(form["period"], rel=0.02)


@pytest.mark.slow
def test_van_der_pols_cycle_keeps_its_amplitude_and_has_its_known_periods():
    start = limit_cycle(lambda t, z: van_der_pol(t, z, 1.0), [2.0, 0.1])
    table = continuation(van_der_pol, start, (0.1, 10.0), at=1.0, name="mu")
    assert table["is_stable"].all()
    assert table["max_z1"].between(1.999, 2.025).all()
    last = table.iloc[-1]
    assert last["mu"] == pytest.approx(10.0)
    assert last["period"] == pytest.approx(19.078369567, rel=1e-5)
    first = table.iloc[0]
    # period 2 pi (1 + mu**2 / 16 - 5 mu**4 / 3072) for small mu
    assert first["period"] == pytest.approx(2 * math.pi * (1 + 0.01 / 16 - 5e-4 / 3072), rel=1e-8)
    assert table["trivial_error"].max() < 1e-5


@pytest.mark.slow
def test_the_smallest_period_is_followed_from_a_guess_of_twice_of_it():
    table = continuation(van_der_pol, [2.0, 0.1], (0.9, 1.1), at=1.0, period=13.3, name="mu")
    start = (table["mu"] - 1.0).abs().idxmin()
    assert table["period"][start] == pytest.approx(6.663286859, abs=1e-7)


@pytest.mark.slow
def test_cycles_shrink_to_their_hopf_point_and_end_there():
    table = continuation(brusselator, [1.0, 2.6], (0.5, 3.0), at=2.5, of="cycles")
    assert table.attrs["ends"][0]["first"] == "end"
    assert table["event"].iloc[0] == "hopf"
    assert table["p"].iloc[0] == pytest.approx(2.0, abs=1e-8)


@pytest.mark.slow
def test_roesslers_cycle_doubles_its_period_at_its_published_parameter():
    table = continuation(roessler, [1.0, 1.0, 1.0], (2.0, 4.0), at=2.5, of="cycles", name="c")
    found = events(table)
    assert found["event"].tolist() == ["period doubling"]
    assert found["c"].iloc[0] == pytest.approx(2.83, abs=0.005)
    assert found["multiplier_1"].iloc[0] == pytest.approx(-1.0, abs=1e-8)
    assert (table["is_stable"] == (table["c"] < found["c"].iloc[0]))[table["event"] == ""].all()
