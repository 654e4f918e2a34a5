"""Training without gradients: beside least squares and descent by gradients, and its known limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tsode.assimilation.training import ensemble_kalman_train
from tsode.errors import ParameterError, ShapeError, SolverError


def linear(n, p, noise, seed=0):
    """Matrix, targets and the least squares solution."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, p))
    targets = matrix @ rng.normal(size=p) + noise * rng.normal(size=n)
    return matrix, targets, np.linalg.lstsq(matrix, targets, rcond=None)[0]


def test_a_linear_model_reaches_the_least_squares_solution():
    matrix, targets, truth = linear(40, 6, 0.5)
    fit = ensemble_kalman_train(lambda z: z @ matrix.T, targets, start=np.zeros(6), noise=0.5, n_members=20)
    np.testing.assert_allclose(fit.parameters.numpy(), truth, rtol=0, atol=1e-8)
    found, best = fit.history["misfit"][-1], np.sqrt(np.mean(((targets - matrix @ truth) / 0.5) ** 2))
    assert abs(found - best) < 1e-8


def test_at_pseudo_time_one_the_ensemble_is_the_posterior_of_a_linear_model():
    matrix, targets, _ = linear(40, 3, 0.5)
    start = np.random.default_rng(1).normal(size=(30, 3))
    fit = ensemble_kalman_train(lambda z: z @ matrix.T, targets, start=start, noise=0.5, until=1.0)
    prior = np.linalg.inv(np.cov(start.T))
    cov = np.linalg.inv(prior + matrix.T @ matrix / 0.25)
    mean = cov @ (prior @ start.mean(axis=0) + matrix.T @ targets / 0.25)
    assert fit.history["time"][-1] == 1.0
    np.testing.assert_allclose(fit.parameters.numpy(), mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.cov(fit.ensemble.numpy().T), cov, rtol=0, atol=1e-10)


