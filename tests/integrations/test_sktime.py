"""The adapter to sktime: its own suite, and forecasts that are those of the forecaster inside."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

pytest.importorskip("sktime", reason="sktime is not installed: `make sktime` installs it and runs this.")

from sktime.utils.estimator_checks import check_estimator

from tsode import DriftForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.integrations.sktime import TsodeForecaster, to_sktime

FEWEST_RESULTS = 750


def irregular(seed: int = 0, n: int = 30) -> pd.Series:
    rng = np.random.default_rng(seed)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.uniform(0, 30, n)), unit="D").round("min")
    return pd.Series(rng.normal(size=n).cumsum(), index=pd.DatetimeIndex(times), name="level")


@pytest.mark.slow
def test_the_whole_suite_of_sktime_passes():
    """With baselines inside; `tests/benchmarks/sktime_suite.py` runs it with learned forecasters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sktime's own examples
        results = check_estimator(TsodeForecaster, raise_exceptions=False, verbose=False)
    failed = {name: result for name, result in results.items() if result != "PASSED"}
    assert not failed, f"{len(failed)} of {len(results)} fail: {dict(list(failed.items())[:3])}"
    assert len(results) >= FEWEST_RESULTS, f"sktime has run {len(results)} checks."


def test_forecasts_of_an_irregular_series_are_those_of_the_forecaster_inside():
    y = irregular()
    times = pd.DatetimeIndex(["2024-02-02", "2024-02-05 13:00", "2024-03-01"])
    adapted, own = TsodeForecaster(DriftForecaster()).fit(y), DriftForecaster().fit(y)
    np.testing.assert_allclose(adapted.predict(fh=times), own.predict(times=times))
    quantiles = adapted.predict_quantiles(fh=times, alpha=[0.1, 0.9])
    expected = own.predict_quantiles(times=times, quantiles=[0.1, 0.9])
    np.testing.assert_allclose(quantiles, expected)
    assert quantiles.columns.tolist() == [("level", 0.1), ("level", 0.9)]


def test_new_data_are_gone_on_from_without_another_fit():
    y = irregular()
    forecaster = TsodeForecaster(LastValueForecaster()).fit(y.iloc[:20])
    inside = forecaster.forecaster_
    forecaster.update(y.iloc[20:], update_params=False)
    assert forecaster.forecaster_ is inside
    ahead = pd.DatetimeIndex([y.index[-1] + pd.Timedelta("1D")])
    assert forecaster.predict(fh=ahead).item() == pytest.approx(y.iloc[-1])


def test_a_panel_with_numeric_times_is_one_model_over_all_its_series():
    rng = np.random.default_rng(0)
    frame = pd.concat(
        pd.DataFrame({"unique_id": key, "ds": np.sort(rng.uniform(0, 48, 12)), "a": rng.normal(size=12)})
        for key in ("x", "y", "z")
    )
    panel = to_sktime(frame, "1h")
    forecaster = TsodeForecaster(LastValueForecaster()).fit(panel)
    when = pd.DatetimeIndex(["1970-01-03 06:00"])
    answer = forecaster.predict(fh=when)
    assert answer.index.tolist() == [(key, when[0]) for key in ("x", "y", "z")]
    np.testing.assert_allclose(answer["a"], panel.groupby(level=0)["a"].last())


def test_exogenous_data_are_covariates_that_are_known_ahead():
    days = pd.date_range("2024-01-01", periods=40, freq="1D")
    drive = pd.DataFrame({"u": np.sin(np.arange(40.0))}, index=days)
    y = (drive["u"] + 1.0).rename("level")
    made = LinearSDEForecaster(n_state=1, max_epochs=2, random_state=0, calendar=None)
    adapted = TsodeForecaster(made).fit(y.iloc[:30], X=drive.iloc[:30])
    found = adapted.predict(fh=days[30:33], X=drive.iloc[30:33])
    own = clone(made).fit(y.iloc[:30], known=drive.iloc[:30]).predict(times=days[30:33], known=drive.iloc[:33])
    np.testing.assert_allclose(found, own)
    other = adapted.predict(fh=days[30:33], X=drive.iloc[30:33] + 1.0)
    assert not np.allclose(found, other)
    assert not TsodeForecaster(LastValueForecaster()).get_tag("capability:exogenous")
