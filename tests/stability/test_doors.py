"""What stability analyses refuse, by name, and units in which they are asked."""

import pytest
import torch

from tsode.errors import ParameterError, ShapeError
from tsode.stability import Map, fixed_points, invariant_manifold, limit_cycle, lyapunov_spectrum, normal_form

TURN = Map(lambda z: torch.stack([z[:, 0] - z[:, 1], z[:, 0] + z[:, 1]], dim=1))


@pytest.mark.parametrize("field", [lambda t, z: z[:, 0], lambda t, z: z[:, :1], lambda t, z: 1.0])
@pytest.mark.parametrize("analyse", [fixed_points, lyapunov_spectrum])
def test_a_field_of_another_shape_is_refused_with_both_shapes(field, analyse):
    with pytest.raises(ShapeError, match=r"f\(t, z\) must give a tensor of the shape of z.*of z \(\d+, 2\) it gave a"):
        analyse(field, [[1.0, 2.0]])


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"step\(z\) must give a tensor of the shape of z"):
        fixed_points(Map(lambda z: z[:, :1]), [[1.0, 2.0]])


def test_a_start_without_a_rate_is_named():
    with pytest.raises(ParameterError, match=r"are not finite at the start \(-1\): start elsewhere"):
        lyapunov_spectrum(lambda t, z: z.log() - z**2, [-1.0], n_starts=1)


@pytest.mark.parametrize("analyse", [normal_form, invariant_manifold])
def test_what_is_computed_of_fields_only_refuses_a_map(analyse):
    with pytest.raises(ParameterError, match="of fields only, but this is a map"):
        analyse(TURN, [0.0, 0.0])


def test_exponents_of_a_linear_map_are_logarithms_of_its_multipliers_wherever_it_goes():
    table = lyapunov_spectrum(TURN, [1.0, 0.0])
    assert table["exponent_per_step"].tolist() == pytest.approx([0.5 * torch.tensor(2.0).log().item()] * 2, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_a_cycle_is_the_same_in_any_unit_of_time(unit):
    def van_der_pol(t, z):
        return torch.stack([z[:, 1], (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1) / unit

    attrs = limit_cycle(van_der_pol, [2.0, 0.1]).attrs
    assert attrs["period"] / unit == pytest.approx(6.663286859, abs=1e-8)
    assert attrs["trivial_error"] < 1e-6