def test_with_fewer_members_than_parameters_it_is_least_squares_within_their_span():
    matrix, targets, truth = linear(100, 60, 0.5)
    start = np.random.default_rng(2).normal(size=(15, 60))
    fit = ensemble_kalman_train(lambda z: z @ matrix.T, targets, start=start, noise=0.5)
    basis = (start - start.mean(axis=0)).T
    weights = np.linalg.lstsq(matrix @ basis, targets - matrix @ start.mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(fit.parameters.numpy(), start.mean(axis=0) + basis @ weights, rtol=0, atol=1e-7)
    assert np.abs(fit.parameters.numpy() - truth).max() > 0.1


def test_targets_without_noise_are_met_and_the_spread_is_spent():
    matrix, _, _ = linear(10, 4, 0.0)
    truth = np.arange(4.0)
    fit = ensemble_kalman_train(lambda z: z @ matrix.T, matrix @ truth, start=np.zeros(4), noise=1.0, n_members=30)
    np.testing.assert_allclose(fit.parameters.numpy(), truth, rtol=0, atol=1e-8)
    assert fit.history["misfit"][-1] < 1e-8
    assert fit.history["spread"][-1] < 1e-6
    assert len(fit.history["time"]) < 51


def test_a_start_far_off_and_narrow_collapses_before_it_arrives():
    times = np.linspace(0.0, 3.0, 30)

    def waves(z):
        return np.sin(z * times * 3.0)

    wide = ensemble_kalman_train(waves, np.sin(6.0 * times), start=[2.5], spread=0.5, noise=0.1)
    narrow = ensemble_kalman_train(waves, np.sin(6.0 * times), start=[9.0], spread=0.01, noise=0.1)
    assert abs(wide.parameters[0].item() - 2.0) < 1e-6
    assert abs(narrow.parameters[0].item() - 2.0) > 1.0
    assert narrow.history["misfit"][-1] > 1.0


def test_a_simulator_in_numpy_is_fitted_with_what_it_is_not_differentiable_in():
    """Decay whose amount is rounded to hundredths, step by step."""

    def simulate(z):
        amount, seen = np.full(len(z), 10.0), []
        for _ in range(40):
            amount = np.round(amount * np.exp(-0.1 * np.exp(z[:, 0])) + 0.1 * np.exp(z[:, 1]), 2)
            seen.append(amount)
        return np.stack(seen, axis=1)

    truth = np.log([0.7, 0.5])
    targets = simulate(truth[None])[0] + 0.05 * np.random.default_rng(0).normal(size=40)
    fit = ensemble_kalman_train(simulate, targets, start=[0.0, 0.0], spread=0.7, noise=0.05, until=1.0)
    sd = fit.ensemble.std(dim=0).numpy()
    assert (np.abs(fit.parameters.numpy() - truth) < 4 * sd).all()
    assert fit.history["misfit"][-1] < 1.5


def trained(seed, targets, x, n_steps):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    if n_steps is None:
        fit = ensemble_kalman_train(
            network, targets, inputs=x, spread=0.3, noise=0.1, n_members=50, n_iterations=60, seed=seed
        )
        np.testing.assert_allclose(
            nn.utils.parameters_to_vector(network.parameters()).detach().numpy(), fit.parameters.numpy(), rtol=1e-6
        )
    else:
        optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(n_steps):
            optimiser.zero_grad()
            (network(x) - targets).square().mean().backward()
            optimiser.step()
    with torch.no_grad():
        return (network(x) - targets).square().mean().sqrt().item()


@pytest.mark.slow
def test_a_small_network_comes_within_three_percent_of_descent_by_gradients():
    x = torch.linspace(-1.0, 1.0, 100)[:, None]
    noise = torch.randn(100, 1, generator=torch.Generator().manual_seed(1))
    targets = torch.sin(3.0 * x) + 0.5 * x.square() + 0.1 * noise
    for seed in range(3):
        assert trained(seed, targets, x, None) < 1.03 * trained(seed, targets, x, 2000)


def test_members_that_fail_are_left_out_replaced_and_counted():
    matrix, targets, truth = linear(30, 3, 0.2)

    def fails(z):
        outputs = z @ matrix.T
        outputs[z[:, 0] > 0.8] = np.nan
        outputs[z[:, 1] < -1.5] = 1e30
        outputs[z[:, 2] > 2.0, 3] = np.inf
        return outputs

    targets = targets - matrix @ (truth - np.array([-0.5, 0.3, 0.2]))  # a solution where nothing fails
    fit = ensemble_kalman_train(fails, targets, start=np.zeros(3), noise=0.2, n_members=60)
    np.testing.assert_allclose(fit.parameters.numpy(), [-0.5, 0.3, 0.2], rtol=0, atol=1e-6)
    assert fit.history["n_failed"][0] > 5
    assert fit.history["n_failed"][-1] == 0
    assert fit.ensemble.shape == (60, 3)


def test_fewer_than_two_members_left_is_an_error_at_once():
    calls = []

    def fails(z):
        calls.append(len(z))
        outputs = np.full((len(z), 4), np.nan)
        outputs[0] = 1.0
        return outputs

    with pytest.raises(SolverError, match="19 of 20 members failed in iteration 0"):
        ensemble_kalman_train(fails, np.ones(4), start=[0.0], n_members=20)
    assert calls == [21]


def test_an_error_of_the_function_is_passed_on():
    def broken(z):
        raise ZeroDivisionError("in the simulator")

    with pytest.raises(ZeroDivisionError, match="in the simulator"):
        ensemble_kalman_train(broken, np.ones(4), start=[0.0])


def test_the_same_seed_gives_the_same_fit():
    matrix, targets, _ = linear(10, 2, 0.1)
    fits = [
        ensemble_kalman_train(lambda z: z @ matrix.T, targets, start=[0.0, 0.0], n_iterations=2, seed=s)
        for s in (1, 1, 2)
    ]
    assert (fits[0].ensemble == fits[1].ensemble).all()
    assert (fits[0].ensemble != fits[2].ensemble).any()


def test_units_of_the_noise_do_not_change_the_way():
    matrix, targets, _ = linear(10, 2, 0.1)
    fits = [
        ensemble_kalman_train(lambda z: z @ matrix.T, targets, start=[0.0, 0.0], noise=sd, n_iterations=4)
        for sd in (1.0, 1e-3)
    ]
    torch.testing.assert_close(fits[0].parameters, fits[1].parameters, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [({"start": None}, ParameterError, "needs a start"), ({"start": np.zeros((2, 2, 2))}, ShapeError, r"\(2, 2, 2\)"),
     ({"spread": 0.0}, ParameterError, "some spread"), ({"noise": 0.0}, ParameterError, "noise above 0"),
     ({"targets": [1.0, math.nan]}, ParameterError, "must be finite"), ({"targets": [1.0]}, ShapeError, "of 1 targets"),
     ({"n_iterations": 0}, ParameterError, "n_iterations")],
)  # fmt: skip
def test_what_is_out_of_order_is_refused(options, error, told):
    given = {"targets": [1.0, 2.0], "start": [0.0, 0.0]} | options
    targets = given.pop("targets")
    with pytest.raises(error, match=told):
        ensemble_kalman_train(lambda z: z, targets, **given)


def test_a_network_needs_inputs_parameters_and_targets_of_its_shape():
    network = nn.Linear(2, 1)
    with pytest.raises(ParameterError, match="inputs"):
        ensemble_kalman_train(network, torch.zeros(3, 1))
    with pytest.raises(ShapeError, match=r"\(3, 1\), but the targets \(3,\)"):
        ensemble_kalman_train(network, torch.zeros(3), inputs=torch.zeros(3, 2))
    network.requires_grad_(False)
    with pytest.raises(ParameterError, match="none to fit"):
        ensemble_kalman_train(network, torch.zeros(3, 1), inputs=torch.zeros(3, 2))
