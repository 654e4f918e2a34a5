"""Values that stand out: what is doubted, by the past alone, and what it does to the likelihood."""

import pytest
import torch
from torch import Tensor

from tests.models.structural.components import SCALE, dense, make
from tsode.models.structural.problems import Data, Doubts, Problem, log_likelihoods
from tsode.models.structural.reweighting import STANDS_OUT, judge, ordinary_limit
from tsode.models.structural.structure import Structure

STRUCTURE = Structure((make("slope"), make("ou")), SCALE)
Z = torch.tensor([0.3, -0.2, 0.4, 0.1], dtype=torch.float64)[: STRUCTURE.n_parameters]


def _times(n: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (SCALE.gap * torch.rand(n, generator=generator, dtype=torch.float64)).cumsum(0)


def _cov(times: Tensor, doubts: Doubts | None = None) -> Tensor:
    """Of the values, by composing steps; doubts add to the level before a row, and to the noise of rows."""
    parts = STRUCTURE.parts(Z[None], times.diff()[:, None])
    matrix, noise = (x[:, 0] for x in dense(parts.steps))
    n, h, level = len(times), parts.readout[0], torch.diag(STRUCTURE.level())
    shift = torch.zeros(n, dtype=torch.float64) if doubts is None else doubts.shift[:, 0]
    cov, here = torch.zeros(n, n, dtype=torch.float64), torch.diag(parts.start[0])
    for i in range(n):
        if i:
            here = matrix[i - 1] @ here @ matrix[i - 1].T + noise[i - 1] + shift[i] * level
        across = here
        for j in range(i, n):
            across = matrix[j - 1] @ across if j > i else across
            cov[i, j] = cov[j, i] = h @ across @ h
    extra = torch.zeros(n, dtype=torch.float64) if doubts is None else doubts.noise[:, 0]
    return cov + torch.diag(parts.noise[0] + extra)


def _values(times: Tensor, seed: int = 0) -> Tensor:
    white = torch.randn(len(times), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.cholesky(_cov(times)) @ white


def _data(times: Tensor, *values: Tensor) -> Data:
    together = torch.stack(values, dim=1)
    return Data.of(times[:, None].expand(-1, len(values)), together, torch.ones_like(together))


def _whitened(values: Tensor, cov: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(torch.linalg.cholesky(cov), values[:, None], upper=False)[:, 0]


def test_errors_of_clean_data_are_those_of_the_dense_gaussian_and_nothing_is_doubted() -> None:
    times = _times()
    values = _values(times)
    errors, doubts = judge(STRUCTURE, Z, _data(times, values), ordinary_limit(len(times)))
    torch.testing.assert_close(errors[:, 0], _whitened(values, _cov(times)), rtol=1e-8, atol=1e-9)
    assert not doubts.noise.any()
    assert not doubts.shift.any()


def test_an_outlier_is_weighed_as_by_a_student_law() -> None:
    times = _times()
    values = _values(times)
    values[12] += 5.0
    errors, doubts = judge(STRUCTURE, Z, _data(times, values), STANDS_OUT)
    whitener = torch.linalg.cholesky(_cov(times))
    variance, score = whitener[12, 12] ** 2, _whitened(values, _cov(times))[12]
    assert score > 8.0
    torch.testing.assert_close(errors[12, 0], score, rtol=1e-8, atol=0.0)
    torch.testing.assert_close(doubts.noise[12, 0], variance * ((4.0 + score**2) / 5.0 - 1.0), rtol=1e-8, atol=0.0)
    assert (doubts.noise > 0.0).sum() == 1
    assert not doubts.shift.any()
    torch.testing.assert_close(errors[13:, 0], _error_given(values, times, doubts)[13:], rtol=1e-8, atol=1e-8)


def _error_given(values: Tensor, times: Tensor, doubts: Doubts) -> Tensor:
    return _whitened(values, _cov(times, doubts))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_fourth_in_a_row_on_one_side_is_a_new_level(sign: float) -> None:
    times = _times()
    values = _values(times)
    values[15:] += sign * 8.0
    errors, doubts = judge(STRUCTURE, Z, _data(times, values), STANDS_OUT)
    assert (doubts.noise[15:18, 0] > 0.0).all()
    assert doubts.noise[18:].sum() == 0.0
    assert doubts.shift[18, 0] > 20.0
    assert doubts.shift[:18].sum() == 0.0
    assert (errors[19:].abs() < STANDS_OUT).all()


def test_outliers_on_either_side_in_turn_are_no_new_level() -> None:
    times = _times()
    values = _values(times)
    values[15:21] += torch.tensor([8.0, -8.0]).double().repeat(3)
    _, doubts = judge(STRUCTURE, Z, _data(times, values), STANDS_OUT)
    assert (doubts.noise[15:21] > 0.0).all()
    assert not doubts.shift.any()


def test_doubts_are_functions_of_the_past_and_of_no_other_series() -> None:
    times = _times()
    wild, tame = _values(times, 1), _values(times, 2)
    wild[8] += 6.0
    wild[15:] -= 8.0
    alone = judge(STRUCTURE, Z, _data(times, wild), STANDS_OUT).doubts
    beside = judge(STRUCTURE, Z, _data(times, tame, wild), STANDS_OUT).doubts
    assert not beside.noise[:, 0].any()
    for one, two in zip(alone, beside):
        torch.testing.assert_close(one[:, 0], two[:, 1], rtol=1e-9, atol=0.0)
    for n in (9, 16, 19):
        early = judge(STRUCTURE, Z, _data(times[:n], wild[:n]), STANDS_OUT).doubts
        assert all(torch.equal(x, y[:n]) for x, y in zip(early, alone))


def test_the_likelihood_with_doubts_is_that_of_the_dense_gaussian() -> None:
    times = _times()
    values = _values(times)
    values[8] += 6.0
    values[15:] -= 8.0
    data = _data(times, values)
    doubts = judge(STRUCTURE, Z, data, STANDS_OUT).doubts
    assert doubts.noise.any()
    assert doubts.shift.any()
    cov = _cov(times, doubts)
    expected = torch.distributions.MultivariateNormal(torch.zeros_like(values), cov).log_prob(values)
    (found,) = log_likelihoods([Problem(STRUCTURE, data.with_doubts(doubts))], Z[None])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_limit_holds_all_of_so_many_normal_numbers_but_in_one_of_a_hundred_series() -> None:
    generator = torch.Generator().manual_seed(0)
    most = torch.randn(4000, 100, generator=generator, dtype=torch.float64).abs().amax(dim=1)
    assert 0.005 < (most > ordinary_limit(100)).double().mean() < 0.016
