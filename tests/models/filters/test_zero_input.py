"""Responses to inputs alone: exactly at rest without any, in proportion, and the closed form of decaying modes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.models.filters.test_covariates import N_FEATURES, part_of, told_batch
from tests.models.filters.test_inputs import fed_batch
from tsode.core.batch import IrregularBatch
from tsode.errors import ParameterError
from tsode.models.filters.build import build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import JumpFilter
from tsode.models.filters.zero_input import DECAYS
from tsode.testing.assertions import assert_close

SIZE = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "likelihood": "normal"}


def response_filter(n_channels: int = 2, **how: int) -> JumpFilter:
    """A filter with all weights at random."""
    torch.manual_seed(0)
    model = build_filter(n_channels, zero_input=True, **SIZE, **how).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def given(times: list[float], inputs: list[list[float]]) -> IrregularBatch:
    """One series of one channel, of which nothing is observed, with these inputs."""
    empty = IrregularBatch.from_arrays([np.array(times)], [np.full((len(times), 1), np.nan)], torch.float64)
    return empty.replace(inputs=torch.tensor([inputs], dtype=torch.float64))


def dosed(amounts: list[float]) -> IrregularBatch:
    """The same with these amounts at times 0, 1, 2, ..."""
    return given([float(k) for k in range(len(amounts))], [[amount] for amount in amounts])


def mean(model: JumpFilter, batch: IrregularBatch, times: torch.Tensor) -> torch.Tensor:
    params, status = model.predict_params(batch, times, "right")
    assert not status.any()
    return model.likelihood.mean(params)


@pytest.mark.parametrize("n_passes", [1, 2])
@pytest.mark.parametrize("n_features", [0, N_FEATURES])
def test_without_inputs_a_channel_is_exactly_at_its_level_whatever_was_seen(n_features, n_passes):
    batch, queries = told_batch() if n_features else fed_batch()
    model = response_filter(n_inputs=3, n_features=n_features, n_passes=n_passes)
    found = mean(model, batch.replace(inputs=torch.zeros_like(batch.inputs)), queries)
    assert found.equal(model.readout.level.expand_as(found))
    assert not mean(model, batch, queries).equal(found), "inputs are felt."


def test_responses_add_and_are_in_proportion_and_decay_to_nothing():
    model = response_filter(1, n_inputs=1)
    times = torch.tensor([[0.5, 1.7, 2.0, 3.0, 9.0]], dtype=torch.float64)
    first, second, both, thrice = (
        mean(model, dosed(amounts), times) - model.readout.level
        for amounts in ([1.0, 0.0, 0.0], [0.0, 0.0, -2.0], [1.0, 0.0, -2.0], [3.0, 0.0, 0.0])
    )
    torch.testing.assert_close(both, first + second, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(thrice, 3.0 * first, rtol=1e-12, atol=1e-12)
    slowest = model.evolution.rates(model.z_start[8:])[0].min().item()
    late = mean(model, dosed([5.0]), torch.full((1, 1), 40.0 / slowest, dtype=torch.float64))
    torch.testing.assert_close(late, model.readout.level[None, None], rtol=0.0, atol=1e-10)


def test_the_response_to_a_dose_and_an_infusion_is_the_closed_form():
    model = response_filter(1, n_inputs=1, n_rates=1)
    batch = given([0.0, 1.0, 3.0], [[1.5, 0.0], [0.0, 2.0], [0.0, -2.0]])  # a dose, and a rate of 2 from 1 to 3
    at = np.array([0.4, 1.0, 2.2, 3.0, 4.5])
    found = mean(model, batch, torch.from_numpy(at)[None])[0, :, 0]

    static = model.z_start[8:]
    decay, frequency = (rate.detach().numpy() for rate in model.evolution.rates(static))
    rate = -decay + 1j * frequency
    dose, drive = (
        layer.weight.detach().numpy()[:4, 0] + 1j * layer.weight.detach().numpy()[4:8, 0]
        for layer in (model.input_map, model.rate_map)
    )
    during, after = np.clip(at - 1.0, 0.0, 2.0)[:, None], np.maximum(at - 3.0, 0.0)[:, None]
    modes = 1.5 * dose * np.exp(rate * at[:, None]) + 2.0 * drive * np.expm1(rate * during) / rate * np.exp(
        rate * after
    )
    weight = model.readout.response.weight.detach().numpy()[0]
    read = model.readout
    gain = read.location_out(torch.nn.functional.silu(read.location_hidden(static))).exp().item()
    truth = read.level.item() + gain * (np.concatenate([modes.real, modes.imag], axis=1) @ weight)
    np.testing.assert_allclose(found.detach().numpy(), truth, rtol=1e-10)


def test_what_is_seen_moves_the_statics_and_none_of_the_response():
    model, (batch, queries) = response_filter(n_inputs=3), fed_batch()
    filtered = model.filter(batch)
    path, sees = filtered.path, filtered.batch.mask.any(dim=2)
    moved = path.z_plus != path.z_minus
    assert not moved[sees][:, :8].any()
    assert moved[sees][:, 8:].all()
    assert not moved[~sees][:, 8:].any(), "inputs move no static."
    other = batch.replace(values=batch.values + batch.mask)
    assert not torch.allclose(mean(model, other, queries), mean(model, batch, queries))


def test_the_scale_grows_with_the_response():
    model = response_filter(1, n_inputs=1)
    z = torch.zeros(2, 10, dtype=torch.float64)
    z[:, :8] = torch.tensor([[1e6], [1e7]])
    zero, one = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    low, high = model.readout.spread(z, zero, one, one)[:, 0, 0].exp().tolist()
    assert high / low == pytest.approx(10.0, rel=1e-3)


def test_members_in_one_ensemble_and_rows_by_themselves_answer_alike():
    batch, queries = told_batch()
    members = [response_filter(n_inputs=3, n_features=N_FEATURES) for _ in range(2)]
    with torch.no_grad():
        members[1].input_map.weight.mul_(0.5)
    together, _ = Ensemble(members).predict_params(batch, queries, "left")
    alone = [member.predict_params(batch, queries, "left")[0] for member in members]
    assert_close(together, Ensemble(members).likelihood.merge_members(alone), "members are apart")
    for row in range(batch.n_series):
        which = torch.tensor([row])
        single, _ = members[0].predict_params(batch.select(which), queries[which], "left")
        assert_close(single, alone[0][which], "batch-mates change nothing")


def test_a_response_goes_on_from_where_it_was():
    batch = told_batch()[0].select(torch.tensor([0, 4]))
    model = response_filter(n_inputs=2, n_rates=1, n_features=N_FEATURES)
    queries = torch.full((2, 1), 5.0, dtype=torch.float64) + torch.arange(2)
    whole, _ = model.predict_params(batch, queries, "left")
    early, late = (part_of(batch, part) for part in (slice(0, 4), slice(4, None)))
    resumed, _ = model.predict_params(late, queries, "left", model.advance(early))
    assert_close(resumed, whole, "a cut of the stream changes nothing")


def test_modes_start_as_decays_of_all_lengths():
    model = build_filter(1, zero_input=True, n_inputs=1, n_modes=5, n_static=1)
    decay, frequency = model.evolution.rates(torch.zeros(1))
    expected = np.geomspace(*DECAYS, 5)
    np.testing.assert_allclose(decay.detach().numpy(), expected, rtol=1e-4)
    assert frequency.max().item() < math.pi


@pytest.mark.parametrize(
    ("setting", "got"), [({"evolution": "mlp"}, "an evolution Solved"), ({"n_static": 0}, "n_static=0")]
)
def test_an_evolution_without_decays_or_statics_is_refused(setting, got):
    with pytest.raises(ParameterError, match=f"{got}.*leave evolution= at 'linear' and n_static= at 1 or more"):
        build_filter(1, zero_input=True, **setting)
