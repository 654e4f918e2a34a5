"""Inflation beside the law it comes from, and what it does to ensembles that are too sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.assimilation.ensemble_motions import LinearMotion, normal_seen, normal_start
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import AdaptiveInflation, Inflation, Innovation, RelaxationToPrior, spread_out
from tsode.assimilation.motion import Draws
from tsode.errors import ParameterError


@pytest.mark.parametrize("error", [0.1, 2.0, 9.0])
@pytest.mark.parametrize("correlation", [1.0, -0.4])
def test_a_factor_moves_to_the_mode_of_prior_times_linear_likelihood(error, correlation):
    factor, var, noise, sd = 1.7, 2.3, 0.8, 0.6
    told = Innovation(
        *(torch.tensor([x]).double() for x in (var, error, noise)), torch.tensor([[correlation]]).double()
    )
    found = AdaptiveInflation(sd=sd).learned(torch.tensor([[factor]]).double(), told).item()

    gamma = abs(correlation)
    bare = var / (1 + gamma * (math.sqrt(factor) - 1)) ** 2

    def likelihood(x):
        theta = np.sqrt((1 + gamma * (np.sqrt(x) - 1)) ** 2 * bare + noise)
        return np.exp(-0.5 * (error / theta) ** 2) / theta

    slope = (likelihood(factor + 1e-6) - likelihood(factor - 1e-6)) / 2e-6
    grid = np.linspace(0.5, 3.5, 3_000_001)
    posterior = np.exp(-0.5 * ((grid - factor) / sd) ** 2) * (likelihood(factor) + slope * (grid - factor))
    assert abs(found - max(1.0, grid[posterior.argmax()])) < 1e-5


def test_a_value_that_says_nothing_moves_no_factor():
    told = Innovation(
        *(torch.tensor([x]).double() for x in (1.0, 0.0, math.inf)), torch.ones(1, 1, dtype=torch.float64)
    )
    factor = torch.full((1, 1), 1.4, dtype=torch.float64)
    assert (AdaptiveInflation().learned(factor, told) == factor).all()


def test_relaxation_gives_back_its_share_of_the_spread():
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(2, 9, 3, dtype=torch.float64, generator=generator)
    after = spread_out(before, torch.full((2, 3), 0.5).double())
    found = RelaxationToPrior(0.4).relaxed(before, after).std(dim=1)
    torch.testing.assert_close(found, before.std(dim=1) * (0.5 + 0.4 * 0.5))


def cycled(inflation, n_rows, n, wrong, seed=0):
    """Walks seen each unit of time with noise 1, of which the filter knows too little; and one that nobody sees."""
    generator = torch.Generator().manual_seed(seed)
    eye = torch.eye(2).double()
    true = LinearMotion(0 * eye, eye[0] * 0, 1.0 * eye)
    known = LinearMotion(0 * eye, eye[0] * 0, eye * torch.tensor([1.0 / wrong, 0.1]).double())
    filter_, draws, t = SquareRootEnsemble(60, inflation), Draws(torch.arange(n_rows)), torch.zeros(n_rows).double()
    one = torch.ones(n_rows).double()
    belief = filter_.start(
        normal_start(torch.zeros(n_rows, 2).double(), torch.ones(n_rows, 2).double()), known, t, draws
    )
    z, errors, spreads, factors = torch.randn(n_rows, dtype=torch.float64, generator=generator), [], [], []
    for _ in range(n):
        z = z + true.noise[0, 0] * torch.randn(n_rows, dtype=torch.float64, generator=generator)
        value = z + torch.randn(n_rows, dtype=torch.float64, generator=generator)
        belief = filter_.flow(belief, known, t, one, draws)
        t = t + 1.0
        belief, _ = filter_.observe(belief, normal_seen(eye[0], value, one), t, draws)
        errors.append((belief.members[..., 0].mean(dim=1) - z).square().mean().item())
        spreads.append(belief.members[..., 0].var(dim=1).mean().item())
        factors.append(belief.inflation.mean(dim=0))
    late = slice(n // 3, None)
    return np.mean(errors[late]), np.mean(spreads[late]), torch.stack(factors[late.start :]).mean(dim=0), belief


@pytest.mark.slow
def test_adaptive_inflation_mends_an_ensemble_that_knows_too_little_noise():
    plain, narrow, _, _ = cycled(Inflation(), 200, 60, wrong=10.0)  # a hundredth of the variance
    mended, _, factor, belief = cycled(AdaptiveInflation(), 200, 60, wrong=10.0)
    undamped, spread, _, _ = cycled(AdaptiveInflation(damping=1.0), 200, 60, wrong=10.0)
    best = (math.sqrt(5.0) - 1.0) / 2.0  # the variance of Kalman with all known: P = (P + 1) / (P + 2)
    assert narrow / plain < 0.1
    assert mended < plain / 3.0
    assert undamped < 1.2 * best
    assert 0.6 < spread / undamped < 1.4
    # the state that nobody sees has, to rounding, no factor, and the spread of the noise that it is known to have
    assert factor[0] > 1.3
    assert factor[1] < 1.0 + 1e-9
    torch.testing.assert_close(belief.members[..., 1].var(dim=1), torch.full((200,), 1.0 + 60 * 0.01).double())


@pytest.mark.slow
def test_adaptive_inflation_of_a_true_model_costs_little():
    exact, _, _, _ = cycled(Inflation(), 200, 60, wrong=1.0)
    found, spread, factor, _ = cycled(AdaptiveInflation(), 200, 60, wrong=1.0)
    assert found < 1.03 * exact
    assert factor[0] < 1.2
    assert spread < 1.15 * exact


@pytest.mark.parametrize(
    ("maker", "told"),
    [(lambda: AdaptiveInflation(sd=0.0), "sd of"), (lambda: AdaptiveInflation(damping=1.1), "damping of"),
     (lambda: AdaptiveInflation(most=0.5), "most of"), (lambda: RelaxationToPrior(-0.1), "share of")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(maker, told):
    with pytest.raises(ParameterError, match=told):
        maker()
