import datetime
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsode.errors import DataError, ParameterError
from tsode.frames.read import read_panel

NAN = np.nan


def long_frame(**changes) -> pd.DataFrame:
    """Two series of two rows; `changes` replace or add columns."""
    columns = {
        "unique_id": ["b", "b", "a", "a"],
        "ds": pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-02", "2024-01-07"]),
        "hr": [1.0, 2.0, 3.0, NAN],
    }
    return pd.DataFrame({**columns, **changes})


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter_within_a_series(order):
    frame = pd.DataFrame({"unique_id": [1, 2, 1, 2, 1, 1], "ds": [0.5, 1, 2, 3, 4, 5], "y": [1.0, 2, 3, NAN, 5, 6]})
    panel, shuffled = read_panel(frame), read_panel(frame.iloc[list(order)])
    for label in (1, 2):
        i, j = panel.ids.index(label), shuffled.ids.index(label)
        np.testing.assert_array_equal(panel.times[i], shuffled.times[j])
        np.testing.assert_array_equal(panel.values[i], shuffled.values[j])


def test_a_long_frame_becomes_series_in_order_of_appearance():
    panel = read_panel(long_frame())
    assert (panel.ids, panel.channels, len(panel), panel.n_channels) == (["b", "a"], ["hr"], 2, 1)
    np.testing.assert_array_equal(panel.times[0], np.array(["2024-01-01", "2024-01-03"], dtype="datetime64[us]"))
    np.testing.assert_array_equal(panel.values[1], [[3.0], [NAN]])
    # The last row of 'a' saw nothing, so its history ends before it.
    assert panel.last_times == [np.datetime64("2024-01-03"), np.datetime64("2024-01-02")]


def test_the_same_series_is_read_from_every_container():
    frame = long_frame().iloc[2:]
    wide = frame.set_index("ds")[["hr"]]
    expected = read_panel(frame)
    for data in (
        wide,
        wide["hr"],
        wide.reset_index(),
        [wide["hr"]],
        [wide],
        np.array([wide["hr"], None], dtype=object)[:1],
        pd.Series([wide["hr"]]),
        frame.set_index("ds"),
        frame.set_index(["unique_id", "ds"]),
        frame.set_index(["unique_id", "ds"])["hr"],
        pa.Table.from_pandas(frame, preserve_index=False),
        nw.from_native(frame),
        wide.convert_dtypes(),
        wide.astype(object),
    ):
        panel = read_panel(data)
        np.testing.assert_array_equal(panel.times[0], expected.times[0])
        np.testing.assert_array_equal(panel.values[0], expected.values[0])


def test_a_polars_frame_is_read():
    polars = pytest.importorskip("polars", reason="polars is an optional container and is not installed")
    frame = long_frame()
    np.testing.assert_array_equal(read_panel(polars.from_pandas(frame)).values[0], read_panel(frame).values[0])
    with pytest.raises(DataError, match=r"a lazy frame \(LazyFrame\): collect it first, with `data.collect\(\)`"):
        read_panel(polars.from_pandas(frame).lazy())


