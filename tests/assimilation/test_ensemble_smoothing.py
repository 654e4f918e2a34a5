"""Smoother of ensembles beside that of Rauch, Tung and Striebel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.assimilation.ensemble_motions import Kalman, LinearMotion, normal_seen, normal_start
from tsode.assimilation.ensemble_smoothing import smooth_ensembles, smoothed_members
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import Inflation
from tsode.assimilation.motion import Draws


def passed(filter_, d, k, n, n_rows, is_exact, seed=0):
    """Smoothed members at every stop (n r m d), and means (n d), covariances (n d d) and those with the next."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(d, d))
    matrix, offset = (raw - raw.T) / 2 - np.diag(0.2 + rng.random(d)), rng.normal(size=d)
    noise, mean, sd = rng.normal(size=(d, k)), rng.normal(size=d), rng.random(d)
    gaps, weights = rng.exponential(0.5, size=n), rng.normal(size=(2, d))
    values = 2.0 * rng.normal(size=(n, 2))
    values[rng.random((n, 2)) < 0.3] = math.nan
    factor, shift = rng.random(d), rng.normal(size=d)
    motion = LinearMotion(*(torch.as_tensor(part) for part in (matrix, offset, noise)))
    draws = Draws(torch.arange(n_rows))
    rows, t = torch.ones(n_rows, 1).double(), torch.zeros(n_rows).double()
    belief = filter_.start(normal_start(rows * torch.as_tensor(mean), rows * torch.as_tensor(sd)), motion, t, draws)
    kalman = Kalman(mean, np.diag(sd**2))
    before, after, laws, phis = [], [], [], []
    for i in range(n):
        belief = filter_.flow(belief, motion, t, rows[:, 0] * gaps[i], draws)
        t = t + gaps[i]
        phi = kalman.flow(matrix, offset, noise, gaps[i])
        if i == 2:
            belief = filter_.change(belief, rows * torch.as_tensor(factor), rows * torch.as_tensor(shift))
            kalman.change(factor, shift)
            phi = factor[:, None] * phi
        before.append(belief)
        laws.append([kalman.mean, kalman.cov])
        phis.append(phi)
        for channel in range(2):
            value = rows[:, 0] * values[i, channel]
            seen = normal_seen(torch.as_tensor(weights[channel]), value, 0.4 * rows[:, 0])
            belief, _ = filter_.observe(belief, seen, t, draws)
            kalman.observe(weights[channel], values[i, channel], 0.4)
        after.append(belief)
        laws[-1] += [kalman.mean, kalman.cov]
    truth = [[*laws[-1][2:], np.zeros((d, d))]]
    for i in range(n - 2, -1, -1):
        gain = laws[i][3] @ phis[i + 1].T @ np.linalg.pinv(laws[i + 1][1])
        mean, cov = truth[-1][:2]
        truth.append([
            laws[i][2] + gain @ (mean - laws[i + 1][0]), laws[i][3] + gain @ (cov - laws[i + 1][1]) @ gain.T, gain @ cov
        ])  # fmt: skip
    return torch.stack(smooth_ensembles(after, before, is_exact)), [np.stack(part[::-1]) for part in zip(*truth)]


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 1), (4, 4)])
def test_exact_moments_give_rauch_tung_and_striebel(d, k):
    found, (mean, cov, with_next) = passed(
        SquareRootEnsemble(3 * d + 4, inflation=Inflation()), d, k, 12, 2, is_exact=True
    )
    for row in range(2):
        members = found[:, row]
        np.testing.assert_allclose(members.mean(dim=1).numpy(), mean, rtol=0, atol=1e-8)
        spread = np.stack([np.cov(z.T).reshape(d, d) for z in members.numpy()])
        np.testing.assert_allclose(spread, cov, rtol=0, atol=1e-8)
        for now, later, truth in zip(members[:-1].numpy(), members[1:].numpy(), with_next[:-1]):
            joint = np.cov(now.T, later.T)[:d, d:]
            np.testing.assert_allclose(joint, truth, rtol=0, atol=1e-8)


def test_the_mean_is_exact_without_turning():
    found, (mean, _, _) = passed(SquareRootEnsemble(30, inflation=Inflation()), 3, 2, 12, 2, is_exact=False)
    np.testing.assert_allclose(found.mean(dim=2).numpy(), np.broadcast_to(mean[:, None], (12, 2, 3)), rtol=0, atol=1e-8)


