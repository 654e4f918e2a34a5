import datetime
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsode.core.timeline import Timeline, coarsest_ticks, typical_gap
from tsode.errors import DataError, ParameterError

few = settings(max_examples=40, deadline=None, derandomize=True)
# Ticks of 71 years of microseconds, 26 days of nanoseconds, and longer where the tick is longer.
whole_ticks = st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=8, unique=True)


def stamps(*texts: str, unit: str = "us") -> np.ndarray:
    return np.array(texts, dtype=f"datetime64[{unit}]")


@few
@given(whole_ticks, st.sampled_from(["s", "ms", "us", "ns"]), st.sampled_from(["datetime64", "timedelta64"]))
def test_datetimes_and_timedeltas_come_back_exactly(ticks, unit, base):
    native = np.array(ticks, dtype=np.int64).view(f"{base}[{unit}]")
    timeline = Timeline.fit(native)
    np.testing.assert_array_equal(timeline.to_native(timeline.to_model(native)), native)


@few
@given(st.lists(st.floats(-1e15, 1e15, allow_subnormal=False), min_size=1, max_size=8, unique=True))
def test_floats_come_back_exactly_with_the_automatic_unit(floats):
    native = np.array(floats)
    timeline = Timeline.fit(native)
    np.testing.assert_array_equal(timeline.to_native(timeline.to_model(native)), native)


@few
@given(whole_ticks, st.sampled_from(["auto", 1, 7, 0.3]))
def test_integers_come_back_as_the_same_integers(ticks, unit):
    native = np.array(ticks)
    timeline = Timeline.fit(native, unit=unit)
    back = timeline.to_native(timeline.to_model(native))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, native)


@few
@given(st.lists(st.integers(0, 2**38), min_size=2, max_size=6, unique=True), st.integers(1, 10**6))
def test_an_instant_has_one_model_time_in_every_unit(seconds, length):
    native = np.array(seconds, dtype=np.int64).view("datetime64[s]")
    timeline = Timeline.fit(native, unit=np.timedelta64(length, "s"))
    for unit in ("ms", "us"):
        np.testing.assert_array_equal(
            timeline.to_model(native.astype(f"datetime64[{unit}]")), timeline.to_model(native)
        )


def test_the_map_survives_json_exactly():
    for native in (stamps("2020-01-01", "2021-03-04T05:06:07.000008"), np.array([0.1, 1e9 / 3]), np.array([3, 10])):
        timeline = Timeline.fit(native)
        assert Timeline.from_dict(json.loads(json.dumps(timeline.to_dict()))) == timeline


def test_seconds_stored_in_nanoseconds_survive_a_century():
    native = stamps("1920-01-01T00:00:01", "2020-02-03T04:05:06", unit="ns")
    timeline = Timeline.fit(native, unit=np.timedelta64(1, "D"))
    np.testing.assert_array_equal(timeline.to_native(timeline.to_model(native)), native)


def test_a_time_between_two_of_the_data_is_not_rounded_to_their_tick():
    timeline = Timeline.fit(stamps("2020-01-01", "2020-01-02", unit="D"))
    asked = stamps("2020-01-01T07:40:00.25", unit="ms")
    np.testing.assert_array_equal(timeline.to_native(timeline.to_model(asked)), asked)


def test_geological_datetimes_are_counted_in_seconds():
    native = np.array([-4_000_000_000, 2000], dtype="datetime64[Y]")
    timeline = Timeline.fit(native)
    assert timeline.resolution == "s"
    np.testing.assert_array_equal(timeline.to_model(native), [0.0, 1.0])


def test_model_time_is_counted_from_the_first_time_of_all_series_in_the_unit_asked():
    series = [stamps("2020-01-03", "2020-01-04"), stamps("2020-01-01")]
    timeline = Timeline.fit(series, unit=datetime.timedelta(hours=12))
    np.testing.assert_array_equal(timeline.to_model(series[0]), [4.0, 6.0])


def test_the_automatic_unit_is_the_median_gap_within_series():
    series = [stamps("2020-01-01", "2020-01-02", "2020-01-03"), stamps("1990-01-01", "1990-01-31")]
    assert Timeline.fit(series).duration(np.timedelta64(1, "D")) == 1.0
    assert Timeline.fit([np.array([0.0, 0.9, 1.9])]).unit == 1.0
    assert typical_gap([np.array([5]), np.array([5, 5])]) is None


def test_a_single_time_has_a_timeline():
    for native in (stamps("2020-01-01"), np.array([5.5]), np.array([5])):
        timeline = Timeline.fit(native)
        np.testing.assert_array_equal(timeline.to_native(timeline.to_model(native)), native)


def test_floats_next_to_each_other_at_1e15_stay_apart():
    native = np.array([1e15, 1e15 + 0.125])
    assert np.diff(Timeline.fit(native).to_model(native)) == 1.0


