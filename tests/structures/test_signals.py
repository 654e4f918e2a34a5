"""Joint paths of an ensemble of structures: each from one structure, as often as its weight says."""

import numpy as np
import pandas as pd
import pytest

from tsode import KnownODEForecaster, forecast_functional
from tsode.errors import TsodeWarning
from tsode.inference import AdditiveNoise, LogNormal
from tsode.structures.forecaster import ensemble

SLOW, FAST, WEIGHTS = 0.5, 2.0, (0.3, 0.7)


@pytest.fixture(scope="module")
def mixture():
    data = pd.DataFrame({"unique_id": "a", "ds": [0.0], "y": [1.0]})

    def decay(rate):
        model = KnownODEForecaster(
            lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(np.log(rate), 1e-4)},
            initial={"x": 1.0}, observed={"y": AdditiveNoise("x", sd=0.05)}, initial_time=0.0, n_draws=100,
            random_state=0,
        )  # fmt: skip
        with pytest.warns(TsodeWarning, match="not identified"):  # what is known of the rate is the prior
            return model.fit(data)

    return ensemble([decay(SLOW), decay(FAST)], WEIGHTS)


def test_probability_of_a_crossing_is_the_weight_of_the_structures_that_cross(mixture):
    """From 1 to .3 the fast structure takes .602, the slow one 2.408."""
    found = mixture.predict_crossing("y", 0.3, direction="down", before=[0.5, 1.0, 3.0], random_state=0)
    assert found.probability["probability"].tolist() == [0.0, WEIGHTS[1], 1.0]
    times = found.first_times.set_index("quantile")["ds"]
    np.testing.assert_allclose(times.loc[[0.1, 0.5, 0.9]], np.log(1 / 0.3) / np.array([FAST, FAST, SLOW]), rtol=1e-3)


def test_mean_of_a_functional_is_that_of_the_mixture(mixture):
    found = forecast_functional(mixture, lambda paths, times: paths[:, -1, 0] ** 2, times=[0.5, 1.0], random_state=0)
    exact = sum(weight * np.exp(-2.0 * rate) for weight, rate in zip(WEIGHTS, (SLOW, FAST)))
    assert found["mean"][0] == pytest.approx(exact, rel=1e-4)
    assert set(np.round(found[["q-0.1", "q-0.9"]].to_numpy()[0], 3)) == {round(np.exp(-4.0), 3), round(np.exp(-1.0), 3)}


def test_paths_do_not_depend_on_other_times(mixture):
    ends = [
        forecast_functional(mixture, lambda paths, _: paths[:, -1, 0], times=times, random_state=3)["mean"][0]
        for times in ([1.0], [0.2, 0.4, 1.0])
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
