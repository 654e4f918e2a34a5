import pytest
import torch

from tsode.dynamics import SemilinearDynamics
from tsode.errors import ParameterError
from tsode.models.filters.build import build_filter

T = torch.zeros(5, dtype=torch.float64)


@pytest.fixture
def field():
    torch.manual_seed(0)
    made = SemilinearDynamics(8, n_modes=3).double()
    torch.nn.init.normal_(made.correction[-1].weight)
    return made


@pytest.fixture
def z():
    return torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_drift_is_complex_multiplication_and_a_correction_of_the_modes(field, z):
    u = torch.complex(z[:, :3], z[:, 3:6])
    decay, frequency = field.modes.rates(z[:, 6:])
    expected = torch.view_as_real(torch.complex(-decay, frequency) * u).movedim(-1, 1).flatten(1) + field.correction(z)
    drift = field(T, z)
    torch.testing.assert_close(drift[:, :6], expected, rtol=1e-13, atol=1e-13)
    assert (drift[:, 6:] == 0).all()


def test_statics_set_the_rates(field, z):
    moved = z.clone()
    moved[:, 6:] += 1.0
    assert not torch.equal(field.linearised(T, moved)[0][:, :3], field.linearised(T, z)[0][:, :3])


def test_two_quarter_turns_are_minus_the_modes(field, z):
    expected = torch.cat([-z[:, :6], torch.zeros_like(z[:, 6:])], dim=1)
    assert torch.equal(field.turn(field.turn(z)), expected)


@pytest.mark.parametrize("n_modes", [0, 3])
def test_modes_that_do_not_fit_are_refused(n_modes):
    with pytest.raises(ParameterError, match=f"n_modes={n_modes} must be at least 1 and fit twice into n_state=5"):
        SemilinearDynamics(5, n_modes)


def test_the_named_parts_give_the_state_of_the_linear_evolution():
    sizes = {"n_modes": 4, "n_static": 3, "n_hidden": 8}
    semilinear = build_filter(2, evolution="semilinear", solver="exponential_difference", **sizes).evolution
    assert semilinear.n_state == build_filter(2, evolution="linear", **sizes).evolution.n_state == 11
