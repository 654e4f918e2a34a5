import math

import numpy as np
import pytest
import torch

from tests.registries import small_latent_sde
from tsode.core.batch import IrregularBatch
from tsode.dynamics import OrnsteinUhlenbeck
from tsode.models.latent import sde
from tsode.models.latent.sde import LatentSDE, build_latent_sde
from tsode.numerics import EulerMaruyama, TorchSDE
from tsode.testing import example_batch
from tsode.testing.models import check_queries_are_alone, check_rows_are_alone
from tsode.training.evidence import elbo, gather_evidence

STEP, RATE, SIGMA, NOISE = 0.125, 1.0, 1.2, 0.4
SILENT = 1e-30  # a pull that moves nothing


def ornstein_uhlenbeck(**how) -> LatentSDE:
    """A latent Ornstein-Uhlenbeck process of one coordinate, seen with noise; untrained posterior."""
    torch.manual_seed(0)
    model = build_latent_sde(
        1, sde=OrnsteinUhlenbeck(1), n_encoder=16, n_hidden=16, solver=EulerMaruyama(), **how
    ).double()  # fmt: skip
    model.emission.location = torch.nn.Linear(1, 1).double()
    with torch.no_grad():
        model.sde.log_sigma.fill_(math.log(SIGMA))
        model.emission.location.weight.fill_(1.0)
        model.emission.location.bias.zero_()
        model.emission.log_scale.fill_(math.log(NOISE))
    return model


def on_the_grid(n_series=12, seed=0) -> IrregularBatch:
    """Series of five events at multiples of the step, of the process above."""
    rng = np.random.default_rng(seed)
    times, values = [], []
    for _ in range(n_series):
        t = np.sort(rng.choice(17, 5, replace=False)) * STEP
        law = np.linalg.cholesky(covariance(t) + NOISE**2 * np.eye(5))
        times.append(t + rng.integers(0, 50))
        values.append((law @ rng.normal(size=5))[:, None])
    return IrregularBatch.from_arrays(times, values, torch.float64)


def covariance(t):
    """Of the Euler-Maruyama chain with steps `STEP` from N(0, 1) at the first of the times."""
    k = np.round((t - t[0]) / STEP).astype(int)
    keep, push = 1 - RATE * STEP, SIGMA**2 * STEP
    variance = keep ** (2 * k) + push * (1 - keep ** (2 * k)) / (1 - keep**2)
    first = np.minimum(k[:, None], k)
    return (
        keep ** np.abs(k[:, None] - k) * variance[np.where(first == k, np.arange(len(k)), np.arange(len(k))[:, None])]
    )


def log_evidence(batch):
    found = []
    for t, x in zip(batch.times.numpy(), batch.values[..., 0].numpy()):
        c = covariance(t) + NOISE**2 * np.eye(len(t))
        found.append(-0.5 * (x @ np.linalg.solve(c, x) + np.linalg.slogdet(2 * np.pi * c)[1]))
    return torch.tensor(found)


def bounds(model, batch, n_samples, seed=0):
    """Sampled bound (s b): its mean is the evidence lower bound."""
    inference = model.infer(batch)
    draws = model.fresh_draws(n_samples, batch.n_series, torch.Generator().manual_seed(seed))
    evidence = gather_evidence(model, inference, inference.batch, draws)
    assert not evidence.status.any()
    torch.testing.assert_close(
        elbo(evidence), (evidence.log_likelihood - evidence.cost).mean(dim=0) - evidence.kl.sum(dim=1)
    )
    return evidence.log_likelihood - evidence.cost - evidence.kl.sum(dim=1)


