import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError, TsodeWarning
from tsode.frames.meeting import check_meeting, check_one_type
from tsode.frames.read import read_panel

SAYS = "events= has rows of series {}"


@pytest.mark.parametrize("strangers", ["none", "some", "any"])
@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("1", 1),
        (1, "1"),
        ("1.0", 1),
        (1.0, "1"),
        ("01", "1"),
        ("007", 7),
        (" a", "a"),
        ("a\u00a0", "a"),
        ("\ufeffa", "a"),
        ("A", "a"),
        ("P-1", "p_1"),
        ("stra\u00dfe", "STRASSE"),
        ("e\u0301", "\u00e9"),
        (b"a", "a"),
        (True, 1),
        (1, True),
        ("1e5", 100000),
        (pd.Timestamp("2024-01-01"), "2024-01-01"),
        (datetime.date(2024, 1, 1), pd.Timestamp("2024-01-01")),
        (("a", 1), ("a", "1")),
    ],
)
def test_an_id_in_another_type_or_spelling_is_refused_and_the_one_meant_is_named(label, known, strangers):
    with pytest.raises(DataError) as caught:
        check_meeting([label, "other"], [known, "other"], SAYS, strangers=strangers)
    message = str(caught.value)
    assert message.startswith(f"events= has rows of series {label!r} ({type(label).__name__}). Did you mean {known!r}?")
    assert f"({type(known).__name__})" in message


@pytest.mark.parametrize("label", [1, 1.0, np.int64(1), np.float32(1.0), decimal.Decimal(1)])
def test_numbers_that_are_equal_are_one_id(label):
    check_meeting([label], [1, 2], SAYS)


@pytest.mark.parametrize(("label", "known"), [("-1", "1"), ("A+", "A-"), ("s1", "s11"), ("a.1", "a1"), ("nan", "inf")])
def test_ids_that_differ_in_what_counts_are_strangers_of_each_other(label, known):
    check_meeting([label, "other"], [known, "other"], SAYS, strangers="some")
    with pytest.raises(DataError, match=r"rows of series"):
        check_meeting([label], [known], SAYS, strangers="some")


def test_two_spellings_in_the_known_table_itself_are_two_series():
    check_meeting(["1", "2"], ["1", "01", "2"], SAYS)
    check_meeting(["001", "2"], ["1", "01", "2"], SAYS, strangers="some")


def test_a_spelling_beside_the_right_one_is_a_warning_that_it_is_left_out():
    with pytest.warns(TsodeWarning, match=r"series 'A', which is left out: in the data there is 'a'"):
        check_meeting(["a", "A"], ["a", "b"], SAYS, strangers="some")
    with pytest.raises(DataError, match=r"series '1' \(str\). Did you mean 1\?"):
        check_meeting([1, "1"], [1, 2], SAYS, strangers="some")


def test_tables_without_a_common_id_guess_the_one_meant():
    with pytest.raises(DataError, match=r"series 'pateint1' \(str\). Did you mean 'patient1'\? Ids in the data: "):
        check_meeting(["pateint1"], ["patient1", "patient2"], SAYS, strangers="some")
    check_meeting(["pateint1"], ["patient1", "patient2"], SAYS, strangers="any")
    check_meeting([], ["a"], SAYS, strangers="some")
    with pytest.raises(DataError, match="There is none in the data"):
        check_meeting(["a"], [], SAYS, strangers="some")


@pytest.mark.parametrize("ids", [[True, 1], [1.0, True], [0, False, "x"], [np.True_, 1]])
def test_true_is_not_the_series_1(ids):
    with pytest.raises(DataError, match=r"holds both .*give all ids one type"):
        check_one_type(ids, "The id column")
    frame = pd.DataFrame({"unique_id": pd.Series(ids, dtype=object), "ds": np.arange(float(len(ids))), "y": 1.0})
    with pytest.raises(DataError, match=r"'unique_id' holds both .*give all ids one type"):
        read_panel(frame)


@pytest.mark.parametrize(("name", "right"), [("Unique_ID", "unique_id"), ("unique-id", "unique_id"), (" DS", "ds")])
def test_a_column_of_ids_or_times_that_is_misspelt_is_no_channel(name, right):
    frame = pd.DataFrame({"unique_id": [1, 2], "ds": [0, 1], "y": [1.0, 2.0]}).rename(columns={right: name})
    with pytest.raises(DataError, match=f"There is no .* column {right!r}. Did you mean {name!r}"):
        read_panel(frame)


def test_a_number_and_its_text_in_one_table_are_two_series():
    frame = pd.DataFrame({"unique_id": pd.Series([1, "1"], dtype=object), "ds": [0.0, 1.0], "y": 1.0})
    assert read_panel(frame).ids == [1, "1"]
    check_meeting([1, "1"], [1, "1", 2], SAYS)
