"""Members of an automatic choice in a table of scores."""

from __future__ import annotations

import pandas as pd
import pytest

from tsode import AutoForecaster, LastValueForecaster
from tsode.backtest import score_table
from tsode.errors import ParameterError
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FRAME = example_panel()
CUT = FRAME["ds"].min() + pd.Timedelta("48h")


@pytest.fixture(scope="module")
def auto() -> AutoForecaster:
    made = AutoForecaster(members=["LastValueForecaster", "DirectForecaster"], horizon="16h", random_state=0)
    return made.set_params(budget=None).fit(FRAME[FRAME["ds"] <= CUT])


def table(estimators, **options):
    return score_table(estimators, FRAME, cutoffs=[CUT], horizon="16h", **{"prefit": True} | options)


@pytest.mark.slow
def test_members_of_a_fitted_choice_have_rows_that_are_their_own_scores(auto):
    found = table({"Auto": auto}, members=True)
    models = found.index.get_level_values("model").unique().tolist()
    assert models[: 1 + len(auto.members_)] == ["Auto", *(f"Auto / {name}" for name in auto.members_)]
    assert "LastValueForecaster" in models
    name, member = next(iter(auto.members_.items()))
    alone = table({"alone": member}).xs("alone", level="model")
    pd.testing.assert_frame_equal(found.xs(f"Auto / {name}", level="model"), alone)


@pytest.mark.slow
def test_members_have_no_rows_unless_they_are_asked_for(auto):
    assert not any("/" in name for name in table({"Auto": auto}).index.get_level_values("model"))


def test_members_of_what_is_not_fitted_or_has_none_are_refused(auto):
    with pytest.raises(ParameterError, match="fit one, and give prefit=True"):
        table(auto, members=True, prefit=False)
    with pytest.raises(ParameterError, match="members=True shows those of a fitted AutoForecaster"):
        table(LastValueForecaster().fit(FRAME), members=True)
