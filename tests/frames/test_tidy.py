"""Tidy tables: one value a row, and the name of its channel beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import DriftForecaster
from tsode.errors import DataError, TsodeWarning
from tsode.frames import read_tidy
from tsode.frames.read import read_panel

NAMES = {"id_col": "series", "time_col": "time"}


def tidy(together: bool = False) -> pd.DataFrame:
    """Heart rates about 70 and pressures about 120 of two series, at one time or by turns."""
    rng = np.random.default_rng(0)
    times = np.repeat(np.arange(10.0), 2) + (0.0 if together else np.tile([0.0, 0.4], 10))
    one = pd.DataFrame({"time": times, "channel": ["hr", "bp"] * 10})
    table = pd.concat([one.assign(series="a"), one.assign(series="b")], ignore_index=True)
    return table.assign(value=np.where(table["channel"] == "hr", 70.0, 120.0) + rng.normal(size=len(table)))


@pytest.mark.parametrize("together", [False, True])
def test_a_tidy_table_is_read_as_a_column_a_channel(together):
    table = tidy(together).sample(frac=1.0, random_state=0)
    wide = read_panel(read_tidy(table, **NAMES), **NAMES)
    assert sorted(wide.channels) == ["bp", "hr"]
    for key, times, values in zip(wide.ids, wide.times, wide.values):
        for channel, column in zip(wide.channels, values.T):
            own = table[(table["series"] == key) & (table["channel"] == channel)].sort_values("time")
            seen = ~np.isnan(column)
            assert times[seen].tolist() == own["time"].tolist()
            assert column[seen].tolist() == own["value"].tolist()
    assert len(wide.times[0]) == (10 if together else 20)


def test_columns_have_any_names_and_frames_any_library():
    polars = pytest.importorskip("polars")
    table = tidy(together=True)
    renamed = table.rename(columns={"channel": "itemid", "value": "valuenum", "series": "unique_id", "time": "ds"})
    want = read_tidy(table, **NAMES).rename(columns={"series": "unique_id", "time": "ds"})
    for data in (renamed, polars.from_pandas(renamed)):
        assert np.array_equal(
            read_tidy(data, channel_col="itemid", value_col="valuenum")[["hr", "bp"]], want[["hr", "bp"]]
        )
    alone = renamed[renamed["unique_id"] == "a"].drop(columns="unique_id")
    assert read_tidy(alone, channel_col="itemid", value_col="valuenum").columns.tolist() == ["ds", "hr", "bp"]


def test_two_values_of_a_channel_at_one_time_are_the_forecasters_to_judge():
    table = pd.concat([tidy(together=True), tidy(together=True)[:1].assign(value=lambda row: row["value"] + 0.1)])
    wide = read_tidy(table, **NAMES)
    with pytest.raises(DataError, match=r"Series 'a' has 2 values of 'hr' at 0.0"):
        DriftForecaster(**NAMES).fit(wide)
    DriftForecaster(**NAMES, duplicates="mean").fit(wide)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("target", [None, "value"])
@pytest.mark.parametrize("duplicates", ["error", "mean"])
@pytest.mark.parametrize("codes", [None, {"hr": 211, "bp": 51}])
def test_a_tidy_table_is_not_fitted_as_one_channel(together, target, duplicates, codes):
    table = tidy(together)
    if codes is not None:
        table = table.assign(channel=table["channel"].map(codes)).rename(columns={"channel": "itemid"})
    call = r"read_tidy\(df, channel_col='(channel|itemid)', value_col='value', id_col='series', time_col='time'\)"
    with pytest.raises(DataError, match=call) as caught:
        DriftForecaster(**NAMES, target=target, duplicates=duplicates).fit(table)
    assert "duplicates='mean'" not in str(caught.value)


@pytest.mark.parametrize("together", [False, True])
def test_a_tidy_table_whose_column_of_channels_has_a_name_of_its_own_is_told_by_its_rows(together):
    table = tidy(together).rename(columns={"channel": "what"})
    if together:
        with pytest.raises(DataError, match=r"2 values of 'value' at 0.0. .*channel_col='what'"):
            DriftForecaster(**NAMES, target="value").fit(table)
    with pytest.warns(TsodeWarning, match=r"channel_col='what'"):
        DriftForecaster(**NAMES, target="value", duplicates="mean").fit(table)
    with pytest.raises(DataError, match=r"'what' holds string values.*channel_col='what'"):
        DriftForecaster(**NAMES).fit(table)


def test_labels_beside_a_channel_that_say_little_of_it_are_no_channels():
    table = tidy()
    table = table[table["channel"] == "hr"].assign(nurse=np.tile(["x", "y"], 10)).drop(columns="channel")
    assert read_panel(table, **NAMES, target="value").channels == ["value"]
    numbers = table.drop(columns="nurse").assign(item=np.arange(20) % 3).rename(columns={"value": "hr"})
    assert read_panel(numbers, **NAMES).channels == ["hr", "item"]
    with pytest.raises(DataError, match=r"pass duplicates='mean'"):
        read_panel(pd.concat([table, table[:1]]), **NAMES, target="value")


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({}, {"channel_col": "chanel"}, r"no column 'chanel'. Did you mean 'channel'\?.*channel_col="),
        ({}, {"value_col": "val"}, r"no column 'val'.*value_col="),
        ({}, {"time_col": "ds"}, r"no column 'ds'.*time_col="),
        ({}, {"id_col": "id"}, r"no column 'id'.*id_col="),
        ({"channel": None}, {}, r"'channel' names no channel at row 0"),
        ({"value": "high"}, {}, r"'value' holds .* not numbers"),
        ({"channel": "time"}, {}, r"A channel is called 'time'"),
    ],
)
def test_what_cannot_be_read_is_named(change, more, message):
    with pytest.raises(DataError, match=message):
        read_tidy(tidy().assign(**change), **{**NAMES, **more})


def test_three_levels_of_an_index_may_be_channels():
    stacked = tidy(together=True).set_index(["series", "time", "channel"])["value"]
    with pytest.raises(DataError, match=r"3 levels .*unstack"):
        read_panel(stacked)
    assert read_panel(stacked.unstack("channel")).channels == ["bp", "hr"]
