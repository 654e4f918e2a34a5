import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from tsode.core.observation import Observation
from tsode.core.status import Status
from tsode.jumps.gaussian import GaussianConditioning, condition

MASK = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])


def problem(b=4, c=3, d=2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = draw(b, d, d)
    return draw(b, d), root @ root.mT, draw(b, c), draw(c, d), draw(c).exp()


def test_conditioning_is_that_of_the_joint_gaussian():
    mean, cov, error, readout, variance = problem()
    after = condition(mean, cov, error, MASK, readout, variance)
    for row in range(4):
        seen = MASK[row]
        h, s = readout[seen], readout[seen] @ cov[row] @ readout[seen].mT + variance[seen].diag()
        gain = cov[row] @ h.mT @ s.inverse()
        torch.testing.assert_close(after.mean[row], mean[row] + gain @ error[row, seen])
        torch.testing.assert_close(after.cov[row], cov[row] - gain @ h @ cov[row])
        if seen.any():
            density = MultivariateNormal(torch.zeros(int(seen.sum())).double(), s).log_prob(error[row, seen])
            torch.testing.assert_close(after.log_prob[row], density)


def test_seeing_nothing_changes_nothing_bit_for_bit():
    mean, cov, error, readout, variance = problem()
    cov = 0.5 * (cov + cov.mT)
    after = condition(mean, cov, error.fill_(math.nan), torch.zeros_like(MASK), readout, variance)
    assert after.mean.equal(mean)
    assert after.cov.equal(cov)
    assert after.log_prob.equal(torch.zeros(4).double())


def test_channels_one_after_another_are_channels_at_once():
    mean, cov, error, readout, variance = problem()
    together = condition(mean, cov, error, MASK, readout, variance)
    seen, log_prob = mean, 0.0
    for channel in range(3):
        only = MASK & (torch.arange(3) == channel)
        step = condition(seen, cov, error - (seen - mean) @ readout.mT, only, readout, variance)
        seen, cov, log_prob = step.mean, step.cov, log_prob + step.log_prob
    torch.testing.assert_close(seen, together.mean)
    torch.testing.assert_close(cov, together.cov)
    torch.testing.assert_close(log_prob, together.log_prob)


def test_covariance_stays_positive_where_the_noise_is_a_millionth_of_the_prior():
    _, cov, error, readout, _ = problem()
    tiny = torch.full((3,), 1e-12, dtype=torch.float64)
    after = condition(error[:, :2], 1e6 * cov, error, MASK, readout, tiny)
    assert (torch.linalg.eigvalsh(after.cov) >= 0).all()


def test_gradients_are_right():
    mean, cov, error, readout, variance = (x.requires_grad_() for x in problem())

    def parts(mean, cov, error, readout, variance):
        after = condition(mean, 0.5 * (cov + cov.mT), error, MASK, readout, variance)
        return after.mean, after.cov, after.log_prob

    assert torch.autograd.gradcheck(parts, (mean, cov, error, readout, variance))


def test_what_was_seen_pulls_back_to_the_derivatives_of_its_density():
    mean, cov, error, readout, variance = problem()
    values = error + mean @ readout.mT

    def log_prob(mean):
        return condition(mean, cov, values - mean @ readout.mT, MASK, readout, variance).log_prob.sum()

    after = condition(mean, cov, error, MASK, readout, variance)
    vector, matrix = after.pull_back(torch.zeros(4, 2).double(), torch.zeros(4, 2, 2).double())
    torch.testing.assert_close(vector, -torch.autograd.functional.jacobian(log_prob, mean))
    hessian = torch.autograd.functional.hessian(log_prob, mean)
    torch.testing.assert_close(matrix, -torch.stack([hessian[k, :, k] for k in range(4)]))


def test_covariance_that_is_not_one_is_a_status_of_its_row():
    mean, cov, error, readout, variance = problem()
    cov[1] = -100.0 * cov[1]
    after = condition(mean, cov, error, MASK, readout, variance)
    assert after.status.tolist() == [Status.OK, Status.NON_FINITE, Status.OK, Status.OK]
    assert after.mean[[0, 2, 3]].isfinite().all()


@pytest.fixture
def jump():
    torch.manual_seed(0)
    return GaussianConditioning(n_state=2, n_channels=3).double()


def test_jump_conditions_with_its_constant_covariance(jump):
    mean, _, error, _, _ = problem()
    observation = Observation(error, MASK.double(), torch.zeros(4, 3, 1, dtype=torch.float64))
    cov = (jump.factor @ jump.factor.mT).expand(4, -1, -1)
    truth = condition(mean, cov, error, MASK, jump.readout, (2.0 * jump.log_noise).exp())
    torch.testing.assert_close(jump(mean, observation), truth.mean)


def test_jump_draws_the_prediction_towards_what_is_seen(jump):
    z, predicted = torch.zeros(1, 2).double(), torch.zeros(1, 3, 1).double()
    mask = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    after = jump(z, Observation(torch.tensor([[2.0, 9.0, 9.0]]).double(), mask, predicted))
    drawn = (after @ jump.readout.mT)[0, 0]
    prior = (jump.readout[0] @ jump.factor).square().sum()
    torch.testing.assert_close(drawn, 2.0 * prior / (prior + math.exp(-2.0)))
