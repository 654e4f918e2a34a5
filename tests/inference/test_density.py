from __future__ import annotations

import torch

from tests.inference.densities import Normal, Written
from tsode.inference.density import Density, select
from tsode.inference.evaluation import MOST_SLOPES, Evaluator
from tsode.inference.streams import Streams


def evaluator_of(density: Density, seed: int = 0) -> Evaluator:
    return Evaluator(density, Streams(seed, torch.arange(density.n_problems)))


def test_a_failed_row_has_minus_infinity_and_no_slope_and_the_others_are_bit_equal():
    def failing(u):
        return -(u**2).sum(-1) + 0.0 * torch.sqrt(u[..., 0])  # NaN, with NaN gradients

    u = torch.tensor([[[1.0, 2.0], [-1.0, 2.0], [3.0, 0.5]]], dtype=torch.float64)
    value, slope = evaluator_of(Written(failing, ("a", "b"))).value_and_slope(u)
    assert value[0, 1] == -torch.inf
    assert (slope[0, 1] == 0).all()
    whole = evaluator_of(Written(lambda u: -(u**2).sum(-1), ("a", "b"))).value_and_slope(u)
    good = torch.tensor([0, 2])
    assert torch.equal(value[0, good], whole[0][0, good])
    assert torch.equal(slope[0, good], whole[1][0, good])
    assert torch.equal(evaluator_of(Written(failing, ("a", "b"))).value(u), value)


def test_plus_infinity_is_a_failure():
    value = evaluator_of(Written(lambda u: 1.0 / u[..., 0], ("a",))).value(torch.zeros(1, 1, 1, dtype=torch.float64))
    assert value[0, 0] == -torch.inf


def test_calls_are_split_where_rows_are_too_many_and_are_counted():
    evaluator = evaluator_of(Normal(2, problems=(0, 1)))
    u = torch.randn(2, MOST_SLOPES, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, slope = evaluator.value_and_slope(u)
    assert evaluator.effort.n_slope_calls == 2
    assert evaluator.effort.n_rows == 2 * MOST_SLOPES
    torch.testing.assert_close(slope, Normal(2, problems=(0, 1)).mean[:, None] - u, rtol=1e-12, atol=1e-12)


def test_a_density_that_does_not_depend_on_the_point_has_no_slope():
    value, slope = evaluator_of(Written(lambda u: torch.zeros(u.shape[:2], dtype=u.dtype), ("a",))).value_and_slope(
        torch.ones(1, 3, 1, dtype=torch.float64)
    )
    assert (value == 0).all()
    assert (slope == 0).all()


def test_selected_problems_are_those_of_a_density_that_cannot_select():
    density = Normal(3, 0.5, problems=(0, 1, 2))
    some = torch.tensor([2, 0])
    plain = Written(density.log_prob, density.names, n_problems=3)
    u = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(select(plain, some).log_prob(u), select(density, some).log_prob(u), rtol=1e-12, atol=0)


def test_random_numbers_depend_on_the_key_alone_and_branches_do_not_repeat_each_other():
    together, alone = Streams(3, torch.tensor([5, 7, 9])), Streams(3, torch.tensor([7]))
    assert torch.equal(together.normal(10, 2)[1], alone.normal(10, 2)[0])
    assert torch.equal(together.even(64, 3)[1], alone.even(64, 3)[0])
    assert torch.equal(Streams(3, torch.tensor([7])).normal(20)[0, :10], Streams(3, torch.tensor([7])).normal(10)[0])
    draws = torch.stack([Streams(3, torch.tensor([7])).branch(name).normal(4000)[0] for name in ("a", "b")])
    assert abs(float(torch.corrcoef(draws)[0, 1])) < 6 / 4000**0.5
