"""Port-Hamiltonian fields: the balance of energy, with inputs and without."""

import pytest
import torch

from tests.dynamics.test_hamiltonian import T, at_random_weights, states_of_all_sizes
from tsode.core.status import Status
from tsode.dynamics import PortHamiltonian
from tsode.errors import ParameterError
from tsode.evolutions.base import Solved
from tsode.numerics import Dopri5
from tsode.numerics.integrate import integrate

TIGHT = Dopri5(rtol=1e-9, atol=1e-9, max_steps=20_000)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("n_inputs", [0, 2])
def test_no_more_energy_comes_in_than_inputs_bring_at_ten_thousand_states(dtype, rounding, n_inputs):
    field = at_random_weights(PortHamiltonian(5, n_static=3 if n_inputs else 1, n_inputs=n_inputs)).to(dtype)
    (balance,) = field.check(states_of_all_sizes(5, dtype))
    assert balance.measured < rounding
    assert balance.holds


def test_a_friction_of_the_wrong_sign_is_found_out():
    field = at_random_weights(PortHamiltonian(4))
    field.motion = lambda t, x, theta: 0.01 * field.potential.slope(x, theta)
    (balance,) = field.check(states_of_all_sizes(4))
    assert not balance.holds


def test_energy_gained_is_the_work_of_the_inputs_less_what_friction_took():
    field = at_random_weights(PortHamiltonian(6, n_static=3, n_inputs=2, width=8), 0.5).double()

    def with_books(t, z):  # the energy that came in and that was lost, beside the state
        x, theta = z[:, :3], z[:, 3:6]
        lost = (field.potential.slope(x, theta[:, :1]) @ field.friction).square().sum(dim=1, keepdim=True)
        return torch.cat([field(t, z[:, :6]), field.work(x, theta)[:, None], lost], dim=1)

    z = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.zeros(5, dtype=torch.float64)
    end = integrate(with_books, torch.cat([z, z.new_zeros(5, 2)], dim=1), t, t + 3.0, TIGHT)
    assert (end.status == Status.OK).all()
    work, lost = end.z[:, 6], end.z[:, 7]
    assert (lost > 0).all()
    torch.testing.assert_close(field.energies(end.z[:, :6]) - field.energies(z), work - lost, rtol=1e-6, atol=1e-6)


def test_a_drive_is_an_input():
    field = at_random_weights(PortHamiltonian(4, width=8), 0.5).double()
    z, drive = torch.randn(2, 4, dtype=torch.float64), torch.tensor([[0.3, 0.0, -0.2, 1.0]], dtype=torch.float64)
    t = torch.zeros(2, dtype=torch.float64)
    lengths = torch.tensor([[0.0, 1e-4]], dtype=torch.float64).expand(2, -1)
    states = Solved(field, TIGHT).evolve_to(z, t, lengths, drive.expand(2, -1)).z
    gained = (field.energies(states[:, 1]) - field.energies(z)) / 1e-4
    slope = field.potential.slope(z, z[:, 4:])
    assert (gained <= (slope * drive).sum(dim=1) + 1e-2 * (1.0 + gained.abs())).all()


def test_without_inputs_the_energy_never_grows_along_a_solve():
    field = at_random_weights(PortHamiltonian(3, width=8), 0.7).double()
    z = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    t = torch.zeros(20, dtype=torch.float64)
    times = torch.linspace(0.0, 4.0, 100, dtype=torch.float64).expand(20, -1)
    states = Solved(field, TIGHT).evolve_to(z, t, times).z
    energies = field.energies(states.flatten(0, 1)).reshape(20, 100)
    assert energies.diff(dim=1).max() < 1e-7
    assert (energies[:, -1] < energies[:, 0]).all()


def test_inputs_that_are_not_among_what_stands_still_are_refused():
    with pytest.raises(ParameterError, match="n_inputs=2 must be some of the n_static=1"):
        PortHamiltonian(4, n_static=1, n_inputs=2)


def test_work_of_every_time_has_its_row():
    field = PortHamiltonian(5, n_static=2, n_inputs=1)
    assert field.work(torch.randn(7, 3), torch.randn(7, 2)).shape == T[:7].shape
