"""Events as users write them, read into explicit rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError, TsodeWarning
from tsode.frames import EventTable
from tsode.frames.events import KINDS, read_events
from tsode.frames.inputs import EventEncoder


def frame(**columns):
    return pd.DataFrame({"ds": [0.0]} | columns)


def read(data, ids=None, **how):
    return read_events(data, ids, **how)


def one(**columns):
    """The only row that these columns are read into."""
    rows = read(frame(**{name: [value] for name, value in columns.items()}))
    assert len(rows) == 1
    return rows.iloc[0]


def test_rows_have_all_columns_whatever_is_left_out():
    rows = read(frame(amount=[5.0]), ["a"])
    assert list(rows.columns) == [
        "id", "time", "amount", "rate", "steady_state", "priority", "duration", "every", "lag", "target",
        "kind",
    ]  # fmt: skip
    row = rows.iloc[0]
    assert (row["id"], row["time"], row["kind"], row["target"], row["amount"]) == ("a", 0.0, "add", None, 5.0)
    assert (row["rate"], row["steady_state"], row["priority"]) == (0.0, 0.0, 0.0)
    assert np.isnan(row["duration"])
    assert np.isnan(row["every"])
    assert rows.attrs["time_dtype"] == np.float64


def test_a_row_with_an_amount_is_a_dose_and_one_without_is_a_mark():
    assert one()["kind"] == "mark"
    assert one(amount=3)["kind"] == "add"
    assert one(amount=np.nan)["kind"] == "mark"
    assert one(amount=None, kind=None, target=None)["kind"] == "mark"
    for kind in KINDS:
        assert one(kind=kind, amount=3, **({"duration": 2.0} if kind == "rate" else {}))["kind"] == kind


def test_rows_are_sorted_by_series_time_priority_and_their_own_order():
    data = pd.DataFrame(
        {
            "unique_id": ["b", "a", "b", "b", "b", "a"],
            "ds": [3, 5, 1, 3, 3, 2],
            "amount": [1, 2, 3, 4, 5, 6],
            "priority": [1, 0, 9, 1, 0, None],
        }
    )
    rows = read(data)
    assert rows["id"].tolist() == ["b", "b", "b", "b", "a", "a"]  # in order of appearance
    assert rows["amount"].tolist() == [3, 5, 1, 4, 6, 2]
    assert rows.index.tolist() == list(range(6))
    assert rows["time"].dtype == np.int64


def test_repeats_are_rows_of_their_own_in_the_place_of_time():
    data = frame(amount=[10.0], every=[12.0], n_more=[3])
    rows = read(pd.concat([data, pd.DataFrame({"ds": [12.0, 20.0], "amount": [1.0, 2.0]})]))
    assert rows["time"].tolist() == [0, 12, 12, 20, 24, 36]
    assert rows["amount"].tolist() == [10, 10, 1, 2, 10, 10]


def test_repeats_of_a_dose_in_steady_state_are_plain():
    rows = read(frame(amount=[10.0], every=[12.0], n_more=[2], steady_state=[True]))
    assert rows["steady_state"].tolist() == [1, 0, 0]


def test_an_expanded_table_reads_as_the_short_one_and_keeps_only_its_own_columns():
    data = pd.DataFrame(
        {
            "who": ["b", "a", "a", "a"],
            "when": [0, 5, 7, 9],
            "kind": ["add", "rate", None, "rate"],
            "target": ["x", None, "y", 0],
            "amount": [10.0, np.nan, 4.0, 8.0],
            "duration": [np.nan, 2.0, np.nan, 4.0],
            "rate": [5.0, 3.0, np.nan, np.nan],
            "every": [2.5, np.nan, 3.0, 1.0],
            "n_more": [2, 0, np.nan, 1],
            "steady_state": [1, 0, 0, 0],
        }
    )
    table = EventTable(data, "who", "when")
    assert table.ids == ["b", "a"]
    assert "4 rows" in repr(table)
    long = table.expand()
    assert list(long.columns) == [name for name in data.columns if name != "n_more"]
    assert long["when"].tolist() == [0.0, 2.5, 5.0, 5.0, 7.0, 9.0, 10.0]
    pd.testing.assert_frame_equal(read(EventTable(long, "who", "when")), read(table))
    pd.testing.assert_frame_equal(table.frame, data)
    assert EventTable(frame(amount=[1.0])).ids == []


def test_amount_rate_and_duration_follow_from_two_of_them():
    for given in (
        {"amount": 100, "rate": 25},
        {"amount": 100, "duration": 4},
        {"rate": 25, "duration": 4, "kind": "rate"},
    ):
        row = one(**given)
        assert (row["amount"], row["rate"], row["duration"]) == (100.0, 25.0, 4.0)
    endless = one(kind="rate", rate=-2.0)
    assert (endless["rate"], endless["duration"], endless["amount"]) == (-2.0, np.inf, 0.0)


def test_zeros_stand_for_what_is_not_given():
    at_once = one(amount=5.0, rate=0.0, duration=0.0, every=0.0, n_more=0, steady_state=False)
    assert at_once["rate"] == 0.0
    assert np.isnan(at_once["duration"])
    assert one(kind="rate", amount=0.0, rate=3.0)["duration"] == np.inf
    assert one(kind="rate", amount=6.0, rate=0.0, duration=3.0)["rate"] == 2.0


@pytest.mark.parametrize("tz", [None, "Europe/Zurich"])
def test_datetimes_have_durations_with_a_unit(tz):
    start = pd.Timestamp("2024-03-30 20:00", tz=tz)
    data = pd.DataFrame(
        {"ds": [start], "amount": [100.0], "duration": ["4h"], "every": [pd.Timedelta("12h")], "n_more": [2]}
    )
    rows = read(data)
    utc = start if tz is None else start.tz_convert("UTC").tz_localize(None)
    assert rows["time"].tolist() == [utc + pd.Timedelta(hours=h) for h in (0, 12, 24)]
    assert (rows["duration"] == pd.Timedelta("4h")).all()
    assert rows["rate"].isna().all()
    assert EventTable(data).expand()["ds"].tolist() == [start + pd.Timedelta(hours=h) for h in (0, 12, 24)]
    with_unit = read(data, time_unit=np.timedelta64(1, "h"))
    assert with_unit["rate"].tolist() == [25.0] * 3
    by_rate = data.drop(columns="duration").assign(rate=25.0)
    assert (read(by_rate, time_unit=np.timedelta64(1, "h"))["duration"] == pd.Timedelta("4h")).all()
    endless = pd.DataFrame({"ds": [start], "kind": ["rate"], "rate": [2.0]})
    row = read(endless, time_unit=np.timedelta64(1, "h")).iloc[0]
    assert (row["rate"], row["amount"]) == (2.0, 0.0)
    assert pd.isna(row["duration"])


def test_timedeltas_are_times_too():
    data = pd.DataFrame(
        {"ds": pd.to_timedelta([2, 1], unit="h"), "amount": [1.0, 2.0], "every": ["30min", None], "n_more": [1, 0]}
    )
    assert read(data)["time"].tolist() == [pd.Timedelta(x) for x in ("1h", "2h", "2h30min")]


def test_integer_times_become_floats_only_where_a_repeat_needs_it():
    data = pd.DataFrame({"ds": [4], "amount": [1.0], "every": [2.0], "n_more": [1]})
    assert read(data)["time"].tolist() == [4, 6]
    assert read(data)["time"].dtype == np.int64
    assert read(data.assign(every=0.5))["time"].tolist() == [4.0, 4.5]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"ds": []}),
        pd.DataFrame({"ds": [], "amount": [], "kind": [], "every": [], "n_more": []}),
        pd.DataFrame({"ds": pd.DatetimeIndex([]), "duration": []}),
        pd.DataFrame({"unique_id": ["a"], "ds": [0.0], "amount": [1.0]}).iloc[:0],
        pd.DataFrame(columns=["unique_id", "ds", "target", "amount"]),
    ],
)
def test_a_frame_without_rows_is_no_events(data):
    assert len(read(data, ["a", "b"] if "unique_id" in data else None)) == 0
    assert len(EventTable(data).expand()) == 0


def test_a_polars_frame_is_read():
    polars = pytest.importorskip("polars")
    data = pd.DataFrame({"unique_id": ["a", "b"], "ds": [1.0, 2.0], "kind": [None, "reset"], "amount": [3.0, None]})
    pd.testing.assert_frame_equal(read(polars.from_pandas(data)), read(data))


def test_what_was_given_is_left_as_it_was():
    data = frame(amount=[5.0]).set_index(pd.Index([7]))
    before = data.copy()
    read(data)
    table = EventTable(data)
    copy = table.frame
    copy["amount"] = 9.0
    assert table.frame["amount"].tolist() == [5.0]
    pd.testing.assert_frame_equal(data, before)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": "bolus", "amount": 1}, r"kind='bolus' at row 0 of the events is not known. Known: add"),
        ({"kind": "sett", "amount": 1}, "Did you mean 'set'"),
        ({"kind": "set"}, "kind='set' at row 0 of the events needs an amount"),
        ({"kind": "multiply", "amount": np.nan}, "kind='multiply' at row 0 of the events needs an amount"),
        ({"kind": "rate"}, "needs a rate, or an amount and a duration"),
        ({"kind": "rate", "amount": 3}, "needs a rate, or an amount and a duration"),
        ({"kind": "set", "amount": 3, "duration": 1}, "kind='set' at row 0 of the events happens at once"),
        ({"kind": "reset", "rate": 3}, "kind='reset' at row 0 of the events happens at once"),
        ({"duration": 3}, "kind='mark' at row 0 of the events happens at once"),
        ({"amount": 3, "rate": -1}, "rate=-1 at row 0 of the events must be positive: rates that a model estimates"),
        ({"amount": 3, "duration": -1}, r"duration=-1.* must be positive"),
        ({"kind": "rate", "rate": 3, "duration": 0}, r"duration=0.* must be positive"),
        ({"amount": -3, "rate": 1}, "amount=-3 and rate=1 at row 0 of the events must have one sign"),
        ({"amount": 3, "rate": 1, "duration": 3}, "say one thing twice"),
        ({"amount": 3, "n_more": -1, "every": 1}, "n_more=-1 at row 0 of the events must be a whole number"),
        ({"amount": 3, "n_more": 1.5, "every": 1}, "n_more=1.5 at row 0"),
        ({"amount": 3, "n_more": 1}, "need a positive interval: fill in `every`"),
        ({"amount": 3, "n_more": 1, "every": 0}, "need a positive interval"),
        ({"amount": 3, "steady_state": 1}, "need a positive interval"),
        ({"amount": 3, "steady_state": 3, "every": 1}, "steady_state=3 at row 0"),
        ({"kind": "set", "amount": 3, "steady_state": 1, "every": 1}, "of doses that are added, but kind is 'set'"),
        ({"amount": "much"}, "The column 'amount' of the events must hold numbers"),
        ({"amount": np.inf}, "The column 'amount' of the events is infinite at row 0"),
        ({"amount": 3, "duration": "4h"}, "duration='4h' at row 0 of the events must be a number in the unit"),
        ({"amount": 3, "duration": np.inf}, "must be finite: leave it out for no end"),
        ({"amount": 3, "every": pd.Timedelta("1h")}, "every=.* must be a number in the unit of the times"),
        ({"dose": 3}, "a column 'dose' that says nothing to a model"),
        ({"Unique_Id": 3}, "Did you mean .unique_id."),
        ({"amuont": 3}, "Did you mean 'amount'"),
        ({"side": "after"}, "Events have no side: pass side='after'"),
    ],
)
def test_errors_name_the_row_and_the_way_out(columns, message):
    with pytest.raises(DataError, match=message):
        one(**columns)


def test_errors_about_times_and_series():
    with pytest.raises(DataError, match=r"no time column 'ds'. Did you mean 'DS'\? The columns are \['DS'\]"):
        read(pd.DataFrame({"DS": [1.0]}))
    with pytest.raises(DataError, match=r"time column 'ds' of the events has no time \(NaT or NaN\) at row 1"):
        read(pd.DataFrame({"ds": [1.0, np.nan]}))
    with pytest.raises(DataError, match="events have no id at row 1: name the series"):
        read(pd.DataFrame({"unique_id": ["a", None], "ds": [1.0, 2.0]}))
    with pytest.raises(DataError, match="do not say of which of the 2 series they are: add the column 'unique_id'"):
        read(frame(amount=[1.0]), ["a", "b"])
    clock = pd.DataFrame({"ds": [pd.Timestamp("2024-01-01")], "amount": [10.0]})
    with pytest.raises(DataError, match="rate at row 0 of the events has no unit of time where times are datetimes"):
        read(clock.assign(rate=2.0))
    with pytest.raises(DataError, match=r"every=12 at row 0 of the events must be a duration such as '12h'"):
        read(clock.assign(every=12, n_more=1))
    with pytest.raises(DataError, match="takes a frame with one row an event, but is a list"):
        read([1, 2])
    with pytest.raises(DataError, match="the column 'amount' more than once"):
        read(pd.DataFrame([[0.0, 1.0, 2.0]], columns=["ds", "amount", "amount"]))


REGIMENS = [
    *((start, every, np.float64) for start, every in ((0.0, 2.4), (0.1, 0.1), (0.7, 1.1), (0.0, 1 / 3), (1.7e9, 0.7))),
    *((start, every, np.float32) for start, every in ((0.0, 2.4), (0.1, 0.1), (0.0, 1 / 3))),
]


@pytest.mark.parametrize(("start", "every", "dtype"), REGIMENS)
def test_repeats_are_at_the_times_that_rows_of_decimals_have(start, every, dtype):
    n = 60
    whole = 3 if every == 1 / 3 else 10
    written = [(round(start * whole) + k * round(every * whole)) / whole for k in range(n)]
    rows = pd.DataFrame({"ds": np.array(written, dtype), "amount": 1.0})
    short = pd.DataFrame(
        {"ds": np.array([start], dtype), "amount": 1.0, "every": np.array([every], dtype), "n_more": n - 1}
    )
    assert read(short)["time"].tolist() == read(rows)["time"].tolist()


def test_repeats_of_datetimes_reach_where_nanoseconds_do_not():
    start = pd.Series(pd.to_datetime(["2200-01-01"])).astype("datetime64[s]")
    data = pd.DataFrame({"ds": start, "amount": [1.0], "every": [pd.Timedelta("365D")], "n_more": [300]})
    assert read(data)["time"].iloc[-1] == np.datetime64("2200-01-01") + np.timedelta64(300 * 365, "D")


def test_an_interval_without_a_number_of_repeats_is_refused():
    for columns in ({"every": 12.0}, {"every": 12.0, "n_more": None}, {"every": 12.0, "steady_state": np.nan}):
        with pytest.raises(
            DataError, match=r"every=12.0 at row 0 of the events says no number of repeats: give n_more"
        ):
            one(amount=3.0, **columns)
    assert one(amount=3.0, every=12.0, n_more=0)["time"] == 0.0


def test_infusions_as_inputs_end_at_decimal_times_too():
    rows = read(pd.DataFrame({"ds": [0.1], "amount": [3.0], "rate": [15.0], "every": [0.7], "n_more": [9]}))
    times = EventEncoder.fit(rows).encode(rows)[0].times
    assert times.tolist() == [round(0.1 + 0.7 * k + end, 1) for k in range(10) for end in (0.0, 0.2)]


def test_rows_of_a_rate_at_every_sampling_time_say_how_to_be_one_infusion():
    pump = pd.DataFrame({"ds": [0.0, 1.0, 2.0], "kind": "rate", "rate": 5.0})
    with pytest.warns(
        TsodeWarning, match="Series 0 has 3 inputs of kind 'rate' without an end, which add up. Where each"
    ):
        read(pump)
    rows = read(pump.assign(duration=1.0))
    assert (rows["time"] + rows["duration"]).tolist() == [1.0, 2.0, 3.0]
    read(pump.assign(rate=[5.0, -2.0, 0.0]))  # changes of a rate, and one up and one down, are silent
    read(pump.assign(unique_id=["a", "b", "c"]))
