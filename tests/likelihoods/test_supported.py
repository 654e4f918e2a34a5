"""Laws on the supports of channels against SciPy, their exact ends, and what units and members make of them."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.errors import ParameterError
from tsode.likelihoods import Normal, NormalMixture, StudentT
from tsode.likelihoods.ensemble_mixture import NormalEnsemble
from tsode.likelihoods.supported import SupportedMixture
from tsode.testing import check_likelihood

INF = math.inf
LOG, ROOT, LOGIT, REAL = Transform.box_cox(0.0), Transform.box_cox(0.5), Transform.logit(), Transform.identity()
LEVELS = torch.tensor([1e-300, 1e-9, 0.05, 0.5, 0.95, 1.0 - 1e-16], dtype=torch.float64)


def double(*numbers) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def push(location: float, scale: float, transform: Transform, low: float = -INF, high: float = INF):
    """Law of one channel, and its parameters (1 p)."""
    params = double([location, math.log(scale)])
    return SupportedMixture.push(Normal(), params, Transform.stack([transform]), double(low), double(high))


def test_a_logarithm_gives_the_lognormal_above_its_end():
    law, params = push(0.3, 0.6, LOG, low=2.0)
    truth = scipy.stats.lognorm(s=0.6, scale=math.exp(0.3), loc=2.0)
    x = double(2.1, 3.0, 9.0)
    assert law.mean(params).item() == pytest.approx(truth.mean(), rel=1e-12)
    assert law.variance(params).item() == pytest.approx(truth.var(), rel=1e-12)
    assert law.log_prob(params, x).tolist() == pytest.approx(truth.logpdf(x.numpy()).tolist(), rel=1e-10)
    assert law.cdf(params, x).tolist() == pytest.approx(truth.cdf(x.numpy()).tolist(), rel=1e-10)
    levels = double(0.05, 0.5, 0.99)
    assert law.quantile(params, levels).tolist() == pytest.approx(truth.ppf(levels.numpy()).tolist(), rel=1e-10)


def test_the_crps_of_a_lognormal_is_the_closed_form():
    # Baran & Lerch 2015, equation 7
    m, s, y = 0.3, 0.6, 1.7
    ndtr = scipy.stats.norm.cdf
    u = (math.log(y) - m) / s
    spread = ndtr(u - s) + ndtr(s / math.sqrt(2.0)) - 1.0
    truth = y * (2.0 * ndtr(u) - 1.0) - 2.0 * math.exp(m + 0.5 * s * s) * spread
    law, params = push(m, s, LOG, low=0.0)
    assert law.crps(params, double(y)).item() == pytest.approx(truth, rel=1e-8)


def test_a_logit_between_two_ends_has_the_density_of_its_slope():
    law, params = push(-0.4, 0.9, LOGIT, low=-20.0, high=60.0)
    x = double(-19.0, 5.0, 59.0)
    w = (x + 20.0) / 80.0
    normal = scipy.stats.norm(-0.4, 0.9)
    truth = normal.logpdf((w / (1.0 - w)).log().numpy()) - (80.0 * w * (1.0 - w)).log().numpy()
    assert law.log_prob(params, x).tolist() == pytest.approx(truth.tolist(), rel=1e-10)


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [(LOG, 0.0, INF), (ROOT, 0.1, INF), (LOGIT, 0.1, 0.3), (LOGIT, -1e9, 0.7), (Transform.logit(0.2), 0.0, 100.0)],
)
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_no_quantile_and_no_mean_leaves_the_support(transform, low, high, scale):
    law, params = push(0.2, scale, transform, low, high)
    quantiles = law.quantile(params, LEVELS)
    assert bool((quantiles >= low).all())
    assert bool((quantiles <= high).all())
    assert low <= law.mean(params).item() <= high
    assert law.cdf(params, double(low - 1.0)).item() == 0.0
    if high < INF:
        assert law.cdf(params, double(high)).item() == 1.0


def test_what_piles_up_at_an_end_has_a_probability_there_in_any_unit():
    for low, high in ((0.0, 1.0), (0.1, 0.3), (-5.0, 95.0)):
        law, params = push(2.0, 3.0, Transform.logit(0.05), low, high)
        # the image of the upper end, and the chance of all beyond it
        top = math.log(1.05 / 0.05)
        truth = scipy.stats.norm.logsf(top, 2.0, 3.0)
        assert law.log_prob(params, double(high)).item() == pytest.approx(truth, rel=1e-12)


def test_quantiles_of_a_mixture_are_the_images_of_its_quantiles():
    mixture = NormalMixture(2)
    normals = double([-1.0, 0.5, math.log(0.3), math.log(0.8), 0.2, 0.0])
    law, params = SupportedMixture.push(mixture, normals, Transform.stack([LOG]), double(0.0), double(INF))
    levels = double(0.01, 0.3, 0.5, 0.9)
    torch.testing.assert_close(
        law.quantile(params, levels), mixture.quantile(normals, levels).exp(), rtol=1e-12, atol=0.0
    )


def test_channels_of_other_supports_stand_side_by_side():
    normals = double([0.1, -0.5], [0.1, -0.5])
    maps = Transform.stack([LOG, REAL])
    law, params = SupportedMixture.push(Normal(), normals, maps, double(0.0, -INF), double(INF, INF))
    alone = Normal().quantile(normals[1], double(0.2))
    assert law.quantile(params, double(0.2)).tolist() == pytest.approx([alone.exp().item(), alone.item()], rel=1e-12)
    assert law.mean(params)[1].item() == pytest.approx(0.1)
    assert law.log_prob(params, double(1.0, -3.0))[1].item() == pytest.approx(
        Normal().log_prob(normals[1], double(-3.0)).item(), rel=1e-12
    )


def test_members_disagree_about_their_means_in_the_units_of_the_data():
    # two members of two components each: those of a member do not disagree
    normals = double([0.0, 1.0, 2.0, 3.0, *[math.log(0.5)] * 4, *[0.0] * 4])
    law, params = SupportedMixture.push(
        NormalEnsemble(2, 2), normals[None], Transform.stack([LOG]), double(0.0), double(INF)
    )
    means = [(math.exp(a + 0.125) + math.exp(a + 1.125)) / 2.0 for a in (0.0, 2.0)]
    assert law.epistemic(params).item() == pytest.approx((means[1] - means[0]) ** 2 / 4.0, rel=1e-12)
    law, params = SupportedMixture.push(
        NormalMixture(4), normals[None], Transform.stack([LOG]), double(0.0), double(INF)
    )
    assert law.epistemic(params).item() == 0.0


def test_moving_and_stretching_takes_the_ends_along():
    law, params = push(0.2, 1.0, LOGIT, 0.0, 10.0)
    moved = law.affine(params, double(5.0), double(2.0))
    x = double(1.0, 4.0, 9.9)
    torch.testing.assert_close(law.cdf(moved, 5.0 + 2.0 * x), law.cdf(params, x), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(law.mean(moved), 5.0 + 2.0 * law.mean(params), rtol=1e-12, atol=0.0)
    assert law.quantile(moved, double(1.0 - 1e-16)).item() <= 25.0


def test_what_is_missing_stays_missing():
    law, params = push(math.nan, 1.0, LOG, 0.0)
    assert all(bool(of(params).isnan().all()) for of in (law.mean, law.variance))
    assert bool(law.quantile(params, double(0.5)).isnan().all())
    assert bool(law.crps(params, double(1.0)).isnan().all())


def test_a_law_without_moments_on_a_logarithm_is_refused():
    with pytest.raises(ParameterError, match="StudentT has no moments"):
        SupportedMixture.push(StudentT(), double([0.0, 0.0]), Transform.stack([LOG]), double(0.0), double(INF))


@pytest.mark.slow
def test_the_contract_of_likelihoods_holds():
    check_likelihood(SupportedMixture(2))
