"""Inputs at known times: kernels against the plain loop, order, and what a forecast may know."""

from __future__ import annotations

import pytest
import torch

from tests.registries import small_filter
from tsode.core.batch import IrregularBatch
from tsode.estimators.files.checks import load_weights
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.linear.sde import StableLinearSDE
from tsode.testing import example_batch
from tsode.testing.assertions import assert_close
from tsode.training.objective import FilterObjective
from tsode.training.windows import Window

PARTS = {
    **FILTERS,
    "gru_ode_gru": {"evolution": "gru_ode", "jump": "gru", "solver": "exponential_euler"},
    "jump_that_reads_no_inputs": {"jump": lambda n_state, n_channels: small_filter("innovation").jump},
}
SIZE = {"n_modes": 4, "n_static": 2, "n_state": 5, "n_hidden": 8}


def fed_batch(dtype: torch.dtype = torch.float64) -> tuple[IrregularBatch, torch.Tensor]:
    """Series with inputs in place of some of their observations."""
    batch, queries = example_batch(2, dtype)
    generator = torch.Generator().manual_seed(1)
    is_input = (torch.rand(batch.times.shape, generator=generator) < 0.4) & batch.is_event
    inputs = torch.randn(*batch.times.shape, 3, generator=generator, dtype=dtype) * is_input[..., None]
    mask = batch.mask & ~is_input[..., None]
    return batch.replace(mask=mask, values=batch.values * mask, inputs=inputs), queries


def kernel_against_loop(model: JumpFilter, batch: IrregularBatch, queries: torch.Tensor) -> torch.Tensor:
    """Check that a model's kernel gives the values and gradients of its plain loop, and return its answer."""
    found = []
    for use_fused in (True, False):
        model.use_fused = use_fused
        params, status = model.predict_params(batch, queries, "left")
        assert not status.any()
        loss = params.square().sum() + model.one_step(model.filter(batch)).square().sum()
        found.append((params, torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])))
    assert_close(*(params for params, _ in found), "a kernel agrees with the loop")
    for fused, plain in zip(*(gradients for _, gradients in found)):
        assert_close(fused, plain, "a kernel's gradient agrees with the loop's")
    return found[0][0]


@pytest.mark.parametrize("name", PARTS)
def test_a_kernel_reads_inputs_as_the_plain_loop_does(name):
    torch.manual_seed(0)
    batch, queries = fed_batch()
    model = build_filter(2, **PARTS[name], **SIZE, n_inputs=3).double()
    params = kernel_against_loop(model, batch, queries)
    assert model.input_map.weight.grad is None
    without, _ = model.predict_params(batch.replace(inputs=None), queries, "left")
    assert not torch.allclose(without, params), "inputs are read."


@pytest.mark.parametrize("name", ["innovation", "ode_rnn", "neural_jump_ode", "linear_sde"])
def test_a_forecast_knows_inputs_before_its_time_and_none_after(name):
    torch.manual_seed(0)
    batch, queries = fed_batch()
    if name == "linear_sde":
        model = StableLinearSDE(2, 4, n_inputs=3)
    else:
        model = build_filter(2, **FILTERS[name], **SIZE, n_inputs=3).double()
    together = model.forecast(batch, queries).params
    for k in range(queries.shape[1]):
        is_later = (batch.times >= queries[:, k : k + 1])[..., None]
        changed = batch.replace(inputs=torch.where(is_later, batch.inputs + 3.0 * batch.inputs.abs(), batch.inputs))
        forecast = model.forecast(changed, queries[:, k : k + 1]).params
        assert_close(forecast, together[:, k : k + 1], "what is put in from a time on does not change the forecast")
    earlier = batch.inputs * (batch.times < queries.amax(dim=1, keepdim=True))[..., None]
    assert not torch.allclose(model.forecast(batch.replace(inputs=2.0 * earlier), queries).params, together)