def test_row_numbers_are_no_times_of_a_frame_without_an_index():
    table = pa.table({"t_hours": [0.0, 5.0, 6.0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(DataError, match=r"There is no time column 'ds'.* The columns are \['t_hours', 'y'\]"):
        read_panel(table)


@pytest.mark.parametrize(
    "labels",
    [
        [1, 1, 2, 2],
        [("a", 1), ("a", 1), ("a", 2), ("a", 2)],
        [pd.Timestamp("2020"), pd.Timestamp("2020"), pd.Timestamp("2021"), pd.Timestamp("2021")],
        [1, 1, "a", "a"],
        [False, False, True, True],
    ],
)
def test_ids_may_be_any_hashable(labels):
    panel = read_panel(long_frame(unique_id=labels))
    assert panel.ids == [labels[0], labels[2]]
    assert all(not isinstance(label, np.generic) for label in panel.ids)


def test_unused_categories_are_no_series():
    panel = read_panel(long_frame(unique_id=pd.Categorical(["b", "b", "a", "a"], categories=["a", "b", "c"])))
    assert panel.ids == ["b", "a"]


def test_a_list_takes_unique_names_as_ids_and_keeps_empty_series():
    one, two = pd.Series([1.0, 2.0], index=[0.5, 1.0], name="p"), pd.Series([3.0], index=[2], name="q")
    assert read_panel([one, two]).ids == ["p", "q"]
    shared = read_panel([one, two.rename("p"), one.iloc[:0]])
    assert (shared.ids, shared.channels) == ([0, 1, 2], ["p"])
    assert [len(t) for t in shared.times] == [2, 1, 0]
    assert shared.last_times == [1.0, 2.0, None]


def test_aware_times_become_utc_across_a_clock_change():
    index = pd.date_range("2024-10-27 01:30", periods=3, freq="1h", tz="Europe/Berlin")
    panel = read_panel(pd.Series([1.0, 2.0, 3.0], index=index))
    np.testing.assert_array_equal(np.diff(panel.times[0]), np.timedelta64(1, "h"))
    assert panel.times[0][0] == np.datetime64("2024-10-26T23:30")


def test_dates_and_decimals_and_bools_are_numbers_and_times():
    days = pd.Index([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], dtype=object)
    panel = read_panel(
        pd.DataFrame({"on": [True, None], "dose": [Decimal("1.5"), None], "n": [None, None]}, index=days)
    )
    np.testing.assert_array_equal(panel.values[0], [[1.0, 1.5, NAN], [NAN, NAN, NAN]])


def test_target_chooses_channels_and_spares_the_rest():
    frame = long_frame(ward=["x", "y", "z", "z"], bp=[1, 2, 3, 4])
    assert read_panel(frame, target="bp").channels == ["bp"]
    assert read_panel(frame, target=["bp", "hr"]).channels == ["bp", "hr"]
    with pytest.raises(DataError, match=r"no column 'bpp' to read as target. Did you mean 'bp'\?"):
        read_panel(frame, target="bpp")


def test_rows_of_one_time_that_do_not_collide_become_one():
    frame = pd.DataFrame({"ds": [1, 0, 1], "hr": [NAN, 5.0, 1.0], "bp": [2.0, NAN, NAN]})
    panel = read_panel(frame)
    np.testing.assert_array_equal(panel.times[0], [0, 1])
    np.testing.assert_array_equal(panel.values[0], [[5.0, NAN], [1.0, 2.0]])


def test_colliding_rows_are_refused_or_averaged():
    frame = long_frame(ds=pd.to_datetime(["2024-01-01"] * 4).tz_localize("Asia/Tokyo"))
    with pytest.raises(
        DataError, match=r"Series 'b' has 2 values of 'hr' at 2024-01-01 00:00:00\+09:00.*duplicates='mean'"
    ):
        read_panel(frame)
    np.testing.assert_array_equal(np.concatenate(read_panel(frame, duplicates="mean").values), [[1.5], [3.0]])
    with pytest.raises(DataError, match="are of several series, name the column that tells them apart"):
        read_panel(frame.drop(columns="unique_id"))
    with pytest.raises(ParameterError, match="choose 'error' or 'mean'"):
        read_panel(frame, duplicates="first")


def test_a_channel_or_series_never_seen_is_no_error():
    panel = read_panel(long_frame(hr=[1.0, 2.0, NAN, NAN], bp=NAN))
    assert np.isnan(panel.values[1]).all()
    assert panel.last_times[1] == np.datetime64("2024-01-07")


def test_values_are_not_needed_where_they_are_not_required():
    assert read_panel(long_frame()[["unique_id", "ds"]], require_values=False).n_channels == 0
    assert len(read_panel(long_frame().iloc[:0], require_values=False)) == 0


def series(values=(1.0, 2.0), index=(0, 1)) -> pd.Series:
    return pd.Series(list(values), index=list(index))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (long_frame().iloc[:0], "no rows: give at least one"),
        (pd.Series(dtype=float), "no rows"),
        (long_frame(hr=NAN), "All values are NaN"),
        (long_frame()[["unique_id", "ds"]], "no value columns"),
        (long_frame(hr=[1, np.inf, 2, -np.inf]), r"'hr' is infinite at row 1 \(index 1, 2 in all\).*replace"),
        (long_frame(ward="x", bp=1), r"'ward' holds string values.*drop it, encode it.*target=\['hr', 'bp'\]"),
        (long_frame().rename(columns={"unique_id": "id"}), "'id' holds string .* tells series apart, pass id_col='id'"),
        (long_frame(ward=pd.Categorical(["x"] * 4)), "'ward' holds categorical values"),
        (long_frame(seen=pd.Timestamp("2020")), "'seen' holds datetime64 values"),
        (long_frame(hr=[1j, 2, 3, 4]), "'hr' holds complex values"),
        (long_frame(hr=[1, "two", 3, 4]), r"'hr' holds mixed-integer values \(object\)"),
        (long_frame(unique_id=["a", None, "a", "b"]), "'unique_id' has no id .* at row 1"),
        (long_frame(unique_id=[["a"]] * 4), "cannot be ids"),
        (long_frame(ds=["2024-01-01"] * 4), "'ds' holds strings such as '2024-01-01': parse it first"),
        (long_frame(ds=[pd.NaT, *pd.date_range("2024", periods=3)]), r"'ds' has no time \(NaT or NaN\) at row 0"),
        (long_frame(ds=[1.0, NAN, 2.0, 3.0]), r"no time \(NaT or NaN\) at row 1"),
        (long_frame(ds=[1.0, np.inf, 2.0, 3.0]), "'ds' is infinite at row 1"),
        (long_frame(ds=[True, False, True, False]), "has dtype bool, which is no time"),
        (long_frame(ds=pd.period_range("2024", periods=4, freq="M")), "holds periods.*to_timestamp"),
        (long_frame(ds=[1, pd.Timestamp("2024"), 2, 3]), "'ds' mixes types"),
        (
            long_frame(ds=[pd.Timestamp("2024"), *pd.date_range("2024", periods=3, tz="UTC")]),
            r"'ds' mixes time zones \(None, UTC;.*utc=True",
        ),
        (
            [pd.Series([1.0], index=pd.date_range("2024", periods=1, tz=tz)) for tz in ("UTC", "Asia/Tokyo")],
            "mixes time zones",
        ),
        (
            long_frame().rename(columns={"ds": "when"}),
            "no time column 'ds': if 'when' holds the times, pass time_col='when'",
        ),
        (pd.DataFrame({"time": [0, 1], "y": [1, 2]}), "pass time_col='time'"),
        (pd.DataFrame({"unique_id": [0, 1], "dss": [1, 2]}), r"no time column 'ds'. Did you mean 'dss'\?"),
        (pd.DataFrame([[1, 2]], columns=["y", "y"]), "'y' occurs more than once"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("ds", ""), ("y", "a")])), "flatten them"),
        (
            np.arange(3.0),
            r"type ndarray of shape \(3,\), which says nothing about times.*pd.Series\(values, index=times\)",
        ),
        ([[1.0, 2.0], [3.0]], "type list, which says nothing about times"),
        ({"y": [1.0]}, "type dict"),
        (None, "type NoneType"),
        (series(index="ab"), "index of the Series holds strings such as 'a'"),
        ([series(), series().to_frame()], "Series and frames"),
        ([series(), series(index=pd.date_range("2024", periods=2))], "mixes types"),
        (long_frame().set_index(["unique_id", "ds", "hr"]), "index has 3 levels"),
        (long_frame().set_index(["ds", "unique_id"]), r"swap its levels with `df.swaplevel\(\)`"),
    ],
)
def test_bad_data_are_refused_with_a_way_out(data, message):
    with pytest.raises(DataError, match=message):
        read_panel(data)


