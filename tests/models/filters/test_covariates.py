"""What is known at any time: kernels against the plain loop, effects, and the exact linear case."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.filters.test_inputs import PARTS, SIZE, fed_batch, kernel_against_loop
from tsode.core.batch import IrregularBatch
from tsode.core.covariates import CovariatePath, Covariates, SeriesCovariates
from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.linear.sde import StableLinearSDE
from tsode.testing.assertions import assert_close

N_FEATURES = 2 + 3 + 4


def told_batch() -> tuple[IrregularBatch, torch.Tensor]:
    """`fed_batch` with two constants, one path and one cycle for each row."""
    batch, queries = fed_batch()
    rng = np.random.default_rng(5)
    rows = [
        SeriesCovariates(
            rng.normal(size=2),
            CovariatePath.linear(np.linspace(0.0, 2.0 + n, 6), rng.normal(size=(6, 1)), (0.2, 1.0)),
            np.array([[0.7, 0.1 * n]]),
        )
        for n in range(batch.n_series)
    ]
    return batch.replace(covariates=Covariates.stack(rows, torch.float64)), queries


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("n_inputs", [0, 3])
@pytest.mark.parametrize("name", PARTS)
def test_a_kernel_reads_what_is_known_as_the_plain_loop_does(name, n_inputs, gate):
    torch.manual_seed(0)
    batch, queries = told_batch()
    batch = batch if n_inputs else batch.replace(inputs=None)
    model = build_filter(2, **PARTS[name], **SIZE, n_inputs=n_inputs, n_features=N_FEATURES, gate=gate).double()
    params = kernel_against_loop(model, batch, queries)
    other = batch.covariates.select(torch.tensor([1, 2, 3, 4, 0]))
    assert not torch.allclose(model.predict_params(batch.replace(covariates=other), queries, "left")[0], params)


def test_members_in_one_pass_read_it_as_each_alone():
    torch.manual_seed(0)
    batch, queries = told_batch()
    members = [build_filter(2, **SIZE, n_inputs=3, n_features=N_FEATURES).double() for _ in range(3)]
    together, _ = Ensemble(members).predict_params(batch, queries, "left")
    alone = [member.predict_params(batch, queries, "left")[0] for member in members]
    assert_close(together, Ensemble(members).likelihood.merge_members(alone), "members are apart")


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_goes_on_reads_what_is_known_as_one_that_ran_through(name):
    torch.manual_seed(0)
    batch, _ = told_batch()
    batch = batch.select(torch.tensor([0, 4]))
    model = build_filter(2, **FILTERS[name], **SIZE, n_inputs=3, n_features=N_FEATURES).double()
    queries = torch.full((2, 1), 5.0, dtype=torch.float64) + torch.arange(2)
    whole, _ = model.predict_params(batch, queries, "left")
    early, late = (part_of(batch, part) for part in (slice(0, 4), slice(4, None)))
    resumed, _ = model.predict_params(late, queries, "left", model.advance(early))
    assert_close(resumed, whole, "a cut of the stream changes nothing")


def test_passes_over_ranges_of_events_keep_what_is_known():
    torch.manual_seed(0)
    batch, queries = told_batch()
    model = build_filter(2, **SIZE, n_inputs=3, n_features=N_FEATURES, n_passes=2).double()
    torch.nn.init.normal_(model.restart, std=0.1)
    together, _ = model.predict_params(batch, queries, "left")
    for k in range(queries.shape[1]):
        alone, _ = model.predict_params(batch, queries[:, k : k + 1], "left")
        assert_close(alone, together[:, k : k + 1], "queries do not see each other")


def test_a_linear_sde_adds_what_is_known_to_the_mean_and_to_nothing_else():
    torch.manual_seed(0)
    batch, queries = told_batch()
    plain = StableLinearSDE(2, 4, n_inputs=3)
    model = StableLinearSDE(2, 4, n_inputs=3, n_features=N_FEATURES)
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(model.effect)
    at_events = batch.covariates.at(batch.times) @ model.effect.mT
    moved = batch.replace(values=batch.values - at_events, covariates=None)
    assert_close(model.log_likelihood(batch), plain.log_likelihood(moved), "the evidence is of what is left over")
    for ask in ("forecast", "interpolate"):
        own, other = getattr(model, ask)(batch, queries), getattr(plain, ask)(moved, queries)
        assert_close(own.mean, other.mean + batch.covariates.at(queries) @ model.effect.mT, f"{ask} adds it again")
        assert_close(own.variance, other.variance, f"{ask} is as sure as without")
    for draw in ("sample", "sample_smoothed"):
        own, other = (
            getattr(one, draw)(given, queries, 3, torch.Generator().manual_seed(1))
            for one, given in ((model, batch), (plain, moved))
        )
        assert_close(own, other + batch.covariates.at(queries) @ model.effect.mT, f"{draw} adds it again")


def test_a_linear_sde_without_events_forecasts_what_is_known():
    torch.manual_seed(0)
    batch, queries = told_batch()
    model = StableLinearSDE(2, 4, n_features=N_FEATURES)
    torch.nn.init.normal_(model.effect)
    empty = IrregularBatch(
        batch.times[:, :0], batch.values[:, :0], batch.mask[:, :0], 0 * batch.lengths, covariates=batch.covariates
    )
    expected = batch.covariates.at(queries) @ model.effect.mT + model.readout_offset
    assert_close(model.forecast(empty, queries).mean, expected, "a series without history follows its covariates")


def part_of(batch: IrregularBatch, events: slice) -> IrregularBatch:
    times, values, mask, inputs = (
        getattr(batch, name)[:, events] for name in ("times", "values", "mask", "inputs")
    )  # fmt: skip
    lengths = (batch.lengths - (events.start or 0)).clamp(min=0, max=times.shape[1])
    return IrregularBatch(times, values, mask, lengths, inputs, batch.covariates)


@pytest.mark.parametrize("name", PARTS)
def test_a_rate_that_changes_is_no_jump_whatever_is_known_then(name):
    torch.manual_seed(0)
    batch, queries = told_batch()
    inputs = batch.inputs.clone()
    inputs[:, ::2, :1] = 0.0  # every other input is a change of rates alone
    batch = batch.replace(inputs=inputs)
    model = build_filter(2, **PARTS[name], **SIZE, n_inputs=1, n_rates=2, n_features=N_FEATURES).double()
    kernel_against_loop(model, batch, queries)
    is_rate_alone = batch.is_event & batch.is_input & (inputs[..., 0] == 0.0)
    assert is_rate_alone.any()
    for model.use_fused in (True, False):
        path = model.filter(batch).path
        assert path.z_plus[is_rate_alone].equal(path.z_minus[is_rate_alone])
