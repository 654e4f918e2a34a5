"""Posteriors that mislead: the answer is right, or what is wrong is named."""

from __future__ import annotations

import math

import pytest
import torch

from tests.inference.densities import (
    Written,
    at_a_bound,
    banana,
    failing,
    funnel,
    log_normal_density,
    product_of_rates,
    ridge_of_cauchys,
    student,
    two_modes,
    untouched,
)
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer

SLACK = 0.005  # quadrature's draws are as even as cells are fine


def kinds(posterior: Posterior) -> set[str]:
    return {text.split(":")[0] for text in posterior.problems[0]}


def share_below(posterior: Posterior, bound: float, coordinate: int = 0) -> tuple[float, float]:
    """Share of the posterior below a bound, and six standard errors of it."""
    share = float(posterior.expect(lambda u: (u[..., coordinate] < bound).double())[0])
    ess = float(posterior.ess_bulk[0, coordinate])
    return share, 6.0 * (0.25 / ess) ** 0.5 + SLACK


def evidence_is(posterior: Posterior, exact: float) -> bool:
    return abs(float(posterior.log_evidence) - exact) < 6.0 * float(posterior.log_evidence_se) + 1e-3


@pytest.mark.parametrize("p", [2, 3, 6])
def test_a_ridge_under_cauchy_priors(p):
    posterior = infer(ridge_of_cauchys(p), random_state=0)
    x = torch.linspace(-4.0, 6.0, 100_001, dtype=torch.float64)  # the sum is Cauchy of width p
    sum_density = (p / math.pi / (p**2 + x**2)).log() + log_normal_density(x, 1.0, 0.1)
    assert evidence_is(posterior, float(sum_density.logsumexp(0)) + math.log(1e-4))
    total = posterior.expect(lambda u: u.sum(-1))
    assert abs(float(total) - 1.0) < 0.02
    draws = posterior.draws[0].flatten(0, 1)
    assert draws.std(0).min() > 0.8
    # all coordinates are alike
    medians = draws.median(dim=0).values
    assert float(medians.max() - medians.min()) < 0.25


@pytest.mark.parametrize("p", [1, 2, 4, 8])
def test_two_modes_of_equal_weight_are_both_there_and_named(p):
    posterior = infer(two_modes(p), random_state=0)
    share, error = share_below(posterior, 0.0)
    assert abs(share - 0.5) < error
    assert evidence_is(posterior, 0.0)
    assert kinds(posterior) == {"several modes"}
    assert "x0 -3" in posterior.problems[0][0]
    assert "50%" in posterior.problems[0][0]


def test_what_is_not_identified_is_named_with_its_signs():
    posterior = infer(product_of_rates(), random_state=0)
    assert kinds(posterior) == {"not identified"}
    assert "log_a - log_b" in posterior.problems[0][0]
    assert "log_c" not in posterior.problems[0][0]
    assert evidence_is(posterior, float(log_normal_density(torch.tensor(0.5), 0.0, math.sqrt(2.0025))
                                        + log_normal_density(torch.tensor(1.0), 0.0, math.sqrt(1.01))))  # fmt: skip
    difference = posterior.expect(lambda u: (u[..., 0] - u[..., 1]) ** 2)
    assert abs(float(difference) - 2.0) < 0.2


def test_a_coordinate_that_no_datum_touches_has_its_prior_and_is_named():
    posterior = infer(untouched(), random_state=0)
    assert len(posterior.problems[0]) == 1
    assert "not identified: spare" in posterior.problems[0][0]
    assert "x0" not in posterior.problems[0][0]
    for level in (0.05, 0.5, 0.95):
        share, error = share_below(posterior, float(torch.special.ndtri(torch.tensor(level).double())), 3)
        assert abs(share - level) < error


