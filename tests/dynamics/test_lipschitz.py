import copy
import io
import math

import pytest
import torch

from tsode.dynamics import Lipschitz
from tsode.errors import ParameterError
from tsode.nn.orthogonal import ORTHONORMAL
from tsode.testing import check_dynamics

N_PAIRS = 100_000


def steepest(field, nearest=1e-4):
    """Over pairs that are far apart, near each other, and along an axis."""
    generator = torch.Generator().manual_seed(5)
    like = next(field.parameters())
    x, step = torch.randn(2, N_PAIRS, field.n_state, dtype=torch.float64, generator=generator)
    step *= torch.logspace(math.log10(nearest), 1, N_PAIRS, dtype=torch.float64)[:, None]
    step[::4, 1:] = 0.0
    x, y = 3 * x, 3 * x + step
    y[:, field.n_moving :] = x[:, field.n_moving :]
    t = torch.zeros(N_PAIRS, dtype=torch.float64)
    with torch.no_grad():
        apart = torch.linalg.vector_norm(field(t, x.to(like)) - field(t, y.to(like)), dim=1)
    return float((apart / torch.linalg.vector_norm(x - y, dim=1)).max())


def made(slope=2.5, size=None, **how):
    torch.manual_seed(0)
    field = Lipschitz(n_state=6, slope=slope, **how).double()
    if size is not None:
        for weight in field.parameters():
            torch.nn.init.normal_(weight, std=size)
        torch.nn.init.constant_(field.share, torch.pi / 2)  # as steep as it can be
    return field


@pytest.mark.parametrize("how", [{"group": 4}, {"depth": 1, "width": 6}])
def test_every_kind_keeps_the_contract(how):
    torch.manual_seed(0)
    check_dynamics(Lipschitz(n_state=4, n_static=1, **{"width": 12} | how))


@pytest.mark.parametrize("weights", ORTHONORMAL)
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_the_slope_is_at_most_the_bound_over_a_hundred_thousand_pairs(weights, size):
    slope = steepest(made(2.5, size, weights=weights, width=32, n_static=1))
    assert 0.3 * 2.5 < slope <= 2.5 * (1 + 1e-9)


@pytest.mark.slow
def test_the_bound_holds_in_training_in_evaluation_before_any_call_and_in_double_from_single_precision():
    torch.manual_seed(0)
    single = Lipschitz(n_state=6, slope=1.0)
    torch.nn.init.constant_(single.share, torch.pi / 2)
    double = copy.deepcopy(single).double()
    assert steepest(double.train()) <= 1 + 1e-9
    assert steepest(double.eval()) <= 1 + 1e-9
    for guarantee in single.check(torch.randn(1000, 6)):
        assert guarantee.holds


@pytest.mark.slow
@pytest.mark.parametrize("weights", ORTHONORMAL)
def test_the_bound_holds_after_200_huge_steps_of_an_optimiser_and_after_load(weights):
    field = made(1.0, 1.0, weights=weights, width=12)
    optimiser = torch.optim.Adam(field.parameters(), lr=100.0)
    x = torch.randn(64, 6, dtype=torch.float64)
    for _ in range(200):
        optimiser.zero_grad()
        (field(torch.zeros(64), x) - 100 * x.square()).square().mean().backward()
        optimiser.step()
    assert max(weight.abs().max().item() for weight in field.parameters()) > 1000
    assert steepest(field, nearest=0.1) <= 1 + 1e-9  # nearer to each other, offsets of 1e4 leave fewer digits
    file = io.BytesIO()
    torch.save(field.state_dict(), file)
    file.seek(0)
    other = made(1.0, weights=weights, width=12)
    other.load_state_dict(torch.load(file))
    assert steepest(other, nearest=0.1) <= 1 + 1e-9


def test_the_absolute_value_is_learned_to_a_thousandth_under_the_slope_of_one():
    torch.manual_seed(0)
    field = Lipschitz(n_state=1, slope=1.0, width=16).double()
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    optimiser = torch.optim.LBFGS(field.parameters(), max_iter=1000, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = (field(torch.zeros(len(x)), x) - x.abs()).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    between = torch.linspace(-1, 1, 10_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        assert (field(torch.zeros(len(between)), between) - between.abs()).abs().max() < 1e-3
    assert steepest(field) <= 1 + 1e-9


def test_check_finds_a_slope_above_the_bound():
    class Steeper(Lipschitz):
        def motion(self, t, x, theta):
            return super().motion(t, x, theta) + x

    torch.manual_seed(0)
    slope, _ = Steeper(6).double().check(torch.randn(1000, 6, dtype=torch.float64))
    assert not slope.holds
    assert "BROKEN" in str(slope)


def test_what_cannot_be_is_told():
    with pytest.raises(ParameterError, match="slope=0"):
        Lipschitz(3, slope=0.0)
    with pytest.raises(ParameterError, match="width=2"):
        Lipschitz(3, width=2)
    with pytest.raises(ParameterError, match="group=3 must divide width=64"):
        Lipschitz(3, width=64, group=3)
