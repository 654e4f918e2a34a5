"""Transforms against decimals of forty digits, their inverses and slopes; candidates of a channel from its values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from tsode.core.transforms import Transform, choose_transforms
from tsode.errors import DataError, ParameterError

LAMS = (0.0, 1e-300, 1e-17, 1e-9, 1e-4, 0.3, 0.5, 1.0)
EVERY = [Transform.identity(), Transform.logit(), Transform.logit(0.02)]
EVERY += [Transform.box_cox(lam, offset) for lam in LAMS for offset in (0.0, 0.3)]
names = lambda one: f"{one.code:g}-{one.lam:g}-{one.offset:g}"  # noqa: E731


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_a_box_cox_transform_keeps_its_digits_near_the_logarithm(lam, offset):
    with mpmath.workdps(400):
        for y in (1e-200, 1e-5, 0.999, 1.0 + 1e-9, 7.0, 1e12):
            x = mpmath.log(mpmath.mpf(y) + mpmath.mpf(offset))
            truth = x if lam == 0.0 else mpmath.expm1(mpmath.mpf(lam) * x) / mpmath.mpf(lam)
            z = Transform.box_cox(lam, offset).forward(tensor(y))
            assert z.item() == pytest.approx(float(truth), rel=1e-13, abs=3e-16)


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_the_inverse_undoes_a_transform(transform):
    y = tensor(1e-6, 0.01, 0.3, 0.97)
    torch.testing.assert_close(transform.inverse(transform.forward(y)), y, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_the_log_slope_is_that_of_the_transform(transform):
    y = tensor(0.01, 0.3, 0.97).requires_grad_()
    (slope,) = torch.autograd.grad(transform.forward(y).sum(), y)
    torch.testing.assert_close(transform.log_slope(y), slope.log(), rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(transform.inverse, tensor(-0.9, 0.2, 0.6).requires_grad_())


@pytest.mark.parametrize("transform", EVERY, ids=names)
def test_no_real_number_is_taken_out_of_the_support_and_no_gradient_is_lost(transform):
    z = tensor(-1e4, -40.0, -1.0, 0.0, 40.0, 600.0).requires_grad_()
    y = transform.inverse(torch.cat([tensor(-1e300), z, tensor(1e300)]))
    assert bool(((y >= transform.low) & (y <= transform.high)).all())
    assert bool((y.diff().nan_to_num(0.0) >= 0).all())
    (slope,) = torch.autograd.grad(transform.inverse(z).sum(), z)
    assert bool(slope.isfinite().all())


def test_an_end_of_the_support_is_reached_exactly():
    assert Transform.box_cox(0.5).inverse(tensor(-2.0, -5.0)).tolist() == [0.0, 0.0]
    assert Transform.box_cox(0.0, 0.3).inverse(tensor(math.log(0.29))).item() == 0.0
    assert Transform.logit(0.1).inverse(tensor(-3.0, 3.0)).tolist() == [0.0, 1.0]
    assert bool(Transform.logit(0.1).forward(tensor(0.0, 1.0)).isfinite().all())


def test_each_channel_has_its_own_transform():
    each = [Transform.identity(), Transform.box_cox(0.0), Transform.box_cox(0.5, 1.0), Transform.logit()]
    together, y = Transform.stack(each), torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).double()
    for name in ("forward", "inverse", "log_slope"):
        apart = torch.stack([getattr(one, name)(y[:, c]) for c, one in enumerate(each)], dim=-1)
        assert torch.equal(getattr(together, name)(y), apart)


def test_the_support_names_the_candidates():
    y = np.array([3.0, np.nan, 0.5, 8.0])
    for support, expected in (
        ("real", ["identity"]),
        ("positive", ["sqrt", "log"]),
        ("auto", ["identity", "sqrt", "log"]),
    ):
        assert list(choose_transforms(y, support)) == expected
    assert list(choose_transforms(y / 10, "unit")) == ["logit"]
    for other in (-y, np.zeros(3), np.full(3, np.nan), np.array([1.0, -1e-9])):
        assert list(choose_transforms(other, "auto")) == ["identity"]
    assert choose_transforms(y, "positive")["log"].offset == 0.0


def test_zeros_and_ones_bring_an_offset_in_the_units_of_the_values():
    y = np.append(np.zeros(30), np.arange(1.0, 102.0))  # 5 % quantile of the positive ones: 6
    for unit in (1.0, 1e-9, 1e9):
        for transform in choose_transforms(unit * y, "positive").values():
            assert transform.offset.item() == pytest.approx(3.0 * unit)
            assert bool(transform.log_slope(torch.from_numpy(unit * y)).isfinite().all())
    assert choose_transforms(np.zeros(4), "positive")["log"].offset == 1.0
    assert choose_transforms(np.array([0.0, 0.2, 0.8, 1.0]), "unit")["logit"].offset.item() == pytest.approx(0.1)
    assert choose_transforms(np.array([0.0, 1.0]), "unit")["logit"].offset == 0.5


def test_a_value_outside_the_support_is_named():
    with pytest.raises(DataError, match=r"'rain' has the value -2.5, but support='positive'"):
        choose_transforms(np.array([1.0, -2.5, 3.0]), "positive", "rain")
    with pytest.raises(DataError, match=r"'share' has the value 1.2, but support='unit'"):
        choose_transforms(np.array([0.1, 1.2]), "unit", "share")
    with pytest.raises(ParameterError, match="'positiv', but must be one of 'real', 'positive'"):
        choose_transforms(np.array([1.0]), "positiv")
    for make in (lambda: Transform.box_cox(1.5), lambda: Transform.box_cox(math.nan), lambda: Transform.logit(-1.0)):
        with pytest.raises(ParameterError, match="of a"):
            make()
