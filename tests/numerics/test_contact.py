"""Resets onto a surface that the field goes on driving the state through."""

import pytest
import torch

from tsode.core.status import Status
from tsode.errors import ShapeError, SolverError
from tsode.numerics import RK4, Dopri5
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.surfaces import Trigger


def start(*states):
    z = torch.tensor(states, dtype=torch.float64)
    return z, torch.zeros(len(z), dtype=torch.float64)


def drain(t, z):
    return -torch.ones_like(z)


FLOORS = {
    "zero": Trigger(lambda t, z: z[:, 0], -1, lambda t, z: torch.zeros_like(z)),
    "clamp": Trigger(lambda t, z: z[:, 0], -1, lambda t, z: z.clamp(min=0.0)),
    "both ways": Trigger(lambda t, z: z[:, 0], 0, lambda t, z: 0 * z),
}


@pytest.mark.parametrize("solver", [Dopri5(), RK4(max_step=0.3)], ids=["adaptive", "fixed"])
@pytest.mark.parametrize("floor", FLOORS.values(), ids=FLOORS)
def test_a_tank_that_is_empty_ends_by_name_and_never_below_its_floor(floor, solver):
    z, t0 = start([1.0], [5.0], [0.5])
    found = integrate_triggers(drain, z, t0, t0 + 3.0, solver, [floor], times=t0[:, None] + 2.0)
    assert found.status.tolist() == [Status.CONTACT, Status.OK, Status.CONTACT]
    torch.testing.assert_close(found.t_end, torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(found.z[:, 0], torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.states[:, 0, 0], torch.tensor([0.0, 3.0, 0.0]).double(), rtol=0, atol=1e-12)
    with pytest.raises(SolverError, match=r"row 'a' \(at t = 1\), 'c' \(at t = 0\.5\) was put.*a mode.*terminal"):
        found.checked(["a", "b", "c"])


def test_a_body_that_lands_without_a_bounce_is_in_contact():
    z, t0 = start([1.0, 0.0])
    found = integrate_triggers(
        lambda t, z: torch.stack([z[:, 1], torch.full_like(t, -9.81)], dim=1), z, t0, t0 + 2.0, Dopri5(),
        [FLOORS["zero"]],
    )  # fmt: skip
    assert found.status.tolist() == [Status.CONTACT]
    assert found.z.abs().max() < 1e-9


def test_a_ceiling_that_moves_slower_than_the_state_is_kept_in_contact():
    ceiling = Trigger(
        lambda t, z: z[:, 0] - 1.0 - 0.1 * t, 1, lambda t, z: torch.stack([1.0 + 0.1 * t, z[:, 1]], dim=1)
    )
    z, t0 = start([0.0, 1.0])
    rise = integrate_triggers(
        lambda t, z: torch.stack([torch.ones_like(t), torch.zeros_like(t)], 1), z, t0, t0 + 3, Dopri5(), [ceiling]
    )
    assert rise.status.tolist() == [Status.CONTACT]


@pytest.mark.parametrize("reset", [lambda t, z: 0 * z, lambda t, z: z - 2 * torch.pi, lambda t, z: z], ids="0-=")
def test_a_phase_that_a_reset_sets_to_another_zero_of_its_surface_goes_on(reset):
    z, t0 = start([0.5])
    turn = Trigger(lambda t, z: torch.sin(z[:, 0]), 1, reset)
    found = integrate_triggers(lambda t, z: 1 + 0 * z, z, t0, t0 + 13.0, Dopri5(), [turn])
    assert found.event_times[0].tolist() == pytest.approx([2 * torch.pi - 0.5, 4 * torch.pi - 0.5], abs=1e-8)


def test_a_mode_keeps_the_contact_and_lets_the_state_go_again():
    def field(t, z):
        net = torch.where(t < 2.0, -1.0, 1.0).double()
        return torch.stack([torch.where(z[:, 1] > 0.5, net.clamp(min=0.0), net), torch.zeros_like(t)], dim=1)

    floor = Trigger(lambda t, z: z[:, 0], -1, lambda t, z: torch.stack([0 * z[:, 0], 1 + 0 * z[:, 1]], dim=1))
    z, t0 = start([1.0, 0.0])
    asked = torch.tensor([[0.5, 1.5, 3.0]], dtype=torch.float64)
    found = integrate_triggers(field, z, t0, t0 + 3.0, Dopri5(rtol=1e-9, atol=1e-11), [floor], times=asked)
    assert found.status.tolist() == [Status.OK]
    torch.testing.assert_close(found.states[0, :, 0], torch.tensor([0.5, 0.0, 1.0]).double(), rtol=0, atol=1e-7)


def test_two_triggers_that_send_the_state_to_and_fro_have_no_end():
    # x' = -m, with m set to the sign of x: it slides along x = 0
    def set_mode(mode):
        return lambda t, z: torch.stack([z[:, 0], torch.full_like(z[:, 1], mode)], dim=1)

    triggers = [Trigger(lambda t, z: z[:, 0], 1, set_mode(1.0)), Trigger(lambda t, z: z[:, 0], -1, set_mode(-1.0))]
    z, t0 = start([1.0, 1.0])
    field = lambda t, z: torch.stack([-z[:, 1], 0 * z[:, 1]], dim=1)  # noqa: E731
    found = integrate_triggers(field, z, t0, t0 + 5.0, Dopri5(), triggers)
    assert found.status.tolist() == [Status.ZENO]
    torch.testing.assert_close(found.z[:, 0], torch.zeros(1, dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_reset_of_another_shape_is_refused_by_name():
    z, t0 = start([0.0], [0.0])
    for reset, came in (
        (lambda t, z: torch.zeros(1, 2), r"shape \(1, 2\)"),
        (lambda t, z: z[:, 0], r"shape \(2,\)"),
        (lambda t, z: 0.0, "a float"),
    ):
        with pytest.raises(ShapeError, match=rf"reset of event 0 must return .* shape \(2, 1\), but returned {came}"):
            integrate_triggers(lambda t, z: 1 + 0 * z, z, t0, t0 + 3, Dopri5(), [Trigger(lambda t, z: t - 2, 0, reset)])