def test_turning_leaves_members_near_where_they_were():
    turned, _ = passed(SquareRootEnsemble(400, inflation=Inflation()), 2, 2, 8, 1, is_exact=True)
    plain, _ = passed(SquareRootEnsemble(400, inflation=Inflation()), 2, 2, 8, 1, is_exact=False)
    assert (turned - plain).square().mean().sqrt() < 0.2 * plain.std(dim=2).mean()


def test_perturbed_observations_approach_it():
    n_rows, errors = 20, []
    for m in (50, 800):
        found, (mean, _, _) = passed(EnsembleKalman(m, inflation=Inflation()), 2, 2, 8, n_rows, is_exact=False)
        errors.append((found.mean(dim=2).numpy() - mean[:, None]).std())
    assert 2.5 < errors[0] / errors[1] < 6.0  # sixteen times the members: a quarter of the error


def test_more_states_than_members_are_smoothed_among_the_members():
    generator = torch.Generator().manual_seed(0)
    members, kick, learned = (torch.randn(2, 8, 500, dtype=torch.float64, generator=generator) for _ in range(3))
    ahead = members + 0.1 * kick
    after = smoothed_members(members, ahead, ahead + 0.1 * learned)
    # every change is a combination of anomalies
    anomalies = members - members.mean(dim=1, keepdim=True)
    change = after - members
    left = change - change @ torch.linalg.pinv(anomalies) @ anomalies
    assert left.abs().max() < 1e-10
    assert change.abs().max() > 1e-2
    assert (smoothed_members(members, ahead, ahead) == members).all()


def test_a_row_that_has_failed_does_not_stop_the_others():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(2, 8, 2, dtype=torch.float64, generator=generator)
    ahead = 0.5 * members
    ahead[1] = math.nan
    for is_exact in (True, False):
        after = smoothed_members(members, ahead, ahead + 1.0, is_exact)
        # half the way onwards is twice the way back
        torch.testing.assert_close(after[0].mean(dim=0), members[0].mean(dim=0) + 2.0)
        assert after[1].isnan().all()


def test_a_time_between_stops_is_smoothed_by_other_runs_to_the_next():
    matrix, offset = torch.tensor([[-0.3, 1.0], [-1.0, -0.2]]).double(), torch.tensor([0.1, 0.2]).double()
    motion = LinearMotion(matrix, offset, torch.tensor([[0.0], [0.7]]).double())
    parts = [part.numpy() for part in (motion.matrix, motion.offset, motion.noise)]
    filter_, draws, one = SquareRootEnsemble(20, inflation=Inflation()), Draws(torch.arange(1)), torch.ones(1).double()
    start, value = normal_start(one[:, None] * offset, one[:, None] * offset.abs()), 1.5 * one
    seen = normal_seen(torch.tensor([1.0, 0.0]).double(), value, 0.1 * one)
    known = filter_.start(start, motion, 0.0 * one, draws)
    before = filter_.flow(known, motion, 0.0 * one, one, draws)  # in one step, as the run does
    later, _ = filter_.observe(before, seen, one, draws)
    between = filter_.flow(known, motion, 0.0 * one, 0.4 * one, draws)
    ahead = filter_.flow(between, motion, 0.4 * one, 0.6 * one, draws)
    assert (ahead.members - before.members).abs().max() > 0.1
    found = smoothed_members(between.members, ahead.members, later.members)[0]
    middle = Kalman(offset.numpy(), np.diag(offset.numpy() ** 2))
    middle.flow(*parts, 0.4)
    end = Kalman(middle.mean, middle.cov)
    phi = end.flow(*parts, 0.6)
    last = Kalman(end.mean, end.cov)
    last.observe(np.array([1.0, 0.0]), 1.5, 0.1)
    gain = middle.cov @ phi.T @ np.linalg.inv(end.cov)
    truth = middle.cov + gain @ (last.cov - end.cov) @ gain.T
    np.testing.assert_allclose(found.mean(dim=0), middle.mean + gain @ (last.mean - end.mean), rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.cov(found.numpy().T), truth, rtol=0, atol=1e-10)
