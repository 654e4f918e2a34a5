"""Outliers that make up most of a channel's variance are named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode import LastValueForecaster, LinearSDEForecaster
from tsode.errors import TsodeWarning
from tsode.frames.outliers import warn_of_outliers
from tsode.frames.read import read_panel
from tsode.testing import example_panel


def spoilt(value: float) -> tuple[pd.DataFrame, pd.Series]:
    frame = example_panel(6)
    row = frame.index[frame["b"].notna()][30]
    frame.loc[row, "b"] = value
    return frame, frame.loc[row]


# the wild value makes the loss of held-out values rise, too
@pytest.mark.filterwarnings("ignore:No epoch is as good")
def test_series_time_channel_and_remedy_are_named():
    frame, row = spoilt(1e6)
    text = f"1e.06 of 'b' of series '{row['unique_id']}' at {row['ds']} .*set scale='robust'"
    with pytest.warns(TsodeWarning, match=text):
        LinearSDEForecaster(max_epochs=1, random_state=0).fit(frame)


def test_a_forecaster_without_a_scale_is_not_told_to_set_one():
    with pytest.warns(TsodeWarning, match="mend it or set it to NaN.$"):
        LastValueForecaster().fit(spoilt(1e6)[0])


@pytest.mark.parametrize("value", [np.nan, -300.0, -330.0])
def test_data_with_moderate_values_are_left_alone(value):
    warn_of_outliers(read_panel(spoilt(value)[0]), True)


def test_a_channel_that_rests_but_for_one_event_is_left_alone():
    rain = pd.DataFrame({"ds": np.arange(40.0), "y": np.r_[np.zeros(39), 9.0]})
    warn_of_outliers(read_panel(rain), True)


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_random_data_are_left_alone(draw):
    for seed in range(20):
        values = getattr(np.random.default_rng(seed), draw)(30)
        warn_of_outliers(read_panel(pd.DataFrame({"ds": np.arange(30.0), "y": values})), True)
