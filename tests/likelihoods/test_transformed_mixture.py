"""Mixtures of transformed normals against SciPy, quadratures, bisection and draws."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.errors import ParameterError
from tsode.likelihoods import NormalMixture
from tsode.likelihoods.transformed_mixture import TransformedMixture
from tsode.likelihoods.transformed_moments import transformed_moments
from tsode.testing import check_likelihood

REAL, LOG, ROOT = Transform.identity(), Transform.box_cox(0.0), Transform.box_cox(0.5)
LOG_ZERO, ROOT_ZERO, POWER = Transform.box_cox(0.0, 0.3), Transform.box_cox(0.5, 0.2), Transform.box_cox(0.3)
UNIT, UNIT_ENDS = Transform.logit(), Transform.logit(0.05)
# location, scale, weight and transform of each component
LAWS = {
    "log": [(0.2, 0.8, 1.0, LOG)],
    "log of heavy tail": [(0.0, 4.0, 1.0, LOG)],
    "logs with zeros": [(0.0, 1.0, 0.5, LOG_ZERO), (-1.5, 0.6, 0.5, LOG_ZERO)],
    "root, half of it zero": [(-2.0, 1.0, 1.0, ROOT)],
    "roots with zeros": [(-1.0, 1.0, 0.3, ROOT_ZERO), (3.0, 0.2, 0.7, ROOT_ZERO)],
    "power": [(-2.0, 1.0, 1.0, POWER)],
    "value, never negative": [(0.0, 1.0, 1.0, Transform.box_cox(1.0))],
    "unit": [(1.0, 1.0, 1.0, UNIT)],
    "unit with ends": [(2.0, 2.0, 0.5, UNIT_ENDS), (-1.0, 0.3, 0.5, UNIT_ENDS)],
    "log, value and root": [(0.0, 1.0, 0.5, LOG), (1.0, 0.5, 0.3, REAL), (0.0, 1.0, 0.2, ROOT)],
    "far apart": [(-9.0, 1.0, 0.4, LOG), (5.0, 0.01, 0.3, REAL), (60.0, 3.0, 0.3, ROOT_ZERO)],
    "unit and value": [(0.0, 2.0, 0.5, UNIT_ENDS), (0.5, 0.4, 0.5, REAL)],
}
ALL = pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))
LEVELS = torch.tensor([1e-6, 0.01, 0.2, 0.5, 0.8, 0.99, 1.0 - 1e-6], dtype=torch.float64)


def double(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def make(law) -> tuple[TransformedMixture, Tensor]:
    location, scale, weight, transforms = zip(*law, strict=True)
    params = torch.cat([double(*location), double(*scale).log(), double(*weight).log()])
    return TransformedMixture(len(law)), TransformedMixture.from_normals(params, Transform.stack(transforms))


def chance(law, y: float) -> float:
    """Distribution function written naively."""
    total = 0.0
    for location, scale, weight, t in law:
        lam, offset = float(t.lam), float(t.offset)
        if t.code == 2.0:
            g = y
        elif y < 0.0:
            continue
        elif t.code == 1.0:
            g = math.inf if y >= 1.0 else -math.inf if y + offset == 0.0 else math.log((y + offset) / (1 - y + offset))
        elif lam == 0.0:
            g = -math.inf if y + offset == 0.0 else math.log(y + offset)
        else:
            g = ((y + offset) ** lam - 1.0) / lam
        total += weight * scipy.stats.norm.cdf(g, location, scale)
    return total


@pytest.mark.parametrize("k", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_without_a_transform_the_contract_of_likelihoods_holds(k):
    check_likelihood(TransformedMixture(k))


@ALL
def test_the_distribution_function_is_that_of_the_transformed_components(law):
    family, params = make(law)
    for y in (-0.5, 0.0, 1e-9, 0.3, 0.999, 1.0, 4.0, 1e4):
        assert family.cdf(params, double(y)).item() == pytest.approx(chance(law, y), rel=1e-12, abs=1e-15)


@ALL
def test_quantiles_are_where_bisection_finds_the_level(law):
    family, params = make(law)
    for level, x in zip(LEVELS.tolist(), family.quantile(params, LEVELS).tolist()):
        low, high = -1e3, 1e12
        if level <= chance(law, 0.0) and all(t.code != 2.0 for *_, t in law):
            assert x == 0.0  # an atom takes the level: exactly, and not a rounding below
            continue
        for _ in range(200):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if chance(law, middle) < level else (low, middle)
        # the level itself is known to 1e-16, and so is a far upper quantile to 1e-10
        assert x == pytest.approx(high, rel=1e-8, abs=1e-12)


@ALL
def test_mean_variance_and_crps_are_those_of_quantiles_on_a_fine_grid(law):
    family, params = make(law)
    node, weight = np.polynomial.legendre.leggauss(30)
    edges = np.linspace(-9.0, 9.0, 91)
    for location, scale, _, t in law:  # moments of each component, by a quadrature of its own
        inner = [((float(t.forward(double(end))) - location) / scale) for end in (0.0, 1.0) if t.code != 2.0]
        cuts = np.sort(np.clip([*edges, *inner, *(2.0 * scale + edges[::5])], -9.0, 9.0 + 2.0 * scale))
        u = torch.from_numpy(np.concatenate([0.5 * (a + b) + 0.5 * (b - a) * node for a, b in pairwise(cuts)]))
        share = np.concatenate([0.5 * (b - a) * weight for a, b in pairwise(cuts)]) * scipy.stats.norm.pdf(u.numpy())
        y = t.inverse(location + scale * u).numpy()
        mean = (share * y).sum()
        got = transformed_moments(t, double(location), double(scale))
        assert got[0].item() == pytest.approx(mean, rel=1e-9)
        assert got[1].item() == pytest.approx((share * (y - mean) ** 2).sum(), rel=1e-8)
    means, variances = transformed_moments(family.parts(params).transform, *(p for p in both(family, params)))
    weights = family.parts(params).log_weight.exp()
    between = (weights * (means - (weights * means).sum()) ** 2).sum()
    torch.testing.assert_close(family.mean(params), (weights * means).sum())
    torch.testing.assert_close(family.variance(params), (weights * variances).sum() + between)
    torch.testing.assert_close(family.epistemic(params), between)

    scores = torch.linspace(-7.5, 7.5, 121, dtype=torch.float64)
    grid = family.quantile(params, torch.special.ndtr(scores))
    v = 0.5 + 0.5 * node
    walk, pace = torch.from_numpy(v**2 * (3 - 2 * v)), torch.from_numpy(3.0 * v * (1 - v) * weight)
    for level in (0.3, 0.6, 0.97):
        x = family.quantile(params, double(level))
        cuts = torch.cat([grid, x, double(0.0, 1.0)]).sort().values
        low, width = cuts[:-1, None], cuts.diff()[:, None]
        below = family.cdf(params, low + width * walk)
        truth = ((below - (low >= x).double()) ** 2 * width * pace).sum()
        assert family.crps(params, x[0]).item() == pytest.approx(truth.item(), rel=1e-6)


def both(family, params):
    part = family.parts(params)
    return part.location, part.log_scale.exp()


@ALL
def test_the_density_is_the_slope_of_the_distribution_function_and_atoms_are_its_jumps(law):
    family, params = make(law)
    x = family.quantile(params, double(0.7, 0.9)).requires_grad_()
    if not bool((x == 1.0).any()):
        (slope,) = torch.autograd.grad(family.cdf(params, x).sum(), x)
        torch.testing.assert_close(family.log_prob(params, x), slope.log(), rtol=1e-10, atol=1e-12)
    if all(t.code != 2.0 for *_, t in law):
        at, before = family.log_prob(params, double(0.0)).exp(), family.log_prob(params, double(-1e-9))
        torch.testing.assert_close(at, family.cdf(params, double(0.0)), rtol=1e-12, atol=1e-300)
        assert before.item() == -math.inf


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(LAWS[name], marks=[pytest.mark.slow] * (name not in ("log, value and root", "unit")))
        for name in LAWS
    ],
    ids=list(LAWS),
)
def test_gradients_are_those_of_differences(law):
    family, params = make(law)
    n = 3 * len(law)
    x = family.quantile(params, double(0.7)) * 0.98
    own, rest = params[:n].clone().requires_grad_(), params[n:]
    free = {"crps": x, "cdf": x, "log_prob": x, "quantile": double(0.8)}
    for name, at in free.items():
        call = lambda own, name=name, at=at: getattr(family, name)(torch.cat([own, rest]), at)  # noqa: E731
        assert torch.autograd.gradcheck(call, own, rtol=1e-4, atol=1e-6, fast_mode=True)
    for name in ("mean", "variance"):
        call = lambda own, name=name: getattr(family, name)(torch.cat([own, rest])).log()  # noqa: E731
        assert torch.autograd.gradcheck(call, own, rtol=1e-4, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 2.0, 6.0])
def test_a_lognormal_has_the_closed_forms(scale):
    family, params = make([(0.4, scale, 1.0, LOG)])
    law = scipy.stats.lognorm(scale, scale=math.exp(0.4))
    assert family.mean(params).item() == pytest.approx(law.mean(), rel=1e-12)
    assert family.variance(params).item() == pytest.approx(law.var(), rel=1e-9)
    for u in (-2.0, 0.5, 4.0):
        x = math.exp(0.4 + scale * u)  # Baran & Lerch 2015, equation 5
        below = scipy.stats.norm.cdf
        far = below(u - scale) - scipy.stats.norm.sf(scale / math.sqrt(2.0))
        truth = x * (2.0 * below(u) - 1.0) - 2.0 * law.mean() * far
        assert family.crps(params, double(x)).item() == pytest.approx(truth, rel=1e-6)


def test_draws_have_the_moments_and_the_shares_below():
    family, params = make(LAWS["log, value and root"])
    n, generator = 200_000, np.random.default_rng(0)
    which = generator.choice(3, n, p=[0.5, 0.3, 0.2])
    z = torch.from_numpy(generator.standard_normal(n))
    each = [t.inverse(location + scale * z) for location, scale, _, t in LAWS["log, value and root"]]
    y = torch.stack(each)[torch.from_numpy(which), torch.arange(n)]
    assert abs(y.mean() - family.mean(params)) < 6.0 * y.std() / math.sqrt(n)
    for level, x in zip((0.05, 0.5, 0.95), family.quantile(params, double(0.05, 0.5, 0.95))):
        assert abs((y <= x).double().mean() - level) < 6.0 * math.sqrt(level * (1.0 - level) / n)


@pytest.mark.slow
def test_nothing_positive_is_ever_below_zero_or_lost_however_wide():
    transforms = [LOG, LOG_ZERO, ROOT, ROOT_ZERO, POWER, Transform.box_cox(0.01), UNIT, UNIT_ENDS]
    levels = double(1e-9, 0.05, 0.5, 0.95, 1.0 - 1e-9)
    scales = double(-20.0, -3.0, 1.0, 5.0, 20.0).repeat_interleave(3)
    normals = torch.stack([double(-300.0, 0.0, 300.0).repeat(5), scales, 0.0 * scales], dim=-1)
    each = [TransformedMixture.from_normals(normals, t) for t in transforms]
    for family, params in (
        (TransformedMixture(1), torch.cat(each)),
        (TransformedMixture(8), TransformedMixture.mix(each)),
    ):
        quantiles = family.quantile(params[:, None], levels)
        assert bool((quantiles >= 0.0).all())
        assert bool((quantiles[:, 1:] >= quantiles[:, :-1]).all())
        for moment in (family.mean(params), family.variance(params), family.epistemic(params)):
            assert bool((moment >= 0.0).all())
        x = double(0.0, 0.5, 1e6)
        assert bool((family.crps(params[:, None], x) >= 0.0).all())
        assert not bool(family.log_prob(params[:, None], x).isnan().any())
    # 10^9 standard deviations of the logarithm, but no more than e^650 of the mean
    mean, _ = transformed_moments(LOG_ZERO, double(-50.0), double(37.0))
    assert mean.item() == pytest.approx(math.exp(-50.0 + 0.5 * 37.0**2), rel=1e-9)


def test_components_alike_take_the_quantiles_of_normals_through_the_transform():
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(50, 15, generator=generator, dtype=torch.float64)
    inner = NormalMixture(5).quantile(normals[:, None], LEVELS)
    for transform in (REAL, LOG, ROOT_ZERO, UNIT_ENDS):
        params = TransformedMixture.from_normals(normals, transform)
        assert torch.equal(TransformedMixture(5).quantile(params[:, None], LEVELS), transform.inverse(inner))
    params = TransformedMixture.from_normals(normals, REAL)
    torch.testing.assert_close(
        TransformedMixture(5).crps(params, normals[:, 0]),
        NormalMixture(5).crps(normals, normals[:, 0]),
        rtol=1e-6,
        atol=0,
    )


def test_members_on_several_scales_go_into_one_mixture():
    generator = torch.Generator().manual_seed(1)
    normals = [torch.randn(20, 3 * k, generator=generator, dtype=torch.float64) for k in (2, 3)]
    members = [TransformedMixture.from_normals(own, t) for own, t in zip(normals, (LOG, REAL))]
    log_weight = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    mixed, family = TransformedMixture.mix(members, log_weight), TransformedMixture(5)
    x = torch.rand(20, generator=generator).double()
    parts = torch.stack([TransformedMixture(k).cdf(own, x) for k, own in zip((2, 3), members)], dim=-1)
    torch.testing.assert_close(family.cdf(mixed, x), (log_weight.softmax(dim=-1) * parts).sum(dim=-1))
    torch.testing.assert_close(family.cdf(mixed, family.quantile(mixed, x)), x, rtol=1e-9, atol=0)
    equal = family.mean(TransformedMixture.mix(members))
    apart = sum(TransformedMixture(k).mean(own) for k, own in zip((2, 3), members)) / 2
    torch.testing.assert_close(equal, apart)
    moved = TransformedMixture(2).affine(members[0], double(1.0), double(2.0))
    with pytest.raises(ParameterError, match="same shift and unit"):
        TransformedMixture.mix([moved, members[1]])


@ALL
def test_moved_and_stretched_values_keep_their_chances_and_the_support_its_end(law):
    family, params = make(law)
    x = family.quantile(params, LEVELS)
    moved = family.affine(params, double(-2.0), double(50.0))
    torch.testing.assert_close(family.quantile(moved, LEVELS), -2.0 + 50.0 * x[None].squeeze(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(family.mean(moved)[0], -2.0 + 50.0 * family.mean(params))
    torch.testing.assert_close(family.variance(moved)[0], 2500.0 * family.variance(params))
    torch.testing.assert_close(family.crps(moved, -2.0 + 50.0 * x[3:4]), 50.0 * family.crps(params, x[3:4]))
    wide = family.rescale(params, double(3.0))
    at = family.quantile(wide, LEVELS)
    torch.testing.assert_close(at[3], x[3], rtol=1e-8, atol=1e-12)
    assert bool((at[:3] <= x[:3] + 1e-9).all())
    assert bool((at[4:] >= x[4:] - 1e-9).all())
    if all(t.code != 2.0 for *_, t in law):
        assert bool((at >= 0.0).all())


def test_a_quantile_and_a_moment_are_the_same_to_the_bit_whatever_is_asked_beside_them():
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(300, 9, generator=generator, dtype=torch.float64)
    several = Transform.stack([LOG, UNIT, REAL])
    params = TransformedMixture.from_normals(normals, several)
    params[::3] = TransformedMixture.from_normals(normals[::3], POWER)
    family = TransformedMixture(3)
    together = family.quantile(params[:, None], LEVELS)
    mean, variance = family.mean(params), family.variance(params)
    for row in (0, 7, 299):
        own = params[row : row + 1]
        assert torch.equal(family.mean(own)[0], mean[row])
        assert torch.equal(family.variance(own)[0], variance[row])
        for k, level in enumerate(LEVELS):
            assert torch.equal(family.quantile(own, level)[0], together[row, k])


def test_rows_without_an_answer_stay_so_and_leave_others_alone():
    family, params = make(LAWS["log, value and root"])
    params = torch.stack([params, torch.full_like(params, torch.nan)])
    for answer in (
        family.mean(params),
        family.variance(params),
        family.epistemic(params),
        family.quantile(params, double(0.5)),
        family.crps(params, double(1.0)),
    ):
        assert answer.isnan().tolist() == [False, True]


@pytest.mark.slow
def test_of_hundreds_of_components_the_crps_is_that_of_the_mean_pinball_loss():
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(4, 3, 60, generator=generator, dtype=torch.float64)
    normals[:, 1] = 0.5 * normals[:, 1] - 1.0
    transform = Transform.stack([(LOG, REAL, ROOT)[k % 3] for k in range(60)])
    params, family = TransformedMixture.from_normals(normals.flatten(1), transform), TransformedMixture(60)
    x = double(0.1, 0.5, 2.0, 5.0)
    levels = (torch.arange(300, dtype=torch.float64) + 0.5) / 300
    torch.testing.assert_close(family.pinball(params, x, levels), family.crps(params, x), rtol=2e-3, atol=0)
