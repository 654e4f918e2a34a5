"""Failures of known systems: cause, share, series, time and parameters."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from tests.inference.known_examples import observations
from tsode.inference.failures import best_draws, find_failures
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise import LogNormalNoise, PoissonNoise
from tsode.inference.priors import LogNormal
from tsode.numerics.dopri5 import Dopri5


def explosive(prior=None) -> KnownDensity:
    """z' = k z^2 from 1 leaves the finite numbers at 1 / k; of two series the second is seen for longer."""
    system = KnownSystem(
        lambda t, z, p: p.k[:, None] * z**2, ["z"], {"k": prior or LogNormal(log(0.3), 1.0)}, {"z": 1.0},
        {"x": LogNormalNoise("z", sd=0.1)}, solver=Dopri5(max_steps=150),
    )  # fmt: skip
    data = observations([[0.5, 1.0], [1.5, 3.0]], np.ones((2, 2, 1)), ids=("short", "long"))
    return KnownDensity(system, data)


def test_a_failed_solve_is_told_by_its_series_time_and_parameters():
    own = explosive()
    u = torch.cat([own.space.pack({"k": k}) for k in (0.1, 0.5, 0.8, 2.0)], dim=1)
    (failure,) = find_failures(own, u)
    assert failure.share == 0.75
    assert failure.series == "long"
    assert failure.time == pytest.approx(2.0, abs=3.0 / 32)
    assert failure.point == {"k": pytest.approx(0.5)}
    assert "75% the solve" in str(failure)
    assert "of series 'long' at time 1.9" in str(failure)
    assert "k = 0.5" in str(failure)


def test_a_prediction_that_the_noise_cannot_be_about_is_told_by_its_cell():
    system = KnownSystem(
        lambda t, z, p: -p.k[:, None] + 0.0 * z, ["z"], {"k": LogNormal(0.0, 1.0)}, {"z": 1.0},
        {"x": PoissonNoise("z")},
    )  # fmt: skip
    own = KnownDensity(system, observations([0.5, 2.0], [[1.0], [3.0]], ids=("patient 7",)))
    (failure,) = find_failures(own, own.space.pack({"k": 1.0}))
    assert (failure.series, failure.time, failure.value) == ("patient 7", 2.0, 3.0)
    assert failure.prediction == pytest.approx(-1.0)
    assert "channel 'x' has a prediction that PoissonNoise cannot be about" in failure.cause


def test_a_parameter_out_of_range_is_told_by_name():
    own = explosive()
    (failure,) = find_failures(own, torch.full((1, 1, 1), 1e4))
    assert "a parameter is out of the range" in failure.cause
    assert "(k)" in failure.cause


def test_the_best_draws_are_those_with_most_values():
    own = explosive()
    u = torch.cat([own.space.pack({"k": k}) for k in (2.0, 0.5, 0.8, 0.9)], dim=1)
    best = best_draws(own, u, 2)
    assert [point["k"] for point, *_ in best] == [pytest.approx(0.5), pytest.approx(0.8)]
    assert [share for _, share, _ in best] == [0.5, 0.5]
