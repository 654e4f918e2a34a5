"""Joint paths against simulated truth: an OU process seen exactly, and seen with noise."""

from __future__ import annotations

import math

import pytest
import torch

from tsode.core.forecast import Forecast
from tsode.likelihoods import Normal, StudentT
from tsode.models.residual_process import ResidualProcess
from tsode.simulate import ornstein_uhlenbeck

SPEED, SIGMA, START = 0.8, 0.6, 1.7
TIMES = torch.tensor([0.1, 0.15, 0.6, 1.0, 2.5, 2.6], dtype=torch.float64)
N = 40_000


def exact(noise: float, family=None) -> Forecast:
    """The exact marginals of observations of an OU process of mean 0, known to be at START at time 0."""
    family = Normal() if family is None else family
    mean = START * (-SPEED * TIMES).exp()
    variance = SIGMA**2 / (2 * SPEED) * (1 - (-2 * SPEED * TIMES).exp()) + noise**2
    params = family.from_moments(mean, variance.sqrt())[None, :, None]
    return Forecast(TIMES[None], params, family, torch.zeros(1, dtype=torch.int64))


def process(noise: float) -> ResidualProcess:
    made = ResidualProcess(1)
    made.length.fill_(1.0 / SPEED)
    made.noise.fill_(noise**2)
    return made.double()


def draw(noise: float, n: int = N) -> torch.Tensor:
    forecast = exact(noise)
    segment = torch.zeros(1, len(TIMES), dtype=torch.int64)
    scores = process(noise).normal_scores(forecast, segment, n, torch.Generator().manual_seed(1))
    return (forecast.mean + scores * forecast.variance.sqrt())[:, 0, :, 0]


