import datetime

import numpy as np
import pandas as pd
import pytest

from tsode import DriftForecaster, LinearSDEForecaster, PointProcessForecaster, solve
from tsode.backtest import CutoffSplit, backtest
from tsode.core.timeline import Timeline
from tsode.errors import ParameterError
from tsode.frames.durations import read_duration

HOUR = np.timedelta64(1, "h")
MONTHLY = pd.Series(np.arange(9.0), index=pd.date_range("2024-01-01", periods=9, freq="MS"))

CALENDAR = [
    "1MS", "3MS", "1Ms", "1M", "M", "3ME", "QS", "1QE", "Q", "1Y", "YS", "2YE", "B", "5B", "BMS", "W-MON",
    "1MS2h", "1D1MS", "P1M", "P1Y2D", "P1MT1H", "1 month", "1mo", "1 year",
    np.timedelta64(1, "M"), np.timedelta64(1, "Y"),
    pd.offsets.MonthBegin(1), pd.offsets.MonthEnd(2), pd.offsets.QuarterBegin(1), pd.offsets.BusinessDay(1),
    pd.offsets.Week(weekday=0), pd.DateOffset(months=1), pd.offsets.YearBegin(1),
]  # fmt: skip


@pytest.mark.parametrize("value", CALENDAR, ids=repr)
@pytest.mark.parametrize("kind", ["datetime", "timedelta"])
def test_a_step_of_the_calendar_is_no_duration(value, kind):
    with pytest.raises(ParameterError, match=r"^every=.*'?30"):
        read_duration(value, kind, "every")


@pytest.mark.parametrize(
    ("value", "hours"),
    [
        ("3h", 3), ("180min", 3), ("PT3H", 3), ("1D", 24), ("1W", 168), ("P1D", 24), ("1h30m", 1.5), ("00:30:00", 0.5),
        ("3600000ms", 1), (np.str_("3h"), 3), (pd.Timedelta("3h"), 3), (datetime.timedelta(hours=3), 3),
        (np.timedelta64(3, "h"), 3), (np.timedelta64(1, "W"), 168), (np.timedelta64(180, "m"), 3),
        (pd.offsets.Hour(3), 3), (pd.offsets.Minute(180), 3), (pd.offsets.Day(2), 48), (pd.offsets.Week(1), 168),
    ],
    ids=repr,
)  # fmt: skip
def test_a_fixed_length_is_one_duration_however_it_is_written(value, hours):
    assert np.timedelta64(read_duration(value, "datetime")) / HOUR == hours


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1,5h", "comma"),
        ("nan", "must be finite"),
        ("", "must be finite"),
        ("NaT", "must be finite"),
        (pd.NaT, "must be finite"),
        ("3", "has no unit"),
        (np.timedelta64(5), "has no unit"),
        (True, "truth value"),
        ("soon", "is not a duration"),
    ],
    ids=repr,
)
def test_what_is_no_duration_says_how_to_write_one(value, message):
    with pytest.raises(ParameterError, match=f"^horizon=.*{message}"):
        read_duration(value, "datetime")


@pytest.mark.parametrize("value", ["1MS", np.timedelta64(1, "M"), pd.offsets.MonthBegin(1)], ids=repr)
def test_no_argument_takes_months_for_a_duration(value):
    fitted = DriftForecaster().fit(MONTHLY)
    stays = pd.DataFrame({"unique_id": "a", "ds": MONTHLY.index, "mark": "x"})
    doses = pd.DataFrame({"ds": MONTHLY.index[:1], "amount": 1.0, "n_more": 1})
    lasting = doses.drop(columns="n_more")
    column = pd.Series([value], dtype=object)
    flow = lambda t, z: -z  # noqa: E731
    for use in (
        lambda: fitted.predict(horizon=value),
        lambda: fitted.predict(horizon=[value]),
        lambda: DriftForecaster(horizon=value).fit(MONTHLY),
        lambda: DriftForecaster(time_unit=value).fit(MONTHLY),
        lambda: LinearSDEForecaster(max_epochs=1).fit(MONTHLY, events=doses.assign(every=column)),
        lambda: LinearSDEForecaster(max_epochs=1).fit(MONTHLY, events=lasting.assign(duration=column)),
        lambda: solve(flow, [1.0], MONTHLY.index, time_unit=value),
        lambda: solve(flow, [1.0], MONTHLY.index, events=doses.assign(every=column), time_unit="1h"),
        lambda: backtest(DriftForecaster(), MONTHLY, every=value, horizon="30D"),
        lambda: backtest(DriftForecaster(), MONTHLY, cutoffs="2024-05-01", horizon=value),
        lambda: list(CutoffSplit(cutoffs=["2024-05-01"], horizon=value).split(MONTHLY)),
        lambda: PointProcessForecaster("poisson", time_unit=value).fit(stays),
        lambda: Timeline.fit(MONTHLY.index.to_numpy()).duration(np.timedelta64(1, "Y")),
    ):
        with pytest.raises(ParameterError, match=r"differ"):
            use()


def test_a_horizon_in_fixed_days_is_that_many_days():
    assert DriftForecaster().fit(MONTHLY).predict(horizon=["30D"]).index[0] == pd.Timestamp("2024-10-01")
