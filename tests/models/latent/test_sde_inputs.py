"""Latent SDE with inputs at known times."""

from __future__ import annotations

import pytest
import torch

from tests.models.filters.test_inputs import fed_batch
from tsode.models.latent.sde import build_latent_sde
from tsode.testing.assertions import assert_close

SIZE = {"n_state": 4, "n_encoder": 8, "n_hidden": 8, "n_samples": 4, "max_context": 50, "n_inputs": 3}


def made(**parts):
    torch.manual_seed(0)
    return build_latent_sde(2, **SIZE, **parts).double()


def test_a_path_is_pushed_at_each_input_and_nowhere_else():
    model, (batch, _) = made(), fed_batch()
    inference = model.infer(batch)
    own, rows = inference.batch, torch.arange(batch.n_series)
    step = 1e-9
    with torch.no_grad():
        for event in range(own.n_events):
            at = own.times[:, event]
            z = model.paths(inference, torch.stack([at - step, at, at + step], dim=1), model.common_draws()).z
            together = (own.times - at[:, None]).abs() < step  # of events at one time, the pushes add up
            push = (model.input_map(own.inputs) * (together & own.is_event)[..., None]).sum(dim=1)
            seen = rows[event < own.lengths]
            # within so short a time noise moves a state by about 1e-4
            assert_close(z[:, seen, 1], z[:, seen, 0], "a state at an input does not know it", 1e-3)
            pushed = z[:, seen, 1] + push[seen]
            assert_close(z[:, seen, 2], pushed, "and just after, it has been pushed", 1e-3)


@pytest.mark.parametrize("encoder", ["backward_filter", "backward_ode_rnn", "set_attention"])
def test_a_forecast_knows_inputs_before_its_time_and_none_after(encoder):
    model, (batch, queries) = made(encoder=encoder), fed_batch()
    with torch.no_grad():
        together = model.forecast(batch, queries).params
        for k in range(queries.shape[1]):
            is_later = (batch.times >= queries[:, k : k + 1])[..., None]
            changed = batch.replace(inputs=torch.where(is_later, 4.0 * batch.inputs, batch.inputs))
            forecast = model.forecast(changed, queries[:, k : k + 1]).params
            assert_close(forecast, together[:, k : k + 1], "what is put in from a time on does not change the forecast")
        assert not torch.allclose(model.forecast(batch.replace(inputs=2.0 * batch.inputs), queries).params, together)
