import datetime

import numpy as np
import pandas as pd
import pytest

from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError
from tsode.frames.panel import Panel
from tsode.frames.read import read_panel
from tsode.frames.times import Query, read_duration, read_query
from tsode.frames.write import write_frame


def panel_of(index: pd.Index) -> Panel:
    return read_panel(pd.Series(1.0, index=index))


def two_series(tz: str | None = None) -> Panel:
    """'b' every 7 hours until 07:00, 'a' every 2 hours until 04:00 on 2024-01-01."""
    times = pd.to_datetime(
        ["2024-01-01 00:00", "2024-01-01 07:00", "2024-01-01 00:00", "2024-01-01 02:00", "2024-01-01 04:00"]
    )
    return read_panel(pd.DataFrame({"unique_id": [*"bbaaa"], "ds": times.tz_localize(tz), "y": 1.0}))


def ask(panel: Panel, data=None, **question) -> Query:
    return read_query(panel, Timeline.fit(panel.times), data, **question)


def answer(query: Query):
    """The query written as a frame whose only column holds the position of each time in its series."""
    columns = {"k": [np.arange(len(t)) for t in query.times]}
    return write_frame(query.layout, query.ids, query.times, columns, rows=query.rows, index=query.index)


def test_a_horizon_is_spread_evenly_near_each_series_own_gap():
    query = ask(two_series(), horizon="8h")
    hours = [((t - t[0]) / np.timedelta64(1, "h")).tolist() for t in query.times]
    assert hours == [[0], [0, 2, 4, 6]]
    assert [t[-1] for t in query.times] == [np.datetime64("2024-01-01T15:00"), np.datetime64("2024-01-01T12:00")]


@pytest.mark.parametrize("index", [pd.Index([0, 1, 2]), pd.Index([0.0, 1.0, 2.0])])
def test_a_horizon_on_numbers_is_a_number_and_keeps_whole_times_whole(index):
    query = ask(panel_of(index), horizon=3)
    assert query.times[0].tolist() == [3, 4, 5]
    assert query.times[0].dtype == index.dtype
    assert ask(panel_of(index), horizon=2.5).times[0].tolist() == [3.25, 4.5]
    assert ask(panel_of(pd.Index([0, 4, 8])), horizon=10).times[0].tolist() == [13, 18]


def test_a_horizon_has_1_to_200_points_and_ends_exactly():
    panel = panel_of(pd.timedelta_range("0s", periods=5, freq="1s"))
    many, one = ask(panel, horizon="7h").times[0], ask(panel, horizon="1ms").times[0]
    assert (len(many), many[-1]) == (200, np.timedelta64(7 * 3600 + 4, "s"))
    assert (np.diff(many) > np.timedelta64(0, "s")).all()
    assert one.tolist() == [datetime.timedelta(seconds=4, milliseconds=1)]
    assert ask(panel_of(pd.Index([0.1, 0.2])), horizon=0.7).times[0][-1] == 0.9


def test_a_series_of_one_row_borrows_the_gap_of_the_others():
    frame = pd.DataFrame({"unique_id": [0, 1, 1], "ds": [0, 0, 5], "y": 1.0})
    assert ask(read_panel(frame), horizon=10).times[0].tolist() == [5, 10]
    assert ask(read_panel(frame.iloc[:1]), horizon=10).times[0].tolist() == [10]


def test_a_list_of_horizons_asks_for_exactly_these_leads():
    query = ask(
        two_series(), horizon=["6h", pd.Timedelta("90min"), np.timedelta64(1, "D"), datetime.timedelta(hours=2)]
    )
    leads = (query.times[0] - np.datetime64("2024-01-01T07:00")) / np.timedelta64(1, "m")
    assert leads.tolist() == [90, 120, 360, 1440]
    assert answer(query)["k"].tolist() == [2, 0, 3, 1, 2, 0, 3, 1]


def test_a_horizon_starts_where_something_was_last_seen():
    panel = read_panel(pd.Series([1.0, 2.0, np.nan], index=[0, 1, 9]))
    assert ask(panel, horizon=[1]).times[0].tolist() == [2]


def test_a_horizon_of_centuries_does_not_overflow_nanoseconds():
    panel = panel_of(pd.DatetimeIndex(["2024-01-01", "2024-01-02"]).as_unit("ns"))
    (only,) = ask(panel, horizon=[np.timedelta64(400 * 365, "D")]).times
    assert only[0] == np.datetime64("2024-01-02") + np.timedelta64(400 * 365, "D")


