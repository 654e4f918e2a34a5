"""Static covariates: one row a series."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError
from tsode.frames.static import StaticColumn, encode_static, fit_static, read_static

IDS = ["a", "b", "c"]
FRAME = pd.DataFrame(
    {"age": [1.0, np.nan, 5.0], "kind": pd.Categorical(["x", "y", "x"]), "is_old": [False, True, True]},
    index=pd.Index(IDS, name="unique_id"),
)


def test_numbers_are_standardised_and_categories_are_columns_of_their_own():
    columns = fit_static(FRAME)
    coded = encode_static(columns, FRAME)
    assert [column.width for column in columns] == [1, 2, 1]
    np.testing.assert_allclose(coded["a"][:3], [-1.0, 1.0, 0.0])
    np.testing.assert_allclose(coded["b"][:3], [0.0, 0.0, 1.0])  # of no known age: the mean
    np.testing.assert_allclose(np.mean([own[3] for own in coded.values()]), 0.0, atol=1e-12)


def test_a_category_that_is_not_known_is_none_of_them():
    columns = fit_static(FRAME)
    unknown = FRAME.assign(kind=[None, "y", "x"])
    assert encode_static(columns, unknown)["a"][1:3].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("labels", [["x", "y", "x"], [("p", 1), ("q", 2), ("p", 1)], [3, "3", 3], [True, "no", True]])
def test_columns_survive_json(labels):
    frame = FRAME.assign(kind=pd.Series(labels, index=FRAME.index, dtype=object))
    columns = fit_static(frame)
    again = tuple(StaticColumn.from_dict(json.loads(json.dumps(column.to_dict()))) for column in columns)
    for key, own in encode_static(columns, frame).items():
        assert np.array_equal(encode_static(again, frame)[key], own)


def test_ids_may_be_a_column_or_the_index_and_one_series_needs_none():
    pd.testing.assert_frame_equal(read_static(FRAME.reset_index(), IDS, "unique_id"), FRAME)
    for single in (
        {"age": 3.0, "kind": "x"},
        pd.Series({"age": 3.0, "kind": "x"}),
        FRAME.iloc[:1].reset_index(drop=True),
    ):
        assert read_static(single, [0], "unique_id").index.tolist() == [0]


def test_polars_frames_are_read():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"unique_id": IDS, "kind": ["x", "y", "x"], "age": [1.0, None, 5.0]})
    columns = fit_static(read_static(table, IDS, "unique_id"))
    assert [column.width for column in columns] == [2, 1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"age": 3.0}, "of one series, but there are 3"),
        ([1, 2], "give a frame with a row for each series"),
        (pd.concat([FRAME, FRAME]), "more than one row for series 'a'"),
        (FRAME[[]], "no column beside the id"),
    ],
)
def test_what_is_no_table_of_series_is_refused(table, message):
    with pytest.raises(DataError, match=message):
        read_static(table, IDS, "unique_id")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2020-01-01"] * 3), "give numbers or categories"),
        ([np.inf, 1.0, 2.0], "is infinite"),
        ([None, None, None], "has no value"),
        ([np.nan, np.nan, np.nan], "has no value"),
        ([1j, 2j, 3j], "give numbers or categories"),
    ],
)
def test_columns_that_cannot_be_read_are_named(column, message):
    with pytest.raises(DataError, match=f"'odd'.*{message}"):
        fit_static(FRAME.assign(odd=column))


def test_a_new_category_or_a_lost_column_is_named():
    columns = fit_static(FRAME)
    with pytest.raises(
        DataError, match=r"has 'z' in column 'kind' of series 'c', which fit has not seen.*\['x', 'y'\]"
    ):
        encode_static(columns, FRAME.assign(kind=["x", "y", "z"]))
    with pytest.raises(DataError, match="has no column 'age'"):
        encode_static(columns, FRAME[["kind", "is_old"]])
    with pytest.raises(DataError, match="'age' of static= held numbers in fit"):
        encode_static(columns, FRAME.assign(age=["1", "2", "3"]))
