"""Inference that lags behind, and what is measured of a posterior."""

from __future__ import annotations

import math

import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.models.latent.base import LatentModel
from tsode.models.latent.ode import build_latent_ode
from tsode.training.kl_schedule import KL_SCHEDULES
from tsode.training.lagging_inference import LaggingInference
from tsode.training.latent_objective import LatentObjective
from tsode.training.latent_usage import LatentUsage, measure_usage, mutual_information
from tsode.training.loop import TrainingPlan, train
from tsode.training.windows import Window


def draw(generator: torch.Generator, n: int = 64, noise: float = 2.0) -> Window:
    """Each series is its own level, seen eight times in noise of twice the spread of the levels; unit variance."""
    shape = (n, 8, 1)
    level = torch.randn(n, 1, 1, generator=generator)
    values = (level + noise * torch.randn(shape, generator=generator)) / math.hypot(1.0, noise)
    times = torch.rand(n, 8, generator=generator, dtype=torch.float64).sort(dim=1).values
    mask = torch.ones(shape, dtype=torch.bool)
    batch = IrregularBatch(times, values, mask, torch.full((n,), 8))
    nothing = IrregularBatch(times[:, :0], values[:, :0], mask[:, :0], torch.zeros(n, dtype=torch.int64))
    return Window(batch, nothing, batch)


def told(seed: int, lagging: bool, epochs: int) -> float:
    """Mutual information after training a model that has far more latent coordinates than there is to tell."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = build_latent_ode(
        1, encoder="set_attention", evolution="mean_reverting", n_state=32, n_static=0, n_encoder=16, n_hidden=16
    )
    with torch.no_grad():
        model.emission.log_scale.zero_()  # all that is seen is noise: what a model without a latent would say
    objective, shown, callbacks = LatentObjective("elbo", 1, generator), draw(generator, 256), []
    if lagging:
        encoder = [*model.encoder.parameters(), *model.posterior.parameters()]
        objective = LaggingInference(objective, encoder, lambda: draw(generator), 0.03, max_steps=20)
        callbacks.append(objective.on_epoch_end)

    def validate(model: LatentModel) -> dict[str, float]:
        seen = model.infer(shown.context)
        usage = measure_usage(seen.mean, seen.log_scale, torch.Generator().manual_seed(0))
        return {"loss": 0.0, "mutual_information": usage.mutual_information}

    plan = TrainingPlan(epochs, learning_rate=0.03, weight_decay=0.0, patience=None, average=0.0)
    history = train(
        model, lambda: [draw(generator) for _ in range(15)], 15, objective, validate, plan, callbacks=callbacks
    )
    return history[-1]["valid_mutual_information"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_posterior_that_plain_training_passes_by_at_first_is_used_at_once_by_the_lagging_schedule(seed):
    # exact: half the log of 1 + 8 / 4, 0.55 nats
    assert abs(told(seed, lagging=False, epochs=1)) < 0.02
    assert told(seed, lagging=True, epochs=1) > 0.1


def test_inner_steps_move_the_encoder_alone_and_end_when_the_latent_tells_no_more():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = build_latent_ode(1, n_modes=2, n_static=1, n_encoder=4, n_hidden=4)
    encoder = [*model.encoder.parameters(), *model.posterior.parameters()]
    before = [p.detach().clone() for p in model.parameters()]
    lagging = LaggingInference(LatentObjective("elbo", 1, generator), encoder, lambda: draw(generator, 8), max_steps=10)
    lagging(model.train(), draw(generator, 8))
    ahead = {id(p) for p in encoder}
    for old, new in zip(before, model.parameters()):
        assert id(new) in ahead or torch.equal(old, new)
    assert not torch.equal(before[list(map(id, model.parameters())).index(id(model.posterior.weight))], encoder[-2])
    for value, goes_on in ((0.2, True), (0.3, True), (0.3, False), (0.9, False)):
        lagging.on_epoch_end({"valid_mutual_information": value})
        assert lagging.is_aggressive is goes_on


def test_mutual_information_is_that_of_a_linear_gaussian_channel():
    # mean ~ N(0, 1) and z = mean + r * noise: half the log of 1 + 1 / r^2, a coordinate
    generator = torch.Generator().manual_seed(0)
    n, r = 2000, 0.5
    mean = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    found = mutual_information(mean, torch.full_like(mean, math.log(r)), generator)
    # of one pair the term has a standard deviation below 1: six standard errors, and a bias of order (volumes) / n
    assert found == pytest.approx(math.log(1.0 + 1.0 / r**2), abs=6.0 / math.sqrt(n) + 0.02)
    assert mutual_information(0.0 * mean, 0.0 * mean, generator) == pytest.approx(0.0, abs=1e-9)
    # series that are told apart for certain: the log of their number
    apart = torch.arange(50, dtype=torch.float64)[:, None]
    assert mutual_information(apart, torch.full_like(apart, -5.0), generator) == pytest.approx(math.log(50))


def test_units_are_active_where_their_mean_varies():
    mean = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.05, 0.0])
    usage = measure_usage(mean, torch.tensor([-1.0, 0.0, 0.0]).expand(500, 3), torch.Generator().manual_seed(0))
    assert (usage.active_units, usage.n_units) == (1, 3)
    assert usage.is_used
    torch.testing.assert_close(usage.kl[2], torch.tensor(0.0))
    assert not LatentUsage(0, 3, 0.001, torch.zeros(3), n_series=2).is_used


def test_kl_schedules_end_at_one_and_rise():
    done = [k / 200 for k in range(201)]
    for name, schedule in KL_SCHEDULES.items():
        weights = [schedule(d) for d in done]
        assert weights[-1] == 1.0
        assert 0.0 <= min(weights) <= max(weights) <= 1.0
        assert weights[0] == (1.0 if name == "constant" else 0.0)
    assert KL_SCHEDULES["linear"](0.125) == pytest.approx(0.5)
    assert [KL_SCHEDULES["cyclical"](d) for d in (0.0, 0.0625, 0.2, 0.25, 0.5)] == [0.0, 0.5, 1.0, 0.0, 0.0]
