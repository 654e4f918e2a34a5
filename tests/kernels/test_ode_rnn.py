"""The fused ODE-RNN and GRU-ODE against the plain loop of the same parts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import tsode.kernels.ode_rnn as fused_ode_rnn_module
from tsode.core.batch import IrregularBatch
from tsode.kernels.gru_ode import fused_gru_ode
from tsode.kernels.ode_rnn import fused_ode_rnn
from tsode.models.filters.build import build_filter
from tsode.models.filters.jump_filter import JumpFilter
from tsode.numerics import SOLVERS
from tsode.numerics.exponential import ExponentialEuler

METHODS = ["euler", "midpoint", "rk4", "exponential_euler"]


def make(method: str, n_steps: int = 1, dtype: torch.dtype = torch.float64, n_state: int = 6) -> JumpFilter:
    """A filter whose field is strong enough for every weight to matter."""
    torch.manual_seed(0)
    field = "gru_ode" if method == "exponential_euler" else "mlp"
    model = build_filter(3, evolution=field, jump="gru", solver=SOLVERS[method](n_steps=n_steps), n_state=n_state)
    with torch.no_grad():
        for parameter in (model.z_start, *model.evolution.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.to(dtype)


def make_batch(dtype: torch.dtype = torch.float64) -> IrregularBatch:
    """Five ragged rows with padding; some events see nothing."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([7, 4, 1, 6, 2])
    times = torch.rand(5, 7, dtype=torch.float64, generator=generator).cumsum(dim=1)
    is_event = torch.arange(7) < lengths[:, None]
    times = torch.where(is_event, times, times.gather(1, lengths[:, None] - 1))
    mask = (torch.rand(5, 7, 3, generator=generator) < 0.4) & is_event[..., None]
    mask[0, 3] = False
    values = torch.randn(5, 7, 3, dtype=dtype, generator=generator) * mask
    return IrregularBatch(times, values, mask, lengths)


def plain(model: JumpFilter, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    last, seen = batch.last_seen()
    path = model._loop(batch, last, seen.to(batch.values.dtype))
    return path.z_minus, path.z_plus


def fused(model: JumpFilter, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    field, solver = model.evolution.dynamics, model.evolution.solver
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(batch.values.dtype)
    rest = (solver.n_steps, model.z_start, batch.values, batch.mask, gaps, model.jump.cell)
    if isinstance(solver, ExponentialEuler):
        return fused_gru_ode(field.gates, field.candidate_bias, *rest)
    below = [row[-1] for row in solver.tableau.a]
    return fused_ode_rnn(field.layers[::2], below, solver.tableau.b, *rest)


def weights(model: JumpFilter) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if n.split(".")[0] in ("z_start", "evolution", "jump")}


def gradients(model: JumpFilter, states: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    draw = torch.randn(2, *states[0].shape, dtype=states[0].dtype, generator=generator)
    loss = (draw[0] * states[0]).sum() + (draw[1] * states[1]).sum()
    names, parameters = zip(*weights(model).items())
    return dict(zip(names, torch.autograd.grad(loss, parameters)))


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_states_and_gradients_are_those_of_the_plain_loop(
    method: str, n_steps: int, dtype: torch.dtype, tolerance: float
) -> None:
    model, batch = make(method, n_steps, dtype), make_batch(dtype)
    expected, actual = plain(model, batch), fused(model, batch)
    for a, e in zip(actual, expected):
        assert_near(a, e, tolerance)
    expected_gradients = gradients(model, expected)
    for name, gradient in gradients(model, actual).items():
        assert_near(gradient, expected_gradients[name], tolerance)


@pytest.mark.parametrize("depth", [1, 3])
def test_field_may_have_any_depth(depth: int) -> None:
    model, batch = make("rk4"), make_batch()
    widths = [6] + [5] * depth + [6]
    layers: list[nn.Module] = [
        layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m, dtype=torch.float64), nn.Tanh())
    ]
    model.evolution.dynamics.layers = nn.Sequential(*layers[:-1])
    expected, actual = plain(model, batch), fused(model, batch)
    assert_near(actual[1], expected[1], 1e-10)
    expected_gradients = gradients(model, expected)
    for name, gradient in gradients(model, actual).items():
        assert_near(gradient, expected_gradients[name], 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_rows_that_see_nothing_keep_their_state_bit_for_bit(method: str) -> None:
    model, batch = make(method, dtype=torch.float32), make_batch(torch.float32)
    z_minus, z_plus = fused(model, batch)
    is_empty = ~batch.mask.any(dim=2)
    assert torch.equal(z_minus[is_empty], z_plus[is_empty])
    padding = torch.arange(7) >= batch.lengths[:, None]
    ends = z_plus[torch.arange(5), batch.lengths - 1]
    assert torch.equal(z_plus[padding], ends[:, None].expand(-1, 7, -1)[padding])


@pytest.mark.parametrize("method", METHODS)
def test_prediction_and_training_give_the_same_states(method: str) -> None:
    model, batch = make(method, 2), make_batch()
    with torch.inference_mode():
        first = fused(model, batch)
    trained = fused(model, batch)
    with torch.no_grad():
        second = fused(model, batch)
    for states in zip(first, trained, second):
        assert torch.equal(states[0], states[1])
        assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("method", METHODS)
def test_gradient_survives_another_forward_pass_before_it(method: str) -> None:
    model, batch = make(method), make_batch()
    expected = gradients(model, fused(model, batch))
    states = fused(model, batch)
    other = fused(model, batch.replace(values=batch.values + 1.0))
    gradients(model, other)
    for name, gradient in gradients(model, states).items():
        assert torch.equal(gradient, expected[name])


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_holds_and_a_graph_may_be_gone_through_twice(method: str) -> None:
    model, batch = make(method, 2, n_state=2), make_batch()
    parameters = list(weights(model).values())
    assert torch.autograd.gradcheck(lambda *_: fused(model, batch), parameters, fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_may_come_in_at_one_side_of_the_jumps_only(method: str) -> None:
    model, batch = make(method), make_batch()
    for side in range(2):
        (actual, expected) = (run(model, batch)[side].square().sum() for run in (fused, plain))
        parameters = list(weights(model).values())
        for a, e in zip(torch.autograd.grad(actual, parameters), torch.autograd.grad(expected, parameters)):
            torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_events_in_several_groups_give_the_same_gradients(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make(method, 2), make_batch()
    expected = gradients(model, fused(model, batch))
    monkeypatch.setattr(fused_ode_rnn_module, "GROUP", 15)  # three of the seven events at once
    for name, gradient in gradients(model, fused(model, batch)).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_filter_tells_a_row_that_fails_as_the_plain_loop_does(method: str) -> None:
    model, batch = make(method), make_batch()
    with torch.no_grad():
        model.z_start[0] = torch.nan
        actual, expected = model.filter(batch).path, model._loop(batch, *batch.last_seen())
    assert (actual.status != 0).any()
    # the plain loop does not look at a row that stays where it starts
    assert torch.equal(actual.status, torch.where(expected.z_plus[:, -1].isfinite().all(dim=1), 0, 3))
    assert (actual.status >= expected.status).all()


@pytest.mark.parametrize("method", METHODS)
def test_filter_uses_the_kernel(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make(method), make_batch()
    expected = plain(model, batch.compact())
    monkeypatch.setattr(JumpFilter, "_loop", None)
    torch.testing.assert_close(model.filter(batch).path.z_plus, expected[1], rtol=1e-10, atol=1e-13)