def test_missing_columns_that_were_named_are_guessed():
    with pytest.raises(DataError, match=r"no id column 'Unique_Id'. Did you mean 'unique_id'\? The columns are \["):
        read_panel(long_frame(), id_col="Unique_Id")
    with pytest.raises(DataError, match=r"no time column 'dss'. Did you mean 'ds'\?"):
        read_panel(long_frame(), time_col="dss")


def test_reading_does_not_change_the_data():
    frame = long_frame()
    read_panel(frame)
    pd.testing.assert_frame_equal(frame, long_frame())


def test_objects_with_na_among_numbers_are_numbers():
    column = pd.Series([1.5, pd.NA, 2], dtype=object)
    panel = read_panel(pd.DataFrame({"ds": [0.0, 1.0, 2.0], "y": column}))
    np.testing.assert_array_equal(panel.values[0][:, 0], [1.5, np.nan, 2.0])
    assert column.iloc[1] is pd.NA


def test_attributes_of_frames_in_a_list_are_not_compared():
    parts = [pd.DataFrame({"y": [1.0]}, index=[0.0]), pd.DataFrame({"y": [2.0]}, index=[1.0])]
    for part in parts:
        part.attrs["weights"] = np.arange(3)
    assert [values.tolist() for values in read_panel(parts).values] == [[[1.0]], [[2.0]]]
    assert parts[0].attrs["weights"].tolist() == [0, 1, 2]


def test_a_series_named_nan_has_no_name():
    panel = read_panel([pd.Series([1.0], index=[0.0], name=np.nan), pd.Series([2.0], index=[0.0], name="q")])
    assert panel.ids == [0, 1]


def test_a_time_column_under_another_level_is_not_passed_over_for_row_numbers():
    frame = pd.DataFrame([[5.0, 1.0], [9.0, 2.0]], columns=pd.MultiIndex.from_product([["lab"], ["ds", "y"]]))
    with pytest.raises(DataError, match=r"columns have several levels: flatten them"):
        read_panel(frame)


def test_no_rows_of_strings_as_times_are_refused_like_any_strings():
    with pytest.raises(DataError, match=r"The time column 'ds' holds strings: parse it first"):
        read_panel(pd.DataFrame({"ds": pd.Series([], dtype="str"), "y": pd.Series([], dtype=float)}))


def test_a_missing_column_says_how_to_name_another():
    with pytest.raises(DataError, match=r"no id column 'patient'.* add it, or name another with id_col="):
        read_panel(long_frame(), id_col="patient")
