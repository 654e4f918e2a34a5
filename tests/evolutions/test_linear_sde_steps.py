import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec
from scipy.linalg import expm, solve_continuous_lyapunov

from tsode.evolutions.linear_sde import Transition, discretise, discretise_stationary, square_root, stationary_moments

RNG = np.random.default_rng(0)
SYSTEMS = {
    "Ornstein-Uhlenbeck": ([[-0.8]], [[0.6]]),
    "four coupled states, two noises": (RNG.normal(size=(4, 4)) - 3.0 * np.eye(4), RNG.normal(size=(4, 2))),
    "oscillator": ([[0.0, 1.0], [-9.0, -0.1]], [[0.0], [1.0]]),
    "undamped oscillator": ([[0.0, 3.0], [-3.0, 0.0]], [[0.0], [1.0]]),
    "integrator": ([[0.0, 1.0], [0.0, 0.0]], [[0.0], [1.0]]),
    "unstable": ([[0.5, 1.0], [0.0, -0.3]], np.eye(2)),
    "Wiener process": (np.zeros((2, 2)), np.eye(2)),
    "far from normal": ([[-1.0, 50.0], [0.0, -2.0]], np.eye(2)),
}


def tensor(x):
    return torch.as_tensor(x, dtype=torch.float64)


def system(name):
    drift, diffusion = SYSTEMS[name]
    return tensor(drift), torch.linspace(0.5, -1.0, len(drift), dtype=torch.float64), tensor(diffusion)


