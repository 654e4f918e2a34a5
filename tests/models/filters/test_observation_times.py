"""Intensity of observation times: rates that are recovered, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.registries import quick_epochs
from tsode import JumpODEForecaster
from tsode.errors import ParameterError


@pytest.mark.slow
def test_the_rate_of_observations_is_learned_where_it_depends_on_the_state():
    """Series at level 1 are looked at six times a unit, those at level -1 twice."""
    rng = np.random.default_rng(0)
    parts = []
    for k in range(120):
        level = 1.0 if k % 2 else -1.0
        times = np.cumsum(rng.exponential(1.0 / (4.0 + 2.0 * level), 24))
        parts.append(pd.DataFrame({"unique_id": k, "ds": times, "level": level + 0.1 * rng.normal(size=24)}))
    forecaster = JumpODEForecaster(
        n_modes=8, n_static=4, n_members=1, informative_times=True, max_epochs=12, horizon=2.0, random_state=0
    ).fit(pd.concat(parts))
    # from a day at which much has been seen; nothing has come since
    answer = forecaster.predict_intensity(horizon=[0.1])
    mean = answer.groupby(answer["unique_id"] % 2)["intensity"].mean()
    assert mean[1] == pytest.approx(6.0, rel=0.2)
    assert mean[0] == pytest.approx(2.0, rel=0.2)
    assert "train_times" in forecaster.history_


@pytest.mark.slow
def test_an_intensity_is_per_hour_of_datetimes_and_knows_no_later_data():
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01")
    frame = pd.concat(
        pd.DataFrame({"unique_id": k, "ds": np.sort(rng.uniform(0, 48, 20)), "level": rng.normal(size=20)})
        for k in range(12)
    )
    size = {"n_modes": 4, "n_static": 2, "n_hidden": 8, "max_epochs": 2, "random_state": 0, "dtype": "float64"}
    dated = frame.assign(ds=start + pd.to_timedelta(frame["ds"], unit="h"))
    with quick_epochs():
        in_hours = JumpODEForecaster(**size, informative_times=True, horizon=12.0).fit(frame)
        by_clock = JumpODEForecaster(**size, informative_times=True, horizon="12h").fit(dated)
    when = [20.0, 40.0, 60.0]
    expected = in_hours.predict_intensity(times=when)["intensity"]
    clock = by_clock.predict_intensity(times=start + pd.to_timedelta(when, unit="h"))["intensity"]
    np.testing.assert_allclose(clock, expected, rtol=1e-6)
    past = in_hours.predict_intensity(times=[40.0], context=frame[frame["ds"] < 40.0])["intensity"]
    np.testing.assert_allclose(past, in_hours.predict_intensity(times=[40.0])["intensity"], rtol=1e-9)


def test_an_intensity_that_was_not_modelled_is_an_error():
    frame = pd.DataFrame({"ds": np.arange(30.0), "y": np.arange(30.0)})
    forecaster = JumpODEForecaster(n_modes=4, n_static=2, n_hidden=8, max_epochs=1).fit(frame)
    with pytest.raises(ParameterError, match="informative_times=True"):
        forecaster.predict_intensity(horizon=1.0)
