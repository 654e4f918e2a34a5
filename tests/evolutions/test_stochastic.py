import math
import pickle

import pytest
import torch
import torchsde

from tests.numerics.sde_systems import StratonovichGrowth, brownian
from tests.numerics.test_torch_sde import InItsWords, ItsPath
from tsode.core.status import Status
from tsode.dynamics import NeuralSDE, OrnsteinUhlenbeck
from tsode.errors import ParameterError
from tsode.evolutions.stochastic import Guided, SolvedSDE
from tsode.numerics import EulerMaruyama, Milstein, TorchSDE
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import Ito


def ornstein_uhlenbeck(rate, level, sigma, n_state=2):
    sde = OrnsteinUhlenbeck(n_state).double().requires_grad_(False)
    for parameter, value in ((sde.log_rate, math.log(rate)), (sde.level, level), (sde.log_sigma, math.log(sigma))):
        parameter.fill_(value)
    return sde


def path_kl(z0, rate, level, sigma, prior_rate, prior_level, span):
    """KL of the paths of two Ornstein-Uhlenbeck processes of one coordinate from the same start.

    The difference of the drifts is ``a + b x``, and ``x`` is normal with mean ``level + gap exp(-rate t)`` and variance
    ``sigma**2 (1 - exp(-2 rate t)) / (2 rate)``: the integral of ``E (a + b x)**2 / (2 sigma**2)`` in closed form.
    """
    gap, b = z0 - level, prior_rate - rate
    at_level = rate * level - prior_rate * prior_level + b * level
    once, twice = (1 - math.exp(-rate * span)) / rate, (1 - math.exp(-2 * rate * span)) / (2 * rate)
    square = at_level**2 * span + 2 * at_level * b * gap * once + (b * gap) ** 2 * twice
    variance = sigma**2 / (2 * rate) * (span - twice)
    return (square + b**2 * variance) / (2 * sigma**2)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [EulerMaruyama(max_step=1 / 128), Milstein(max_step=1 / 128)])
def test_path_kl_of_two_ornstein_uhlenbeck_drifts_is_its_closed_form(solver):
    n, span = 4000, 1.25
    what = {"rate": 1.5, "level": 0.3, "sigma": 0.7}
    posterior, prior = ornstein_uhlenbeck(**what), ornstein_uhlenbeck(0.5, -0.4, 0.7)
    evolution = SolvedSDE(posterior, solver, brownian(n, 2, span), prior)
    start = torch.zeros(n, dtype=torch.float64)
    evolved = evolution.evolve(torch.tensor([[1.0, -0.5]], dtype=torch.float64).expand(n, -1), start, start + span)
    expected = sum(path_kl(z0, **what, prior_rate=0.5, prior_level=-0.4, span=span) for z0 in (1.0, -0.5))
    error = float(evolved.cost.std()) / n**0.5
    assert abs(float(evolved.cost.mean()) - expected) <= 6 * error
    assert 6 * error < 0.1 * expected