@pytest.mark.slow
def test_evidence_bound_is_below_the_exact_evidence_and_training_the_guide_closes_most_of_the_gap():
    model, batch = ornstein_uhlenbeck(), on_the_grid()
    exact = log_evidence(batch)

    def gap():
        with torch.no_grad():
            sampled = bounds(model, batch, 400)
        error = sampled.std(dim=0) / 400**0.5
        assert (sampled.mean(dim=0) <= exact + 6 * error).all()
        return float((exact - sampled.mean(dim=0)).mean())

    before = gap()
    optimizer = torch.optim.Adam(model.amortised(), lr=2e-2)
    for step in range(80):
        optimizer.zero_grad()
        (-bounds(model, batch, 4, seed=step + 1).mean()).backward()
        optimizer.step()
    # What is left: a normal start, and a guide that reads the events through a small network.
    assert gap() < 0.2 * before


def test_paths_follow_the_prior_where_the_guide_is_silent():
    model, batch = ornstein_uhlenbeck(), on_the_grid(4)
    model.guide.fastest = SILENT
    inference = model.infer(batch)
    draws = model.fresh_draws(3, 4, torch.Generator().manual_seed(1))
    times = inference.start[:, None] + torch.tensor([0.0, 0.3, 3.0], dtype=torch.float64)
    paths = model.paths(inference, times, draws)
    torch.testing.assert_close(paths.cost, torch.zeros(3, 4, dtype=torch.float64), rtol=0, atol=1e-20)
    torch.testing.assert_close(paths.z[:, :, 0], inference.state(draws.start), rtol=0, atol=0)


