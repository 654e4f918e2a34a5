"""Period search on simulated stars and against a periodogram worked value by value."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.folded.sawtooth import stars
from tsode.models.folded.observations import Observations
from tsode.models.folded.search import Periodogram, find_frequencies


def observations(times: np.ndarray, values: np.ndarray) -> tuple[Observations, float]:
    span = times[-1] - times[0]
    return Observations.of((times - times[0]) / span, values), span


def test_the_periodogram_is_the_gain_of_a_sine_with_a_mean_in_each_channel():
    generator = np.random.default_rng(0)
    data = Observations.of(np.sort(generator.uniform(size=60)), generator.normal(size=(60, 2)).clip(-2.0, 2.0))
    spectrum = Periodogram.of(data, 40.0)
    for i in (3, 100, 220):
        gain = 0.0
        for times, values in zip(np.split(data.times, data.starts[1:]), np.split(data.values, data.starts[1:]),
                                 strict=True):  # fmt: skip
            angle = 2.0 * np.pi * spectrum.frequencies[i] * times
            columns = np.stack([np.ones_like(times), np.cos(angle), np.sin(angle)], axis=1)
            lost = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
            gain -= 0.5 * len(values) * np.log(lost @ lost / ((values - values.mean()) ** 2).sum())
        assert spectrum.gain[i] == pytest.approx(gain, rel=0.02, abs=0.02)


def test_periods_of_sawtooths_seen_at_night_are_found():
    series, periods = stars(12, n_nights=45, seed=0)
    found = []
    for star in series:
        data, span = observations(star.times, star.values)
        found.append(span / find_frequencies(data, 6, 8)[0])
    assert (np.abs(found / periods - 1.0) < 1e-3).sum() >= 11


def test_frequencies_on_an_exact_grid_stay_below_half_of_it():
    times = np.arange(100.0)
    data, span = observations(times, np.sin(2.0 * np.pi * times / 7.3)[:, None])
    found = find_frequencies(data, 3, 8)
    assert span / found[0] == pytest.approx(7.3, rel=1e-3)
    assert found.max() <= 0.5 * span + 1.0


def test_units_of_time_and_value_change_no_frequency():
    (star,), _ = stars(1, n_nights=45, seed=1)
    data, _ = observations(star.times, star.values)
    moved, _ = observations(86400.0 * star.times + 1e6, 1000.0 * star.values - 5.0)
    np.testing.assert_allclose(find_frequencies(moved, 6, 8)[:2], find_frequencies(data, 6, 8)[:2], rtol=1e-7)
