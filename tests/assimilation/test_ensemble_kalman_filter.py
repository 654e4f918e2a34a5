"""Perturbed observations: their limit, noise that is not normal, and members that fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.assimilation.ensemble_motions import Kalman, LinearMotion, normal_seen, normal_start
from tsode.assimilation.failed_members import good_members, replaced
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import Inflation
from tsode.assimilation.motion import Draws, Seen
from tsode.errors import ParameterError

NONE, FILTERS = Inflation(), [EnsembleKalman, SquareRootEnsemble]
ONE = torch.ones(1, dtype=torch.float64)


class Explosive(LinearMotion):
    """``dz = z^2 dt`` and a little noise: whoever starts above 1 / time left goes to infinity."""

    is_linear = False

    def __init__(self, d: int = 1) -> None:
        super().__init__(torch.zeros(d, d).double(), torch.zeros(d).double(), 0.01 * torch.eye(d).double(), False)

    def drift(self, t, z):
        return z.square()


def scalar(n_rows, mean=1.0, sd=2.0):
    return normal_start(torch.full((n_rows, 1), mean).double(), torch.full((n_rows, 1), sd).double())


def test_means_scatter_about_kalman_with_the_inverse_square_root_of_the_members():
    n_rows, matrix, noise = 200, -0.5 * torch.eye(1).double(), torch.eye(1).double()
    motion, sizes, errors = LinearMotion(matrix, matrix[0] * 0, noise), (10, 40, 160, 640), []
    values = [0.4, -1.0, 2.0]
    kalman = Kalman(np.array([1.0]), np.array([[4.0]]))
    for value in values:
        kalman.flow(matrix.numpy(), np.zeros(1), noise.numpy(), 0.5)
        kalman.observe(np.ones(1), value, 0.5)
    for m in sizes:
        filter_, draws, t = EnsembleKalman(m, NONE), Draws(torch.arange(n_rows)), torch.zeros(n_rows).double()
        belief = filter_.start(scalar(n_rows), motion, t, draws)
        for value in values:
            belief = filter_.flow(belief, motion, t, torch.full((n_rows,), 0.5).double(), draws)
            t = t + 0.5
            seen = normal_seen(ONE, torch.full((n_rows,), value).double(), torch.full((n_rows,), 0.5).double())
            belief, _ = filter_.observe(belief, seen, t, draws)
        errors.append((belief.members.mean(dim=(1, 2)) - kalman.mean[0]).square().mean().sqrt().item())
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1


def test_centred_errors_move_the_mean_by_the_value_alone():
    means = {}
    for is_centred in (True, False):
        filter_ = EnsembleKalman(10, NONE, is_centred=is_centred)
        motion, t, draws = Explosive(), torch.zeros(1).double(), Draws(torch.arange(1))
        belief = filter_.start(scalar(1), motion, t, draws)
        mean, var = belief.members.mean(), belief.members.var()
        after, _ = filter_.observe(belief, normal_seen(ONE, 3.0 * ONE, ONE), t, draws)
        means[is_centred] = (after.members.mean() - (mean + var / (var + 1.0) * (3.0 - mean))).abs().item()
    assert means[True] < 1e-14
    assert means[False] > 1e-2


def test_values_at_one_time_have_errors_of_their_own():
    filter_, motion, t, draws = EnsembleKalman(50, NONE), Explosive(), torch.zeros(1).double(), Draws(ONE.long())
    first = filter_.start(scalar(1), motion, t, draws)
    # noise so large that each value adds nothing but an error of size K sqrt(R) = 4 / 1000
    seen = normal_seen(ONE, ONE, 1e6 * ONE)
    second, _ = filter_.observe(first, seen, t, draws)
    third, _ = filter_.observe(second, seen, t, draws)
    a, b = (second.members - first.members).flatten(), (third.members - second.members).flatten()
    assert a.std() > 1e-3
    assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 6 / math.sqrt(50)


@pytest.mark.parametrize("kind", FILTERS)
def test_counts_move_an_ensemble_to_the_moments_of_quadrature(kind):
    """Poisson about exp(state), of which a grid knows the posterior."""
    m, count = 4000, 9.0
    seen = Seen(
        torch.ones(1, dtype=torch.bool),
        lambda z: z[..., 0],
        lambda s: count * s - s.exp() - math.lgamma(count + 1.0),
    )
    filter_, t, draws = kind(m, NONE), torch.zeros(1).double(), Draws(torch.arange(1))
    belief = filter_.start(scalar(1, 1.0, 0.8), Explosive(), t, draws)
    belief, evidence = filter_.observe(belief, seen, t, draws)
    x = np.linspace(-6.0, 8.0, 200_001)
    log_joint = -0.5 * ((x - 1.0) / 0.8) ** 2 + count * x - np.exp(x)
    weight = np.exp(log_joint - log_joint.max())
    weight /= weight.sum()
    mean = weight @ x
    sd = math.sqrt(weight @ (x - mean) ** 2)
    total = np.log(np.exp(log_joint).sum() * (x[1] - x[0]) / (0.8 * math.sqrt(2 * math.pi))) - math.lgamma(10.0)
    bound = 1e-3 if kind is SquareRootEnsemble else 6.0 / math.sqrt(m)
    assert abs(belief.members.mean().item() - mean) < bound
    assert abs(belief.members.std().item() - sd) < bound
    assert abs(evidence.item() - total) < 2 * bound
    torch.testing.assert_close(belief.told[0, 2].item(), mean, rtol=0, atol=2 * bound)


@pytest.mark.parametrize("kind", FILTERS)
def test_members_that_explode_are_replaced_and_counted(kind):
    filter_, motion, draws = kind(50, NONE), Explosive(2), Draws(torch.arange(3))
    start = normal_start(
        torch.tensor([[0.1, 0.1], [1.0, 0.1], [50.0, 50.0]]).double(), torch.full((3, 2), 0.5).double()
    )
    t, h = torch.zeros(3).double(), torch.full((3,), 0.05).double()
    belief = filter_.start(start, motion, t, draws)
    for _ in range(20):
        belief = filter_.flow(belief, motion, t, h, draws)
        t = t + h
    assert belief.members[:2].isfinite().all()
    assert belief.members[2].isnan().all()
    assert 0 < belief.n_failed[1] < 20 * 50
    assert belief.members[1].std(dim=0).min() > 0.05
    belief, evidence = filter_.observe(
        belief, normal_seen(torch.ones(2).double(), torch.ones(3).double(), torch.ones(3).double()), t, draws
    )
    assert evidence[:2].isfinite().all()
    assert evidence[2] == -math.inf
    assert belief.members[:2].isfinite().all()


@pytest.mark.parametrize("kind", FILTERS)
def test_members_without_a_prediction_give_way_to_those_that_have_one(kind):
    filter_, t, draws = kind(40, NONE), torch.zeros(1).double(), Draws(torch.arange(1))
    belief = filter_.start(scalar(1, 1.0, 1.0), Explosive(), t, draws)
    n_bad = (belief.members < 0.0).sum()
    assert n_bad > 0
    seen = Seen(torch.ones(1, dtype=torch.bool), lambda z: z[..., 0].log(), None, ONE, ONE)
    after, evidence = filter_.observe(belief, seen, t, draws)
    assert after.members.isfinite().all()
    assert evidence.isfinite().all()
    assert after.n_failed == n_bad


def test_a_member_far_out_fails_and_a_step_from_rest_does_not():
    before = torch.zeros(1, 8, 2, dtype=torch.float64)
    before[..., 0] = 1.0
    after = before.clone()
    after[..., 1] = torch.linspace(0.1, 1.0, 8)
    assert good_members(after, before).all()
    after[0, 3, 0], after[0, 5, 1] = 1e7, math.nan
    assert good_members(after, before)[0].tolist() == [True, True, True, False, True, False, True, True]
    assert good_members(before, before) is None


def test_copies_come_from_good_members_alone():
    members = torch.arange(6.0, dtype=torch.float64).reshape(1, 6, 1)
    is_good = torch.tensor([[True, False, True, False, False, True]])
    picks = torch.rand(1, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    members[0, ~is_good[0]] = math.nan
    found = replaced(members, is_good, picks, jitter=0.0)[0, :, 0]
    assert found[is_good[0]].tolist() == [0.0, 2.0, 5.0]
    assert set(found.tolist()) <= {0.0, 2.0, 5.0}
    lone = torch.tensor([[True, False, False, False, False, False]])
    assert replaced(members, lone, picks).isnan().all()


@pytest.mark.parametrize("kind", FILTERS)
def test_members_asked_for_are_spread_over_those_there_are(kind):
    filter_, t, draws = kind(10, NONE), torch.zeros(1).double(), Draws(torch.arange(1))
    belief = filter_.start(scalar(1), Explosive(), t, draws)
    assert (filter_.members(belief, 10, t, draws) == belief.members).all()
    assert filter_.members(belief, 4, t, draws).shape == (1, 4, 1)
    many = filter_.members(belief, 30, t, draws)
    torch.testing.assert_close(many.mean(), belief.members.mean())


@pytest.mark.parametrize("kind", FILTERS)
def test_the_same_question_has_the_same_answer(kind):
    filter_, motion, t = kind(10), Explosive(), torch.zeros(1).double()

    def answer(key):
        draws = Draws(torch.tensor([key]))
        belief = filter_.flow(filter_.start(scalar(1, 0.0, 0.1), motion, t, draws), motion, t, 0.1 * ONE, draws)
        return filter_.observe(belief, normal_seen(ONE, ONE, ONE), t + 0.1, draws)[0].members

    assert (answer(3) == answer(3)).all()
    assert (answer(3) != answer(4)).any()


def test_one_member_is_refused():
    with pytest.raises(ParameterError, match="at least 2 members"):
        SquareRootEnsemble(1)
