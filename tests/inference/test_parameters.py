"""The space of parameters: order, sharing, ranges, and what functions see."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from tsode.errors import ParameterError, ShapeError, UnknownParameterError
from tsode.inference.parameters import Parameters, ParameterSpace
from tsode.inference.priors import Beta, LogNormal, Normal

PRIORS = {"beta": Normal(1.0, 0.5, lower=0.0), "alpha": LogNormal(0.0, 1.0), "share": Beta(2.0, 2.0)}


def space(ids=("a", "b"), own=("alpha",), **others):
    return ParameterSpace.build({**PRIORS, "gravity": 9.81, **others}, list(ids), own)


def draws(where, n=5, seed=0):
    return where.sample_prior(n, torch.Generator().manual_seed(seed))


def test_coordinates_are_sorted_by_name_whatever_the_order_given():
    one = ParameterSpace.build(PRIORS, ["a", "b"], ("alpha",))
    other = ParameterSpace.build(dict(reversed(PRIORS.items())), ["a", "b"], ("alpha",))
    assert one.names == other.names == ("alpha[a]", "alpha[b]", "beta", "share")
    assert torch.equal(draws(one), draws(other))
    assert torch.equal(one.log_prior(draws(one)), other.log_prior(draws(one)))


def test_series_share_a_parameter_or_have_each_their_own():
    values = space().unpack(draws(space())).values
    assert all(value.shape == (1, 5, 2) for value in values.values())
    assert torch.equal(values["beta"][..., 0], values["beta"][..., 1])
    assert not torch.equal(values["alpha"][..., 0], values["alpha"][..., 1])
    assert (values["gravity"] == 9.81).all()


def test_series_that_share_nothing_are_problems_of_their_own():
    apart = space(ids="abc", own=tuple(PRIORS))
    assert (apart.n_problems, apart.n_series, apart.names) == (3, 1, ("alpha", "beta", "share"))
    assert draws(apart).shape == (3, 5, 3)


def test_a_known_number_may_be_one_for_each_series():
    values = space(weight=torch.tensor([60.0, 80.0])).unpack(draws(space())).values
    assert values["weight"][0, 3].tolist() == [60.0, 80.0]
    apart = space(own=tuple(PRIORS), weight=[60.0, 80.0])
    assert apart.unpack(draws(apart)).values["weight"][:, 3, 0].tolist() == [60.0, 80.0]


def test_the_log_prior_is_the_sum_of_densities_and_derivatives():
    where = space()
    u = draws(where)
    x = where.constrain(u)
    parts = [PRIORS[where.parameter_of(name)] for name in where.names]
    expected = sum(prior.log_prob(x[..., k]) + prior.constrain(u[..., k])[1] for k, prior in enumerate(parts))
    torch.testing.assert_close(where.log_prior(u), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(where.unconstrain(x), u, rtol=1e-9, atol=1e-9)


def test_a_point_out_of_range_is_impossible_and_has_a_gradient_of_zero():
    where = space()
    u = draws(where)
    u[0, 1, 2], u[0, 2, 0], u[0, 3, 3] = math.nan, 1e5, -math.inf
    u.requires_grad_()
    log_prior = where.log_prior(u)
    assert log_prior.isfinite().tolist() == [[True, False, False, False, True]]
    assert (log_prior[0, 1:4] == -math.inf).all()
    (gradient,) = torch.autograd.grad(log_prior[log_prior.isfinite()].sum(), u)
    assert gradient.isfinite().all()
    assert not gradient[0, 1:4].any()
    assert where.constrain(u)[0, 1].isnan().tolist() == [False, False, True, False]


def test_draws_are_the_same_however_many_are_asked_for():
    for where in (space(), space(own=tuple(PRIORS))):
        assert torch.equal(draws(where, 3), draws(where, 50)[:, :3])


def test_numbers_are_packed_for_all_series():
    where = space()
    u = where.pack({"alpha": 2.0, "beta": 0.7, "share": 0.25})
    torch.testing.assert_close(where.constrain(u)[0, 0], torch.tensor([2.0, 2.0, 0.7, 0.25], dtype=torch.float64))


def test_functions_read_parameters_by_name_and_what_they_read_is_known():
    p = Parameters({"alpha": torch.tensor([1.0, 2.0]), "beta": torch.tensor([3.0, 4.0])})
    assert torch.equal(p.alpha, p["alpha"])
    assert p.names_read == {"alpha"}
    assert Parameters(p, lambda x: x[[1, 1, 0]]).alpha.tolist() == [2.0, 2.0, 1.0]
    assert "beta" in dir(p)
    assert len(copy.deepcopy(p)) == 2


def test_a_name_that_is_not_given_is_met_with_the_nearest_one():
    p = Parameters({"alpha": torch.ones(2), "beta": torch.ones(2)})
    with pytest.raises(UnknownParameterError, match=r"no parameter 'alhpa'. Did you mean 'alpha'\? Known: alpha, beta"):
        p.alhpa  # noqa: B018
    assert not hasattr(p, "gamma")


@pytest.mark.parametrize(
    ("parameters", "own", "says"),
    [
        ({"alpha": "one"}, (), "'alpha' must have a prior"),
        ({"alpha": LogNormal(0, 1), "k": math.nan}, (), "'k' must be a finite number"),
        ({"alpha": LogNormal(0, 1), "k": [1.0, 2.0, 3.0]}, (), "one for each of the 2 series"),
        ({"alpha": LogNormal(0, 1)}, ("alhpa",), r"per_series names 'alhpa'.*Did you mean 'alpha'"),
        ({"alpha": 1.0}, (), "No parameter has a prior"),
        ({"a b": 1.0}, (), "named as a variable"),
        ({"keys": LogNormal(0, 1)}, (), "method of p"),
    ],
)
def test_parameters_that_cannot_be_say_why(parameters, own, says):
    with pytest.raises(ParameterError, match=says):
        ParameterSpace.build(parameters, ["a", "b"], own)


def test_coordinates_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"must be \(1, b, 4\)"):
        space().log_prior(torch.zeros(1, 3))
