"""Latent ODE with inputs at known times."""

from __future__ import annotations

import pytest
import torch

from tests.models.filters.test_inputs import fed_batch
from tsode.models.latent.ode import build_latent_ode
from tsode.testing.assertions import assert_close

SIZE = {"n_modes": 4, "n_state": 4, "n_static": 2, "n_encoder": 8, "n_hidden": 8, "max_context": 50, "n_inputs": 3}


def made(**parts):
    torch.manual_seed(0)
    return build_latent_ode(2, **SIZE, **parts).double()


@pytest.mark.parametrize("parts", [{}, {"evolution": "mlp", "encoder": "backward_ode_rnn"}], ids=["linear", "mlp"])
def test_a_path_flows_from_input_to_input_and_is_pushed_at_each(parts):
    model, (batch, _) = made(**parts), fed_batch()
    times = batch.times.amin(dim=1, keepdim=True) + torch.linspace(0.0, 2.0, 7, dtype=torch.float64).expand(5, -1)
    inference = model.infer(batch)
    with torch.no_grad():
        found = model.paths(inference, times, model.common_draws()).z
        z0 = inference.state(model.common_draws().start)
        for row in range(batch.n_series):
            for k in range(times.shape[1]):
                z, t = z0[:, row], inference.start[row]
                own = inference.batch
                for event in range(int(own.lengths[row])):
                    if bool(own.is_input[row, event]) and own.times[row, event] < times[row, k]:
                        z, t = follow(model, z, inference.start[row], t, own.times[row, event])
                        z = z + model.input_map(own.inputs[row, event])
                z, _ = follow(model, z, inference.start[row], t, times[row, k])
                assert_close(found[:, row, k], z, "the path is that of a loop over inputs", 1e-4)


def follow(model, z, origin, t0, t1):
    """The state (s d) after the flow from `t0` to `t1`, in a clock that starts at `origin`."""
    begin = (t0 - origin).expand(len(z))
    states = model.evolution.evolve_to(z, begin, (t1 - origin).expand(len(z), 1)).z
    return states[:, 0], t1


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
