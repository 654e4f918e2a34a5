"""Updates cost what is new, however many series are known; copies and failures leave a forecaster as it was."""

from __future__ import annotations

import copy
import pickle
import statistics
import time

import numpy as np
import pandas as pd
import pytest

from tests.registries import fitted, small
from tsode import JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.errors import DataError
from tsode.frames.growing import GrowingDict
from tsode.testing import example_panel

# rows that come in are unlike any in fit, to be told apart
pytestmark = [
    pytest.mark.usefixtures("short_epochs"),
    pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning"),
]

NAMES = [f"{kind}Forecaster-float64" for kind in ("LastValue", "JumpODE", "LinearSDE", "LatentODE")]
LATER = pd.Timestamp("2024-03-20")


def row(series: str, day: int = 0, a: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": [series], "ds": [LATER + pd.Timedelta(day, "D")], "a": [a], "b": [np.nan]})


def tables(series: str) -> dict[str, pd.DataFrame]:
    """Constants, covariates along time and an event of one series, or of several."""
    names = [series] if isinstance(series, str) else series
    when = [pd.Timestamp("2024-02-01"), LATER + pd.Timedelta("99D")]
    return {
        "static": pd.DataFrame({"unique_id": names, "g": np.arange(len(names)) % 3.0}),
        "known": pd.DataFrame(
            {"unique_id": np.repeat(names, 2), "ds": when * len(names), "u": [0.0, 1.0] * len(names)}
        ),
        "events": pd.DataFrame({"unique_id": names, "ds": when[-1], "amount": 1.0}),
    }


@pytest.fixture
def walks(monkeypatch) -> list[int]:
    """How many items were laid out whenever all series were walked through."""
    seen: list[int] = []
    plain = GrowingDict.plain

    def walk(items):
        seen.append(len(plain(items)))
        return plain(items)

    monkeypatch.setattr(GrowingDict, "plain", walk)
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_an_update_walks_through_no_series_but_its_own(name, walks):
    forecaster = copy.deepcopy(fitted(name))
    forecaster.update(row("s0")).update(row("new"))  # states are reached, and spellings known, from here on
    walks.clear()
    forecaster.update(row("s0", 1)).update(row("s1", 2)).update(row("newer", 3)).update(row("newer", 4))
    assert not walks
    assert forecaster.last_times_["newer"] == LATER + pd.Timedelta("4D")
    assert walks  # to see all of them is one


@pytest.mark.slow
@pytest.mark.parametrize("kind", [JumpODEForecaster, LinearSDEForecaster])
def test_events_and_covariates_of_an_update_walk_through_no_other_series_either(kind, walks):
    frame = example_panel()
    forecaster = small(kind).fit(frame, **tables(sorted(frame["unique_id"].unique())))
    forecaster.update(row("s0")).update(row("new"), **tables("new"))
    walks.clear()
    forecaster.update(row("s1", 1), **tables("s1")).update(row("newer", 2), **tables("newer"))
    assert not walks


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_update_changes_nothing(name):
    forecaster = copy.deepcopy(fitted(name)).update(row("s0"))
    before, last = forecaster.predict(times=[LATER + pd.Timedelta("9D")]), forecaster.last_times_
    for rows, how, message in (
        (pd.concat([row("s1"), row("new"), row("s0")]), {}, "already"),
        (pd.concat([row("s1"), row("S2")]), {}, "Did you mean 's2'"),
        (pd.concat([row("s1"), row("new")]), {"static": tables("new")["static"]}, "static="),
    ):
        with pytest.raises(DataError, match=message):
            forecaster.update(rows, **how)
        pd.testing.assert_frame_equal(forecaster.predict(times=[LATER + pd.Timedelta("9D")]), before)
        assert forecaster.last_times_ == last


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_any_kind_go_their_own_way(name):
    forecaster = copy.deepcopy(fitted(name)).update(row("s0"))
    last = forecaster.last_times_
    kept = dict(last)
    before = forecaster.predict(times=[LATER + pd.Timedelta("9D")])
    copies = [copy.copy(forecaster), copy.deepcopy(forecaster), pickle.loads(pickle.dumps(forecaster))]
    for day, one in enumerate(copies, 1):
        one.update(row("s0", day, 5.0)).update(row(f"new {day}", day))
        assert one.last_times_["s0"] == LATER + pd.Timedelta(day, "D")
        assert [key for key in one.last_times_ if key.startswith("new")] == [f"new {day}"]
    pd.testing.assert_frame_equal(forecaster.predict(times=[LATER + pd.Timedelta("9D")]), before)
    assert last == kept == forecaster.last_times_


def test_a_spelling_is_known_from_the_update_that_brought_it():
    forecaster = LastValueForecaster().fit(example_panel()).update(row("new 1")).update(row("other"))
    with pytest.raises(DataError, match=r"X has series 'New_1'.*Did you mean 'new 1'"):
        forecaster.update(row("New_1", 1))


@pytest.mark.parametrize("kind", [LastValueForecaster, pytest.param(JumpODEForecaster, marks=pytest.mark.slow)])
def test_a_row_takes_no_longer_among_thirty_thousand_series(kind):
    def history(n: int) -> pd.DataFrame:
        names = [f"p{k}" for k in range(n)]
        return pd.DataFrame({"unique_id": names * 2, "ds": [0.0] * n + [1.0] * n, "x": np.arange(2.0 * n)})

    first, medians = small(kind).fit(history(50)), []
    for n in (300, 30_000):
        forecaster = first.with_history(history(n))
        forecaster.update(pd.DataFrame({"unique_id": ["first"], "ds": [1.0], "x": [1.0]}))
        took = []
        for k in range(30):
            new = pd.DataFrame({"unique_id": [f"p{k}" if k % 2 else f"q{k}"], "ds": [2.0], "x": [1.0]})
            start = time.process_time()
            forecaster.update(new)
            took.append(time.process_time() - start)
        medians.append(statistics.median(took))
    assert medians[1] < 2.5 * medians[0]  # it was more than ten times as long when it walked through all series
