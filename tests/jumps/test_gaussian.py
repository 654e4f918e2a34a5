import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from tsode.core.observation import Observation
from tsode.core.status import Status
from tsode.jumps.gaussian import GaussianConditioning, _at_once, _by_roots, condition

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


def twice(y1, y2, noise):
    """Log density of two readings of one state, a standard normal, with this variance of the noise; the variance left.

    Their mean and their difference are independent.
    """
    middle, apart = 0.5 * (y1 + y2), y1 - y2
    density = -0.5 * (middle**2 / (1 + noise / 2) + math.log(1 + noise / 2) + apart**2 / (2 * noise))
    return density - 0.5 * math.log(2 * noise) - math.log(2 * math.pi), 1.0 / (1.0 + 2.0 / noise)


@pytest.mark.parametrize(
    ("dtype", "sd", "digits"),
    [(torch.float64, sd, 1e-9) for sd in (1e-2, 1e-5, 1e-7, 1e-8, 1e-10, 1e-13)]
    + [(torch.float32, sd, 1e-5) for sd in (1e-1, 1e-3, 3e-4, 1e-4, 1e-6)],
)
@pytest.mark.parametrize("form", ["two channels", "one after the other"])
def test_little_noise_is_not_lost_in_what_is_read_twice(dtype, sd, digits, form):
    y1, y2 = 0.3, 0.3 + 2.0 * sd
    mean, cov = torch.zeros(1, 1, dtype=dtype), torch.ones(1, 1, 1, dtype=dtype)
    variance = torch.full((1,), sd, dtype=dtype) ** 2
    seen = torch.ones(1, 1, dtype=torch.bool)
    one = torch.ones(1, 1, dtype=dtype)
    values = torch.tensor([[y1, y2]], dtype=dtype)
    if form == "two channels":
        after = condition(mean, cov, values, seen.expand(1, 2), one.expand(2, 1), variance.expand(2))
        log_prob = after.log_prob
    else:
        first = condition(mean, cov, values[:, :1], seen, one, variance)
        after = condition(first.mean, first.cov, values[:, 1:] - first.mean, seen, one, variance)
        log_prob = first.log_prob + after.log_prob
    density, left = twice(*values[0].tolist(), variance.item())
    assert after.status.item() == Status.OK
    assert after.cov.item() == pytest.approx(left, rel=1e3 * digits)
    rounding = values[0, 0].item() * torch.finfo(dtype).eps / sd  # of the readings, in units of the noise
    assert log_prob.item() == pytest.approx(density, rel=10 * digits, abs=10 * rounding)


def test_channels_of_any_noise_are_conditioned_row_by_row():
    mean, cov, error, readout, _ = problem()
    readout[1] = readout[0]  # the first two channels see the same
    variance = torch.tensor([1e-18, 1e-18, 0.3], dtype=torch.float64)
    error[:, 1] = error[:, 0]
    together = condition(mean, cov, error, MASK, readout, variance)
    for row in range(4):
        alone = condition(
            mean[row : row + 1], cov[row : row + 1], error[row : row + 1], MASK[row : row + 1], readout, variance
        )
        assert alone.mean[0].equal(together.mean[row])
        assert alone.cov[0].equal(together.cov[row])
    seen_once = condition(mean[:1], cov[:1], error[:1], MASK[:1] & torch.tensor([True, False, True]), readout, variance)
    torch.testing.assert_close(together.mean[:1], seen_once.mean)
    torch.testing.assert_close(
        together.observed[0].mT @ together.weighted[0],
        seen_once.observed[0].mT @ seen_once.weighted[0],
        rtol=1e-6,
        atol=0.0,
    )


def test_roots_of_covariances_give_the_same_and_the_same_gradient():
    mean, cov, error, readout, variance = problem()
    root = torch.linalg.cholesky(cov + torch.eye(2).double())
    tensors = [tensor.requires_grad_() for tensor in (mean, root, error, readout, variance)]
    cov = root @ root.mT
    for part in ("mean", "cov", "log_prob"):
        found = []
        for after in (
            _by_roots(mean, cov, error, MASK, readout, variance),
            _at_once(mean, cov, error, MASK, readout, variance)[0],
        ):
            value = getattr(after, part).cos().sum()
            found.append(torch.autograd.grad(value, tensors, retain_graph=True, materialize_grads=True))
        for left, right in zip(*found):
            torch.testing.assert_close(left, right)