@pytest.mark.parametrize("name", SYSTEMS)
def test_transition_is_the_matrix_exponential_and_its_integrals(name):
    drift, offset, diffusion = system(name)
    gaps = [0.0, 1e-3, 0.4, 3.0, 7.3]
    step = discretise(drift, offset, diffusion, tensor(gaps))
    a, b, q = drift.numpy(), offset.numpy(), (diffusion @ diffusion.mT).numpy()
    for k, gap in enumerate(gaps):
        shift = quad_vec(lambda s: expm(a * s) @ b, 0.0, gap, epsabs=1e-12, epsrel=1e-12)[0]
        cov = quad_vec(lambda s: expm(a * s) @ q @ expm(a * s).T, 0.0, gap, epsabs=1e-12, epsrel=1e-12)[0]
        torch.testing.assert_close(step.phi[k], tensor(expm(a * gap)), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(step.shift[k], tensor(shift), rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(step.cov[k], tensor(cov), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", SYSTEMS)
def test_zero_gap_is_the_identity_bit_for_bit(name):
    step = discretise(*system(name), tensor([[0.0, 1.0], [2.0, 0.0]]))
    mean = torch.randn(2, 2, len(step.shift[0, 0]), dtype=torch.float64)
    cov = torch.eye(mean.shape[-1], dtype=torch.float64).expand(2, 2, -1, -1) / 3.0
    carried = step.carry(mean, cov)
    for row in (0, 1):
        assert carried[0][row, row].equal(mean[row, row])
        assert carried[1][row, row].equal(cov[row, row])


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_steps_are_one_long_step(name):
    first, second, both = discretise(*system(name), tensor([[0.7, 2.6, 3.3]])).unbind()
    start = torch.ones_like(first.shift), torch.eye(first.shift.shape[1], dtype=torch.float64)[None]
    for one, other in zip(both.carry(*start), second.carry(*first.carry(*start))):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["Ornstein-Uhlenbeck", "four coupled states, two noises", "oscillator"])
def test_any_gap_of_a_stable_system_keeps_the_stationary_moments(name):
    matrices = system(name)
    mean, cov = stationary_moments(*matrices)
    step = discretise(*matrices, tensor([1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e6]))
    carried_mean, carried_cov = step.carry(mean, cov)
    torch.testing.assert_close(carried_mean, mean.expand_as(carried_mean), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(carried_cov, cov.expand_as(carried_cov), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(step.cov[-1], cov, rtol=1e-13, atol=1e-14)
    assert step.phi[-1].abs().max() < 1e-15


def test_stationary_covariance_solves_the_lyapunov_equation():
    drift, offset, diffusion = system("four coupled states, two noises")
    mean, cov = stationary_moments(drift, offset, diffusion)
    truth = solve_continuous_lyapunov(drift.numpy(), -(diffusion @ diffusion.mT).numpy())
    torch.testing.assert_close(cov, tensor(truth), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(drift @ mean, -offset)


def test_covariance_over_a_tiny_gap_has_all_its_digits():
    h = 1e-9
    cov = discretise(*system("integrator"), tensor([h])).cov[0]
    torch.testing.assert_close(cov, tensor([[h**3 / 3, h**2 / 2], [h**2 / 2, h]]), rtol=1e-14, atol=0)
    torch.linalg.cholesky(cov)


def test_slow_state_beside_a_fast_one_keeps_its_digits():
    drift = tensor([[-1e4, 0.0], [0.0, -1e-3]])
    step = discretise(
        drift, torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), tensor([1e-6, 1.0])
    )
    truth = -np.expm1(2.0 * drift.diagonal().numpy() * np.array([[1e-6], [1.0]])) / (-2.0 * drift.diagonal().numpy())
    torch.testing.assert_close(step.cov.diagonal(dim1=-2, dim2=-1), tensor(truth), rtol=1e-14, atol=0)
    torch.testing.assert_close(step.phi[1, 1, 1], tensor(np.exp(-1e-3)), rtol=1e-15, atol=0)


def test_overflow_of_one_gap_leaves_the_others_alone():
    step = discretise(*system("unstable"), tensor([1.0, 1e4]))
    assert not step.phi[1].isfinite().all()
    alone = discretise(*system("unstable"), tensor([1.0]))
    torch.testing.assert_close(step.phi[:1], alone.phi)
    torch.testing.assert_close(step.cov[:1], alone.cov)


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradients_are_right(name):
    gaps = tensor([0.0, 0.05, 0.9, 4.0])
    matrices = tuple(m.clone().requires_grad_() for m in system(name))

    def parts(*given):
        step = discretise(*given, gaps)
        return step.phi, step.shift, step.cov

    assert torch.autograd.gradcheck(parts, matrices, fast_mode=True)


def test_no_gaps_give_no_transitions():
    step = discretise(*system("oscillator"), torch.zeros(3, 0, dtype=torch.float64))
    assert step.phi.shape == (3, 0, 2, 2)
    assert step.shift.shape == (3, 0, 2)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_square_root_of_a_singular_covariance_gives_it_back(rank):
    factor = tensor(RNG.normal(size=(5, 3, rank)) * np.array([1.0, 1e-6, 1e3])[:, None])
    cov = factor @ factor.mT
    root = square_root(cov)
    scale = cov.diagonal(dim1=-2, dim2=-1).sqrt().clamp(min=1e-300)
    error = (root @ root.mT - cov) / scale[..., None] / scale[..., None, :]
    assert error.abs().max() < 1e-13


def test_backward_gain_is_the_regression_of_the_start_on_the_end():
    step = discretise(*system("oscillator"), tensor([0.3]))
    cov = tensor([[[2.0, 0.3], [0.3, 0.5]]])
    end = step.phi @ cov @ step.phi.mT + step.cov
    torch.testing.assert_close(step.backward_gain(cov), cov @ step.phi.mT @ end.inverse())


def test_backward_gain_of_a_known_state_is_zero_and_of_a_standing_one_a_projection():
    standing = Transition(*(tensor(x) for x in (np.eye(2)[None], np.zeros((1, 2)), np.zeros((1, 2, 2)))))
    assert standing.backward_gain(torch.zeros(1, 2, 2, dtype=torch.float64)).equal(torch.zeros(1, 2, 2).double())
    partly = tensor([[[0.0, 0.0], [0.0, 4.0]]])
    torch.testing.assert_close(standing.backward_gain(partly), tensor([[[0.0, 0.0], [0.0, 1.0]]]))


def test_steps_of_stationary_systems_are_those_of_any() -> None:
    generator = torch.Generator().manual_seed(0)
    rotation = 3.0 * torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    root = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64).tril()
    root[0, :, 1:] = 0.0  # smooth: noise on few states
    drift = rotation - rotation.mT - 0.5 * root @ root.mT
    gaps = torch.tensor([[0.0, 1e-9, 0.3], [0.3, 2.0, 500.0]], dtype=torch.float64)
    found = discretise_stationary(drift, gaps)
    for k in range(3):
        truth = discretise(drift[k], torch.zeros(4, dtype=torch.float64), root[k], gaps)
        torch.testing.assert_close(found.phi[k], truth.phi, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(found.cov[k], truth.cov, rtol=1e-6, atol=1e-13)
