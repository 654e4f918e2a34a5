"""Wild values: they stay with the series they are in, and no forecast is lost."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from tsode import (
    ConstantForecaster,
    JumpODEForecaster,
    LastValueForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
)
from tsode.errors import SolverError, TsodeWarning
from tsode.testing import example_panel

# what is told of wild values is tested with the reports
pytestmark = [
    pytest.mark.usefixtures("short_epochs"),
    pytest.mark.filterwarnings("ignore:The history of series:tsode.errors.TsodeWarning"),
]

FRAME = example_panel(6)
LAST = FRAME["ds"].max()
TINY = {"max_epochs": 1, "random_state": 0, "n_hidden": 8}
MAKERS = {
    "innovation": lambda dtype: JumpODEForecaster(n_modes=3, n_static=2, dtype=dtype, **TINY),
    "mixture": lambda dtype: JumpODEForecaster(
        n_modes=3, n_static=2, likelihood="normal_mixture", n_members=2, dtype=dtype, **TINY
    ),
    "gru_ode_bayes": lambda dtype: JumpODEForecaster(model="gru_ode_bayes", n_state=6, dtype=dtype, **TINY),
    "semilinear": lambda dtype: JumpODEForecaster(model="semilinear", n_modes=3, n_static=2, dtype=dtype, **TINY),
    "latent": lambda dtype: LatentODEForecaster(n_state=4, dtype=dtype, **TINY),
    "linear": lambda dtype: LinearSDEForecaster(dtype=dtype, max_epochs=1, random_state=0),
    "constant": lambda dtype: ConstantForecaster(),
}


def spoilt(deviations: float) -> pd.DataFrame:
    """The frame with a last reading of s0 so many standard deviations away."""
    row = FRAME.index[(FRAME["unique_id"] == "s0") & FRAME["a"].notna()][-1]
    frame = FRAME.copy()
    frame.loc[row, "a"] = FRAME["a"].mean() + deviations * FRAME["a"].std()
    return frame


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_wild_last_value_leaves_all_other_answers_to_the_bit_and_its_own_finite(name, dtype):
    forecaster = MAKERS[name](dtype).fit(FRAME)
    early = {key: FRAME["ds"][FRAME["unique_id"] == key].iloc[4] for key in FRAME["unique_id"].unique()}
    times = {key: [early[key], LAST + pd.Timedelta("3h"), LAST + pd.Timedelta("20h")] for key in early}
    wanted = forecaster.predict_interval(times=times)
    is_touched = ((wanted["unique_id"] == "s0") & (wanted["ds"] > LAST)).to_numpy()
    for deviations in (1e3, -1e4, 1e6, 1e19, -1e38, 1e60, 1e140):
        found = forecaster.predict_interval(times=times, context=spoilt(deviations))
        assert np.isfinite(found.iloc[:, 2:].to_numpy()).all(), deviations
        pd.testing.assert_frame_equal(found[~is_touched], wanted[~is_touched], rtol=0.0, atol=0.0)


def test_a_series_that_cannot_be_forecast_is_named_and_all_others_are_answered():
    forecaster = LastValueForecaster(dtype="float32").fit(FRAME)
    wanted = forecaster.predict(horizon=["1h"])
    with pytest.warns(TsodeWarning, match="The forecast of series 's0' .* all else is not touched"):
        found = forecaster.predict(horizon=["1h"], context=spoilt(1e60))
    assert found["a"].isna().tolist() == [True] + [False] * 5
    pd.testing.assert_frame_equal(found[1:], wanted[1:])
    with pytest.warns(TsodeWarning, match="'s0'"):
        paths = forecaster.sample(horizon=["1h"], context=spoilt(1e60), n_samples=3, random_state=0)
    assert (paths["a"].isna() == (paths["unique_id"] == "s0")).all()


def test_an_earlier_time_is_answered_whatever_comes_later():
    forecaster = LastValueForecaster(dtype="float32").fit(FRAME)
    early = {"s0": [FRAME["ds"][4]]}
    found = forecaster.predict(times=early, context=spoilt(1e60))
    pd.testing.assert_frame_equal(found, forecaster.predict(times=early))


def test_where_nothing_can_be_forecast_there_is_an_error():
    one = FRAME[["unique_id", "ds", "a"]]
    forecaster = LastValueForecaster(dtype="float32").fit(one)
    context = spoilt(1e60)[["unique_id", "ds", "a"]]
    with pytest.raises(SolverError, match="series 's0'"):
        forecaster.predict(times={"s0": [LAST + pd.Timedelta("1h")]}, context=context)
    with pytest.raises(SolverError, match="series 's0'"):  # a score of the rest would say nothing of all
        forecaster.score(one.assign(ds=FRAME["ds"] + pd.Timedelta("9D")), context=context)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", ["innovation", "ode_rnn", "gru_ode_bayes"])
def test_a_wild_dose_leaves_all_other_answers_to_the_bit(model, dtype):
    doses = pd.DataFrame({"unique_id": ["s0", "s1"], "ds": FRAME["ds"].min() + pd.Timedelta("9h"), "amount": 1.0})
    made = {"n_modes": 3, "n_static": 2} if model == "innovation" else {"model": model, "n_state": 6}
    forecaster = JumpODEForecaster(dtype=dtype, **made, **TINY).fit(FRAME, events=doses)
    wanted = forecaster.predict(horizon=["3h"])
    doses.loc[0, "amount"] = 1e37 if dtype == "float32" else 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)
        found = forecaster.predict(horizon=["3h"], events=doses)
    pd.testing.assert_frame_equal(found[1:], wanted[1:], rtol=0.0, atol=0.0)


@pytest.mark.slow
def test_a_linear_sde_with_a_robust_scale_learns_the_others_as_without_the_wild_value():
    mad = FRAME.copy()
    mad.loc[20, "b"], gone = 1e9, FRAME.copy()
    gone.loc[20, "b"] = np.nan
    make = lambda: LinearSDEForecaster(max_epochs=2, scale="robust", random_state=0)  # noqa: E731
    wanted, found = (make().fit(frame).predict(horizon=["1h", "9h"]) for frame in (gone, mad))
    others = (wanted["unique_id"] != FRAME["unique_id"][20]).to_numpy()
    for name, scale in (("a", FRAME["a"].std()), ("b", FRAME["b"].std())):
        np.testing.assert_allclose(found[name][others], wanted[name][others], rtol=0.0, atol=0.1 * scale)
