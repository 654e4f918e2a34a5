import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from tsode.errors import DataError, ParameterError
from tsode.plots import plot_fan, plot_what_if

TIMES = [np.arange(5.0), pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(5), unit="h")]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def answer(times) -> pd.DataFrame:
    """Means 0, 10, 20 of three scenarios; bands of one and three either side, and differences from the first."""
    parts = []
    for number, name in enumerate(["base", "once", "twice"]):
        mean, gap = 10.0 * number, 10.0 * number
        columns = {"hr": mean, "hr-diff": gap}
        for level, width in ((50, 1.0), (90, 3.0)):
            columns |= {f"hr-lo-{level}": mean - width, f"hr-hi-{level}": mean + width}
            columns |= {f"hr-diff-lo-{level}": gap - width / 10, f"hr-diff-hi-{level}": gap + width / 10}
        parts.append(pd.DataFrame({"unique_id": "a", "ds": times, "scenario": name, **columns}))
    return pd.concat(parts, ignore_index=True)


def bands(ax) -> list[tuple[float, float]]:
    heights = [one.get_paths()[0].vertices[:, 1] for one in ax.collections if isinstance(one, PolyCollection)]
    return [(float(y.min()), float(y.max())) for y in heights]


@pytest.mark.parametrize("times", TIMES, ids=["numbers", "datetimes"])
def test_every_scenario_has_its_mean_and_widest_band(times):
    history = pd.DataFrame({"unique_id": "a", "ds": times[:2], "hr": [1.0, 2.0]})
    ax = plot_what_if(answer(times), "hr", history=history, label="heart rate")
    assert bands(ax) == [(-3.0, 3.0), (7.0, 13.0), (17.0, 23.0)]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["base (90 %)", "once (90 %)", "twice (90 %)", "observed"]
    assert ax.get_ylabel() == "heart rate"


def test_differences_are_of_all_scenarios_but_the_first():
    ax = plot_what_if(answer(np.arange(5.0)), "hr", difference=True)
    assert bands(ax) == [(9.7, 10.3), (19.7, 20.3)]
    assert ax.get_ylabel() == "difference in hr"


@pytest.mark.parametrize("times", TIMES, ids=["numbers", "datetimes"])
def test_events_have_ticks_where_they_start_and_bars_as_long_as_they_last(times):
    lasting = [1.5, None] if isinstance(times, np.ndarray) else ["90min", None]
    doses = pd.DataFrame({"unique_id": "a", "ds": [times[1], times[3]], "amount": 1.0, "duration": lasting})
    far = doses.assign(ds=doses["ds"] + (times[4] - times[0]))
    ax = plot_what_if(answer(times), "hr", events={"once": doses, "base": None, "twice": far})
    ticks = [line for line in ax.lines if line.get_marker() == "^"]
    assert [len(line.get_xdata()) for line in ticks] == [2], "what lies outside is not drawn."
    bars = [line for line in ax.lines if line.get_linewidth() == 2.5]
    assert len(bars) == 1
    fan = plot_fan(
        pd.DataFrame({"unique_id": "a", "ds": times[:2], "hr": 1.0}),
        answer(times).query("scenario == 'base'").drop(columns="scenario"), "hr", events=doses,
    )  # fmt: skip
    assert [len(line.get_xdata()) for line in fan.lines if line.get_marker() == "^"] == [2]


def test_what_cannot_be_drawn_is_named():
    table = answer(np.arange(5.0))
    with pytest.raises(DataError, match="no column 'scenario'"):
        plot_what_if(table.drop(columns="scenario"), "hr")
    with pytest.raises(DataError, match="no column 'temp-diff'"):
        plot_what_if(table, "temp", difference=True)
    with pytest.raises(ParameterError, match="the scenario 'other'"):
        plot_what_if(table, "hr", events={"other": None})
