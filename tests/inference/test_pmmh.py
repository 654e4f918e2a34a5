from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.inference.densities import Decay, Normal
from tsode.inference.density import reseeded, select, surrogate
from tsode.inference.infer import infer
from tsode.inference.settings import Settings

SMALL = Settings(n_prior=512, n_starts=8)


class Noisy(Normal):
    """Normal laws whose log density has normal errors of mean ``-sd^2 / 2``, so that the density's mean is right."""

    sd = 1.2

    def __init__(self, *arguments, seed: int = 0, **named) -> None:
        super().__init__(*arguments, **named)
        self.seed = seed

    def log_prob(self, u: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        error = torch.randn(u.shape[:2], generator=generator, dtype=torch.float64)
        return super().log_prob(u) + self.sd * error - 0.5 * self.sd**2

    def with_seed(self, k: int) -> Noisy:
        return Noisy(len(self.names), float(self.covariance[0, -1]), self.problems, seed=k)

    def surrogate(self) -> Normal:
        return Normal(len(self.names), float(self.covariance[0, -1]), self.problems)

    def select(self, problems: Tensor) -> Noisy:
        kept = tuple(self.problems[i] for i in problems.tolist())
        return Noisy(len(self.names), float(self.covariance[0, -1]), kept, seed=self.seed)


def assert_right(posterior, mean: Tensor, sd: Tensor) -> None:
    """Means within five standard errors, by the effective draws."""
    se = sd / posterior.ess_bulk.sqrt()
    assert ((posterior.mean - mean).abs() < 5.0 * se).all()
    assert ((posterior.sd / sd).log().abs() < 5.0 / posterior.ess_bulk.sqrt()).all()
    assert (posterior.ess_bulk > 400).all()
    assert (posterior.rhat < 1.02).all()


@pytest.mark.slow
def test_without_estimates_it_is_metropolis_hastings_with_the_posterior_of_quadrature():
    truth = infer(Decay(), "quadrature", 0)
    posterior = infer(Decay(), "pmmh", 0, SMALL)
    assert posterior.engine == ("pmmh",)
    assert_right(posterior, truth.mean, truth.sd)


@pytest.mark.slow
def test_noisy_estimates_give_the_exact_posterior():
    noisy = Noisy(2, 0.6, problems=(0, 3))
    posterior = infer(noisy, "pmmh", 0, SMALL)
    assert_right(posterior, noisy.mean, torch.ones(2, 2).double())
    assert posterior.log_evidence.isnan().all()


def test_estimates_that_scatter_too_much_are_named():
    class Wild(Noisy):
        sd = 8.0

        def with_seed(self, k: int) -> Wild:
            return Wild(2, 0.0, self.problems, seed=k)

    short = Settings(n_prior=512, n_starts=8, n_warm_up=4, most_blocks=1, n_block=8)
    posterior = infer(Wild(2, 0.0), "pmmh", 0, short)
    assert any("take more particles" in problem for problem in posterior.problems[0])


def test_seeds_and_surrogates_reach_through_a_choice_of_problems():
    class Unselectable:
        """A noisy density that cannot leave out problems."""

        def __init__(self, inner) -> None:
            self.inner, self.names, self.n_problems = inner, inner.names, inner.n_problems
            self.log_prob, self.sample_prior = inner.log_prob, inner.sample_prior

        def with_seed(self, k: int) -> Unselectable:
            return Unselectable(self.inner.with_seed(k))

        def surrogate(self) -> Normal:
            return self.inner.surrogate()

    noisy, u = Noisy(2, 0.0, problems=(0, 3)), torch.zeros(1, 4, 2).double()
    chosen = select(Unselectable(noisy), torch.tensor([1]))
    both = torch.zeros(2, 4, 2).double()
    assert torch.equal(reseeded(chosen, 7).log_prob(u), noisy.with_seed(7).log_prob(both)[1:])
    assert torch.equal(surrogate(chosen).log_prob(u), noisy.surrogate().log_prob(both)[1:])
    assert reseeded(Normal(2), 7).log_prob(u).isfinite().all()


def test_a_problem_alone_has_the_draws_that_it_has_among_others():
    short = Settings(n_prior=512, n_starts=8, n_warm_up=4, most_blocks=1, n_block=4)
    both = infer(Normal(2, problems=(0, 3)), "pmmh", 0, short)
    alone = infer(Normal(2, problems=(3,)), "pmmh", 0, short, keys=[1])
    torch.testing.assert_close(alone.draws[0], both.draws[1])


def test_time_that_is_up_keeps_what_there_is():
    with pytest.warns(UserWarning, match="stopped after"):
        posterior = infer(Noisy(2, 0.0), "pmmh", 0, SMALL, max_seconds=0.5)
    assert posterior.draws.isfinite().all()
    assert any("unfinished" in problem for problem in posterior.problems[0])
