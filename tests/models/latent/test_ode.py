"""Latent ODE: fused passes against plain ones, smoothing, and long histories."""

from __future__ import annotations

import pytest
import torch

from tests.registries import small_latent_ode
from tsode.core.batch import IrregularBatch
from tsode.dynamics import MLPDynamics
from tsode.dynamics.with_static import WithStatic
from tsode.evolutions.base import Solved
from tsode.models.filters.kernels import evolve_to
from tsode.numerics import RK4
from tsode.testing import check_evolution, example_batch


def made(encoder="backward_ode_rnn", evolution="mlp"):
    torch.manual_seed(0)
    return small_latent_ode(encoder, evolution).double()


def test_the_fused_backward_pass_is_that_of_the_plain_loop():
    model, (batch, _) = made(), example_batch(2)
    fused = model.infer(batch)
    run, model.encoder.run = model.encoder.run, None
    assert run is not None
    plain = model.infer(batch)
    parameters = list(model.encoder.parameters())
    left, right = (torch.cat([side.mean, side.log_scale], dim=1) for side in (fused, plain))
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-13)
    weights = torch.linspace(-1.0, 1.0, left.numel(), dtype=torch.float64).view_as(left)
    found = (torch.autograd.grad((weights * side).sum(), parameters) for side in (left, right))
    for a, e in zip(*found):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-12)


def test_coordinates_that_stand_still_do_so_in_the_solver_and_in_dense_output(monkeypatch):
    torch.manual_seed(0)
    evolution = Solved(WithStatic(MLPDynamics(5, 8), 2), RK4())
    check_evolution(evolution)
    evolution = evolution.double()
    z = torch.randn(3, 5, dtype=torch.float64)
    start, times = torch.zeros(3, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    plain = evolution.evolve_to(z, start, times).z
    monkeypatch.setattr(Solved, "evolve_to", None)  # the kernel must not need it
    fused = evolve_to(evolution, z, start, times).z
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-14)
    assert torch.equal(fused[..., 3:], z[:, None, 3:].expand(-1, 4, -1))
    assert not torch.equal(fused[..., :3], z[:, None, :3].expand(-1, 4, -1))


@pytest.mark.parametrize("encoder", ["backward_filter", "backward_ode_rnn", "set_attention"])
def test_a_gap_is_filled_from_both_sides_and_a_forecast_from_the_past(encoder):
    model, (batch, _) = made(encoder, "linear"), example_batch(2)
    batch = batch.select(torch.tensor([2])).compact()
    query = 0.5 * (batch.times[:, 2:3] + batch.times[:, 3:4])
    with torch.no_grad():
        for side in ("before", "after"):
            touched = (batch.times < query) if side == "before" else (batch.times > query)
            changed = batch.replace(values=torch.where(touched[..., None], batch.values + 2.0, batch.values))
            fill = (model.interpolate(changed, query).mean - model.interpolate(batch, query).mean).abs().max()
            ahead = (model.forecast(changed, query).mean - model.forecast(batch, query).mean).abs().max()
            assert float(fill) > 1e-4
            assert (float(ahead) > 1e-4) == (side == "before")


def test_a_forecast_reads_the_last_events_up_to_the_largest_context():
    model, (batch, _) = made(), example_batch(2)
    batch = batch.select(torch.tensor([4])).compact()
    n, width = int(batch.lengths[0]), model.max_context
    assert n > width
    times, values, mask = (t[:, n - width : n] for t in (batch.times, batch.values, batch.mask))
    last = IrregularBatch(times, values, mask, torch.tensor([width]))
    query = batch.times[:, -1:] + 0.5
    with torch.no_grad():
        torch.testing.assert_close(model.forecast(batch, query).params, model.forecast(last, query).params)


def test_what_saw_nothing_is_forecast_by_the_prior():
    model = made()
    empty = example_batch(2)[0].select(torch.tensor([3]))
    assert not model.infer(empty).kl().any()
