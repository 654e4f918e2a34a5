"""Densities of known systems against SciPy and closed forms, and what must change nothing."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from tests.inference.known_examples import (
    LYNX_HARE_MEANS,
    SIR_MEANS,
    TIGHT,
    decay,
    draws,
    log_likelihood,
    lynx_hare,
    lynx_hare_by_scipy,
    lynx_hare_rates,
    numbers,
    observations,
    sir,
    sir_by_scipy,
)
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, LogNormalNoise
from tsode.inference.priors import LogNormal, Normal
from tsode.numerics.dopri5 import Dopri5


def with_gradient(density, u):
    u = u.clone().requires_grad_()
    value = density.log_prob(u)
    (gradient,) = torch.autograd.grad(value.where(value.isfinite(), 0.0).sum(), u)
    return value.detach(), gradient


# -- truth -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "means", "truth"),
    [(lynx_hare, LYNX_HARE_MEANS, lynx_hare_by_scipy), (sir, SIR_MEANS, sir_by_scipy)],
)
def test_the_log_likelihood_at_published_means_is_that_of_scipy(make, means, truth):
    for density, error in ((make(solver=TIGHT), 1e-7), (make(), 1e-3)):
        u = density.space.pack(means)
        assert float(log_likelihood(density, u)) == pytest.approx(truth(means), abs=error)


def test_the_log_prior_is_that_of_scipy_with_the_derivatives_of_the_coordinates():
    density = lynx_hare()
    u = density.space.pack(LYNX_HARE_MEANS)
    x, step = LYNX_HARE_MEANS, 1e-6
    slopes = (density.space.constrain(u + step) - density.space.constrain(u - step)) / (2 * step)
    half = [scipy.stats.truncnorm(-2, np.inf, 1, 0.5).logpdf(x[name]) for name in ("alpha", "gamma")]
    half += [scipy.stats.truncnorm(-1, np.inf, 0.05, 0.05).logpdf(x[name]) for name in ("beta", "delta")]
    half += [scipy.stats.lognorm(1, scale=10).logpdf(x[f"{name}_initial"]) for name in ("hare", "lynx")]
    half += [scipy.stats.lognorm(1, scale=math.exp(-1)).logpdf(x[f"sigma_{name}"]) for name in ("hare", "lynx")]
    assert float(density.space.log_prior(u)) == pytest.approx(sum(half) + float(slopes.log().sum()), abs=1e-7)


def test_decay_has_the_evidence_and_the_means_of_quadrature():
    density = decay()
    assert density.names == ("drug_initial", "k")
    nodes, weights = np.polynomial.legendre.leggauss(120)
    grid = 5.0 * numbers(nodes)
    u = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), dim=-1).reshape(1, -1, 2)
    log_weight = numbers(5.0 * weights).log()
    log_prob = density.log_prob(u)[0] + (log_weight[:, None] + log_weight).reshape(-1)
    evidence = log_prob.logsumexp(dim=0)
    assert float(evidence) == pytest.approx(-4.572800802802, abs=1e-8)
    x = density.space.constrain(u)[0]
    mean = ((log_prob - evidence).exp()[:, None] * x).sum(dim=0)
    assert mean.tolist() == pytest.approx([9.8265125821, 0.4628011608], abs=1e-8)


def test_gradients_are_those_of_differences():
    density = lynx_hare(solver=TIGHT, n_years=5)
    u = density.space.pack(LYNX_HARE_MEANS)
    _, gradient = with_gradient(density, u)
    steps = 1e-5 * torch.eye(8, dtype=torch.float64)
    apart = density.log_prob(u + steps) - density.log_prob(u - steps)
    torch.testing.assert_close(gradient[0, 0], apart[0] / 2e-5, rtol=1e-5, atol=1e-5)


# -- what must change nothing ------------------------------------------------------------------------------------------


def test_the_order_of_parameters_and_states_changes_nothing():
    one, other = lynx_hare(), lynx_hare(flip=True)
    u = draws(one, 4, spread=0.5)
    assert one.names == other.names
    assert torch.equal(one.log_prob(u), other.log_prob(u))


@pytest.mark.slow
def test_units_of_time_and_of_states_shift_the_density_by_a_constant_alone():
    base = lynx_hare(n_years=8)
    u = draws(base, 3, spread=0.5)
    value, gradient = with_gradient(base, u)
    for unit, per_year in ((1000.0, 1.0), (1.0, 365.25), (1e-3, 1e-6)):
        shifted, slope = with_gradient(lynx_hare(unit, per_year, n_years=8), u)
        torch.testing.assert_close(shifted, value - 16 * math.log(unit), rtol=1e-10, atol=1e-8)
        torch.testing.assert_close(slope, gradient, rtol=1e-7, atol=1e-6)


@pytest.mark.slow
def test_other_points_in_the_batch_change_nothing():
    density = lynx_hare(n_years=8)
    u = draws(density, 4, spread=0.5)
    value, gradient = with_gradient(density, u)
    for k in range(4):
        alone, slope = with_gradient(density, u[:, k : k + 1])
        torch.testing.assert_close(alone[0, 0], value[0, k], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(slope[0, 0], gradient[0, k], rtol=1e-8, atol=1e-8)


def several(values, shared=False, times=(1.0, 2.0, 4.0), ids="abc", solver=None):
    """Logistic growth of several series."""
    system = KnownSystem(
        lambda t, z, p: p.rate[:, None] * z * (1 - z),
        ["x"],
        {"rate": LogNormal(0.0, 0.5), "sd": LogNormal(-2.0, 0.5)},
        {"x": LogNormal(-2.0, 0.5)},
        {"x": LogNormalNoise("x", sd="sd")},
        per_series=() if shared else ("rate", "sd"),
        solver=solver or Dopri5(),
    )
    return KnownDensity(system, observations(times, values, ids=ids[: len(values)]))


THREE = np.array([[[0.3], [0.5], [0.9]], [[0.2], [0.3], [0.6]], [[0.4], [0.7], [0.8]]])


def test_series_that_share_nothing_are_problems_that_do_not_see_each_other():
    density = several(THREE)
    assert (density.n_problems, density.names) == (3, ("rate", "sd", "x_initial"))
    u = draws(density, 5)
    value, gradient = with_gradient(density, u)
    for k in range(3):
        alone = several(THREE[k : k + 1])
        one, slope = with_gradient(alone, u[k : k + 1])
        torch.testing.assert_close(one[0], value[k], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(slope[0], gradient[k], rtol=1e-8, atol=1e-8)


def test_series_that_share_parameters_add_their_likelihoods():
    density = several(THREE, shared=True)
    assert density.names == ("rate", "sd", "x_initial[a]", "x_initial[b]", "x_initial[c]")
    u = draws(density, 5)
    total = sum(
        log_likelihood(several(THREE[k : k + 1], shared=True), u[..., [0, 1, 2 + k]]) for k in range(3)
    )  # fmt: skip
    torch.testing.assert_close(log_likelihood(density, u), total, rtol=1e-10, atol=1e-10)


def test_series_may_be_split_into_problems_of_several():
    values = np.concatenate([THREE, THREE[::-1], THREE, THREE])
    density = KnownDensity(
        several(THREE, shared=True).system, observations([1.0, 2.0, 4.0], values, ids=range(12)), n_problems=4
    )
    assert (density.n_problems, len(density.names)) == (4, 5)
    u = draws(density, 2)
    expected = several(THREE, shared=True).log_prob(u[:1])
    torch.testing.assert_close(density.log_prob(u)[:1], expected, rtol=1e-10, atol=1e-10)


def test_a_cell_that_is_missing_is_as_if_it_had_never_been():
    values = THREE.copy()
    values[0, 1] = np.nan
    whole, gap = several(THREE[:1]), several(values[:1])
    u = draws(gap, 5)
    without = whole.pointwise(u)["x"][..., [0, 2]].sum(dim=-1) + whole.space.log_prior(u)
    torch.testing.assert_close(gap.log_prob(u), without, rtol=1e-12, atol=1e-12)
    # nor does the time of an empty row change anything
    shorter = several(THREE[:1][:, [0, 2]], times=(1.0, 4.0))
    shorter.size = gap.size
    torch.testing.assert_close(gap.log_prob(u), shorter.log_prob(u), rtol=1e-12, atol=1e-12)


def test_a_series_without_any_value_has_the_prior():
    density = several(np.full((1, 3, 1), np.nan))
    u = draws(density, 5)
    torch.testing.assert_close(density.log_prob(u), density.space.log_prior(u), rtol=1e-14, atol=1e-14)


def test_a_density_without_gradients_comes_in_pieces_of_the_same_value(monkeypatch):
    density = several(THREE, shared=True)
    u = draws(density, 10)
    whole = density.log_prob(u)
    monkeypatch.setattr("tsode.inference.known_density._AT_ONCE", 6)
    torch.testing.assert_close(density.log_prob(u), whole, rtol=1e-12, atol=1e-12)


# -- failures ----------------------------------------------------------------------------------------------------------


def explosive(n_points, n_failing):
    """x' = x**2 from 1 to time 1: the solution runs away where the start is above 1."""
    system = KnownSystem(
        lambda t, z, p: z**2,
        ["x"],
        {"sd": LogNormal(-1.0, 0.5)},
        {"x": LogNormal(-1.0, 1.0)},
        {"x": AdditiveNoise("x", sd="sd")},
        solver=Dopri5(max_steps=150),
    )
    density = KnownDensity(system, observations([0.5, 1.0], [[0.4], [0.5]]))
    u = density.space.pack({"sd": 0.3, "x_initial": 0.4}).repeat(1, n_points, 1)
    u = u + 0.1 * torch.randn(u.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bad = torch.arange(n_points) % 3 == 0 if n_failing else torch.zeros(n_points, dtype=torch.bool)
    u[:, bad, density.names.index("x_initial")] = density.space.pack({"sd": 0.3, "x_initial": 3.0})[0, 0, 1]
    return density, u, bad


def test_points_whose_solves_fail_are_impossible_and_leave_the_others_as_they_are():
    density, u, bad = explosive(9, 3)
    value, gradient = with_gradient(density, u)
    assert (value[0, bad] == -math.inf).all()
    assert value[0, ~bad].isfinite().all()
    assert not gradient[0, bad].any()
    assert gradient.isfinite().all()
    assert gradient[0, ~bad].abs().min() > 0
    _, fine, _ = explosive(9, 0)
    others, slope = with_gradient(density, fine)
    assert torch.equal(others[0, ~bad], value[0, ~bad])
    assert torch.equal(slope[0, ~bad], gradient[0, ~bad])
    (cause,) = density.failures(u)
    assert "solve" in cause
    assert torch.equal(density.failures(u)[cause][0], bad)


def test_a_coordinate_that_is_no_number_is_impossible_too():
    density, u, _ = explosive(4, 0)
    u[0, 1, 0], u[0, 2, 1] = math.nan, 1e9
    value, gradient = with_gradient(density, u)
    assert value[0].isfinite().tolist() == [True, False, False, True]
    assert not gradient[0, 1:3].any()
    assert list(density.failures(u)) == ["a parameter is out of the range of floating point or of its prior"]


def test_a_prediction_that_is_really_negative_is_impossible_and_one_that_is_so_by_rounding_is_not():
    def density(rate):
        system = KnownSystem(
            lambda t, z, p: (rate(p) * torch.ones_like(t))[:, None] + 0 * z**2,
            ["x"],
            {"k": LogNormal(0.0, 0.1)},
            {"x": 1.0},
            {"x": LogNormalNoise("x", sd=1.0)},
        )
        return KnownDensity(system, observations([0.5, 1.0], [[0.4], [1e-5]]))

    negative, rounded = density(lambda p: -2 * p.k), density(lambda p: -1 - 1e-9 * p.k)
    u = torch.zeros(1, 1, 1, dtype=torch.float64)
    assert negative.log_prob(u) == -math.inf
    (cause,) = negative.failures(u)
    assert "channel 'x' has a prediction that LogNormalNoise cannot be about" in cause
    assert rounded.log_prob(u).isfinite()


@pytest.mark.slow
def test_counts_of_an_epidemic_that_is_over_are_possible_though_differences_are_rounding():
    whole = sir()
    late = numbers([[1000.0, 1007.0, 1014.0, 1021.0, 1028.0]])
    values = numbers([[[9800.0, np.nan], [0.0, np.nan], [0.0, np.nan], [0.0, np.nan], [0.0, np.nan]]])
    over = KnownDensity(whole.system, replace(whole.data, times=late, values=values))
    u = whole.space.pack(SIR_MEANS) + 0.02 * torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    assert over.log_prob(u).isfinite().all(), over.failures(u)


# -- forecasts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lynx_hare, sir])
def test_laws_predicted_at_the_times_of_the_data_are_those_of_the_likelihood(make):
    density = make()
    u = density.space.pack(LYNX_HARE_MEANS if make is lynx_hare else SIR_MEANS)
    laws, scores = density.predictive(u, density.data.times), density.pointwise(u)
    for k, (channel, law) in enumerate(laws.items()):
        assert law.is_fine.all()
        score = law.family.log_prob(law.params[0, 0, 0], density.data.values[0, :, k])
        torch.testing.assert_close(score, scores[channel][0, 0], rtol=1e-8, atol=1e-8)


def test_pointwise_scores_add_up_to_the_log_likelihood():
    density = several(THREE)
    u = draws(density, 4)
    total = density.pointwise(u)["x"].sum(dim=-1)
    torch.testing.assert_close(total, log_likelihood(density, u), rtol=1e-12, atol=1e-12)


def test_trajectories_are_read_at_any_time_of_each_series():
    density = several(THREE, solver=TIGHT)
    u = draws(density, 2)
    times = numbers([[1.0, 0.0, 3.0], [2.0, 2.0, 9.0], [0.5, 1.0, 1.5]])
    states, status = density.trajectories(u, times)
    assert states.shape == (3, 2, 1, 3, 1)
    assert not status.any()
    x = density.space.constrain(u)
    rate, start = x[:, :, :1], x[:, :, 2:]
    exact = 1 / (1 + (1 / start - 1) * torch.exp(-rate * times[:, None]))
    torch.testing.assert_close(states[:, :, 0, :, 0], exact, rtol=1e-7, atol=1e-9)


# -- speed -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sixty_four_points_cost_no_more_than_half_as_much_again_as_one():
    density = lynx_hare()
    u = density.space.pack(LYNX_HARE_MEANS)
    u = u + 0.1 * torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def seconds(points):
        begin = time.process_time()
        with_gradient(density, points)
        return time.process_time() - begin

    pairs = [(seconds(u[:, :1]), seconds(u)) for _ in range(5)]
    one, many = (min(times) for times in zip(*pairs))
    assert many < 1.5 * one  # measured 1.1


def test_a_function_that_is_wrong_stays_wrong_and_says_at_which_parameters():
    calls = []

    def rates(t, z, p):
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError("mine")
        return lynx_hare_rates(t, z, p)

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        lynx_hare(rates=rates)
    (note,) = caught.value.__notes__
    assert "Raised by rates" in note
    assert "alpha = " in note


def test_a_known_number_and_a_very_narrow_prior_agree():
    narrow = several(THREE[:1])
    system = narrow.system
    free = replace(system, parameters={**system.parameters, "sd": Normal(0.2, 1e-9, lower=0.0)})
    known = replace(system, parameters={**system.parameters, "sd": 0.2}, per_series=("rate",))
    u = draws(narrow, 3)
    wide, fixed = (KnownDensity(each, narrow.data) for each in (free, known))
    torch.testing.assert_close(
        log_likelihood(wide, u), log_likelihood(fixed, u[..., [0, 2]]), rtol=1e-6, atol=1e-6
    )  # fmt: skip


# -- some problems -----------------------------------------------------------------------------------------------------


def test_problems_that_are_left_out_change_nothing_for_the_others():
    values = np.concatenate([THREE, THREE[::-1] + 0.05])
    system = several(THREE).system.with_(parameters={"rate": None}, per_series=("sd",))
    system = system.with_(parameters={"rate": torch.linspace(0.5, 1.0, 6)}, initial={"x": np.linspace(0.1, 0.2, 6)})
    density = KnownDensity(system, observations([1.0, 2.0, 4.0], values, ids="abcdef"), n_problems=3)
    u = draws(density, 5)
    some = torch.tensor([2, 0])
    chosen = density.select(some)
    assert (chosen.n_problems, chosen.names, chosen.data.ids) == (2, density.names, ["e", "f", "a", "b"])
    torch.testing.assert_close(chosen.log_prob(u[some]), density.log_prob(u)[some], rtol=1e-12, atol=1e-12)
