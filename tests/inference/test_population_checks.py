"""Residuals, prediction errors and predictive checks of populations, beside closed forms of linear mixed models."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from tests.inference.known_examples import observations
from tsode.errors import ParameterError
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.effects.space import Population
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import AdditiveNoise, PoissonNoise
from tsode.inference.population.decorrelation import decorrelate
from tsode.inference.population.given_effects import simulate_population
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.npde import npde
from tsode.inference.population.predictive_check import bin_edges, predictive_check, quantiles
from tsode.inference.population.residuals import FlatCells, flat_cells, residuals
from tsode.inference.population.subjects import Subjects, apart
from tsode.inference.priors import LogNormal, Normal

TIMES = np.array([0.0, 1.0, 2.0, 4.0])
A, B, OMEGA_A, OMEGA_B, SD = 3.0, -0.5, 1.5, 0.4, 0.7
DESIGN = np.stack([np.ones(4), TIMES], axis=1) * [OMEGA_A, OMEGA_B]
MEAN, COVARIANCE = A + B * TIMES, DESIGN @ DESIGN.T + SD**2 * np.eye(4)


def resting(t, z, p):
    return (0.0 * z[:, 0],)


def lines(values, noise=None) -> tuple[Subjects, torch.Tensor]:
    """Straight lines, whose ends differ among series by a normal law, and what they share."""
    system = KnownSystem(
        resting,
        ["nothing"],
        {"a": Normal(0.0, 5.0), "b": Normal(0.0, 5.0), "sd": LogNormal(0.0, 1.0)},
        {"nothing": 0.0},
        {"y": noise or AdditiveNoise(lambda t, z, p: p.a + p.b * t + z[:, 0], sd="sd")},
        population=Population(RandomEffects.read({"a": LogNormal(0.0, 1.0), "b": LogNormal(0.0, 1.0)})),
    )
    values = np.asarray(values)
    joint = KnownDensity(system, observations(TIMES, values[..., None], ids=range(len(values))))
    whole = Subjects(joint)
    point = {"a": A, "b": B, "omega_a": OMEGA_A, "omega_b": OMEGA_B, "sd": SD, "eta_a": 0.0, "eta_b": 0.0}
    theta = joint.space.pack({name: point[name] for name in joint.space.priors})[0, 0, whole.shared_places]
    return Subjects(apart(joint)), theta


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(MEAN, COVARIANCE, n)


def modes(subjects: Subjects, theta: torch.Tensor) -> torch.Tensor:
    return Laplace().search(subjects, theta.expand(subjects.shape[0], 1, -1)).eta[:, 0]


def simulated(subjects: Subjects, theta: torch.Tensor, n: int, seed: int = 1) -> np.ndarray:
    return simulate_population(subjects, theta, n, torch.Generator().manual_seed(seed))[0]["y"].numpy()


def cells_of(values: np.ndarray, is_below: np.ndarray | None = None) -> FlatCells:
    """Cells of series (s m), all seen."""
    s, m = values.shape
    is_below = np.zeros(s * m, dtype=bool) if is_below is None else is_below.ravel()
    series, column = np.repeat(np.arange(s), m), np.tile(np.arange(m), s)
    return FlatCells(np.zeros(s * m, dtype=int), series, column, values.ravel(), is_below, np.zeros(s * m, dtype=bool))


@pytest.mark.parametrize("root", ["cholesky", "symmetric"])
def test_conditional_residuals_of_a_linear_model_are_those_of_its_normal_law(root):
    values = drawn(12)
    subjects, theta = lines(values)
    found = residuals(subjects, theta, modes(subjects, theta), root)
    if root == "cholesky":
        inverse = np.linalg.inv(np.linalg.cholesky(COVARIANCE))
    else:
        inverse = np.linalg.inv(scipy.linalg.sqrtm(COVARIANCE))
    np.testing.assert_allclose(found.cwres, ((values - MEAN) @ inverse.T).ravel(), rtol=0, atol=1e-8)


def test_individual_predictions_of_a_linear_model_are_the_best_linear_unbiased_ones():
    values = drawn(12)
    subjects, theta = lines(values)
    found = residuals(subjects, theta, modes(subjects, theta))
    best = MEAN + (values - MEAN) @ np.linalg.inv(COVARIANCE) @ DESIGN @ DESIGN.T
    np.testing.assert_allclose(found.pred, np.tile(MEAN, 12), rtol=1e-12)
    np.testing.assert_allclose(found.ipred, best.ravel(), rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.res, (values - MEAN).ravel(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.iwres, ((values - best) / SD).ravel(), rtol=0, atol=1e-7)


def test_censored_values_have_no_residual_and_no_part_in_those_of_others():
    values = drawn(6)
    values[0, 1] = 0.0  # at the limit
    values[1:] = np.maximum(values[1:], 0.5)
    subjects, theta = lines(values, AdditiveNoise(lambda t, z, p: p.a + p.b * t + z[:, 0], sd="sd", below=0.0))
    found = residuals(subjects, theta, modes(subjects, theta))
    seen = [0, 2, 3]
    root = np.linalg.cholesky(COVARIANCE[np.ix_(seen, seen)])
    expected = scipy.linalg.solve_triangular(root, (values[0] - MEAN)[seen], lower=True)
    np.testing.assert_allclose(found.cwres[seen], expected, rtol=0, atol=1e-8)
    for name in ("res", "ires", "iwres", "cwres"):
        assert np.flatnonzero(np.isnan(getattr(found, name))).tolist() == [1]


def test_simulated_data_have_the_moments_of_the_marginal_normal_law():
    subjects, theta = lines(drawn(2))
    n = 4000
    sets = simulated(subjects, theta, n).reshape(n, 2, 4)
    # six standard errors of means, of covariances, and of the covariance of two series, which is 0
    sd = np.sqrt(np.diag(COVARIANCE))
    assert (np.abs(sets.mean(axis=0) - MEAN) < 6 * sd / n**0.5).all()
    se = np.sqrt((np.outer(sd, sd) ** 2 + COVARIANCE**2) / n)
    for k in range(2):
        assert (np.abs(np.cov(sets[:, k].T) - COVARIANCE) < 6 * se).all()
    across = np.cov(sets[:, 0].T, sets[:, 1].T)[:4, 4:]
    assert (np.abs(across) < 6 * np.outer(sd, sd) / n**0.5).all()


@pytest.mark.parametrize("root", ["cholesky", "symmetric"])
def test_prediction_errors_of_a_linear_model_are_its_conditional_residuals_but_for_simulation(root):
    values = drawn(20)
    subjects, theta = lines(values)
    n = 4000
    scores = npde(flat_cells(subjects), simulated(subjects, theta, n), [(None, None)], root,
                  np.random.default_rng(0), range(20))  # fmt: skip
    exact = residuals(subjects, theta, modes(subjects, theta), root).cwres
    is_inner = np.abs(exact) < 2.5
    # a rank among n has the standard error sqrt(p (1 - p) / n) / density as a score, the moments of four values add
    # sqrt((1 + z^2 (1 + 3) / 2) / n) or less; six of both together
    p, density = scipy.stats.norm.cdf(exact), scipy.stats.norm.pdf(exact)
    se = np.sqrt(p * (1 - p) / n) / density + np.sqrt((1 + 2 * exact**2) / n)
    assert is_inner.sum() > 70
    assert (np.abs(scores - exact) < 6 * se)[is_inner].all()


def test_prediction_errors_are_standard_normal_on_simulated_truth_also_below_a_limit():
    limit = 1.5  # a quarter of all values lies below
    values = drawn(400)
    is_below = values <= limit
    assert 0.2 < is_below.mean() < 0.6
    cells = cells_of(np.where(is_below, limit, values), is_below)
    sets = np.random.default_rng(1).multivariate_normal(MEAN, COVARIANCE, (500, 400)).reshape(500, -1)
    for limits, these in (((None, None), cells_of(values)), ((limit, None), cells)):
        scores = npde(these, sets, [limits], "cholesky", np.random.default_rng(2), range(400))
        assert np.isfinite(scores).all()
        # 1,600 independent values: about six standard errors of mean and variance, and a level of 1e-4
        assert abs(scores.mean()) < 6 / 1600**0.5
        assert abs(scores.var() - 1.0) < 6 * (2 / 1600) ** 0.5
        assert scipy.stats.kstest(scores, "norm").pvalue > 1e-4


def test_prediction_errors_find_effects_that_are_too_narrow():
    wrong = SD**2 * np.eye(4)
    sets = np.random.default_rng(1).multivariate_normal(MEAN, wrong, (500, 100)).reshape(500, -1)
    scores = npde(cells_of(drawn(100)), sets, [(None, None)], "cholesky", np.random.default_rng(2), range(100))
    assert scores.var() > 1.5


def test_counts_have_prediction_errors_that_are_normal_though_ranks_are_tied():
    generator = np.random.default_rng(0)
    values = generator.poisson(2.0, (500, 2)).astype(float)
    sets = generator.poisson(2.0, (500, 1000)).astype(float)
    scores = npde(cells_of(values), sets, [(None, None)], "cholesky", generator, range(500))
    assert scipy.stats.kstest(scores, "norm").pvalue > 1e-4


def test_too_few_simulations_for_a_long_series_are_named():
    with pytest.raises(ParameterError, match=r"Series 'x' has 4 values.*n=16"):
        npde(cells_of(drawn(1)), np.zeros((6, 4)), [(None, None)], "cholesky", np.random.default_rng(0), ["x"])


def test_noise_that_is_not_normal_has_residuals_by_its_variance():
    values = np.array([[3.0, 2.0, 4.0, 1.0]])
    subjects, theta = lines(values, PoissonNoise(lambda t, z, p: torch.exp(0.1 * (p.a + p.b * t)) + z[:, 0]))
    eta = modes(subjects, theta)
    found = residuals(subjects, theta, eta)
    np.testing.assert_allclose(found.iwres, found.ires / np.sqrt(found.ipred), rtol=1e-12)
    assert np.isfinite(found.cwres).all()


def test_both_roots_give_rows_whose_covariance_is_the_identity():
    rows = drawn(4000) - MEAN
    for root in ("cholesky", "symmetric"):
        sample = np.cov(rows.T)
        np.testing.assert_allclose(np.cov(decorrelate(rows, sample, root).T), np.eye(4), atol=1e-10)


# -- visual predictive check -------------------------------------------------------------------------------------------


def test_quantiles_are_numpys_and_infinite_next_to_what_is_beyond_a_limit():
    values = np.random.default_rng(0).normal(size=(7, 13))
    np.testing.assert_allclose(quantiles(values, (0.05, 0.5, 0.9)), np.quantile(values, (0.05, 0.5, 0.9), axis=1).T)
    censored = np.array([-np.inf, -np.inf, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(quantiles(censored, (0.0, 0.3, 0.5, 0.625, 1.0)), [-np.inf, -np.inf, 1.0, 1.5, 3.0])


def test_bins_are_the_times_of_a_protocol_and_hold_equally_many_values():
    times = np.tile(TIMES, 10)
    edges = bin_edges(times, 10, "auto")
    assert np.histogram(times, edges)[0].tolist() == [10, 10, 10, 10]
    spread = np.random.default_rng(0).uniform(0.0, 24.0, 120)
    assert np.histogram(spread, bin_edges(spread, 20, 4))[0].tolist() == [30, 30, 30, 30]
    assert bin_edges(np.ones(8), 8, "auto")[0] == 1.0
    for wrong, words in (("all", "bins='all'"), (0, "bins=0"), ([2.0, 1.0], "increasing edges")):
        with pytest.raises(ParameterError, match=words):
            bin_edges(times, 10, wrong)


@pytest.mark.parametrize("below", [None, 1.0])
@pytest.mark.parametrize("correction", [None, "difference"])
def test_simulated_truth_lies_in_the_bands_at_the_nominal_rate(below, correction):
    generator = np.random.default_rng(3)
    n_truths, s, n = 120, 40, 200
    slopes = generator.normal(size=s)  # a covariate, known to the model
    predicted = (MEAN + 0.3 * slopes[:, None] * TIMES).ravel()

    def draw(size):
        return predicted + generator.multivariate_normal(0 * MEAN, COVARIANCE, (size, s)).reshape(size, -1)

    times, edges = np.tile(TIMES, s), bin_edges(np.tile(TIMES, s), s, "auto")
    rates = []
    for truth in draw(n_truths):
        found = predictive_check(times, truth, draw(n), predicted, edges, (0.1, 0.5, 0.9), below, None, correction)
        inside = []
        for one in found:
            low, high = quantiles(one.quantiles.simulated.T, (0.05, 0.95)).T
            observed = one.quantiles.observed
            informs = np.isfinite(observed) & (high > low)
            inside += ((low <= observed) & (observed <= high))[informs].tolist()
        rates.append(np.mean(inside))
    # the rate of one data set varies by its own spread; ends of the band are known to about sqrt(.05 .95 / 200) = .015
    # each, anew for every truth; ties of ranks at a limit can only widen a band
    assert abs(np.mean(rates) - 0.9) < 6 * np.std(rates) / n_truths**0.5 + 1 / n


def test_the_share_below_a_limit_is_observed_and_simulated_alike():
    generator = np.random.default_rng(0)
    truth, sets = generator.normal(size=400), generator.normal(size=(300, 400))
    (one,) = predictive_check(np.zeros(400), truth, sets, np.zeros(400), np.array([0.0, 1.0]), (0.05, 0.5), below=0.0)
    assert one.below.observed[0] == (truth <= 0).mean()
    assert abs(one.below.simulated.mean() - 0.5) < 6 * 0.5 / (300 * 400) ** 0.5
    assert one.quantiles.observed[0] == -np.inf
    assert one.above is None


def test_correction_takes_away_what_doses_differ_by():
    generator = np.random.default_rng(0)
    dose = np.repeat([1.0, 10.0, 100.0], 100)
    noise = np.exp(0.1 * generator.normal(size=(201, 300)))
    values = dose * noise
    ends = {
        how: predictive_check(
            np.zeros(300), values[0], values[1:], dose, np.array([0.0, 1.0]), (0.05, 0.95), None, None, how
        )[0].quantiles.observed
        for how in (None, "ratio")
    }
    assert ends[None][1] / ends[None][0] > 50
    # quantiles of 10 exp(.1 z), 1.645 wide, whose logarithm has the standard error .1 * 2.1 / sqrt(300)
    np.testing.assert_allclose(np.log(ends["ratio"] / 10.0), [-0.1645, 0.1645], rtol=0, atol=6 * 0.21 / 300**0.5)
