"""Histories that the posterior of fit does not expect: inferred anew, with what fit has seen."""

from __future__ import annotations

import warnings
from math import log

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.test_known_ode import TIMES, decay, frame
from tsode import KnownODEForecaster
from tsode.inference import LogNormal, LogNormalNoise
from tsode.numerics import Dopri5

SHARED = {"initial": {"drug": 10.0}, "inference": "quadrature", "n_draws": 4096}


def levels_at(k: float) -> list[float]:
    return list(10.0 * np.exp(-k * np.array(TIMES)))


@pytest.fixture(scope="module")
def slow() -> KnownODEForecaster:
    """Ten series of a slow decay, so that a fast one is not expected."""
    data = pd.concat([frame([key], levels=levels_at(0.3)) for key in "abcdefghij"], ignore_index=True)
    return decay(**SHARED).fit(data)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_new_series_that_the_draws_do_not_allow_is_that_of_a_fit_with_it(slow):
    fast = frame(["new"], levels=levels_at(0.8))
    rows = pd.concat([frame([key], levels=levels_at(0.3)) for key in "abcdefghij"] + [fast], ignore_index=True)
    whole = decay(**SHARED).fit(rows)
    asked = pd.DataFrame({"unique_id": ["new"], "ds": [7.0]})
    one, both = slow.predict_spread(asked, context=fast), whole.predict_spread(asked)
    # 4,096 draws: six standard errors of an sd are 6.6 %
    np.testing.assert_allclose(one.iloc[:, 2:], both.iloc[:, 2:], rtol=0.066)
    np.testing.assert_allclose(slow.predict(asked, context=fast)["level"], whole.predict(asked)["level"], rtol=0.02)
    # far from the posterior of fit, by many of its standard deviations
    assert abs(whole.summary().loc["k", "mean"] - slow.summary().loc["k", "mean"]) > 3 * slow.summary().loc["k", "sd"]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_new_rows_of_a_series_of_fit_that_are_not_expected_are_those_of_a_fit_with_them(slow):
    new = pd.DataFrame({"unique_id": "c", "ds": [6.5, 7.0, 7.5], "level": [5.5, 5.4, 5.3]})
    rows = pd.concat([frame([key], levels=levels_at(0.3)) for key in "abcdefghij"] + [new], ignore_index=True)
    whole = decay(**SHARED).fit(rows)
    own = decay(**SHARED).fit(rows[~rows["ds"].isin([6.5, 7.0, 7.5])]).update(new)
    asked = pd.DataFrame({"unique_id": ["c"], "ds": [9.0]})
    np.testing.assert_allclose(
        own.predict_spread(asked).iloc[:, 2:], whole.predict_spread(asked).iloc[:, 2:], rtol=0.066
    )


def test_what_is_inferred_anew_depends_on_no_other_series_no_order_and_no_later_row(slow):
    fast, normal = frame(["new"], levels=levels_at(0.8)), frame(["plain"], levels=levels_at(0.3))
    asked = pd.DataFrame({"unique_id": ["new", "new", "plain"], "ds": [5.0, 7.0, 7.0]})
    both = slow.predict_quantiles(asked, context=pd.concat([fast, normal]))
    alone = slow.predict_quantiles(asked[:2][::-1], context=fast)[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(both[:2], alone)
    later = fast.assign(level=np.where(fast["ds"] > 5.0, 77.0, fast["level"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = slow.predict_quantiles(asked[:1], context=later)
    pd.testing.assert_frame_equal(both[:1], changed)


@pytest.mark.slow
def test_rows_that_no_draw_has_a_solve_for_are_inferred_anew_and_not_weighed_alike():
    # z' = k z^2 from 1 is infinite at 1 / k: fit says k near .6, and a row at 3 that it is below a third
    own = KnownODEForecaster(
        lambda t, z, p: (p.k * z[:, 0] ** 2,), states=["z"], parameters={"k": LogNormal(log(0.4), 0.5)},
        initial={"z": 1.0}, observed={"level": LogNormalNoise("z", sd=0.2)}, initial_time=0.0, random_state=0,
        inference="quadrature", n_draws=256, solver=Dopri5(max_steps=150),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of failed solves of the prior
        own.fit(pd.DataFrame({"unique_id": "a", "ds": [0.5, 1.0, 1.4], "level": [1.42, 2.5, 6.3]}))
        assert own.posterior_["k"].quantile(0.01) > 1.0 / 3.0
        context = pd.DataFrame({"unique_id": "new", "ds": [3.0], "level": [8.0]})
        ahead = own.predict(pd.DataFrame({"unique_id": ["new"], "ds": [3.01]}), context=context)["level"]
    # a solve to 3 needs k below a third, where z there is 1 / (1 - 3 k)
    assert np.isfinite(ahead).all()
