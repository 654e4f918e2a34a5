"""The fused pass of the default jump filter against the plain loop of the same model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.path import Path
from tsode.core.ragged import Ragged
from tsode.kernels.innovation import InnovationFilter
from tsode.models.filters.build import build_filter
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.filters.kernels import run_fused, run_innovations, share_one_pass


def make_model(n_static: int = 3, gate: bool = True, dropout: float = 0.0, n_channels: int = 3) -> JumpFilter:
    """A small default filter whose every parameter matters."""
    torch.manual_seed(0)
    model = build_filter(n_channels, n_modes=4, n_static=n_static, n_hidden=6, gate=gate, dropout=dropout).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    return model


def make_batch(n_series: int = 5, n_events: int = 7, n_channels: int = 3) -> IrregularBatch:
    """Ragged series with padding, a repeated time, an event that saw nothing and a series that saw nothing."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, n_events + 1, (n_series,), generator=generator).clamp(max=n_events)
    lengths[:1] = n_events
    times = torch.rand(n_series, n_events, generator=generator, dtype=torch.float64).cumsum(1)
    times[0, 1:2] = times[0, :1]
    mask = torch.rand(n_series, n_events, n_channels, generator=generator) < 0.5
    mask[:, 1], mask[2:3] = False, False
    is_event = torch.arange(n_events) < lengths[:, None]
    mask = mask & is_event[..., None]
    values = torch.randn(mask.shape, generator=generator, dtype=torch.float64) * mask
    times = torch.where(is_event, times, times.gather(1, lengths[:, None] - 1)) if n_events else times
    return IrregularBatch(times, values, mask, lengths)


def run_kernel(model: JumpFilter, batch: IrregularBatch, last: Tensor, seen: Tensor) -> Path:
    (path,) = run_innovations([model], batch, last, seen)
    return path


def states_and_gradients(model: JumpFilter, batch: IrregularBatch, fused: bool) -> dict[str, Tensor]:
    """Both limits at every event, and every parameter's gradient of a fixed random function of them."""
    last, seen = batch.last_seen()
    run = run_kernel if fused else JumpFilter._loop
    path = run(model, batch, last, seen.to(batch.values.dtype))
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(2, *path.z_minus.shape, generator=generator, dtype=torch.float64).to(batch.values.dtype)
    model.zero_grad()
    (torch.stack([path.z_minus, path.z_plus]) * weight).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"z_minus": path.z_minus.detach(), "z_plus": path.z_plus.detach(), **gradients}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n_static", [0, 3])
