"""Censored mixtures: beside their definition, by quadrature and by draws, and at ends that are not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsode.likelihoods.censored import CensoredMixture
from tsode.likelihoods.ensemble_mixture import NormalEnsemble
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture

INNER = NormalEnsemble(2, 2)
# locations, log scales, log weights: one narrow at an end, one wide, one beyond the other end
PARAMS = torch.tensor([[0.0, 0.4, 1.3, 0.7, -5.0, -1.0, -0.5, 0.3, 0.2, 0.0, -0.3, 0.5]], dtype=torch.float64)
LOW, HIGH = torch.tensor([0.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
INF = torch.full_like(LOW, torch.inf)


def _law(low: torch.Tensor = LOW, high: torch.Tensor = HIGH) -> tuple[CensoredMixture, torch.Tensor]:
    return CensoredMixture.hold(INNER, PARAMS, low, high)


def _by_quadrature(law: CensoredMixture, params: torch.Tensor, x: float) -> float:
    """The definition of the score: the integral of the squared distance of the distribution function from a step."""
    grid = torch.linspace(-2.0, 3.0, 200_001, dtype=torch.float64)
    middle = 0.5 * (grid[1:] + grid[:-1])
    below = law.cdf(params.expand(len(middle), -1), middle)
    return float(((below - (middle >= x).double()) ** 2 * grid.diff()).sum())


@pytest.mark.parametrize("x", [-0.4, 0.0, 0.3, 1.0, 1.7])
def test_the_score_is_that_of_the_definition_also_at_the_ends_and_beyond_them(x: float) -> None:
    law, params = _law()
    score = float(law.crps(params, torch.tensor([x], dtype=torch.float64)))
    assert score == pytest.approx(_by_quadrature(law, params, x), abs=1e-4)


def test_the_score_of_a_value_between_the_ends_is_never_worse_than_without_them() -> None:
    law, params = _law()
    x = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    assert bool((law.crps(params, x) < INNER.crps(PARAMS, x)).all())


def test_variances_are_those_of_clipped_draws() -> None:
    law, params = _law()
    n, generator = 1_000_000, torch.Generator().manual_seed(0)
    location, log_scale, weight = INNER.parts(PARAMS[0])
    which = torch.multinomial(weight, n, replacement=True, generator=generator)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    drawn = (location[which] + log_scale.exp()[which] * noise).clamp(0.0, 1.0)
    # the variance of a mean of n squares within [0, 1] is below 1 / 4 n
    assert float(law.variance(params)) == pytest.approx(float(drawn.var()), abs=6.0 * 0.5 / n**0.5)
    members = [drawn[which // 2 == k].mean() for k in (0, 1)]
    shares = [weight[:2].sum(), weight[2:].sum()]
    middle = shares[0] * members[0] + shares[1] * members[1]
    apart = float(((torch.stack(members) - middle) ** 2).mean())
    assert 0.0 < float(law.epistemic(params)) <= float(law.variance(params))
    assert float(law.epistemic(params)) == pytest.approx(apart, rel=0.5)  # members count alike, whatever their chances


def test_no_quantile_and_no_mean_leaves_the_ends_and_levels_between_them_are_those_of_the_mixture() -> None:
    law, params = _law()
    levels = torch.tensor([1e-6, 0.3, 0.5, 0.9, 1.0 - 1e-6], dtype=torch.float64)
    found = law.quantile(params[:, None], levels)
    assert torch.equal(found, INNER.quantile(PARAMS[:, None], levels).clamp(0.0, 1.0))
    assert float(found[0, 0]) == 0.0
    assert float(found[0, -1]) == 1.0
    for low, high in ((INF, INF), (0.9 * HIGH, HIGH), (LOW, 0.1 * HIGH)):
        law, params = _law(-INF if low is INF else low, high)
        inside = float(INNER.mean(PARAMS).clamp(params[0, -2], params[0, -1]))
        assert float(law.mean(params)) == inside


def test_the_density_of_a_value_at_or_beyond_an_end_is_that_of_the_mixture() -> None:
    law, params = _law()
    x = torch.tensor([-3.0, 0.0, 0.5, 1.0, 8.0], dtype=torch.float64)
    assert torch.equal(law.log_prob(params, x), INNER.log_prob(PARAMS, x))
    assert bool(law.log_prob(params, x).isfinite().all())


def test_without_ends_every_answer_is_that_of_the_mixture_to_the_bit() -> None:
    law, params = _law(-INF, INF)
    x, levels = torch.linspace(-2.0, 3.0, 11, dtype=torch.float64), torch.tensor([0.01, 0.5, 0.9], dtype=torch.float64)
    for name in ("mean", "variance", "epistemic"):
        assert torch.equal(getattr(law, name)(params), getattr(INNER, name)(PARAMS)), name
    for name in ("cdf", "crps", "log_prob"):
        assert torch.equal(getattr(law, name)(params, x), getattr(INNER, name)(PARAMS, x)), name
    assert torch.equal(law.quantile(params[:, None], levels), INNER.quantile(PARAMS[:, None], levels))


def test_a_scale_of_a_single_value_has_no_spread_and_scores_distances() -> None:
    law, params = _law(HIGH, HIGH)
    x = torch.tensor([1.0, 1.5, 0.2], dtype=torch.float64)
    assert float(law.mean(params)) == 1.0
    assert float(law.variance(params)) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(law.crps(params, x), [0.0, 0.5, 0.8], atol=1e-4)


def test_a_law_far_beyond_an_end_lies_at_the_end() -> None:
    far = NormalMixture(1).from_moments(torch.tensor([500.0, -500.0]).double(), torch.tensor([1.0, 1.0]).double())
    law, params = CensoredMixture.hold(NormalMixture(1), far, LOW.expand(2), HIGH.expand(2))
    assert law.mean(params).tolist() == [1.0, 0.0]
    np.testing.assert_allclose(law.variance(params), 0.0, atol=1e-12)
    np.testing.assert_allclose(law.crps(params, torch.tensor([0.25]).double()), [0.75, 0.25], rtol=1e-12)


def test_a_shift_of_the_units_moves_the_ends_and_a_wider_law_keeps_them() -> None:
    law, params = _law()
    shift, scale = torch.tensor([3.0]).double(), torch.tensor([2.0]).double()
    moved = law.affine(params, shift, scale)
    assert moved[0, -2:].tolist() == [3.0, 5.0]
    x = torch.tensor([0.3], dtype=torch.float64)
    torch.testing.assert_close(law.crps(moved, shift + scale * x), scale * law.crps(params, x))
    torch.testing.assert_close(law.variance(moved), scale**2 * law.variance(params))
    assert law.rescale(params, 2.0 * scale)[0, -2:].tolist() == [0.0, 1.0]


def test_a_normal_is_held_as_a_mixture_of_one() -> None:
    law, params = CensoredMixture.hold(Normal(), torch.tensor([[0.5, 0.0]]).double(), LOW, HIGH)
    assert params.shape == (1, law.n_params)
    assert float(law.mean(params)) == 0.5
    assert law.compose(LOW, LOW, LOW[:, None].expand(1, 3)).shape == (1, law.n_params)
    assert law.from_moments(LOW, HIGH)[0, -2:].tolist() == [-np.inf, np.inf]
