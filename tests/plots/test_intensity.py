"""Pictures of intensities."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError, ParameterError
from tsode.plots import plot_intensity


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def example(kind: str = "float") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    def when(hours):
        hours = np.asarray(hours, dtype=float)
        if kind == "float":
            return hours
        return pd.Timestamp("2024-01-01", tz="Europe/Berlin") + pd.to_timedelta(hours, unit="h")

    history = pd.DataFrame({"unique_id": "s", "ds": when([1.0, 2.0, 4.0]), "mark": ["a", "b", "a"]})
    rates = pd.DataFrame(
        {"unique_id": "s", "ds": when(np.linspace(0.5, 8.0, 20)), "a": 0.5, "b": np.linspace(0, 1, 20)}
    )
    waits = [0.5, 1.0, 3.0]
    waits = waits if kind == "float" else list(pd.to_timedelta(waits, unit="h"))
    ahead = pd.DataFrame({"unique_id": ["s"], "ds": when([4.0])})
    for level, wait in zip((0.1, 0.5, 0.9), waits):
        ahead[f"wait-q-{level:g}"] = wait
    return history, rates, ahead


@pytest.mark.parametrize("kind", ["float", "datetime"])
def test_marks_are_stacked_and_every_event_is_a_tick_in_its_colour(kind):
    history, rates, ahead = example(kind)
    ax = plot_intensity(history, rates, next_event=ahead, label="per hour")
    assert ax.get_ylabel() == "per hour"
    total = ax.lines[0].get_ydata()
    np.testing.assert_allclose(total, rates["a"] + rates["b"])
    ticks = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    assert [len(c.get_segments()) for c in ticks] == [
        2,
        1,
        1,
        1,
    ]  # marks a and b, the end of the history, the next event
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "next event, 80 %"]
    ax.figure.canvas.draw()


def test_the_bar_of_the_next_event_spans_its_quantiles_from_the_end_of_the_history():
    history, rates, ahead = example()
    ax = plot_intensity(history, rates, next_event=ahead)
    bar = ax.collections[-1].get_segments()[0]
    np.testing.assert_allclose(bar[:, 0], [4.5, 7.0])
    assert ax.lines[-1].get_xdata() == [5.0]


def test_what_is_left_open_is_asked_for():
    history, rates, ahead = example()
    with pytest.raises(ParameterError, match="say which to draw with series="):
        plot_intensity(history, pd.concat([rates, rates.assign(unique_id="t")]))
    with pytest.raises(DataError, match="no series 't'"):
        plot_intensity(history, rates, series="t")
    with pytest.raises(DataError, match="pass what predict_next gave"):
        plot_intensity(history, rates, next_event=ahead[["unique_id", "ds"]])
