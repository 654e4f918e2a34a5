import math

import torch

from tsode.numerics import EulerMaruyama, HeunMaruyama
from tsode.numerics.sde import Ito

TURN, PULL, SIGMA = 4.0, 1.0, 0.7


class Turning(Ito):
    """A rotation that relaxes under noise: its stationary covariance is ``sigma**2 / (2 pull)`` times the identity."""

    def drift(self, t, z):
        return z @ torch.tensor([[-PULL, -TURN], [TURN, -PULL]], dtype=z.dtype)

    def diffusion(self, t, z):
        return torch.full_like(z, SIGMA)


def one_step(solver, dt):
    """Matrices of ``z1 = z M + w N``, of states and noise, of one step."""
    sde, eye, zero = Turning(2), torch.eye(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    t, dt = torch.zeros(2, dtype=torch.float64), torch.full((2,), dt, dtype=torch.float64)
    return solver.step(sde, t, dt, eye, zero).z, solver.step(sde, t, dt, zero, eye).z


def stationary_covariance(solver, dt):
    of_state, of_noise = one_step(solver, dt)
    assert torch.linalg.eigvals(of_state).abs().max() < 1
    system = torch.eye(4, dtype=torch.float64) - torch.kron(of_state.mT.contiguous(), of_state.mT.contiguous())
    return torch.linalg.solve(system, (dt * of_noise.mT @ of_noise).reshape(4)).reshape(2, 2)


def test_a_rotation_that_euler_maruyama_blows_up_keeps_its_size():
    exact = math.exp(-PULL / 8)
    sizes = {
        type(s): torch.linalg.eigvals(one_step(s, 1 / 8)[0]).abs().max() for s in (EulerMaruyama(), HeunMaruyama())
    }
    assert sizes[EulerMaruyama] > 1.0
    assert abs(float(sizes[HeunMaruyama]) - exact) < 0.01


def test_the_stationary_covariance_is_right_to_second_order_under_additive_noise():
    exact = SIGMA**2 / (2 * PULL) * torch.eye(2, dtype=torch.float64)
    coarse, fine = (float((stationary_covariance(HeunMaruyama(), dt) - exact).norm()) for dt in (1 / 64, 1 / 128))
    assert abs(math.log2(coarse / fine) - 2.0) < 0.2
    first = [float((stationary_covariance(EulerMaruyama(), dt) - exact).norm()) for dt in (1 / 64, 1 / 128)]
    assert abs(math.log2(first[0] / first[1]) - 1.0) < 0.2
