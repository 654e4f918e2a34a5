import pytest
import torch

from tests.numerics.sde_systems import brownian
from tsode.dynamics import NeuralSDE
from tsode.errors import ParameterError
from tsode.evolutions.stochastic import SolvedSDE
from tsode.numerics import EulerMaruyama


def test_noise_stays_within_its_bounds_whatever_the_weights():
    torch.manual_seed(0)
    sde = NeuralSDE(3, bounds=(0.1, 0.5))
    with torch.no_grad():
        for weight in sde.parameters():
            weight.mul_(100.0).add_(10.0 * torch.randn_like(weight))
    noise = sde.diffusion(torch.zeros(500, dtype=torch.float64), 1e3 * torch.randn(500, 3))
    assert noise.min() >= 0.1 * (1 - 1e-6)
    assert noise.max() <= 0.5 * (1 + 1e-6)


def test_noise_of_a_coordinate_depends_on_where_it_is():
    torch.manual_seed(0)
    z = torch.linspace(-2, 2, 9)[:, None].expand(-1, 3)
    assert NeuralSDE(3).diffusion(torch.zeros(9, dtype=torch.float64), z).std(dim=0).min() > 1e-3


def test_paths_stay_in_a_bounded_region_for_ever():
    torch.manual_seed(0)
    sde, n = NeuralSDE(2, bounds=(0.1, 0.5)).double(), 50
    evolution = SolvedSDE(sde, EulerMaruyama(max_step=0.125), brownian(n, 2, 50.0))
    start = torch.zeros(n, dtype=torch.float64)
    with torch.no_grad():
        end = evolution.evolve(torch.full((n, 2), 100.0, dtype=torch.float64), start, start + 50)
    assert not end.status.any()
    assert end.z.abs().max() < 5


def test_bounds_that_let_the_noise_vanish_are_refused():
    with pytest.raises(ParameterError, match="two positive numbers, the smaller first"):
        NeuralSDE(2, bounds=(0.0, 1.0))