def test_times_that_float64_cannot_tell_apart_are_refused():
    native = np.array([0, 2**60, 2**60 + 1])
    with pytest.raises(DataError, match="cannot tell them apart at this distance"):
        Timeline.fit(native)
    with pytest.raises(DataError, match="cannot tell them apart"):
        Timeline.fit(native.view("datetime64[ns]"))


def test_nearly_equal_nanoseconds_of_different_series_are_no_error():
    late = np.array([2**60], dtype="datetime64[ns]")
    Timeline.fit([np.array([1, 10**9], dtype="datetime64[ns]"), late, late + 1])


def test_numbers_between_integer_times_are_floats():
    timeline = Timeline.fit(np.array([2, 4, 6]))
    back = timeline.to_native(timeline.to_model(np.array([2.5, 4.0])))
    np.testing.assert_array_equal(back, [2.5, 4.0])
    np.testing.assert_array_equal(timeline.to_model(np.array([4.0, 2.5]))[:1], timeline.to_model(np.array([4])))


def test_times_of_another_kind_are_refused():
    dated, counted = Timeline.fit(stamps("2020-01-01")), Timeline.fit(np.array([1.0]))
    with pytest.raises(DataError, match="times are numbers, but the series has datetimes: pass datetimes"):
        dated.to_model(np.array([1]))
    with pytest.raises(DataError, match="times are datetimes, but the series has numbers: pass numbers"):
        counted.to_model(stamps("2020-01-01"))
    with pytest.raises(DataError, match="one kind, but came as datetime and float"):
        Timeline.fit([stamps("2020-01-01"), np.array([1.0])])
    with pytest.raises(DataError, match="but are <U1"):
        Timeline.fit(np.array(["a"]))
    with pytest.raises(DataError, match="no times"):
        Timeline.fit([])


@pytest.mark.parametrize(
    "span",
    [pd.Timedelta("3h"), datetime.timedelta(hours=3), np.timedelta64(3, "h"), np.timedelta64(3 * 3600 * 10**9, "ns")],
)
def test_a_duration_is_the_same_whatever_its_type(span):
    timeline = Timeline.fit(stamps("2020-01-01", "2020-01-02"), unit=np.timedelta64(1, "h"))
    assert timeline.duration(span) == 3.0


def test_a_duration_of_nanoseconds_is_not_rounded_to_microseconds():
    timeline = Timeline.fit(stamps("2020-01-01", "2020-01-02"), unit=np.timedelta64(1, "us"))
    assert timeline.duration(pd.Timedelta(1500, "ns")) == 1.5


def test_durations_of_the_wrong_kind_name_the_fix():
    dated, counted = Timeline.fit(stamps("2020-01-01")), Timeline.fit(np.array([1.0]))
    with pytest.raises(
        ParameterError, match="horizon=3 is a number but the series has datetimes: pass horizon='3h'\\."
    ):
        dated.duration(3)
    with pytest.raises(ParameterError, match="is a duration but the series has numbers as times: pass horizon=3"):
        counted.duration(pd.Timedelta("3h"))
    for value in (True, "3h"):
        with pytest.raises(ParameterError, match="of type"):
            counted.duration(value)
    for value in (np.nan, np.inf):
        with pytest.raises(ParameterError, match="must be finite"):
            counted.duration(value)
    with pytest.raises(ParameterError, match="must be finite"):
        dated.duration(np.timedelta64("NaT"))


def test_a_unit_must_be_a_positive_duration():
    with pytest.raises(ParameterError, match="time_unit=0 must be positive"):
        Timeline.fit(np.array([1.0]), unit=0)
    with pytest.raises(ParameterError, match="time_unit=2 is a number but the series has datetimes"):
        Timeline.fit(stamps("2020-01-01"), unit=2)


def test_times_beyond_64_bits_are_refused():
    timeline = Timeline.fit(stamps("2020-01-01T00:00:00.000000001", unit="ns"))
    with pytest.raises(DataError, match="too far"):
        timeline.to_model(stamps("3000-01-01"))
    with pytest.raises(DataError, match="too far"):
        timeline.to_native(np.array([1e40]))
    with pytest.raises(DataError, match="too far from 1970"):
        Timeline.fit(np.array([2**60], dtype="datetime64[Y]"))


def test_the_coarsest_tick_holds_all_times():
    assert coarsest_ticks(stamps("2020-01-01", "2020-01-01T00:00:00.5", unit="ns"))[1] == "ms"
    ticks, tick = coarsest_ticks(np.array([2], dtype="timedelta64[W]"))
    assert (ticks.tolist(), tick) == ([14 * 86400], "s")


def test_spans_come_back_in_the_units_of_the_data():
    hours = Timeline.fit(np.array(["2024-01-01T00", "2024-01-01T03"], dtype="M8[h]"))
    span = hours.span(np.array([1.0, 0.5, np.inf]))
    assert span[:2].tolist() == [np.timedelta64(3, "h"), np.timedelta64(90, "m")]
    assert np.isnat(span[2])
    assert hours.duration(span[1]) == 0.5
    assert Timeline.fit(np.array([0.0, 4.0])).span(np.array([0.5])).tolist() == [2.0]