def test_inputs_at_one_time_act_one_after_the_other_and_after_the_observation_there():
    torch.manual_seed(0)
    model = build_filter(1, **SIZE, n_inputs=1).double()
    values = torch.tensor([[[1.0], [2.0], [0.0], [0.0]]], dtype=torch.float64)
    mask = torch.tensor([[[True], [True], [False], [False]]])
    times = torch.tensor([[0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    inputs = torch.tensor([[[0.0], [0.0], [2.0], [-1.0]]], dtype=torch.float64)
    path = model.filter(IrregularBatch(times, values, mask, torch.tensor([4]), inputs=inputs)).path
    observed = IrregularBatch(times[:, :2], values[:, :2], mask[:, :2], torch.tensor([2]))
    assert_close(path.z_plus[:, :2], model.filter(observed).path.z_plus, "an observation does not see the input")
    for k in (2, 3):
        assert_close(path.z_minus[:, k], path.z_plus[:, k - 1], "no time passes between events at one time")
        assert not torch.allclose(path.z_plus[:, k], path.z_minus[:, k])


def test_a_linear_system_is_moved_by_the_input_matrix_times_the_amount():
    torch.manual_seed(0)
    model = StableLinearSDE(2, 4, n_inputs=3)
    batch, queries = fed_batch()
    none, once, twice = (model.forecast(batch.replace(inputs=k * batch.inputs), queries).mean for k in (0.0, 1.0, 2.0))
    torch.testing.assert_close(twice - none, 2.0 * (once - none), rtol=1e-10, atol=1e-12)
    variance = model.forecast(batch, queries).variance
    torch.testing.assert_close(model.forecast(batch.replace(inputs=None), queries).variance, variance)


def test_a_linear_system_smooths_and_samples_around_its_inputs():
    torch.manual_seed(0)
    model = StableLinearSDE(2, 4, n_inputs=3)
    batch, queries = fed_batch()
    for ask, draw in ((model.forecast, model.sample), (model.interpolate, model.sample_smoothed)):
        expected = ask(batch, queries)
        paths = draw(batch, queries, 4000, torch.Generator().manual_seed(0))
        # six standard errors of a mean of 4000 draws
        error = 6.0 * expected.variance.sqrt() / 4000**0.5
        assert ((paths.mean(dim=0) - expected.mean).abs() <= error).all()


def test_the_backcast_does_not_flow_back_over_an_input():
    torch.manual_seed(0)
    batch, _ = example_batch(2, torch.float64)
    batch = batch.replace(inputs=torch.zeros(*batch.times.shape, 1, dtype=torch.float64))
    # an input just before the last observation: nothing of the context before it is asked for
    n = batch.lengths
    inputs = batch.inputs.clone()
    row = torch.arange(batch.n_series)
    has_two = n > 1
    inputs[row[has_two], n[has_two] - 2] = 1.0
    mask = batch.mask & (inputs == 0)
    context = batch.replace(inputs=inputs, mask=mask, values=batch.values * mask)
    targets = IrregularBatch(batch.times[:, -1:] + 1.0, batch.values[:, -1:], mask[:, -1:] | True, n.clamp(max=1))
    model = build_filter(2, **SIZE, n_inputs=1).double()
    objective = FilterObjective(horizon=100.0)
    _, parts, _ = objective(model, Window(context, targets, context))
    changed = context.replace(
        values=torch.where(batch.times[..., None] < batch.times[:, -1:, None], 9.0, context.values)
    )
    _, others, _ = objective(model, Window(context, targets, changed))
    later = (batch.times < batch.times[:, -1:]) & mask.any(dim=2)
    assert later.any(), "there is something that a backcast would have been scored on."
    torch.testing.assert_close(parts["backcast"], others["backcast"], rtol=0.0, atol=0.0)


def test_tensors_of_files_from_before_are_read_by_their_new_names():
    def build() -> JumpFilter:
        return build_filter(2, **PARTS["innovation"], **SIZE, n_inputs=2)

    model = build()
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    old = {name.replace("input_map", "push"): tensor for name, tensor in state.items()}
    assert "module.push.weight" in old
    loaded = load_weights(build, old, torch.float32)
    assert torch.equal(loaded.input_map.weight, model.input_map.weight)
