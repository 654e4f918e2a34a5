"""Dense output of the neural fields against the solvers'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.evolutions.base import Solved
from tsode.models.filters.build import build_filter
from tsode.models.filters.kernels import evolve_to
from tsode.numerics import SOLVERS

METHODS = ["euler", "midpoint", "rk4", "exponential_euler"]


def make(method: str, dtype: torch.dtype = torch.float64, **settings: float) -> Solved:
    torch.manual_seed(0)
    field = "gru_ode" if method == "exponential_euler" else "mlp"
    evolution = build_filter(2, evolution=field, jump="gru", solver=SOLVERS[method](**settings), n_state=4).evolution
    with torch.no_grad():
        for parameter in evolution.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return evolution.to(dtype)


def queries(sides: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    t0 = torch.rand(3, dtype=torch.float64, generator=generator)
    elapsed = torch.rand(3, 5, dtype=torch.float64, generator=generator)
    elapsed[0, 0] = 0.0
    signs = {"ahead": 1.0, "behind": -1.0, "both": torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0])}
    return z, t0, t0[:, None] + signs[sides] * elapsed


@pytest.mark.parametrize("settings", [{}, {"n_steps": 3}, {"max_step": 0.15}])
@pytest.mark.parametrize("sides", ["ahead", "behind", "both"])
@pytest.mark.parametrize("method", METHODS)
def test_states_and_gradients_are_those_of_the_solver(
    method: str, sides: str, settings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    evolution, (z, t0, times) = make(method, **settings), queries(sides)
    z.requires_grad_()
    expected = evolution.evolve_to(z, t0, times)
    monkeypatch.setattr(Solved, "evolve_to", None)  # the kernel must not need it
    actual = evolve_to(evolution, z, t0, times)
    torch.testing.assert_close(actual.z, expected.z, rtol=1e-11, atol=1e-13)
    assert (actual.status == expected.status).all()
    weights = torch.randn(actual.z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    sources = [z, *evolution.parameters()]
    for a, e in zip(*(torch.autograd.grad((weights * y.z).sum(), sources) for y in (actual, expected))):
        torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_state_at_the_start_is_the_start(method: str) -> None:
    evolution, (z, t0, times) = make(method), queries("ahead")
    assert torch.equal(evolve_to(evolution, z, t0, times).z[0, 0], z[0])
    assert torch.equal(evolve_to(evolution, z, t0, t0[:, None].expand(-1, 2)).z, z[:, None].expand(-1, 2, -1))


@pytest.mark.parametrize("method", METHODS)
def test_state_does_not_depend_on_the_other_times(method: str) -> None:
    evolution, (z, t0, times) = make(method), queries("both")
    alone = evolve_to(evolution, z[:1], t0[:1], times[:1, 2:3]).z
    torch.testing.assert_close(alone[:, 0], evolve_to(evolution, z, t0, times).z[:1, 2], rtol=1e-13, atol=1e-14)


def test_row_that_fails_is_told_by_the_solver() -> None:
    evolution, (z, t0, times) = make("rk4"), queries("ahead")
    z[1, 0] = torch.nan
    assert evolve_to(evolution, z, t0, times).status.tolist() == evolution.evolve_to(z, t0, times).status.tolist()
    assert evolve_to(evolution, z, t0, times).status[1] != 0


@pytest.mark.parametrize("method", METHODS)
def test_fused_filter_forecasts_as_the_plain_one_does(method: str) -> None:
    torch.manual_seed(0)
    field = "gru_ode" if method == "exponential_euler" else "mlp"
    model = build_filter(2, evolution=field, jump="gru", solver=method, n_state=4, n_hidden=8).double()
    times = torch.rand(3, 6, dtype=torch.float64).cumsum(dim=1)
    mask = torch.rand(3, 6, 2) < 0.5
    batch = IrregularBatch(times, torch.randn(3, 6, 2, dtype=torch.float64) * mask, mask, torch.full((3,), 6))
    asked = times[:, -1:] + torch.rand(3, 4, dtype=torch.float64)

    def run(use_fused: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        model.use_fused = use_fused
        params = model.forecast(batch, asked).params
        parameters = [p for n, p in model.named_parameters() if not n.startswith("residuals")]
        return params, torch.autograd.grad(params.square().sum(), parameters)

    (params, gradients), (expected, expected_gradients) = run(True), run(False)
    torch.testing.assert_close(params, expected, rtol=1e-10, atol=1e-12)
    for gradient, wanted in zip(gradients, expected_gradients):
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_field_without_hidden_layer_is_served() -> None:
    evolution, (z, t0, times) = make("midpoint"), queries("ahead")
    evolution.dynamics.layers = nn.Sequential(nn.Linear(4, 4, dtype=torch.float64))
    torch.testing.assert_close(evolve_to(evolution, z, t0, times).z, evolution.evolve_to(z, t0, times).z)


def test_steps_too_long_for_the_series_are_left_to_the_solver():
    solved = make("exponential_euler", max_step=40.0)
    z, t0, times = queries("ahead")
    times = t0[:, None] + 60.0 * (times - t0[:, None])
    torch.testing.assert_close(evolve_to(solved, z, t0, times).z, solved.evolve_to(z, t0, times).z, rtol=0, atol=0)
