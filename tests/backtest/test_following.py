"""Following of histories: forecasts at later cutoffs are those from the whole history, and take the new rows alone."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster
from tsode.backtest import backtest
from tsode.backtest.following import Following
from tsode.testing import example_panel

pytestmark = pytest.mark.usefixtures("short_epochs")

FRAME = example_panel(6)
HALF, STEP = FRAME["ds"].quantile(0.5), 0.1 * (FRAME["ds"].max() - FRAME["ds"].min())


@pytest.fixture(scope="module")
def forecaster() -> JumpODEForecaster:
    return JumpODEForecaster(n_modes=4, n_static=2, max_epochs=1, random_state=0, horizon=STEP).fit(FRAME)


@pytest.mark.parametrize("are_own", [False, True])
def test_followed_histories_give_the_forecasts_of_whole_ones(
    forecaster: JumpODEForecaster, are_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [HALF, HALF + STEP, HALF + 2 * STEP, HALF + 3 * STEP]
    ids = FRAME["unique_id"].unique()
    cutoffs = {key: times[k % 2 :] for k, key in enumerate(ids)} if are_own else times
    followed = backtest(forecaster, FRAME, cutoffs=cutoffs, horizon=STEP, prefit=True)
    monkeypatch.setattr(Following, "is_possible", False)
    whole = backtest(forecaster, FRAME, cutoffs=cutoffs, horizon=STEP, prefit=True)
    pd.testing.assert_frame_equal(followed, whole, rtol=1e-5, atol=1e-6)


def test_rows_behind_a_cutoff_are_not_run_over_again_at_the_next(
    forecaster: JumpODEForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    update = type(forecaster).update

    def counted(self: object, X: pd.DataFrame, **tables: object) -> object:
        seen.append(len(X))
        return update(self, X, **tables)

    monkeypatch.setattr(type(forecaster), "update", counted)
    cutoffs = [HALF, HALF + STEP, HALF + 2 * STEP]
    backtest(forecaster, FRAME, cutoffs=cutoffs, horizon=STEP, prefit=True)
    between = [int(((FRAME["ds"] > low) & (FRAME["ds"] <= high)).sum()) for low, high in pairwise(cutoffs[1:])]
    assert seen == between
    assert np.all(np.array(seen) < len(FRAME) / 2)
