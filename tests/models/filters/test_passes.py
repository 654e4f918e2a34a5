"""Several passes over the events: later ones know the future of an event, and no forecast does."""

from __future__ import annotations

import pytest
import torch

from tsode.models.filters.build import FILTERS, build_filter
from tsode.models.filters.ensemble import Ensemble
from tsode.models.filters.jump_filter import JumpFilter, run_filters
from tsode.testing import check_model, example_batch
from tsode.training.objective import FilterObjective
from tsode.training.windows import Window


def make(name: str = "innovation", n_passes: int = 2, seed: int = 0) -> JumpFilter:
    """A small filter whose further passes start elsewhere."""
    torch.manual_seed(seed)
    sizes = {"n_modes": 4, "n_static": 2, "n_state": 5, "n_hidden": 8}
    model = build_filter(2, **FILTERS[name], **sizes, n_passes=n_passes)
    if n_passes > 1:
        torch.nn.init.normal_(model.restart, std=0.5)
    torch.nn.init.normal_(model.z_start)
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "innovation")) for name in FILTERS]
)
def test_filters_of_two_passes_keep_the_contract(name):
    check_model(make(name))


@pytest.mark.slow
def test_ensembles_of_two_passes_keep_the_contract():
    check_model(Ensemble([make(seed=0), make(seed=1)]))


def test_untrained_passes_change_nothing():
    batch, queries = example_batch(2)
    one, two = make(n_passes=1).double(), make(n_passes=2).double()
    torch.nn.init.zeros_(two.restart)
    two.load_state_dict(one.state_dict() | {"restart": two.restart})
    torch.testing.assert_close(
        two.forecast(batch, queries).params, one.forecast(batch, queries).params, rtol=1e-12, atol=1e-13
    )  # rows of other parts of the history stand beside each other, hence not bit for bit


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("n_passes", [2, 3])
def test_fused_passes_are_those_of_the_plain_loop(n_passes, n_members):
    models = [make(n_passes=n_passes, seed=seed).double() for seed in range(n_members)]
    batch, _ = example_batch(2)  # with a series that saw nothing
    weights = [weight for model in models for weight in model.parameters()]
    answers = []
    for is_fused in (False, True):
        for model in models:
            model.use_fused = is_fused
        paths = [filtered.path for filtered in run_filters(models, batch)]
        states = torch.stack([torch.cat([p.z_minus, p.z_plus, p.z_end[:, None]], dim=1) for p in paths])
        factor = torch.randn(states.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        answers.append((states, torch.autograd.grad((states * factor).sum(), weights, allow_unused=True)))
    (plain, plain_slopes), (fused, fused_slopes) = answers
    torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-12)
    for a, b in zip(fused_slopes, plain_slopes):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_the_second_pass_is_a_first_pass_from_where_that_ended():
    model = make().double()
    batch, _ = example_batch(2)
    filtered = model.filter(batch)
    start = filtered.first.z_end @ model.restart + model.z_start
    for row in (filtered.batch.lengths > 0).nonzero()[:, 0].tolist():
        one = filtered.batch.select(torch.tensor([row]))
        again = make(n_passes=1).double()
        again.load_state_dict({k: v for k, v in model.state_dict().items() if k != "restart"})
        again.z_start.data.copy_(start[row])
        torch.testing.assert_close(again.filter(one).path.z_end[0], filtered.path.z_end[row], rtol=1e-10, atol=1e-12)


def test_a_query_between_events_is_answered_as_if_its_past_were_all():
    model = make().double()
    batch, _ = example_batch(2)
    row = int(batch.lengths.argmax())
    one = batch.select(torch.tensor([row])).compact()
    n = int(one.lengths)
    middle = 0.5 * (one.times[:, :-1] + one.times[:, 1:])[:, : n - 1]
    together = model.forecast(one, middle).params
    for k in range(n - 1):
        past = one.replace(
            times=one.times[:, : k + 1], values=one.values[:, : k + 1], mask=one.mask[:, : k + 1],
            lengths=torch.tensor([k + 1]),
        )  # fmt: skip
        alone = model.forecast(past, middle[:, k : k + 1]).params
        torch.testing.assert_close(together[:, k : k + 1], alone, rtol=1e-10, atol=1e-12)


def test_one_step_predictions_come_from_the_first_pass():
    one, two = make(n_passes=1).double(), make(n_passes=2).double()
    two.load_state_dict(one.state_dict() | {"restart": two.restart})
    batch, _ = example_batch(2)
    assert torch.equal(two.one_step(two.filter(batch)), one.one_step(one.filter(batch)))


def test_the_restart_learns_from_the_forecast():
    model = make().double()
    torch.nn.init.zeros_(model.restart)
    batch, _ = example_batch(2)
    targets = batch.replace(times=batch.times + 10.0)
    loss, _, _ = FilterObjective(horizon=20.0)(model, Window(batch, targets, batch))
    loss.backward()
    assert model.restart.grad.abs().max() > 0
