"""An evolution through state-triggered jumps, and models that use it."""

import copy

import pytest
import torch
from torch import nn

from tests.registries import SMALL
from tsode import JumpODEForecaster, LatentODEForecaster
from tsode.core.status import Status
from tsode.dynamics import LinearDynamics
from tsode.dynamics.mlp import MLPDynamics
from tsode.evolutions.base import Solved
from tsode.evolutions.triggered import Triggered
from tsode.numerics import RK4
from tsode.numerics.surfaces import Trigger
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")


class Guard(nn.Module):
    """A plane in the state that can be learned."""

    def __init__(self, n_state):
        super().__init__()
        self.plane = nn.Linear(n_state, 1)

    def forward(self, t, z):
        return self.plane(z)[:, 0]


class Kick(nn.Module):
    """A reset that can be learned."""

    def __init__(self, n_state):
        super().__init__()
        self.shift = nn.Parameter(torch.full((n_state,), -0.3))

    def forward(self, t, z):
        return z + self.shift


def learned(n_state=4):
    torch.manual_seed(0)
    return Triggered(MLPDynamics(n_state, 8), RK4(), [Trigger(Guard(n_state), 1, Kick(n_state))])


def clock():
    """Runs at the rate of its second coordinate and is set back by 0.6 when it passes 0.5."""
    field = LinearDynamics(2)
    with torch.no_grad():
        field.matrix[:] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    event = Trigger(lambda t, z: z[:, 0] - 0.5, 1, lambda t, z: torch.stack([z[:, 0] - 0.6, z[:, 1]], dim=1))
    return Triggered(field, RK4(max_step=0.2), [event]).double()


def test_evolve_is_the_state_after_the_jumps_on_the_way():
    z = torch.tensor([[0.0, 1.0], [0.4, 0.5]], dtype=torch.float64)
    t0 = torch.tensor([0.0, 3.0], dtype=torch.float64)
    evolved = clock().evolve(z, t0, t0 + 2.0)
    # 0 -> 2.0 is thrown back at 0.5, 1.1, 1.7; 0.4 -> 1.4 is thrown back at 0.2 and 1.4
    torch.testing.assert_close(evolved.z[:, 0], torch.tensor([0.2, 0.2], dtype=torch.float64), rtol=0, atol=1e-12)
    assert evolved.status.tolist() == [0, 0]
    several = clock().evolve_to(z, t0, t0[:, None] + torch.tensor([2.0, 0.1, 0.7], dtype=torch.float64))
    expected = torch.tensor([[0.2, 0.1, 0.1], [0.2, 0.45, 0.15]], dtype=torch.float64)
    torch.testing.assert_close(several.z[..., 0], expected, rtol=0, atol=1e-12)


def test_without_a_crossing_it_is_the_solved_field():
    field = MLPDynamics(3, 8).double()
    never = Trigger(lambda t, z: z[:, 0] - 100.0)
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t0 = torch.zeros(4, dtype=torch.float64)
    times = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    jumping, smooth = Triggered(field, RK4(), [never]), Solved(field, RK4())
    assert torch.equal(jumping.evolve(z, t0, t0 + 0.5).z, smooth.evolve(z, t0, t0 + 0.5).z)
    assert torch.equal(jumping.evolve_to(z, t0, times).z, smooth.evolve_to(z, t0, times).z)
    assert jumping.evolve_to(z, t0, times[:, :0]).z.shape == (4, 0, 3)


def test_parameters_of_surface_and_reset_are_its_own_and_stay_so_in_a_copy():
    evolution = learned()
    names = [name for name, _ in evolution.named_parameters()]
    assert sum(name.startswith("event_modules") for name in names) == 3
    copied = copy.deepcopy(evolution)
    assert copied.events[0].surface is copied.event_modules[0]
    assert copied.events[0].surface is not evolution.events[0].surface


def test_endless_events_are_a_status():
    evolution = clock()
    stuck = Trigger(lambda t, z: z[:, 0] - 0.5, 1, lambda t, z: torch.stack([z[:, 0] - 1e-9, z[:, 1]], dim=1))
    evolution = Triggered(evolution.dynamics, RK4(), [stuck], max_events=20)
    z = torch.tensor([[0.0, 1.0], [0.0, 0.1]], dtype=torch.float64)
    t0 = torch.zeros(2, dtype=torch.float64)
    assert evolution.evolve(z, t0, t0 + 1.0).status.tolist() == [Status.ZENO, Status.OK]


def test_contact_that_stays_is_a_status():
    held = Trigger(lambda t, z: z[:, 0] - 0.5, 1, lambda t, z: torch.stack([0 * z[:, 0] + 0.5, z[:, 1]], dim=1))
    evolution = Triggered(clock().dynamics, RK4(), [held])
    z = torch.tensor([[0.0, 1.0], [0.0, 0.1]], dtype=torch.float64)
    t0 = torch.zeros(2, dtype=torch.float64)
    for evolved in (evolution.evolve(z, t0, t0 + 1.0), evolution.evolve_to(z, t0, t0[:, None] + 1.0)):
        assert evolved.status.tolist() == [Status.CONTACT, Status.OK]


@pytest.mark.slow
def test_a_learned_surface_and_reset_recover_those_that_made_the_data():
    class Falling(nn.Module):
        n_state = 2

        def forward(self, t, z):
            return torch.stack([z[:, 1], torch.full_like(z[:, 1], -9.81)], dim=1)

    z = torch.tensor([[1.0, 0.0], [0.7, 1.0]], dtype=torch.float64)
    t0 = torch.zeros(2, dtype=torch.float64)
    times = torch.linspace(0.05, 1.4, 20, dtype=torch.float64).expand(2, -1)

    def heights(floor, restitution):
        bounce = Trigger(
            lambda t, z: z[:, 0] - floor, -1, lambda t, z: torch.stack([z[:, 0], -restitution * z[:, 1]], dim=1)
        )
        return Triggered(Falling(), RK4(), [bounce]).evolve_to(z, t0, times).z[..., 0]

    target = heights(0.0, 0.8).detach()
    found = torch.tensor([0.1, 0.7], dtype=torch.float64)
    for _ in range(5):  # Gauss-Newton
        slopes = torch.autograd.functional.jacobian(lambda p: heights(*p).flatten(), found)
        residual = (heights(*found) - target).flatten()
        found = found - torch.linalg.lstsq(slopes, residual[:, None]).solution[:, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 0.8], dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("made", [JumpODEForecaster, LatentODEForecaster])
def test_forecasters_take_it_as_their_evolution(made):
    known = made.__init__.__kwdefaults__
    params = {name: value for name, value in SMALL.items() if name in known}
    jump = {"jump": "gru"} if made is JumpODEForecaster else {}
    forecaster = made(evolution=learned(), **jump, **params)
    panel = example_panel()
    forecast = forecaster.fit(panel).predict(horizon="2h")
    values = [name for name in forecast.columns if name not in ("unique_id", "ds")]
    assert forecast[values].notna().all().all()
