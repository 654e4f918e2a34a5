import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsode.errors import DataError
from tsode.plots import plot_gaps


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_a_curve_rises_at_every_gap_between_observations_of_a_channel():
    frame = pd.DataFrame({"hr": [1.0, np.nan, 2.0, 3.0], "bp": [1.0, 2.0, np.nan, np.nan]}, index=[0.0, 1.0, 3.0, 4.0])
    ax = plot_gaps(frame)
    hr, bp = ax.lines
    np.testing.assert_allclose(hr.get_xydata(), [[1.0, 0.0], [1.0, 0.5], [3.0, 1.0]])
    np.testing.assert_allclose(bp.get_xydata(), [[1.0, 0.0], [1.0, 1.0]])
    assert (hr.get_label(), bp.get_label()) == ("hr (25 % missing)", "bp (50 % missing)")
    assert ax.get_xscale() == "log"


def test_gaps_do_not_reach_from_one_series_to_another():
    frame = pd.DataFrame({"unique_id": ["a", "a", "b", "b"], "ds": [0.0, 1.0, 100.0, 102.0], "hr": 1.0})
    assert plot_gaps(frame).lines[0].get_xdata().tolist() == [1.0, 1.0, 2.0]


def test_gaps_between_datetimes_have_a_unit_that_suits_them():
    times = pd.Timestamp("2024-03-30", tz="Europe/Berlin") + pd.to_timedelta([0, 3, 9], unit="h")
    ax = plot_gaps(pd.Series([1.0, 2.0, 3.0], index=times, name="hr"))
    assert ax.get_xlabel() == "gap (hours)"
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [3.0, 3.0, 6.0])


def test_data_without_gaps_are_refused():
    with pytest.raises(DataError, match="No channel was observed twice"):
        plot_gaps(pd.Series([1.0], index=[0.0], name="hr"))