@pytest.mark.parametrize(
    ("horizon", "message"),
    [
        (3, "horizon=3 is a number but the series has datetimes: pass horizon='3h' or times="),
        ("3", "horizon='3' has no unit"),
        ("three hours", "horizon='three hours' is not a duration"),
        ("1M", "is not a duration"),
        ("-3h", "horizon='-3h' must be positive"),
        ("0h", "must be positive"),
        ([], "is empty"),
        (pd.NaT, "of type NaTType"),
        (pd.DateOffset(months=1), "of type DateOffset"),
    ],
)
def test_bad_horizons_are_refused_with_a_way_out(horizon, message):
    with pytest.raises(ParameterError, match=message):
        ask(two_series(), horizon=horizon)


def test_a_duration_is_no_horizon_for_numbers():
    for horizon in ("3h", pd.Timedelta("3h")):
        with pytest.raises(ParameterError, match="the series has numbers as times: pass horizon=3"):
            ask(panel_of(pd.Index([0, 1])), horizon=horizon)


def test_a_duration_is_read_where_times_have_durations():
    assert read_duration("90min", "datetime") == np.timedelta64(90, "m")
    assert read_duration(pd.Timedelta(1, "ns"), "timedelta") == np.timedelta64(1, "ns")
    assert read_duration("auto", "float", "time_unit") == "auto"


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-05 12:00", "2024-01-02"],
        [pd.Timestamp("2024-01-05 12:00"), pd.Timestamp("2024-01-02")],
        [pd.Timestamp("2024-01-05 12:00"), "2024-01-02"],
        [datetime.datetime(2024, 1, 5, 12), datetime.datetime(2024, 1, 2)],
        np.array(["2024-01-05T12", "2024-01-02"], dtype="datetime64[h]"),
        pd.DatetimeIndex(["2024-01-05 12:00", "2024-01-02 00:00"]),
        pd.Series([pd.Timestamp("2024-01-05 12:00"), pd.Timestamp("2024-01-02")]),
    ],
)
def test_times_of_every_type_are_asked_of_every_series_in_their_order(times):
    query = ask(two_series(), times=times)
    expected = np.array(["2024-01-02T00:00", "2024-01-05T12:00"], dtype="datetime64[us]")
    for asked in query.times:
        np.testing.assert_array_equal(asked, expected)
    written = answer(query)
    assert written["unique_id"].tolist() == [*"bbaa"]
    assert written["k"].tolist() == [1, 0, 1, 0]


def test_one_time_needs_no_list():
    assert len(ask(two_series(), times="2024-02-01").times[0]) == 1
    assert ask(panel_of(pd.Index([0, 1])), times=2.5).times[0].tolist() == [2.5]
    asked = ask(panel_of(pd.timedelta_range("0h", periods=2, freq="1h")), times="3h").times[0]
    assert asked[0] == np.timedelta64(3, "h")


def test_a_dict_asks_each_series_its_own_times():
    query = ask(two_series(), times={"a": ["2024-02-01"], "b": "2024-03-01"})
    assert query.ids == ["a", "b"]
    with pytest.raises(
        DataError, match=r"no history of series 'c'.*Ids in the histories: 'b', 'a' .*Pass the history .* context="
    ):
        ask(two_series(), times={"c": "2024-02-01"})


def test_strings_are_local_time_unless_they_have_an_offset():
    for text in ("2024-07-01 12:00", "2024-07-01 10:00+00:00"):
        (asked, _) = ask(two_series("Europe/Berlin"), times=text).times
        assert asked[0] == np.datetime64("2024-07-01T10:00")
    assert str(answer(ask(two_series("Europe/Berlin"), times="2024-07-01"))["ds"].dt.tz) == "Europe/Berlin"


