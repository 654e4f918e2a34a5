"""Plan plot: bands before and after, the range and the doses."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from tests.control.patients import LEVELS, asked, patient
from tsode.control import ChanceLimit, Doses, TargetRange, plan
from tsode.errors import ParameterError
from tsode.plots import plot_plan

mpl.use("Agg")


def test_a_plan_is_drawn_with_what_nothing_more_gives_its_range_its_limit_and_its_doses():
    target = TargetRange("concentration", 4.0, 9.0, 0.3, between=(16.0, None))
    limit = ChanceLimit("concentration", above=12.0, probability=0.2)
    found = plan(patient(), target, actions=Doses([8.0, 16.0], high=60.0), constraints=limit, **asked())
    ax = plot_plan(found, target=target, limit=limit, history=LEVELS, label="mg/L")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"target", "nothing more, 90 %", "90 %", "50 %", "plan, mean", "limit", "observed", "dose"} <= set(words)
    assert ax.get_ylabel() == "mg/L"
    lines = [line for line in ax.lines if line.get_label() == "plan, mean"]
    np.testing.assert_allclose(lines[0].get_ydata(), found.forecast["concentration"])
    ticks = [line for line in ax.lines if line.get_label() == "dose"]
    assert list(ticks[0].get_xdata()) == [8.0, 16.0]


def test_what_is_no_plan_is_refused():
    with pytest.raises(ParameterError, match="not a DataFrame"):
        plot_plan(LEVELS)