def simulate(noise: float, n: int = N) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    grid = torch.cat([torch.zeros(1, dtype=torch.float64), TIMES])
    x = ornstein_uhlenbeck(grid, speed=SPEED, mean=0.0, sigma=SIGMA, start=START, n_paths=n, generator=generator)
    return x[:, 1:] + noise * torch.randn(n, len(TIMES), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_spread_of_increments_is_that_of_simulated_truth(noise):
    ours, truth = draw(noise), simulate(noise)
    for i in range(len(TIMES)):
        for j in range(i):
            left, right = (paths[:, i] - paths[:, j] for paths in (ours, truth))
            # the variance of n normal draws has a standard error of sqrt(2 / n) of itself; two of them differ
            bound = 6.0 * math.sqrt(2.0) * math.sqrt(2.0 / N) * right.var()
            assert (left.var() - right.var()).abs() < bound, (i, j)
            assert (left.mean() - right.mean()).abs() < 6.0 * math.sqrt(2.0 / N) * right.std()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_covariance_of_paths_is_the_exact_one(noise):
    spread = SIGMA**2 / (2 * SPEED)
    gap = (TIMES[:, None] - TIMES).abs()
    exact_covariance = spread * ((-SPEED * gap).exp() - (-SPEED * (TIMES[:, None] + TIMES)).exp())
    exact_covariance += noise**2 * torch.eye(len(TIMES))
    ours = torch.cov(draw(noise).T)
    power = exact_covariance.diagonal()
    # of a product of two normals with variances v, w and covariance c: sqrt((v w + c^2) / n)
    error = ((power[:, None] * power + exact_covariance**2) / N).sqrt()
    assert ((ours - exact_covariance).abs() < 6.0 * error).all()


def test_independent_draws_at_each_time_would_fail_the_same_bound():
    truth = simulate(0.0)
    loose = truth[torch.arange(N).roll(1), 0], truth[:, 1]
    tight = truth[:, 1] - truth[:, 0]
    assert (loose[1] - loose[0]).var() > 1.2 * tight.var()
    assert tight.var() < 1.5 * (draw(0.0)[:, 1] - draw(0.0)[:, 0]).var()


def test_marginals_are_standard_normal_at_every_time():
    scores = process(0.3).normal_scores(
        exact(0.3), torch.zeros(1, len(TIMES), dtype=torch.int64), N, torch.Generator().manual_seed(0)
    )[:, 0, :, 0]
    assert (scores.mean(dim=0).abs() < 6.0 / math.sqrt(N)).all()
    assert ((scores.var(dim=0) - 1.0).abs() < 6.0 * math.sqrt(2.0 / N)).all()


def test_an_event_between_two_queries_starts_the_error_anew():
    segment = torch.tensor([[0, 0, 0, 1, 1, 1]])
    scores = process(0.0).normal_scores(exact(0.0), segment, N, torch.Generator().manual_seed(0))[:, 0, :, 0]
    correlation = torch.corrcoef(scores.T)
    assert correlation[:3, 3:].abs().max() < 6.0 / math.sqrt(N)
    assert correlation[0, 1] > 0.7


def test_errors_of_channels_are_correlated_as_fitted():
    made = ResidualProcess(2).double()
    made.correlation.copy_(torch.tensor([[1.0, -0.8], [-0.8, 1.0]]))
    params = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    forecast = Forecast(TIMES[None, :3], params, Normal(), torch.zeros(1))
    scores = made.normal_scores(forecast, torch.zeros(1, 3, dtype=torch.int64), N, torch.Generator().manual_seed(0))
    for k in range(3):
        # the standard error of a correlation r is (1 - r^2) / sqrt(n)
        assert torch.corrcoef(scores[:, 0, k].T)[0, 1] == pytest.approx(-0.8, abs=6.0 * 0.36 / math.sqrt(N))


@pytest.mark.parametrize(("noise", "length"), [(0.0, 1.25), (0.3, 1.25), (0.0, 0.1)])
def test_length_and_noise_of_a_known_process_are_recovered(noise, length):
    generator = torch.Generator().manual_seed(3)
    n, m = 600, 12
    times = torch.rand(n, m, generator=generator, dtype=torch.float64).sort(dim=1).values * 3.0
    gap = (times[:, :, None] - times[:, None]).abs()
    covariance = 0.5 * (-gap / length).exp() + noise**2 * torch.eye(m, dtype=torch.float64)
    error = torch.linalg.cholesky(covariance) @ torch.randn(n, m, 1, generator=generator, dtype=torch.float64)
    variance = torch.full((n, m, 1), 0.5 + noise**2, dtype=torch.float64)
    made = ResidualProcess(1).double()
    made.fit(times, error, variance, torch.ones(n, m, 1, dtype=torch.bool))
    # the grid of lengths has four points a decade
    assert made.length.item() == pytest.approx(length, rel=0.8)
    assert made.noise.item() == pytest.approx(noise**2, abs=0.06)


def test_the_correlation_of_channels_is_recovered_and_positive_definite():
    generator = torch.Generator().manual_seed(4)
    root = torch.linalg.cholesky(torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    error = torch.randn(500, 4, 3, generator=generator, dtype=torch.float64) @ root.T
    mask = torch.rand(error.shape, generator=generator) < 0.7
    times = torch.arange(4, dtype=torch.float64).expand(500, 4)
    made = ResidualProcess(3).double()
    made.fit(times, torch.where(mask, error, torch.nan).nan_to_num(1e9), torch.ones_like(error), mask)
    # about 980 pairs: a standard error below 0.035 where there is no correlation
    torch.testing.assert_close(made.correlation, root @ root.T, atol=0.2, rtol=0)
    torch.testing.assert_close(made.correlation.diagonal(), torch.ones(3, dtype=torch.float64))
    assert (torch.linalg.eigvalsh(made.correlation) > 0).all()


def test_too_few_errors_leave_the_process_as_it_was():
    made = ResidualProcess(1)
    nothing = torch.zeros(3, 1, dtype=torch.bool)
    made.fit(torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), nothing[..., None])
    assert made.length.tolist() == [1.0]
    assert made.noise.tolist() == [0.0]
    assert made.correlation.tolist() == [[1.0]]


def test_samples_of_a_heavy_tailed_family_keep_its_marginals():
    forecast = exact(0.0, StudentT())
    scores = process(0.0).normal_scores(
        forecast, torch.zeros(1, len(TIMES), dtype=torch.int64), N, torch.Generator().manual_seed(5)
    )
    paths = forecast.family.quantile(forecast.params, torch.special.ndtr(scores))
    for level in (0.01, 0.5, 0.9):
        bound = forecast.quantile(torch.tensor([level], dtype=torch.float64))[..., 0]
        share = (paths <= bound).double().mean(dim=0)
        assert ((share - level).abs() < 6.0 * math.sqrt(level * (1 - level) / N)).all()
