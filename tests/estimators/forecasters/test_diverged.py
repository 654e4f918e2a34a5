"""Training that diverged, and training that was interrupted, end in a usable forecaster with a warning, or by name."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pandas as pd
import pytest

from tsode import JumpODEForecaster, LatentODEForecaster, LinearSDEForecaster, PointProcessForecaster, SeriesEncoder
from tsode.errors import SolverError, TsodeWarning
from tsode.testing import example_panel

TINY = {"max_epochs": 1, "random_state": 0}
EVENTS = pd.DataFrame({"ds": np.random.default_rng(0).exponential(1.0, 40).cumsum(), "mark": ["a", "b"] * 20})
LEARNERS = {
    "jump": lambda **more: JumpODEForecaster(n_modes=2, n_static=1, n_members=1, **TINY, **more).fit(example_panel(2)),
    "latent": lambda **more: LatentODEForecaster(n_samples=2, **TINY, **more).fit(example_panel(2)),
    "linear": lambda **more: LinearSDEForecaster(**TINY, **more).fit(example_panel(2)),
    "series": lambda **more: SeriesEncoder(JumpODEForecaster(n_members=1, **TINY, **more)).fit(np.eye(6)),
    "events": lambda **more: PointProcessForecaster(**TINY, **more).fit(EVENTS),
}


@functools.cache
def trained(name: str):
    """A learner that nothing disturbed."""
    return LEARNERS[name]()


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learning_rate_that_is_far_too_high_is_never_taken_in_silence(name):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            LEARNERS[name](learning_rate=1e3)
            heard = [str(warning.message) for warning in said if warning.category is TsodeWarning]
        except SolverError as error:
            heard = [str(error)]
    assert any("Lower learning_rate, which is 1000" in message for message in heard)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place"),
    [("jump", "jump_ode.calibrate"), ("latent", "latent.fit_spread"), ("latent", "latent.warn_unless_used")],
)
def test_an_interrupt_while_intervals_are_calibrated_keeps_the_training(name, place, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    whole = trained(name)
    monkeypatch.setattr(f"tsode.estimators.forecasters.{place}", interrupt)
    with pytest.warns(TsodeWarning, match="fit was interrupted while intervals were calibrated"):
        kept = LEARNERS[name]()
    assert kept.history_.drop(columns="seconds").equals(whole.history_.drop(columns="seconds"))
    assert np.isfinite(kept.predict_interval(level=80).iloc[:, 2:].to_numpy()).all()
    left, right = (dict(fitted.module_.named_parameters()) for fitted in (kept, whole))
    assert all((left[part] == right[part]).all() for part in left)
