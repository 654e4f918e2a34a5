"""The jump filter against the same model written naively, and its samples against its forecasts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.registries import small_filter
from tsode.core.batch import IrregularBatch
from tsode.core.observation import Observation
from tsode.dynamics import DYNAMICS, LinearDynamics
from tsode.evolutions.base import Solved
from tsode.jumps import GRU, JUMPS
from tsode.likelihoods import LIKELIHOODS, StudentT
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.jump_filter import JumpFilter
from tsode.numerics import SOLVERS, Dopri5, Midpoint
from tsode.testing import check_model, example_batch


def make(name: str) -> JumpFilter:
    """A filter whose every parameter matters."""
    torch.manual_seed(0)
    model = small_filter(name).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def naive_forecast(model: JumpFilter, times: Tensor, values: Tensor, mask: Tensor, when: float, side: str) -> Tensor:
    """One series, one query, one event at a time, in the words of the paper."""
    z = model.z_start[None]
    last, seen = torch.zeros(1, model.n_channels).double(), torch.zeros(1, model.n_channels).double()
    t = torch.tensor([when], dtype=torch.float64)
    for k in range(len(times)):
        if not bool(mask[k].any()) or times[k] > when or (side == "left" and times[k] == when):
            continue
        now = times[k : k + 1]
        before = t if t[0] < now[0] and bool(seen.any()) else now
        z = model.evolution.evolve(z, before, now).z
        params = model._params(z, (now - before).double(), last, seen)
        predicted = [model.likelihood.mean(params), 0.5 * model.likelihood.variance(params).log()]
        predicted = torch.stack(predicted[: 1 + model.jump.needs_scale], dim=-1)
        x, m = values[k][None], mask[k][None].double()
        z = model.jump(z, Observation(x * m, m, predicted))
        last, seen, t = torch.where(m > 0, x, last), torch.maximum(seen, m), now
    query = torch.tensor([[when]], dtype=torch.float64)
    start = t if bool(seen.any()) else query[:, 0]
    z = model.evolution.evolve_to(z, start, query).z[:, 0]
    return model._params(z, query[:, 0] - start, last, seen)[0]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_forecast_is_that_of_the_naive_loop(name, side):
    model = make(name)
    batch, queries = example_batch(model.n_channels)
    with torch.no_grad():
        forecast = model.forecast(batch, queries, side)
        for row in range(batch.n_series):
            events = slice(0, int(batch.lengths[row]))
            series = (batch.times[row, events], batch.values[row, events], batch.mask[row, events])
            for k in range(queries.shape[1]):
                expected = naive_forecast(model, *series, float(queries[row, k]), side)
                torch.testing.assert_close(forecast.params[row, k], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "semilinear")) for name in FILTERS]
)
def test_one_step_predictions_are_forecasts_at_the_events(name):
    model = make(name)
    if isinstance(model.evolution, Solved):  # so that a step to an event is as good as several to a query
        model.evolution.solver = Dopri5(rtol=1e-9, atol=1e-11)
    batch, _ = example_batch(model.n_channels)
    batch = batch.compact()
    with torch.no_grad():
        filtered = model.filter(batch)
        steps = model.one_step(filtered)
        forecast = model.forecast(batch, batch.times)
    index = filtered.events.flat_index
    assert index.sort().values.tolist() == batch.is_event.flatten().nonzero()[:, 0].tolist()
    torch.testing.assert_close(steps, forecast.params.flatten(0, 1)[index], rtol=1e-7, atol=1e-8)


def test_the_spread_factor_widens_forecasts_and_moves_no_location():
    model = make("innovation")
    batch, queries = example_batch(2)
    with torch.no_grad():
        before = model.forecast(batch, queries)
        model.spread.log_factor.fill_(math.log(2.0))
        after = model.forecast(batch, queries)
    assert torch.equal(after.mean, before.mean)
    torch.testing.assert_close(after.variance, 4.0 * before.variance)


def test_an_untrained_filter_carries_most_of_the_last_value_forward():
    torch.manual_seed(0)
    model = build_filter(1, n_modes=8, n_static=4, n_hidden=16).double()
    history = IrregularBatch.from_arrays([np.arange(3.0)], [np.full((3, 1), 50.0)], torch.float64)
    mean = model.forecast(history, torch.tensor([[2.5]], dtype=torch.float64)).mean.item()
    assert 0.7 * 50.0 < mean < 50.0  # sigmoid(2) = 0.88


def test_without_the_gate_the_last_value_is_not_read():
    torch.manual_seed(0)
    model = build_filter(2, n_modes=3, n_static=1, n_hidden=6, gate=False).double()
    z, lead = torch.randn(4, model.evolution.n_state).double(), torch.ones(4).double()
    last = torch.randn(4, 2).double()
    assert torch.equal(model._params(z, lead, last, torch.ones(4, 2)), model._params(z, lead, -last, torch.zeros(4, 2)))
    check_model(model)


@pytest.mark.parametrize("family", LIKELIHOODS)
def test_samples_are_tied_in_time_and_have_the_forecasts_marginals(family):
    torch.manual_seed(0)
    model = build_filter(2, n_modes=3, n_static=1, n_hidden=6, likelihood=family).double().eval()
    model.residuals.length.fill_(10.0)
    batch, _ = example_batch(2)
    queries = torch.tensor([3.0, 2.5, 2.75], dtype=torch.float64).expand(batch.n_series, -1)
    n = 4000
    paths = model.sample(batch, queries, n, torch.Generator().manual_seed(0))
    forecast = model.forecast(batch, queries)
    for level in (0.05, 0.5, 0.95):
        bound = forecast.quantile(torch.tensor([level], dtype=torch.float64))[..., 0]
        share = (paths <= bound).double().mean(dim=0)
        # six standard errors of a share of independent draws
        assert (share - level).abs().max() < 6.0 * (level * (1.0 - level) / n) ** 0.5
    scores = ((paths - forecast.mean) / forecast.variance.sqrt())[:, 0, :, 0]
    correlation = torch.corrcoef(scores.T)
    assert correlation[1, 2] > 0.9
    assert correlation[1, 2] > correlation[1, 0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("jump", JUMPS)
def test_any_solver_goes_with_any_jump(solver, jump):
    torch.manual_seed(0)
    evolution = next(name for name in ("mlp", *DYNAMICS) if isinstance(DYNAMICS[name](4), SOLVERS[solver].field_type))
    model = build_filter(2, evolution=evolution, solver=solver, jump=jump, n_modes=2, n_static=1, n_state=4, n_hidden=4)
    batch, queries = example_batch(2, torch.float32)
    forecast = model.forecast(batch, queries)
    assert torch.isfinite(forecast.params).all()
    assert not forecast.status.any()


@pytest.mark.slow
def test_parts_may_be_given_by_instance():
    family, evolution = StudentT(), Solved(LinearDynamics(3), Midpoint())
    model = build_filter(2, evolution=evolution, jump=GRU, likelihood=family, n_hidden=4)
    assert model.evolution is evolution
    assert model.likelihood is family
    assert isinstance(model.jump, GRU)
    check_model(model)
