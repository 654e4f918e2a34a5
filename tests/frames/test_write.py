import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsode.errors import DataError
from tsode.frames.labels import decode_label, encode_label
from tsode.frames.panel import Layout, Panel
from tsode.frames.read import read_panel
from tsode.frames.write import write_frame

few = settings(max_examples=40, deadline=None, derandomize=True)
ZONES = [None, "UTC", "Europe/Berlin", "America/St_Johns", "+05:30"]


def write_back(panel: Panel) -> Any:
    """Write the panel's own values, by a layout that has been through JSON."""
    layout = Layout.from_dict(json.loads(json.dumps(panel.layout.to_dict())))
    columns = {channel: [v[:, j] for v in panel.values] for j, channel in enumerate(panel.channels)}
    return write_frame(layout, panel.ids, panel.times, columns)


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, list):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, pd.Series):
        pd.testing.assert_series_equal(left, right, check_freq=False)
    else:
        pd.testing.assert_frame_equal(left, right, check_freq=False)


@st.composite
def time_indices(draw) -> pd.Index:
    """Sorted distinct times of any kind; the datetimes lie around two clock changes in Europe."""
    ticks = np.array(sorted(draw(st.sets(st.integers(-(10**7), 10**7), min_size=1, max_size=6))), dtype=np.int64)
    kind = draw(st.sampled_from(["datetime", "timedelta", "float64", "float32", "int64", "int32"]))
    if kind not in ("datetime", "timedelta"):
        return pd.Index(ticks.astype(kind) / np.array(8, kind) if "float" in kind else ticks.astype(kind))
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    if kind == "timedelta":
        return pd.TimedeltaIndex(ticks.view(f"m8[{unit}]"))
    tz = draw(st.sampled_from(ZONES))
    start = np.datetime64(draw(st.sampled_from(["2024-03-31T01:00", "2024-10-27T01:00"])))
    stamps = pd.DatetimeIndex((start + ticks.view(f"m8[{unit}]")).astype(f"M8[{unit}]"))
    return stamps if tz is None else stamps.tz_localize("UTC").tz_convert(tz)


@few
@given(time_indices(), st.sampled_from([None, "hr", ("hr", 1)]), st.sampled_from([None, "when"]))
def test_a_series_comes_back_as_it_was(index, name, index_name):
    series = pd.Series(np.arange(len(index), dtype=float), index=index.rename(index_name), name=name)
    assert_same(write_back(read_panel(series)), series)


@few
@given(time_indices(), st.sampled_from([["a", "b"], [0, 1], [("x", 1), ("x", 2)]]), st.booleans())
def test_a_wide_frame_comes_back_as_it_was(index, labels, is_nested):
    columns = pd.Index(labels, tupleize_cols=is_nested and isinstance(labels[0], tuple))
    frame = pd.DataFrame(np.arange(2.0 * len(index)).reshape(-1, 2), index=index, columns=columns)
    assert_same(write_back(read_panel(frame)), frame)


@few
@given(
    time_indices(),
    st.sampled_from(
        [
            ["b", "a"],
            [2, 1],
            [pd.Timestamp("2020-01-01", tz="Europe/Berlin"), pd.Timestamp("2021-07-01", tz="Europe/Berlin")],
            pd.Categorical(["b", "a"], categories=["c", "a", "b"], ordered=True),
            pd.array([5, 3], dtype="Int64"),
        ]
    ),
    st.sampled_from(["long", "indexed", "multiindex", "multiindex series"]),
)
def test_a_panel_comes_back_as_it_was(index, labels, kind):
    n = len(index)
    frame = pd.DataFrame({"unique_id": pd.Series(labels).repeat(n).reset_index(drop=True)})
    frame["ds"] = index.append(index)
    frame["y"] = np.arange(2.0 * n)
    if kind == "indexed":
        # A whole-number index beside an id column would be row numbers, unless it says that it is time.
        frame = frame.set_index("ds")
    elif kind != "long":
        frame = frame.set_index(["unique_id", "ds"])
    data = frame["y"] if kind == "multiindex series" else frame
    assert_same(write_back(read_panel(data)), data)


@few
@given(time_indices(), st.sampled_from([("p", "q"), ("hr", "hr"), (None, None)]))
def test_a_list_comes_back_as_it_was(index, names):
    items = [pd.Series(np.arange(len(index), dtype=float), index=index, name=name) for name in names]
    assert_same(write_back(read_panel(items)), items)
    frames = [item.to_frame("y").assign(z=1.0) for item in items]
    assert_same(write_back(read_panel(frames)), frames)


def test_one_series_with_a_time_column_comes_back_as_it_was():
    frame = pd.DataFrame({"when": pd.date_range("2024", periods=3, tz="Asia/Tokyo"), "y": [1.0, 2.0, 3.0]})
    assert_same(write_back(read_panel(frame, time_col="when")), frame)


