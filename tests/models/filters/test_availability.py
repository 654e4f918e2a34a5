"""Bioavailability: what is given is multiplied by a factor of a series' constants, as if less had been given."""

from __future__ import annotations

import pytest
import torch

from tests.models.filters.test_covariates import N_FEATURES, part_of, told_batch
from tests.models.filters.test_inputs import SIZE
from tsode.core.batch import IrregularBatch
from tsode.models.filters.build import build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import JumpFilter
from tsode.testing.assertions import assert_close

WEIGHT = torch.tensor([[0.5, -1.0], [0.0, 0.3], [-0.7, 0.2]], dtype=torch.float64)  # two inputs at once, and a rate


def filters(**how: bool) -> tuple[JumpFilter, JumpFilter]:
    """The same filter with `WEIGHT`, and without."""
    found = []
    for bioavailability in (True, False):
        torch.manual_seed(0)
        sizes = {"n_inputs": 2, "n_rates": 1, "n_features": N_FEATURES}
        found.append(build_filter(2, **SIZE, **sizes, bioavailability=bioavailability, **how).double())
    with torch.no_grad():
        found[0].availability.weight[:, :2] = WEIGHT
    return found[0], found[1]


def scaled(batch: IrregularBatch) -> IrregularBatch:
    """The batch with amounts multiplied by hand."""
    factor = torch.exp(torch.einsum("bs,es->be", batch.covariates.static, WEIGHT))
    return batch.replace(inputs=batch.inputs * factor[:, None])


@pytest.mark.parametrize("zero_input", [False, True])
def test_doses_and_infusions_act_as_if_they_were_larger_by_the_factor(zero_input):
    batch, queries = told_batch()
    model, plain = filters(zero_input=zero_input)
    found, _ = model.predict_params(batch, queries, "left")
    assert_close(found, plain.predict_params(scaled(batch), queries, "left")[0], "the factor multiplies amounts")
    assert not torch.allclose(found, plain.predict_params(batch, queries, "left")[0])
    members, _ = Ensemble([model, plain]).predict_params(batch, queries, "left")
    alone = [member.predict_params(batch, queries, "left")[0] for member in (model, plain)]
    assert_close(members, Ensemble([model, plain]).likelihood.merge_members(alone), "members are apart")


def test_before_training_nothing_is_scaled_and_the_factor_learns():
    batch, queries = told_batch()
    model, plain = filters()
    torch.nn.init.zeros_(model.availability.weight)
    found, _ = model.predict_params(batch, queries, "left")
    assert_close(found, plain.predict_params(batch, queries, "left")[0], "the factor is 1")
    found.square().sum().backward()
    slope = model.availability.weight.grad
    assert bool((slope[:, :2] != 0.0).all())
    assert not slope[:, 2:].any(), "what changes along time does not scale."


def test_a_stream_that_is_cut_scales_as_one_that_is_whole():
    batch = told_batch()[0].select(torch.tensor([0, 4]))
    model, _ = filters()
    queries = torch.full((2, 1), 5.0, dtype=torch.float64) + torch.arange(2)
    whole, _ = model.predict_params(batch, queries, "left")
    early, late = (part_of(batch, part) for part in (slice(0, 4), slice(4, None)))
    resumed, _ = model.predict_params(late, queries, "left", model.advance(early))
    assert_close(resumed, whole, "a cut of the stream changes nothing")
