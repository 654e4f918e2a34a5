"""Cycles of the calendar: which are told, and where they stand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsode.core.timeline import Timeline
from tsode.errors import ParameterError
from tsode.frames.calendar import choose_cycles, turns
from tsode.frames.read import read_panel


def panel(start: str, n: int, step: str, tz: str | None = None):
    index = pd.date_range(start, periods=n, freq=step, tz=tz)
    return read_panel(pd.Series(np.arange(float(n)), index=index))


@pytest.mark.parametrize(
    ("n", "step", "expected"),
    [
        (30, "1h", ()),  # a day and a quarter
        (49, "1h", ("day",)),
        (24 * 20, "1h", ("day",)),  # a week is to be named
        (24 * 750, "1h", ("day", "year")),
        (40, "1D", ()),  # seen once a day: no clock
        (800, "1D", ("year",)),
        (30, "30D", ("year",)),
        (30, "200D", ()),  # fewer than three looks a year
    ],
)
def test_auto_takes_cycles_that_the_data_span_twice_and_look_at_often_enough(n, step, expected):
    assert choose_cycles("auto", panel("2021-02-03", n, step)) == expected


def test_times_that_are_not_datetimes_have_no_calendar():
    numbers = read_panel(pd.Series(np.arange(9.0), index=np.arange(9.0)))
    assert choose_cycles("auto", numbers) == ()
    assert choose_cycles(None, panel("2021-01-01", 1000, "1h")) == ()
    with pytest.raises(ParameterError, match="needs datetimes, but the times are of kind 'float'"):
        choose_cycles(["day"], numbers)
    with pytest.raises(ParameterError, match=r"names 'month': choose 'auto', None, or some of day, week, year"):
        choose_cycles(["month"], panel("2021-01-01", 100, "1h"))
    assert choose_cycles(["year", "day"], panel("2021-01-01", 3, "1h")) == ("day", "year")


@pytest.mark.parametrize("unit", ["auto", np.timedelta64(7, "h")])
@pytest.mark.parametrize("start", ["2021-02-03 05:00", "1931-12-31 23:59:59"])
def test_a_cycle_stands_where_the_calendar_does(start, unit):
    dated = panel(start, 60, "1h")
    timeline = Timeline.fit(dated.times, unit=unit)
    (day, week) = turns(("day", "week"), timeline)
    for k in (0, 7, 59):
        when = pd.Timestamp(dated.times[0][k])
        model = float(timeline.to_model(dated.times[0][k : k + 1])[0])
        clock = (when - when.normalize()) / pd.Timedelta("1D")
        assert np.isclose((day[1] + day[0] * model - clock + 0.5) % 1.0, 0.5, atol=1e-9)
        since_thursday = ((when - pd.Timestamp("1970-01-01")) / pd.Timedelta("7D")) % 1.0
        assert np.isclose((week[1] + week[0] * model - since_thursday + 0.5) % 1.0, 0.5, atol=1e-9)
