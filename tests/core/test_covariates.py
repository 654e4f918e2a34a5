"""Covariates along time: their averages against quadrature, and what may not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from tsode.core.covariates import CovariatePath, Covariates, SeriesCovariates

TAUS = (0.1, 0.7, 4.0)
MAKERS = {"linear": CovariatePath.linear, "last": CovariatePath.last_value}


def knots(seed: int = 0, n: int = 9, p: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(-1.0, 5.0, n)), rng.normal(size=(n, p))


def features(path: CovariatePath, times: np.ndarray) -> torch.Tensor:
    """Of one series with nothing but `path`: (m, p (1 + j)), in double."""
    one = SeriesCovariates(np.zeros(0), path, np.zeros((0, 2)))
    return Covariates.stack([one], torch.float64).at(torch.from_numpy(times)[None])[0]


@pytest.mark.parametrize("kind", MAKERS)
def test_averages_solve_their_equation(kind):
    times, values = knots()
    asked = np.array([-2.0, times[0], 0.33, times[4], 2.5, 4.999, 9.0])
    found = features(MAKERS[kind](times, values, TAUS), asked).numpy()

    def u(t: float, c: int) -> float:
        if kind == "linear":
            return float(np.interp(t, times, values[:, c]))
        return float(values[max(int(np.searchsorted(times, t, side="right")) - 1, 0), c])

    for row, t in enumerate(asked):
        for c in range(2):
            assert found[row, c] == pytest.approx(u(t, c), abs=1e-12)
            for j, tau in enumerate(TAUS):
                # w(t) = u_0 exp(-(t - t_0) / tau) + the integral of exp(-(t - s) / tau) u(s) / tau
                start = min(times[0], t)
                parts = np.unique(np.clip([start, *times, t], start, t))
                integral = sum(
                    quad(lambda s, c=c, t=t, tau=tau: math.exp(-(t - s) / tau) * u(s, c) / tau, a, b, epsabs=1e-12)[0]
                    for a, b in zip(parts[:-1] + 1e-15, parts[1:] - 1e-15)
                )
                expected = values[0, c] * math.exp(-(t - start) / tau) + integral
                assert found[row, 2 + 3 * c + j] == pytest.approx(expected, abs=1e-9)


def test_a_knot_on_the_line_or_of_the_same_value_changes_nothing():
    times, values = knots(1)
    asked = np.linspace(-2.0, 7.0, 50)
    more = np.sort(np.concatenate([times, [0.1, 1.2, 3.3]]))
    on_line = np.stack([np.interp(more, times, column) for column in values.T], axis=1)
    held = values[np.searchsorted(times, more, side="right") - 1]
    for make, extra in ((CovariatePath.linear, on_line), (CovariatePath.last_value, held)):
        plain, with_knots = features(make(times, values, TAUS), asked), features(make(more, extra, TAUS), asked)
        torch.testing.assert_close(plain, with_knots, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", MAKERS)
def test_values_that_are_not_given_are_passed_over(kind):
    times, values = knots(2)
    asked = np.linspace(-2.0, 7.0, 50)
    holes = np.insert(values, [0, 4, 9], np.nan, axis=0)
    at = np.sort(np.concatenate([times, [times[0] - 1.0, 0.5 * (times[3] + times[4]), times[-1] + 1.0]]))
    plain = features(MAKERS[kind](times, values, TAUS), asked)
    torch.testing.assert_close(features(MAKERS[kind](at, holes, TAUS), asked), plain, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("ends", [(-3.0, 0.5), (1.0, 2.0), (4.9, 9.0), (6.0, 6.5)])
def test_a_part_of_a_path_says_the_same_between_its_ends(kind, ends):
    path = MAKERS[kind](*knots(3), TAUS)
    asked = np.linspace(*ends, 20)
    assert torch.equal(features(path.between(*ends), asked), features(path, asked))


def test_rows_of_a_batch_do_not_see_each_other_and_padding_changes_nothing():
    rows = [
        SeriesCovariates(np.array([1.0, -2.0]), CovariatePath.linear(*knots(4, n), TAUS), np.array([[0.5, 0.25 * n]]))
        for n in (1, 7, 3)
    ]
    times = torch.linspace(-2.0, 8.0, 11, dtype=torch.float64).repeat(3, 1)
    together = Covariates.stack(rows, torch.float64)
    for row, one in enumerate(rows):
        alone = Covariates.stack([one], torch.float64)
        assert torch.equal(alone.at(times[:1])[0], together.at(times)[row])
        assert torch.equal(together.select(torch.tensor([row])).at(times[:1])[0], together.at(times)[row])
    assert together.at(times).shape == (3, 11, 2 + 2 * (1 + len(TAUS)) + 4)  # constants, two paths, one cycle
    assert Covariates.stack(rows).at(times).dtype == torch.float32


def test_a_cycle_comes_again_after_its_length_and_has_two_harmonics():
    one = SeriesCovariates(np.zeros(0), CovariatePath.nothing(), np.array([[1 / 3.0, 0.1]]))
    found = Covariates.stack([one], torch.float64).at(torch.tensor([[0.4, 3.4, 3000.4]], dtype=torch.float64))[0]
    angle = 2.0 * math.pi * (0.4 / 3.0 + 0.1)
    expected = [math.sin(angle), math.sin(2 * angle), math.cos(angle), math.cos(2 * angle)]
    for row in found:
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64), rtol=0.0, atol=1e-9)
