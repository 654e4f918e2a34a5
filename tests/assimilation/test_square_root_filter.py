"""Square-root filter of ensembles beside Kalman's, and what it does when members are few or fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.assimilation.ensemble_motions import Kalman, LinearMotion, normal_seen, normal_start
from tests.assimilation.linear_scenes import along, scene
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import AdaptiveInflation, Inflation, RelaxationToPrior
from tsode.assimilation.localisation import Localisation
from tsode.assimilation.matched_normals import matched_normals
from tsode.assimilation.motion import Draws

NONE = Inflation()


def assert_kalman(belief, total, exact, atol=1e-10):
    for row, kalman in enumerate(exact):
        members = belief.members[row].numpy()
        np.testing.assert_allclose(members.mean(axis=0), kalman.mean, rtol=0, atol=atol)
        np.testing.assert_allclose(np.cov(members.T).reshape(kalman.cov.shape), kalman.cov, rtol=0, atol=atol)
        np.testing.assert_allclose(total[row].item(), kalman.log_evidence, rtol=1e-10, atol=atol)


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 1), (3, 3), (6, 2), (12, 12)])
def test_exact_moments_give_kalman_on_linear_motion(d, k):
    assert_kalman(*along(SquareRootEnsemble(2 * d + 1, inflation=NONE), scene(d, k, 12)))


def test_exact_moments_give_kalman_where_noise_is_tiny_and_motion_is_not():
    parts = scene(3, 3, 12, noise=100.0)
    parts[6][:, 1] = parts[6][:, 0] + 1e-6 * np.random.default_rng(1).normal(size=(3, 2))  # the same time twice
    weights = np.eye(3)[:2]
    belief, total, exact = along(SquareRootEnsemble(20, inflation=NONE), (*parts[:-1], weights), (1e-12, 1e-12))
    size = max(np.abs(kalman.cov).max() for kalman in exact)
    for row, kalman in enumerate(exact):
        members = belief.members[row].numpy()
        np.testing.assert_allclose(members.mean(axis=0), kalman.mean, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(np.cov(members.T), kalman.cov, rtol=1e-10, atol=1e-10 * size)
        np.testing.assert_allclose(total[row].item(), kalman.log_evidence, rtol=1e-10)


def test_a_start_without_spread_gives_kalman():
    parts = list(scene(3, 2, 8))
    parts[4] = np.zeros_like(parts[4])
    parts[4][:, 1] = 0.5
    assert_kalman(*along(SquareRootEnsemble(30, inflation=NONE), parts))


def test_small_steps_approach_the_exact_one_with_order_two():
    parts = scene(2, 2, 2, n_rows=2)
    parts[6][:], parts[5][:, 0] = math.nan, 1.0
    truth = along(SquareRootEnsemble(40, inflation=NONE), parts, until=1)[2]
    errors = []
    for n in (16, 32, 64):
        gaps = np.full((2, n), 1.0 / n)
        fine = (*parts[:5], gaps, np.full((2, n, 2), math.nan), parts[7])
        motion = LinearMotion(*(torch.as_tensor(part) for part in fine[:3]), is_linear=False)
        filter_, draws, t = SquareRootEnsemble(40, inflation=NONE), Draws(torch.arange(2)), torch.zeros(2).double()
        belief = filter_.start(normal_start(torch.as_tensor(parts[3]), torch.as_tensor(parts[4])), motion, t, draws)
        for i in range(n):
            belief = filter_.flow(belief, motion, t + i / n, torch.full((2,), 1.0 / n).double(), draws)
        errors.append(max(np.abs(np.cov(belief.members[row].numpy().T) - truth[row].cov).max() for row in range(2)))
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert 3.6 < errors[1] / errors[2] < 4.4


def test_rows_do_not_see_each_other():
    parts = scene(3, 2, 8)
    alone = [part[1:2] if i in (3, 4, 5, 6) else part for i, part in enumerate(parts)]
    single, evidence, _ = along(SquareRootEnsemble(20), alone, draws=Draws(torch.arange(3)[1:2] + 7), until=3)
    together, total, _ = along(SquareRootEnsemble(20), parts, until=3)
    torch.testing.assert_close(together.members[1:2], single.members, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(total[1:2], evidence, rtol=1e-12, atol=1e-12)


def test_a_step_of_zero_and_a_missing_value_change_no_bit():
    parts = scene(3, 2, 4)
    filter_ = SquareRootEnsemble(20)
    belief, _, _ = along(filter_, parts)
    motion = LinearMotion(*(torch.as_tensor(part) for part in parts[:3]))
    t, draws = torch.full((3,), 9.0).double(), Draws(torch.arange(3))
    after = filter_.flow(belief, motion, t, torch.zeros(3).double(), draws)
    seen = normal_seen(torch.as_tensor(parts[7][0]), torch.full((3,), math.nan).double(), torch.ones(3).double())
    again, evidence = filter_.observe(after, seen, t, draws)
    assert (evidence == 0).all()
    assert all((new == old).all() for new, old in zip(again, belief))


def test_inflation_switched_off_is_none_to_the_last_bit():
    parts = scene(3, 2, 10)
    plain = along(SquareRootEnsemble(20, inflation=NONE), parts)
    for off in (AdaptiveInflation(most=1.0), RelaxationToPrior(share=0.0)):
        same = along(SquareRootEnsemble(20, inflation=off), parts)
        assert (same[0].members == plain[0].members).all()
        assert (same[1] == plain[1]).all()
    assert (along(SquareRootEnsemble(20), parts)[0].members != plain[0].members).any()


def test_log_evidence_has_the_gradient_of_kalman():
    parts = scene(2, 2, 8, n_rows=1)
    matrix, offset, diffusion, mean, sd, gaps, values, weights = parts
    n_rows, filter_, draws = 1, SquareRootEnsemble(12, inflation=NONE), Draws(torch.arange(1))

    def evidence(numbers):
        scaled = LinearMotion(torch.as_tensor(matrix) * numbers[0], torch.as_tensor(offset) * numbers[1],
                              torch.as_tensor(diffusion) * numbers[2])  # fmt: skip
        t, total = torch.zeros(n_rows).double(), torch.zeros(n_rows).double()
        belief = filter_.start(normal_start(torch.as_tensor(mean), torch.as_tensor(sd)), scaled, t, draws)
        for i in range(gaps.shape[1]):
            belief = filter_.flow(belief, scaled, t, torch.as_tensor(gaps[:, i]), draws)
            t = t + torch.as_tensor(gaps[:, i])
            for channel in range(2):
                value = torch.as_tensor(values[:, i, channel])
                seen = normal_seen(torch.as_tensor(weights[channel]), value, numbers[3].expand(1))
                belief, more = filter_.observe(belief, seen, t, draws)
                total = total + more
        return total.sum()

    def exact(numbers):
        kalman = Kalman(mean[0], np.diag(sd[0] ** 2))
        for i in range(gaps.shape[1]):
            kalman.flow(matrix * numbers[0], offset * numbers[1], diffusion * numbers[2], gaps[0, i])
            for channel in range(2):
                kalman.observe(weights[channel], values[0, i, channel], numbers[3])
        return kalman.log_evidence

    at = torch.tensor([1.0, 1.0, 1.0, 0.4], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(evidence(at), at)
    for i in range(4):
        step = np.eye(4)[i] * 1e-5
        slope = (exact(at.detach().numpy() + step) - exact(at.detach().numpy() - step)) / 2e-5
        assert abs(gradient[i].item() - slope) < 1e-6 * max(1.0, abs(slope))


def test_too_few_members_for_exact_noise_still_have_noise_of_mean_zero():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator)
    normals = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator)
    noise = matched_normals(members, normals)
    assert noise.mean(dim=1).abs().max() < 1e-15
    torch.testing.assert_close(noise, normals - normals.mean(dim=1, keepdim=True))


def test_matched_normals_are_exact_and_look_like_those_they_are_made_from():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(1, 500, 3, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 0.0, 1e6])
    normals = torch.randn(1, 500, 2, dtype=torch.float64, generator=generator)
    noise = matched_normals(members, normals)[0]
    torch.testing.assert_close(torch.cov(noise.mT), torch.eye(2).double(), rtol=0, atol=1e-13)
    assert noise.mean(dim=0).abs().max() < 1e-14
    assert (members[0].mT @ noise).abs().max() < 1e-6
    assert (noise - normals[0]).abs().max() < 1.0


def test_localisation_keeps_what_stands_far_from_a_value():
    parts = scene(3, 3, 3, n_rows=1)
    parts[6][..., 0], parts[6][..., 1] = 1.0, math.nan
    weights = np.eye(3)[:2]
    local = SquareRootEnsemble(20, NONE, Localisation(torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64), 5.0))
    belief, _, _ = along(local, (*parts[:-1], weights), until=1)
    nothing = parts[6].copy()
    nothing[:] = math.nan
    free, _, _ = along(local, (*parts[:6], nothing, weights), until=1)
    torch.testing.assert_close(belief.members[..., 1:], free.members[..., 1:], rtol=0, atol=1e-14)
    assert (belief.members[..., 0] - free.members[..., 0]).abs().min() > 1e-6


def test_matched_normals_have_the_derivative_of_their_construction():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(2, 9, 3, dtype=torch.float64, generator=generator)
    normals = torch.randn(2, 9, 2, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda z: matched_normals(z, normals), members.requires_grad_())
    flat = members.detach() * torch.tensor([1.0, 0.0, 2.0]).double()  # a direction without spread, that gets none
    flat[..., 2] = 2.0 * flat[..., 0]

    def scaled(size):
        return matched_normals(flat * size, normals)

    assert torch.autograd.gradcheck(scaled, torch.ones(2, 1, 3).double().requires_grad_(), atol=1e-6)


class Bent(LinearMotion):
    """``dz = -rate z^3 dt + dW``."""

    is_linear = False

    def __init__(self, rate):
        super().__init__(torch.zeros(1, 1).double(), torch.zeros(1).double(), torch.ones(1, 1).double(), False)
        self.rate = rate

    def drift(self, t, z):
        return -self.rate * z**3


@pytest.mark.parametrize("kind", [SquareRootEnsemble, EnsembleKalman])
@pytest.mark.parametrize("inflation", [NONE, AdaptiveInflation(), RelaxationToPrior()])
def test_log_evidence_has_the_gradient_of_itself_where_motion_is_not_linear(kind, inflation):
    filter_, one, draws = kind(8, inflation), torch.ones(1).double(), Draws(torch.arange(1))

    def evidence(numbers):
        motion, t, total = Bent(numbers[0]), torch.zeros(1).double(), 0.0
        belief = filter_.start(normal_start(one[:, None], 0.5 * one[:, None]), motion, t, draws)
        for value in (0.4, -1.5, 2.5):
            belief = filter_.flow(belief, motion, t, 0.3 * one, draws)
            t = t + 0.3
            belief, more = filter_.observe(belief, normal_seen(one, value * one, numbers[1].expand(1)), t, draws)
            total = total + more
        return total

    assert torch.autograd.gradcheck(evidence, torch.tensor([0.7, 0.2]).double().requires_grad_())