@pytest.mark.parametrize("p", [1, 3])
def test_a_third_of_the_prior_fails_and_nothing_becomes_nan(p):
    posterior = infer(failing(p), random_state=0)
    # product of N(0, 1) and N(.5, .5): N(.4, sqrt(.2)), times the density of .5 under N(0, sqrt(1.25))
    inside = float(torch.special.ndtr(torch.tensor((0.4 + 0.4307) / 0.2**0.5, dtype=torch.float64)))
    constant = float(log_normal_density(torch.tensor(0.5, dtype=torch.float64), 0.0, 1.25**0.5))
    assert evidence_is(posterior, constant + math.log(inside))
    share, error = share_below(posterior, 0.4)
    assert abs(share - (0.5 - (1.0 - inside)) / inside) < error
    assert "failed solves" in kinds(posterior)
    share = float(posterior.modes.prior.share_failed[0])
    assert abs(share - 1.0 / 3.0) < 6.0 * (2.0 / 9.0 / 4096) ** 0.5
    assert any(
        text.startswith(f"failed solves: {share:.0%} of the draws of the prior") for text in posterior.problems[0]
    )
    assert not posterior.draws.isnan().any()
    assert not posterior.nodes.isnan().any()
    assert (posterior.draws[..., 0] > -0.4307 - 0.05).all()


@pytest.mark.parametrize("p", [2, pytest.param(5, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.slow)])
def test_a_funnel_is_right_or_named(p):
    posterior = infer(funnel(p), random_state=0)
    assert bool((posterior.rhat < 1.1).all() | posterior.rhat.isnan().all() | posterior.log_evidence.isnan())
    if kinds(posterior) & {"R-hat", "effective draws", "Pareto k"}:
        return
    assert evidence_is(posterior, 0.0)
    share, error = share_below(posterior, -1.0)
    assert abs(share - float(torch.special.ndtr(torch.tensor(-1.0 / 1.5).double()))) < error


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("p", [2, 3, pytest.param(6, marks=pytest.mark.slow)])
def test_a_crescent(p, seed):
    posterior = infer(banana(p), random_state=seed)
    if kinds(posterior) & {"R-hat", "effective draws", "Pareto k"}:
        return
    assert evidence_is(posterior, 0.0)
    for level in (0.1, 0.5, 0.9):
        share, error = share_below(posterior, float(torch.special.ndtri(torch.tensor(level).double())))
        assert abs(share - level) < error


@pytest.mark.parametrize("p", [1, 4, 10])
def test_heavy_tails(p):
    posterior = infer(student(p), random_state=0)
    assert not kinds(posterior) & {"R-hat", "effective draws", "Pareto k", "several modes"}
    assert evidence_is(posterior, 0.0)
    for bound, level in ((-2.353363, 0.05), (0.0, 0.5), (3.182446, 0.975)):  # of Student's t with 3 degrees of freedom
        share, error = share_below(posterior, bound)
        assert abs(share - level) < error


@pytest.mark.parametrize("p", [1, 3, 8])
def test_a_mode_at_a_bound_leaves_a_long_tail(p):
    posterior = infer(at_a_bound(p), random_state=0)
    assert not kinds(posterior) & {"R-hat", "effective draws", "Pareto k", "several modes"}
    assert evidence_is(posterior, 0.0)
    for bound in (-8.0, -1.5, 0.8):  # a Gamma(.5) variable is half a squared normal
        exact = math.erf(math.exp(bound) ** 0.5)
        share, error = share_below(posterior, bound)
        assert abs(share - exact) < error


def test_no_finite_density_is_an_answer_with_a_name_and_the_other_problem_is_answered():
    def log_prob(u):
        value = log_normal_density(u).sum(-1)
        return torch.stack([value[0], torch.full_like(value[1], torch.nan)])

    posterior = infer(Written(log_prob, ("a", "b", "c"), n_problems=2, scale=2.0), random_state=0)
    assert posterior.engine == ("importance", "none")
    assert posterior.problems[0] == ()
    assert posterior.problems[1][0].startswith("no posterior")
    assert posterior.draws[1].isnan().all()
    assert not posterior.draws[0].isnan().any()


@pytest.mark.slow
def test_a_density_that_rises_without_end_is_named():
    posterior = infer(Written(lambda u: u[..., 0] - 0.5 * u[..., 1:].square().sum(-1), ("a", "b", "c")), random_state=0)
    assert kinds(posterior) & {"no mode", "Pareto k", "effective draws", "R-hat"}
