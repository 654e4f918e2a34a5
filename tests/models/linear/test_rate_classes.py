"""Rate classes against the same filters run one by one: evidence, weights, forecasts, smoothing and samples."""

import math

import pytest
import torch

from tsode.core.batch import IrregularBatch
from tsode.models.linear.rate_classes import AXES, RateClasses
from tsode.models.linear.sde import LinearSDE, StableLinearSDE

TIMES = torch.tensor([[0.0, 0.4, 0.5, 1.3, 2.0], [0.2, 0.3, 1.0, 1.1, 1.1]], dtype=torch.float64)


def _model(axes: dict[str, int] | None = None, seed: int = 0) -> RateClasses:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = RateClasses(axes or {"frequency": 3}, StableLinearSDE(2, 4))
        with torch.no_grad():
            model.logits.copy_(torch.randn(model.n_classes, dtype=torch.float64))
    return model


def _batch() -> IrregularBatch:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 5, 2, generator=generator) < 0.7
    lengths = torch.tensor([5, 4])
    mask[1, 4] = False
    return IrregularBatch(TIMES, values * mask, mask, lengths)


def _alone(model: RateClasses) -> list[LinearSDE]:
    """The system of each class by itself."""
    one = model.system()
    return [
        LinearSDE(
            drift=one.drift[k].detach(), diffusion=one.diffusion[k].detach(), readout=one.readout.detach(),
            readout_offset=one.readout_offset.detach(), noise=one.noise.detach(),
        )
        for k in range(model.n_classes)
    ]  # fmt: skip


def test_a_spread_of_zero_is_the_one_system() -> None:
    model = _model({"frequency": 3, "damping": 2})
    with torch.no_grad():
        model.log_spread.fill_(-math.inf)
    queries = torch.tensor([[0.45, 3.0], [0.1, 2.0]], dtype=torch.float64)
    mixed, one = model.forecast(_batch(), queries), model.base.forecast(_batch(), queries)
    torch.testing.assert_close(mixed.mean, one.mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mixed.variance, one.variance, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        model.log_likelihood(_batch()), model.base.log_likelihood(_batch()), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("axis", AXES)
def test_the_stationary_covariance_of_every_class_is_the_identity(axis: str) -> None:
    system = _model({axis: 3}).system()
    for drift, diffusion in zip(system.drift, system.diffusion):
        torch.testing.assert_close(drift + drift.mT, -diffusion @ diffusion.mT, rtol=1e-12, atol=1e-12)


def test_evidence_and_forecasts_are_those_of_the_classes_one_by_one() -> None:
    model, batch = _model({"frequency": 3, "damping": 2}), _batch()
    prior = model.logits.log_softmax(dim=0)
    alone = _alone(model)
    evidence = torch.stack([one.log_likelihood(batch) for one in alone])
    torch.testing.assert_close(model.log_likelihood(batch), (evidence + prior[:, None]).logsumexp(dim=0))
    queries = torch.tensor([[0.1, 0.5, 1.0, 4.0], [0.0, 0.25, 1.05, 2.0]], dtype=torch.float64)
    found = model.forecast(batch, queries)
    for row in range(2):
        for k, time in enumerate(queries[row]):
            n = int((batch.times[row] < time).sum())
            before = IrregularBatch(
                batch.times[row : row + 1, :n], batch.values[row : row + 1, :n], batch.mask[row : row + 1, :n],
                torch.tensor([n]),
            )  # fmt: skip
            weight = (torch.cat([one.log_likelihood(before) for one in alone]) + prior).softmax(dim=0)
            each = [one.forecast(before, time.reshape(1, 1)) for one in alone]
            mean = torch.stack([one.mean[0, 0] for one in each])
            second = torch.stack([one.variance[0, 0] + one.mean[0, 0] ** 2 for one in each])
            middle = weight @ mean
            torch.testing.assert_close(found.mean[row, k], middle)
            torch.testing.assert_close(found.variance[row, k], weight @ second - middle**2)


def test_filled_values_are_mixed_by_what_came_later_too() -> None:
    model, batch = _model(), _batch()
    alone = _alone(model)
    weight = (torch.stack([one.log_likelihood(batch) for one in alone]) + model.logits.log_softmax(0)[:, None]).softmax(
        0
    )
    queries = torch.tensor([[0.45, 1.0], [0.25, 0.7]], dtype=torch.float64)
    means = torch.stack([one.interpolate(batch, queries).mean for one in alone])
    torch.testing.assert_close(model.fill(batch, queries).mean, (weight[..., None, None] * means).sum(dim=0))


def test_samples_have_the_law_of_the_forecast() -> None:
    model, batch = _model({"frequency": 2}), _batch()
    queries = torch.tensor([[0.45, 2.5, 3.0], [0.25, 1.2, 2.0]], dtype=torch.float64)
    paths = model.sample(batch, queries, 20_000, torch.Generator().manual_seed(0))
    forecast = model.forecast(batch, queries)
    sd = forecast.variance.sqrt()
    assert ((paths.mean(dim=0) - forecast.mean).abs() < 4.0 * sd / 20_000**0.5).all()
    torch.testing.assert_close(paths.var(dim=0), forecast.variance, rtol=0.06, atol=0.0)
    smoothed = model.sample_smoothed(batch, queries, 20_000, torch.Generator().manual_seed(0))
    filled = model.fill(batch, queries)
    assert ((smoothed.mean(dim=0) - filled.mean).abs() < 4.0 * filled.variance.sqrt() / 20_000**0.5).all()


def test_gradients_are_those_of_differences() -> None:
    model, batch = _model({"speed": 2}), _batch()
    model.log_likelihood(batch).sum().backward()
    for parameter in (model.log_spread, model.logits):
        for k in range(len(parameter)):
            sides = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    parameter[k] += step
                    sides.append(float(model.log_likelihood(batch).sum()))
                    parameter[k] -= step
            assert float(parameter.grad[k]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_a_series_beside_others_is_forecast_as_alone() -> None:
    model, batch = _model(), _batch()
    queries = torch.tensor([[3.0], [2.0]], dtype=torch.float64)
    whole = model.forecast(batch, queries)
    alone = model.forecast(batch.select(torch.tensor([1])), queries[1:])
    torch.testing.assert_close(alone.params[0], whole.params[1], rtol=1e-12, atol=1e-12)


def test_densities_of_the_events_add_up_to_the_evidence() -> None:
    model, batch = _model(), _batch()
    filtered = model.filter(batch)
    torch.testing.assert_close(filtered.log_likelihood, model.log_likelihood(batch), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(filtered.log_densities.sum(dim=1), filtered.log_likelihood)