@pytest.mark.parametrize(
    ("tz", "times", "message"),
    [
        (
            "Europe/Berlin",
            pd.Timestamp("2024"),
            "without a time zone, but the series has .* in Europe/Berlin: .*tz_localize",
        ),
        (None, pd.Timestamp("2024", tz="UTC"), r"in UTC, but the series has times without .*tz_localize\(None\)"),
        (None, "2024-01-01T00:00+01:00", "in UTC, but the series"),
        ("Europe/Berlin", "2024-03-31 02:30", "nonexistent time.*got round by an offset"),
        (None, "yesterday-ish", "times= cannot be read as datetimes"),
        (None, 3.0, "times= has numbers as times, but the series has datetimes: pass datetimes, or horizon="),
        (None, [], "times= is empty"),
        (None, {}, "times= is empty"),
        (None, [pd.NaT], "times= has no time"),
        (None, [["2024"]], "takes a list of times, or a dict"),
    ],
)
def test_bad_times_are_refused_with_a_way_out(tz, times, message):
    with pytest.raises(DataError, match=message):
        ask(two_series(tz), times=times)


def test_text_is_no_time_for_numbers():
    with pytest.raises(DataError, match="holds strings such as '3', but the series has numbers"):
        ask(panel_of(pd.Index([0, 1])), times="3")


def test_rows_asked_for_come_back_in_their_order_with_their_index():
    rows = pd.DataFrame(
        {"ds": pd.to_datetime(["2024-02-02", "2024-02-01", "2024-02-01"]), "unique_id": ["a", "a", "b"]},
        index=[7, 3, 5],
    )
    written = answer(ask(two_series(), rows))
    pd.testing.assert_frame_equal(written[["ds", "unique_id"]], rows)
    assert written["k"].tolist() == [1, 0, 0]


def test_value_columns_of_rows_asked_for_are_not_looked_at():
    rows = pd.DataFrame({"unique_id": ["a", "a"], "ds": pd.to_datetime(["2024-02-02", "2024-02-02"])})
    plain = ask(two_series(), rows)
    for values in (np.nan, np.inf, "text", [[1], [2]]):
        other = ask(two_series(), rows.assign(y=values))
        np.testing.assert_array_equal(other.times[0], plain.times[0])
        np.testing.assert_array_equal(other.rows, plain.rows)


def test_one_series_is_asked_without_ids_whatever_its_id():
    frame = pd.DataFrame({"unique_id": "p", "ds": pd.date_range("2024", periods=3), "y": 1.0})
    index = pd.DatetimeIndex(["2024-02-02", "2024-02-01"], name="when")
    for rows in (index, index.to_frame(), pd.DataFrame(index=index), pd.Series(0.0, index=index)):
        query = ask(read_panel(frame), rows)
        assert query.ids == ["p"]
        np.testing.assert_array_equal(answer(query).index, index)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            pd.DataFrame(index=pd.date_range("2024", periods=1)),
            "not for which of the 2 series: add the column 'unique_id'",
        ),
        (pd.DataFrame({"unique_id": ["aa"], "ds": pd.Timestamp("2024")}), r"series 'aa' .str.. Did you mean 'a'\?"),
        (pd.DataFrame({"unique_id": ["a"], "ds": [1]}), "X has numbers as times, but the series has datetimes"),
        (pd.DataFrame({"unique_id": ["a"], "ds": [pd.Timestamp("2024", tz="UTC")]}), "X has times in UTC"),
        (pd.DataFrame({"unique_id": [], "ds": []}), "X has no rows"),
    ],
)
def test_bad_rows_are_refused_with_a_way_out(rows, message):
    with pytest.raises(DataError, match=message):
        ask(two_series(), rows)


def test_exactly_one_question_is_asked():
    with pytest.raises(ParameterError, match="exactly one of X, times and horizon, not none"):
        ask(two_series())
    with pytest.raises(ParameterError, match="not times and horizon"):
        ask(two_series(), times="2024", horizon="3h")


def test_a_series_without_rows_has_no_horizon():
    panel = read_panel([pd.Series([1.0], index=[0]), pd.Series([], index=[], dtype=float)])
    with pytest.raises(DataError, match="Series 1 has no rows for a horizon to start from: pass times="):
        ask(panel, horizon=1)


def test_the_times_of_a_horizon_are_those_of_decimals():
    panel = panel_of(pd.Index([0.0, 0.1, 0.2, 0.3]))
    assert ask(panel, horizon=1.2).times[0].tolist() == [round(0.1 * k, 1) for k in range(4, 16)]
    assert ask(panel, horizon=[0.3, 0.4, 1.1]).times[0].tolist() == [0.6, 0.7, 1.4]
