import pytest
import torch
from scipy.integrate import RK45, solve_ivp

from tests.numerics.systems import SYSTEMS
from tsode.core.status import Status
from tsode.errors import ParameterError
from tsode.numerics import Dopri5
from tsode.numerics.crossings import integrate_triggers
from tsode.numerics.dopri5 import _ERROR, _TABLEAU
from tsode.numerics.integrate import integrate, integrate_to
from tsode.numerics.surfaces import Trigger

SPANS = torch.tensor([0.02, 0.5, 3.0, 0.0, 1.1], dtype=torch.float64)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("name", SYSTEMS)
def test_error_of_every_row_is_within_ten_tolerances(name, rtol):
    system = SYSTEMS[name]
    z0 = system.z0.expand(len(SPANS), -1)
    solution = integrate(system.field, z0, torch.zeros_like(SPANS), SPANS, Dopri5(rtol=rtol, atol=rtol))
    error = (solution.z - system.exact(z0, SPANS)).abs().amax(dim=1)
    assert (error <= 10 * rtol * (1 + z0.abs().amax())).all()
    assert solution.status.tolist() == [Status.OK] * len(SPANS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_error_between_the_steps_is_within_fifty_tolerances(name):
    # The quartic is of order 4, the step of order 5: a little is lost inside long steps.
    system = SYSTEMS[name]
    asked = torch.linspace(0, 3, 61, dtype=torch.float64)
    solution = integrate_to(system.field, system.z0, asked[:1], asked[None], Dopri5(rtol=1e-6, atol=1e-6))
    error = (solution.z[0] - system.exact(system.z0.expand(61, -1), asked)).abs().max()
    assert error <= 50 * 1e-6


def test_coefficients_are_those_of_scipy():
    dense = torch.tensor(_TABLEAU.dense, dtype=torch.float64).T
    torch.testing.assert_close(dense, torch.from_numpy(RK45.P), rtol=1e-15, atol=0)
    torch.testing.assert_close(dense.sum(dim=1), torch.tensor(_TABLEAU.b, dtype=torch.float64), rtol=1e-14, atol=1e-14)
    # SciPy writes the error with the other sign.
    torch.testing.assert_close(-torch.tensor(_ERROR, dtype=torch.float64), torch.from_numpy(RK45.E), rtol=1e-15, atol=0)
    for node, weights in zip(_TABLEAU.c[1:], _TABLEAU.a):
        assert sum(weights) == pytest.approx(node, abs=1e-14)


def test_number_of_steps_is_that_of_a_per_row_solver():
    def brusselator(t, z):
        x, y = z.unbind(dim=1)
        return torch.stack([1 + x * x * y - 4 * x, 3 * x - x * x * y], dim=1)

    z0 = torch.tensor([[1.5, 3.0]], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    ours = integrate(brusselator, z0, start, start + 10, Dopri5(rtol=1e-6, atol=1e-8))
    theirs = solve_ivp(
        lambda t, y: brusselator(None, torch.from_numpy(y)[None])[0].numpy(), (0, 10), [1.5, 3.0], rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(ours.z[0], torch.from_numpy(theirs.y[:, -1]), rtol=2e-5, atol=0)
    assert ours.n_steps.item() == pytest.approx(len(theirs.t) - 1, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_that_blows_up_says_so_and_leaves_the_others_alone(dtype):
    z = torch.tensor([[1.0], [0.1], [0.2]], dtype=dtype, requires_grad=True)
    weight = torch.ones(1, dtype=dtype, requires_grad=True)
    start = torch.zeros(3, dtype=torch.float64)
    solution = integrate(lambda t, z: weight * z * z, z, start, start + 2, Dopri5(rtol=1e-5))
    assert solution.status[0] == Status.BLOW_UP
    assert solution.status[1:].tolist() == [Status.OK, Status.OK]
    assert solution.z.isfinite().all()
    torch.testing.assert_close(solution.z[1:], z[1:] / (1 - 2 * z[1:]), rtol=1e-4, atol=0)
    dz, dw = torch.autograd.grad(solution.z[1:].sum(), [z, weight])
    torch.testing.assert_close(dz[1:], (1 - 2 * z[1:]).detach() ** -2, rtol=1e-3, atol=0)
    torch.testing.assert_close(dw, (2 * z[1:] ** 2 / (1 - 2 * z[1:]) ** 2).sum(0).detach(), rtol=1e-3, atol=0)


def test_a_field_that_is_not_finite_is_named_as_such():
    start = torch.zeros(2, dtype=torch.float64)
    z = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    solution = integrate(lambda t, z: 1 / z, z, start, start + 1, Dopri5())
    assert solution.status.tolist() == [Status.UNDEFINED, Status.OK]
    torch.testing.assert_close(solution.z, torch.tensor([[0.0], [3.0**0.5]], dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_row_that_needs_too_many_steps_stops_at_a_finite_state():
    system = SYSTEMS["oscillator"]
    start = torch.zeros(2, dtype=torch.float64)
    end = torch.tensor([1e3, 1.0], dtype=torch.float64)
    solution = integrate(system.field, system.z0.expand(2, -1), start, end, Dopri5(max_steps=20))
    assert solution.status.tolist() == [Status.MAX_STEPS, Status.OK]
    assert solution.z[0].norm().item() == pytest.approx(1, abs=1e-5)  # still on the circle
    torch.testing.assert_close(solution.z[1:], system.exact(system.z0, end[1:]), rtol=1e-5, atol=1e-5)


def test_first_step_is_where_the_search_begins_not_where_it_ends():
    system = SYSTEMS["spiral"]
    start = torch.zeros(1, dtype=torch.float64)
    for first_step in (1e-6, 100.0):
        solution = integrate(system.field, system.z0, start, start + 1, Dopri5(first_step=first_step))
        torch.testing.assert_close(solution.z, system.exact(system.z0, start + 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rtol": -1.0}, "rtol must be"), ({"atol": 0.0}, "atol above 0"), ({"max_steps": 0}, "at least 1"),
     ({"first_step": 0.0}, "positive length of time"), ({"max_step": -1.0}, "max_step must be a positive")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        Dopri5(**settings)


def test_no_step_is_longer_than_the_longest_so_that_fast_surfaces_are_seen():
    start, still = torch.zeros(1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def field(t, z):
        return torch.ones_like(z)

    solution = integrate(field, still, start, start + 10.0, Dopri5(max_step=0.5))
    assert int(solution.n_steps) >= 20
    assert solution.z.item() == pytest.approx(10.0)
    event = Trigger(lambda t, z: torch.sin(20.0 * t), direction=1)
    found = integrate_triggers(field, still, start + 0.01, start + 10.0, Dopri5(max_step=0.1), [event])
    expected = 2.0 * torch.pi / 20.0 * torch.arange(1, 32, dtype=torch.float64)
    torch.testing.assert_close(found.event_times[0], expected, rtol=0.0, atol=1e-9)