def test_times_the_dtype_cannot_hold_are_not_rounded():
    daily = read_panel(pd.Series([1.0], index=np.array(["2024-01-01"], dtype="datetime64[s]"))).layout
    asked = np.array(["2024-01-01T00:00:00.25", "2024-01-02"], dtype="datetime64[ms]")
    np.testing.assert_array_equal(write_frame(daily, [0], [asked], {"y": [np.zeros(2)]}).index, asked)
    counted = read_panel(pd.Series([1.0], index=[3])).layout
    for times, dtype in (([3.0, 4.0], "int64"), ([3.5, 4.0], "float64")):
        index = write_frame(counted, [0], [np.array(times)], {"y": [np.zeros(2)]}).index
        assert (index.tolist(), index.dtype) == (times, dtype)
    nanoseconds = read_panel(pd.Series([1.0], index=pd.DatetimeIndex(["2024"]).as_unit("ns"))).layout
    far = np.array(["3000-01-01"], dtype="datetime64[s]")
    np.testing.assert_array_equal(write_frame(nanoseconds, [0], [far], {"y": [np.zeros(1)]}).index, far)


def test_several_columns_of_a_series_are_a_frame():
    layout = read_panel(pd.Series([1.0], index=[3])).layout
    frame = write_frame(layout, [0], [np.array([4])], {"y": [[1.0]], "y-lo-80": [[0.5]]})
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"y": [1.0], "y-lo-80": [0.5]}, index=[4]))
    assert write_frame(layout, [0], [np.array([4])], {"y-lo-80": [[0.5]]}).name == "y-lo-80"


def test_rows_and_index_are_those_asked_for():
    layout = read_panel(pd.DataFrame({"unique_id": [1, 2], "ds": [0, 0], "y": [1.0, 2.0]})).layout
    times, values = [np.array([1, 5]), np.array([3])], [np.array([10.0, 50.0]), np.array([30.0])]
    written = write_frame(
        layout, [1, 2], times, {"y": values}, rows=np.array([2, 0, 1]), index=pd.Index(["p", "q", "r"])
    )
    expected = pd.DataFrame({"unique_id": [1, 2, 1], "ds": [5, 3, 1], "y": [50.0, 30.0, 10.0]}, index=["p", "q", "r"])
    pd.testing.assert_frame_equal(written, expected)


def test_ids_outside_the_categories_are_kept():
    labels = pd.Categorical(["a"], categories=["a"])
    layout = read_panel(pd.DataFrame({"unique_id": labels, "ds": [0], "y": [1.0]})).layout
    assert write_frame(layout, ["new"], [np.array([1])], {"y": [[1.0]]})["unique_id"].tolist() == ["new"]


def test_text_may_be_written():
    layout = read_panel(pd.Series([1.0], index=[3])).layout
    assert write_frame(layout, [0], [np.array([4])], {"state": [["ok"]]}).tolist() == ["ok"]


@pytest.mark.parametrize(
    "label",
    [
        "a",
        1,
        2.5,
        None,
        True,
        ("a", (1, None)),
        pd.Timestamp("2024-10-27 00:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timedelta("3h"),
    ],
)
def test_labels_survive_json(label):
    back = decode_label(json.loads(json.dumps(encode_label(label))))
    assert back == label
    assert type(back) is type(label)
    assert getattr(back, "tz", None) == getattr(label, "tz", None)


def test_labels_that_json_cannot_hold_are_named():
    with pytest.raises(DataError, match="is a frozenset, which cannot be saved: use strings"):
        encode_label(frozenset({1}))


@few
@given(time_indices(), st.booleans())
def test_a_polars_frame_and_an_arrow_table_come_back_as_they_were(index, has_id):
    polars = pytest.importorskip("polars", reason="polars is an optional container and is not installed")
    if index.dtype.kind == "M" and index.tz is not None and str(index.tz).startswith("UTC+"):
        index = index.tz_convert("UTC")  # polars knows zones by name only
    frame = pd.DataFrame({"unique_id": "p", "ds": index, "y": np.arange(len(index), dtype=float)})
    if index.dtype.kind in "mM" and index.unit == "s":  # neither library counts in seconds
        frame["ds"] = frame["ds"].astype(
            frame["ds"].dtype.name.replace("[s", "[ms") if index.dtype.kind == "M" else "m8[ms]"
        )
    given = polars.from_pandas(frame if has_id else frame[["ds", "y"]])
    again = write_back(read_panel(given))
    assert again.schema == given.schema
    assert again.equals(given)
    arrow = given.to_arrow()
    assert write_back(read_panel(arrow)).to_pydict() == arrow.to_pydict()


@pytest.mark.parametrize(
    ("layout", "label"), [(Layout("long", "p", "t", False), "p"), (Layout("wide", None, "t", False), "t")]
)
def test_a_channel_with_the_name_of_a_column_of_ids_or_times_is_refused(layout, label):
    with pytest.raises(DataError, match=rf"A channel is named '{label}', as the column of ids or times is: rename"):
        write_frame(layout, ["a"], [np.zeros(1)], {label: [np.zeros(1)]})


def test_a_polars_column_without_a_name_keeps_having_none():
    pytest.importorskip("polars", reason="polars is an optional container and is not installed")
    written = write_frame(Layout("wide", None, "t", False, backend="polars"), [0], [np.zeros(1)], {"": [np.ones(1)]})
    assert written.columns == ["t", ""]