@pytest.mark.parametrize("gate", [False, True])
def test_states_and_all_gradients_equal_those_of_the_plain_loop(gate, n_static, dtype):
    model, batch = make_model(n_static, gate).to(dtype), make_batch().to(dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    plain, fused = (states_and_gradients(model, batch, fused) for fused in (False, True))
    assert plain.keys() == fused.keys()
    for name, truth in plain.items():
        error = (fused[name] - truth).abs().max() / truth.abs().max()
        assert error < tolerance, name


@pytest.mark.parametrize("n_static", [0, 2])
def test_gradcheck_accepts_the_written_backward_pass(n_static):
    model, batch = make_model(n_static, n_channels=2), make_batch(2, 3, n_channels=2)
    last, seen = batch.last_seen()
    names, parameters = zip(*model.named_parameters())

    def states(*parameters: Tensor) -> tuple[Tensor, Tensor]:
        def run(batch: IrregularBatch) -> tuple[Tensor, Tensor]:
            path = run_kernel(model, batch, last, seen.double())
            return path.z_minus, path.z_plus

        model.forward = run
        return torch.func.functional_call(model, dict(zip(names, parameters)), (batch,))

    assert torch.autograd.gradcheck(states, parameters, fast_mode=True)


def test_the_default_filter_uses_the_kernel_and_a_changed_part_does_not():
    model, batch = make_model(), make_batch()
    given = (batch, *batch.last_seen(), None, None)
    assert share_one_pass([model])
    assert run_fused([model], *given)[0] is not None
    model.jump = type("Changed", (type(model.jump),), {})(model.evolution.n_state, 3)
    assert not share_one_pass([model])
    assert run_fused([model], *given) == [None]


def test_filter_takes_the_plain_loop_on_request(monkeypatch):
    model, batch = make_model(), make_batch()
    monkeypatch.setattr(InnovationFilter, "apply", None)
    with pytest.raises(TypeError):
        model.filter(batch)
    model.use_fused = False
    model.filter(batch)


def test_rows_that_see_nothing_keep_their_state_bit_for_bit():
    model, batch = make_model(), make_batch()
    path = run_kernel(model, batch, *batch.last_seen())
    empty = ~batch.mask.any(dim=2)
    assert empty.any()
    assert torch.equal(path.z_plus[empty], path.z_minus[empty])


def test_gaps_of_length_zero_leave_the_state_bit_for_bit():
    model, batch = make_model(), make_batch()
    path = run_kernel(model, batch, *batch.last_seen())
    still = batch.times.diff(dim=1) == 0
    assert still.any()
    assert torch.equal(path.z_minus[:, 1:][still], path.z_plus[:, :-1][still])


def test_forward_without_gradients_gives_the_same_bits():
    model, batch = make_model(), make_batch()
    with_graph = run_kernel(model, batch, *batch.last_seen())
    with torch.no_grad():
        without = run_kernel(model, batch, *batch.last_seen())
    assert torch.equal(with_graph.z_minus, without.z_minus)
    assert torch.equal(with_graph.z_plus, without.z_plus)
    assert not without.z_plus.requires_grad


def test_two_forwards_before_their_backwards_do_not_disturb_each_other():
    model = make_model()
    batches = [make_batch(), make_batch(4, 6)]
    apart = []
    for batch in batches:
        model.zero_grad()
        model.filter(batch).path.z_plus.square().sum().backward()
        apart.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    losses = [model.filter(batch).path.z_plus.square().sum() for batch in batches]
    for loss, truth in zip(losses, apart):
        model.zero_grad()
        loss.backward()
        torch.testing.assert_close([p.grad for p in model.parameters() if p.grad is not None], truth)


def test_a_kept_graph_can_be_walked_twice():
    model = make_model()
    loss = model.filter(make_batch()).path.z_minus.square().sum()
    first, second = (torch.autograd.grad(loss, model.z_start, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_second_derivative_is_refused():
    model = make_model()
    loss = model.filter(make_batch()).path.z_minus.square().sum()
    (gradient,) = torch.autograd.grad(loss, model.z_start, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_only_the_parts_that_ask_for_it_get_a_gradient():
    model = make_model()
    model.evolution.requires_grad_(False)
    model.filter(make_batch()).path.z_plus.sum().backward()
    assert model.evolution.rate.grad is None
    assert model.jump.cell.weight_hh.grad is not None


@pytest.mark.parametrize("n_events", [0, 1])
def test_no_event_and_one_event_equal_the_plain_loop(n_events):
    model, batch = make_model(), make_batch()
    batch = IrregularBatch(
        batch.times[:, :n_events], batch.values[:, :n_events], batch.mask[:, :n_events], batch.lengths
    )
    last, seen = batch.last_seen()
    paths = [model.filter(batch).path, model._loop(batch, last, seen.double())]
    for path in paths:
        assert path.z_minus.shape == path.z_plus.shape == (5, n_events, model.evolution.n_state)
    torch.testing.assert_close(paths[0].z_plus, paths[1].z_plus, rtol=1e-10, atol=1e-10)


def test_a_batch_without_series_has_no_states_and_no_gradient():
    model, batch = make_model(), make_batch().select(torch.arange(0))
    assert model.filter(batch).path.z_plus.shape == (0, 7, model.evolution.n_state)


def test_values_that_want_a_gradient_get_it():
    model, batch = make_model(), make_batch()
    values = batch.values.clone().requires_grad_()
    model.filter(batch.replace(values=values)).path.z_plus.sum().backward()
    assert values.grad is not None
    assert (values.grad != 0).any()


def test_rates_far_outside_the_usual_equal_the_plain_loop():
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        model.evolution.rate.fill_(30.0)  # past the linear end of softplus
        model.evolution.modulation.weight.mul_(1e3)
    fused, plain = (states_and_gradients(model, batch, fused) for fused in (True, False))
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-9)


class Replay(nn.Module):
    """Dropout with given factors, one event after the other."""

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.factors = iter(factors)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * next(self.factors)


def test_dropout_multiplies_the_hidden_units_as_in_the_plain_loop(monkeypatch):
    model, batch = make_model(dropout=0.5).train(), make_batch()
    drawn = []
    draw = nn.functional.dropout
    monkeypatch.setattr(nn.functional, "dropout", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    fused = states_and_gradients(model, batch, fused=True)
    assert set(drawn[0].unique().tolist()) == {0.0, 2.0}
    place = Ragged.of(batch.lengths, batch.n_events).place
    model.readout.dropout = Replay(drawn[0][place.t()])
    plain = states_and_gradients(model, batch, fused=False)
    torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


def test_dropout_is_off_in_eval_mode():
    model, batch = make_model(dropout=0.5).eval(), make_batch()
    fused, plain = (states_and_gradients(model, batch, fused) for fused in (True, False))
    torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)
