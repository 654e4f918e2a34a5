"""Periods of one series: found where there are some, and none in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError, ParameterError
from tsode.numerics.periodogram import find_periods

CLASSICS = Path(__file__).parents[3] / "shared" / "data" / "real" / "regular_classics.parquet"
YEARLY = ("airpassengers", "co2", "ldeaths", "nottem", "ukdriverdeaths", "ukgas", "usaccdeaths")
WITHOUT = ("nile", "lakehuron", "treering", "presidents", "wwwusage")


def irregular(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(rng.exponential(size=n))


def noise(kind: str, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gaps = np.diff(times, prepend=times[0] - 1)
    shocks = rng.normal(size=len(times))
    if kind == "white":
        return shocks
    walk = np.cumsum(shocks * np.sqrt(gaps))
    if kind == "walk":
        return walk
    if kind == "integrated walk":
        return np.cumsum(walk * gaps)
    values = shocks.copy()
    for i in range(1, len(times)):
        kept = 0.8 ** gaps[i]
        values[i] = kept * values[i - 1] + np.sqrt(1 - kept**2) * shocks[i]
    return values


def n_false_alarms(kind: str, n: int, n_series: int) -> int:
    count = 0
    for seed in range(n_series):
        rng = np.random.default_rng([seed, n])
        times = irregular(rng, n) if seed % 2 else np.arange(float(n))
        count += len(find_periods(times, noise(kind, times, rng)))
    return count


def one_period(times: np.ndarray, values: np.ndarray):
    (found,) = find_periods(times, values)
    return found


@pytest.fixture(scope="module")
def classics() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if not CLASSICS.exists():
        pytest.skip(f"{CLASSICS} is absent")
    frame = pd.read_parquet(CLASSICS)
    return {name.removeprefix("r_"): (rows["time"].to_numpy(), rows["value"].to_numpy())
            for name, rows in frame.groupby("series")}  # fmt: skip


# -- noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["white", "autoregression", "walk", "integrated walk"])
def test_noise_has_no_period(kind):
    # At a level of .01, three or more of 12 come once in 5,000 times. Part "noise" of tests/benchmarks/structural.py
    # counts them among many more.
    assert n_false_alarms(kind, 60, 12) <= 2


def test_too_few_rows_constants_and_cubics_have_none():
    times = np.arange(40.0)
    assert find_periods(times[:11], np.sin(2 * times[:11])) == []
    assert find_periods(np.zeros(40), np.sin(times)) == []
    assert find_periods([], []) == []
    for values in (np.zeros(40), np.full(40, 1e9), 3e5 - 0.1 * times, 1e-4 * (times - 9) ** 3):
        assert find_periods(times, values) == []


# -- periods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [5, 20, 60])
def test_a_sine_as_large_as_its_noise_is_found(turns):
    rng = np.random.default_rng(turns)
    times = irregular(rng, 200)
    period = (times[-1] - times[0]) / turns
    found = one_period(times, np.sqrt(2) * np.sin(2 * np.pi * times / period) + rng.normal(size=200))
    # The bound of Cramer and Rao is .78 % of the period at 5 turns, and falls with their number.
    assert found.sd_log_period == pytest.approx(0.039 / turns, rel=0.3)
    assert abs(np.log(found.period / period)) < 3 * found.sd_log_period
    assert found.n_harmonics == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_units_of_times_and_values_do_not_matter(scale):
    rng = np.random.default_rng(1)
    times = irregular(rng, 120)
    values = noise("walk", times, rng) + 3 * np.sin(times) + np.cos(2 * times)
    found = one_period(times, values)
    scaled = one_period(scale * times + 5 * scale, values * scale - 7 * scale)
    assert scaled.period == pytest.approx(scale * found.period, rel=1e-7)
    assert scaled.gain == pytest.approx(found.gain, rel=1e-6)
    assert scaled.n_harmonics == found.n_harmonics


@pytest.mark.parametrize("trouble", ["outliers", "trend", "ties", "hole", "gaps unseen", "walk"])
def test_a_period_is_found_in_spite_of(trouble):
    rng = np.random.default_rng(3)
    times = irregular(rng, 150)
    if trouble == "ties":
        times = np.repeat(times[::2], 2)
    elif trouble == "hole":
        times[70:] += 1e4
    values = np.sin(2 * np.pi * times / 9.0) + 0.5 * rng.normal(size=150)
    if trouble == "outliers":
        values[rng.choice(150, 6, replace=False)] += 40.0
    elif trouble == "trend":
        values += 1e-2 * (times - 40) ** 2
    elif trouble == "gaps unseen":
        values[::3] = np.nan
    elif trouble == "walk":
        values += 0.3 * noise("walk", times, rng)
    assert one_period(times, values).period == pytest.approx(9.0, rel=0.02)


def test_a_hole_longer_than_the_search_can_follow_leaves_the_stretch_with_more_rows():
    rng = np.random.default_rng(4)
    times = irregular(rng, 150)
    times[50:] += 1e9
    found = one_period(times, np.sin(2 * np.pi * times / 9.0) + 0.5 * rng.normal(size=150))
    assert found.period == pytest.approx(9.0, rel=0.02)


def test_a_wave_that_is_an_overtone_gives_the_whole_period():
    rng = np.random.default_rng(5)
    times = irregular(rng, 200)
    angle = 2 * np.pi * times / 15.0
    found = one_period(times, 0.7 * np.cos(angle) + 1.5 * np.sin(2 * angle) + 0.5 * rng.normal(size=200))
    assert found.period == pytest.approx(15.0, rel=0.01)
    assert found.n_harmonics == 2


def test_on_a_grid_a_round_number_of_gaps_is_taken_and_off_it_none():
    rng = np.random.default_rng(6)
    times = 0.5 * np.delete(np.arange(100.0), [5, 6, 40])
    values = np.sin(2 * np.pi * times / 6.0) + 0.7 * rng.normal(size=97)
    assert one_period(times, values).period == pytest.approx(6.0, rel=1e-12)
    shaken = one_period(times + 0.1 * rng.normal(size=97).cumsum().clip(0, 0.1), values).period
    assert shaken != pytest.approx(6.0, rel=1e-9)


def test_a_second_period_is_found_beside_the_first_and_is_no_overtone_of_it():
    rng = np.random.default_rng(7)
    times = irregular(rng, 200)
    first = 3 * np.cos(2 * np.pi * times / 20.0) ** 7
    values = first + np.sin(2 * np.pi * times / 7.3) + 0.5 * rng.normal(size=200)
    found = find_periods(times, values, n_at_most=3)
    assert [each.period for each in found] == [pytest.approx(20.0, rel=0.01), pytest.approx(7.3, rel=0.01)]
    assert find_periods(times, values, n_at_most=0) == []


# -- candidates --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_known_period_is_found_where_a_search_finds_none():
    times = np.arange(80.0)
    n_searched, n_known = 0, 0
    for seed in range(8, 18):
        values = 0.6 * np.sin(2 * np.pi * times / 3.0) + np.random.default_rng(seed).normal(size=80)
        n_searched += len(find_periods(times, values))
        n_known += [each.period for each in find_periods(times, values, candidates=[1e6, 3.0, 1e-6])] == [3.0]
    # The gain is 7.2 nats and a few: a search asks for ten, a known period for five.
    assert n_searched <= 5
    assert n_known >= 8


@pytest.mark.slow
def test_known_periods_are_no_part_of_noise():
    n_found = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        times = irregular(rng, 60)
        n_found += len(find_periods(times, noise("autoregression", times, rng), candidates=[6.0, 12.0], n_at_most=2))
    # 36 tests at a level of .01
    assert n_found <= 3


def test_a_known_period_that_is_a_multiple_adds_nothing_to_the_one_that_explains_it():
    rng = np.random.default_rng(9)
    times = np.arange(0.0, 40.0, 0.25)
    values = np.sin(2 * np.pi * times) + 0.3 * rng.normal(size=160)
    found = find_periods(times, values, candidates=[7.0, 1.0], n_at_most=2)
    assert [each.period for each in found] == [1.0]


# -- many rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_periods_too_long_for_the_last_rows_are_found_over_all():
    rng = np.random.default_rng(10)
    times = np.arange(12_000.0)
    values = np.sin(2 * np.pi * times / 24) + np.sin(2 * np.pi * times / 1_900) + rng.normal(size=12_000)
    found = find_periods(times, values, n_at_most=2)
    assert [each.period for each in found] == [pytest.approx(24.0, rel=1e-3), pytest.approx(1_900.0, rel=0.02)]
    found = find_periods(times, values, n_at_most=2, candidates=[1_900.0, 24.0])
    assert [each.period for each in found] == [24.0, 1_900.0]


# -- real series -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ldeaths", "usaccdeaths", "ukgas", "lynx", "sunspot_year", *WITHOUT[:2], *WITHOUT[3:]]
)
def test_a_short_classic_has_its_period(classics, name):
    _check_classic(classics, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["airpassengers", "co2", "nottem", "ukdriverdeaths", "mauna_loa_co2_weekly", "sunspots", "treering"]
)
def test_a_long_classic_has_its_period(classics, name):
    _check_classic(classics, name)


def _check_classic(classics, name: str) -> None:
    times, values = classics[name]
    found = find_periods(times, values)
    low, high = {"lynx": (9.4, 9.7), "sunspots": (10.9, 11.3), "sunspot_year": (10.9, 11.3)}.get(name, (0.999, 1.001))
    assert len(found) == (name not in WITHOUT)
    assert all(low < each.period < high for each in found)
    if np.median(np.diff(times)) < 1 / 3 and name not in (*WITHOUT, "sunspots"):
        assert [each.period for each in find_periods(times, values, candidates=[1.0])] == [1.0]


# -- errors ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_searched_is_refused():
    times, values = np.arange(20.0), np.zeros(20)
    with pytest.raises(DataError, match=r"\(20,\) and \(19,\)"):
        find_periods(times, values[1:])
    with pytest.raises(DataError, match=r"from 19.0 back to 18.0. Sort them"):
        find_periods(times[::-1], values)
    with pytest.raises(ParameterError, match="n_at_most"):
        find_periods(times, values, n_at_most=-1)
    with pytest.raises(ParameterError, match="level"):
        find_periods(times, values, level=1.0)
    with pytest.raises(ParameterError, match="Candidates"):
        find_periods(times, values, candidates=[0.0])