def test_sampled_paths_are_joint_draws_of_the_process_after_the_last_event():
    model, batch = ornstein_uhlenbeck(), on_the_grid(1)
    n, lead = 4000, torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    query = batch.times[:, -1:] + lead
    drawn = model.sample(batch, query, n, torch.Generator().manual_seed(0))[:, 0, :, 0]
    # Given the path's end z at the last event: mean keep**k z, as an Euler-Maruyama chain.
    keep = 1 - RATE * STEP
    k = (lead / STEP).round()
    end = model.sample(batch, batch.times[:, -1:] + 1e-9, n, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    spread = float(end.var()) - NOISE**2
    variance = keep ** (2 * k) * spread + SIGMA**2 * STEP * (1 - keep ** (2 * k)) / (1 - keep**2)
    expected = keep ** (k[:, None] - k).abs() * variance[torch.minimum(torch.arange(3)[:, None], torch.arange(3))]
    expected = expected + NOISE**2 * torch.eye(3, dtype=torch.float64)
    found = torch.cov(drawn.T)
    # Of a sample covariance: (s t + c**2) / n; that of `spread` is of the same kind.
    diagonal = expected.diagonal()
    error = ((diagonal[:, None] * diagonal + expected**2) / n).sqrt() + keep ** k[:, None] * keep**k * (2 / n) ** 0.5
    assert ((found - expected).abs() <= 6 * error).all()
    assert found[0, 1] > 0.3 * found[0, 0]


@pytest.mark.parametrize("n_series", [1, 3])
def test_samples_are_independent_of_each_other(n_series):
    model, batch = ornstein_uhlenbeck(), on_the_grid(n_series)
    drawn = model.sample(batch, batch.times[:, -1:] + 2.0, 2000, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    first, second = drawn.reshape(2, 1000)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) <= 6 / 1000**0.5


def test_blocks_of_samples_bound_memory_and_change_no_number(monkeypatch):
    torch.manual_seed(0)
    model = small_latent_sde().double().eval()
    batch, queries = example_batch(2)
    whole = model.forecast(batch, queries).params
    monkeypatch.setattr(sde, "STATES_AT_ONCE", 3000)
    torch.testing.assert_close(model.forecast(batch, queries).params, whole, rtol=1e-12, atol=1e-12)


def test_forecasts_widen_as_the_process_does():
    model = ornstein_uhlenbeck(n_samples=1000)
    with torch.no_grad():  # a posterior that knows the state at the only event: 0
        model.posterior.weight.zero_()
        model.posterior.bias.copy_(torch.tensor([0.0, -7.0]))
    batch = IrregularBatch.from_arrays([np.array([3.0])], [np.array([[0.0]])], torch.float64)
    k = torch.tensor([0.0, 1.0, 8.0, 24.0], dtype=torch.float64)
    forecast = model.forecast(batch, 3.0 + STEP * k[None], side="right")
    keep = 1 - RATE * STEP
    expected = SIGMA**2 * STEP * (1 - keep ** (2 * k)) / (1 - keep**2) + NOISE**2
    # Paths come with their reflections: means are exact, and a variance is one of 500 independent squares.
    torch.testing.assert_close(forecast.mean[0, :, 0], torch.zeros_like(k), rtol=0, atol=1e-3)
    assert ((forecast.variance[0, :, 0] - expected).abs() <= 6 * expected * (2 / 500) ** 0.5).all()


def test_no_forecast_depends_on_noise_beyond_the_seed_of_the_model():
    torch.manual_seed(0)
    model = small_latent_sde().eval()
    batch, queries = example_batch(2, torch.float32)
    torch.manual_seed(1)
    first = model.forecast(batch, queries).params
    assert torch.equal(model.forecast(batch, queries).params, first)
    model.seed.add_(1)
    assert not torch.equal(model.forecast(batch, queries).params, first)


def test_rows_of_one_series_share_their_noise_in_a_sample():
    # Two queries between events, of different histories: the same Brownian path serves both.
    model, batch = ornstein_uhlenbeck(), on_the_grid(1)
    model.guide.fastest = SILENT
    with torch.no_grad():
        model.posterior.weight.zero_()
        model.posterior.bias.zero_()
        model.emission.log_scale.fill_(-5.0)
    first = batch.times[0, 0]
    query = (first + torch.tensor([0.5, 1.0], dtype=torch.float64))[None]
    drawn = model.sample(batch, query, 2000, torch.Generator().manual_seed(0))[:, 0, :, 0]
    correlation = float(torch.corrcoef(drawn.T)[0, 1])
    k = torch.tensor([4.0, 8.0])
    keep = 1 - RATE * STEP
    variance = keep ** (2 * k) + SIGMA**2 * STEP * (1 - keep ** (2 * k)) / (1 - keep**2)
    expected = float(keep**4 * (variance[0] / variance[1]).sqrt())
    assert abs(correlation - expected) <= 6 * (1 - expected**2) / 2000**0.5 + 0.01  # noise of exp(-5) in the readout


def test_cost_has_a_gradient_for_guide_encoder_and_prior():
    torch.manual_seed(0)
    model = small_latent_sde().double()
    batch, _ = example_batch(2)
    inference = model.infer(batch)
    draws = model.fresh_draws(2, batch.n_series, torch.Generator().manual_seed(0))
    model.paths(inference, inference.batch.times, draws).cost.sum().backward()
    for part in (model.guide, model.encoder, model.sde, model.posterior):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
        assert all(p.grad is None or p.grad.isfinite().all() for p in part.parameters())


@pytest.mark.slow
def test_a_method_of_torchsde_serves_as_the_solver():
    torch.manual_seed(0)
    model = small_latent_sde(solver=TorchSDE("milstein", n_steps=2)).double().eval()
    batch, queries = example_batch(2)
    check_rows_are_alone(model, batch, queries[:, :3])
    check_queries_are_alone(model, batch, queries[:, :3])


@pytest.mark.parametrize("far", [1e3, 1e9])
def test_a_slip_in_the_time_unit_is_a_status_not_a_full_memory(far):
    torch.manual_seed(0)
    model = small_latent_sde(solver=EulerMaruyama(max_steps=100)).double()
    batch, queries = example_batch(2)
    forecast = model.forecast(batch, queries.fill_(far))
    assert forecast.status.tolist() == [1, 1, 1, 0, 1]  # the row that saw nothing has nowhere to go