def test_the_prior_has_no_path_kl_from_itself():
    torch.manual_seed(0)
    sde, paths = NeuralSDE(2).double(), brownian(3, 2)
    start = torch.zeros(3, dtype=torch.float64)
    z = torch.randn(3, 2, dtype=torch.float64)
    with_prior = SolvedSDE(sde, Milstein(n_steps=4), paths, sde).evolve(z, start, start + 1)
    without = SolvedSDE(sde, Milstein(n_steps=4), paths).evolve(z, start, start + 1)
    for evolved in (with_prior, without):
        assert torch.equal(evolved.cost, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(with_prior.z, without.z)


class WithPrior(InItsWords):
    def __init__(self, sde, prior):
        super().__init__(sde)
        self.prior = prior

    def h(self, t, z):
        return self.prior.drift(t.expand(len(z)), z)


def test_path_kl_and_its_gradient_are_those_of_torchsde_on_the_same_path():
    torch.manual_seed(0)
    sde, prior = NeuralSDE(2, width=8).double(), NeuralSDE(2, width=8).double()
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    start = torch.zeros(3, dtype=torch.float64)
    inputs = [z, *sde.parameters(), *prior.field.parameters(), prior.log_pull]
    path = ItsPath(3, width=3)  # one column more for the coordinate in which torchsde keeps the KL
    states, theirs = torchsde.sdeint(
        WithPrior(sde, prior), z, [0.0, 1.0], bm=path.path, method="euler", dt=1 / 8, logqp=True
    )
    ours = SolvedSDE(sde, EulerMaruyama(n_steps=8), path, prior).evolve(z, start, start + 1)
    torch.testing.assert_close(ours.z, states[-1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.cost, theirs[0], rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(cost.sum(), inputs) for cost in (ours.cost, theirs))):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("solver", [EulerMaruyama(), Milstein(), TorchSDE("milstein", n_steps=1)])
def test_states_and_costs_go_on_from_call_to_call_along_the_same_path(solver):
    torch.manual_seed(0)
    sde, prior = NeuralSDE(2).double(), NeuralSDE(2).double()
    t = torch.tensor([[0.0, 2.0], [0.25, 2.125], [1.0, 3.0]], dtype=torch.float64)
    paths = BrownianPath.draw(torch.Generator().manual_seed(1), 2, 2, 1.0).starting_at(t[0])
    evolution = SolvedSDE(sde, solver, paths, prior)
    z = torch.randn(2, 2, dtype=torch.float64)
    middle = evolution.evolve(z, t[0], t[1])
    end = evolution.evolve(middle.z, t[1], t[2])

    increments = paths(t.T)
    first = evolution.evolve_to(z, t[0], t[1:2].T)
    torch.testing.assert_close(first.z[:, 0], middle.z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.cost[:, 0], middle.cost, rtol=1e-12, atol=1e-12)
    f, g = sde.terms(t[1], middle.z)
    dt, dw = (t[2] - t[1])[:, None], increments[:, 2] - increments[:, 1]
    expected = middle.z + f * dt + g * dw
    if not isinstance(solver, EulerMaruyama):
        expected = expected + 0.5 * g * sde.diffusion_slope(t[1], middle.z) * (dw**2 - dt)
    torch.testing.assert_close(end.z, expected, rtol=1e-12, atol=1e-12)


def test_a_steered_prior_is_the_equation_with_the_steering_in_its_drift():
    torch.manual_seed(0)
    prior, start = NeuralSDE(2).double(), torch.zeros(3, dtype=torch.float64)
    z, paths = torch.randn(3, 2, dtype=torch.float64), brownian(3, 2)

    def steer(t, z):
        return torch.sin(3.0 * z) + 1.0

    class Written(Ito):
        def drift(self, t, z):
            return prior.drift(t, z) + steer(t, z)

        def diffusion(self, t, z):
            return prior.diffusion(t, z)

    for solver in (EulerMaruyama(n_steps=4), Milstein(n_steps=4)):
        guided = SolvedSDE(Guided(prior, steer), solver, paths).evolve(z, start, start + 1)
        written = SolvedSDE(Written(2), solver, paths, prior).evolve(z, start, start + 1)
        torch.testing.assert_close(guided.z, written.z, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(guided.cost, written.cost, rtol=1e-12, atol=1e-12)
        assert (guided.cost > 0).all()


def test_cost_is_read_inside_the_steps_as_at_their_ends():
    n = 2000
    posterior, prior = ornstein_uhlenbeck(1.5, 0.0, 1.0), ornstein_uhlenbeck(0.5, 0.0, 1.0)
    evolution = SolvedSDE(posterior, EulerMaruyama(), brownian(n, 2, 1.5), prior, query_step=1 / 64)
    start = torch.zeros(n, dtype=torch.float64)
    times = torch.tensor([0.0, 0.3, 0.9, 1.37], dtype=torch.float64)
    cost = evolution.evolve_to(torch.ones(n, 2, dtype=torch.float64), start, times.expand(n, -1)).cost
    assert torch.equal(cost[:, 0], torch.zeros_like(start))
    assert (cost.diff(dim=1) > 0).all()
    for k in range(1, 4):
        expected = 2 * path_kl(1.0, 1.5, 0.0, 1.0, 0.5, 0.0, float(times[k]))
        # six standard errors, and one percent for steps of 1/64 at a rate of 1.5
        assert abs(float(cost[:, k].mean()) - expected) <= 6 * float(cost[:, k].std()) / n**0.5 + 0.01 * expected


def test_a_process_reaches_its_stationary_law():
    n = 4000
    sde = ornstein_uhlenbeck(2.0, 0.5, 1.2, n_state=1)
    evolution = SolvedSDE(sde, EulerMaruyama(max_step=1 / 32), brownian(n, 1, 3.0))
    start = torch.zeros(n, dtype=torch.float64)
    z = torch.ones(n, 1, dtype=torch.float64)
    end = evolution.evolve(z, start, start + 3).z
    mean, variance = sde.transition(z, start + 3)
    assert abs(float(end.mean() - mean[0])) <= 6 * float((variance[0] / n) ** 0.5)
    # Steps h of Euler-Maruyama make the stationary variance larger by 1 / (1 - rate h / 2).
    variance = float(variance[0]) / (1 - 2.0 / 32 / 2)
    assert abs(float(end.var()) - variance) <= 6 * variance * (2 / n) ** 0.5


def test_realisation_follows_from_the_seed():
    torch.manual_seed(0)
    sde, start = NeuralSDE(2), torch.zeros(3, dtype=torch.float64)

    def end(seed):
        paths = BrownianPath.draw(torch.Generator().manual_seed(seed), 3, 2, 1.0)
        return SolvedSDE(sde, EulerMaruyama(n_steps=4), paths).evolve(torch.zeros(3, 2), start, start + 1)

    assert torch.equal(end(0).z, end(0).z)
    assert not torch.equal(end(0).z, end(1).z)
    assert end(0).status.tolist() == [Status.OK] * 3


def test_evolution_survives_pickling():
    torch.manual_seed(0)
    evolution = SolvedSDE(NeuralSDE(2), Milstein(), BrownianPath.draw(torch.Generator().manual_seed(0), 1, 2, 1.0))
    start = torch.zeros(3, dtype=torch.float64)
    again = pickle.loads(pickle.dumps(evolution))
    assert torch.equal(
        again.evolve(torch.ones(3, 2), start, start + 1).z, evolution.evolve(torch.ones(3, 2), start, start + 1).z
    )


def test_mistakes_at_the_door_are_named():
    with pytest.raises(ParameterError, match="does not solve stratonovich equations such as StratonovichGrowth"):
        SolvedSDE(StratonovichGrowth(2), TorchSDE("euler"), brownian(1, 2))
    with pytest.raises(ParameterError, match="have 3 columns, but the state only 2"):
        SolvedSDE(NeuralSDE(2), Milstein(), brownian(1, 3))
