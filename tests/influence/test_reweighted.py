"""Influence by reweighted draws beside fits without each series."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone

from tsode import KnownODEForecaster
from tsode.errors import ParameterError
from tsode.inference import AdditiveNoise, LogNormal
from tsode.influence import influence


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    parts = []
    for k in range(8):
        times = np.sort(rng.uniform(0.0, 4.0, 5 + 2 * (k % 3)))
        rate = 1.5 if k == 3 else 0.5 * np.exp(0.1 * rng.normal())  # one that decays faster than all others
        y = 2.0 * np.exp(-rate * times) + 0.1 * rng.normal(size=len(times))
        parts.append(pd.DataFrame({"unique_id": f"s{k}", "ds": times, "y": y}))
    return pd.concat(parts, ignore_index=True)


def decay(**changes):
    given = {"states": ["x"], "parameters": {"k": LogNormal(-0.7, 0.7), "sd": LogNormal(-1.5, 0.7)},
             "initial": {"x": 2.0}, "observed": {"y": AdditiveNoise("x", sd="sd")}, "initial_time": 0.0,
             "random_state": 0, "n_draws": 2000, "horizon": 2.0}  # fmt: skip
    return KnownODEForecaster(lambda t, z, p: (-p.k * z[:, 0],), **given | changes)


@pytest.mark.slow
def test_reweighted_draws_rank_series_as_fits_without_them_do(data):
    forecaster = decay().fit(data)
    ids = list(forecaster._panel.ids)
    found = influence(forecaster, horizon=[0.5, 1.0, 2.0]).set_index("series")
    assert found.attrs["method"] == "importance"
    base = forecaster.predict(horizon=[0.5, 1.0, 2.0])["y"].to_numpy()
    truth = []
    for key in ids:
        other = clone(forecaster).fit(data[data["unique_id"] != key])
        change = other.predict(horizon=[0.5, 1.0, 2.0], context=data)["y"].to_numpy() - base
        truth.append(np.sqrt(np.mean(change**2)))
    ours = found.loc[ids, "rms"].to_numpy()
    assert found.index[0] == "s3" == ids[int(np.argmax(truth))]
    assert spearmanr(ours, truth).statistic > 0.9
    is_fine = (found.loc[ids, "status"] == "ok").to_numpy()
    # the means of two posteriors, each of 2,000 draws
    chance = forecaster.predict_spread(horizon=[0.5, 1.0, 2.0])["y-sd-epistemic"].max() * (2 / 2000) ** 0.5
    assert (np.abs(ours - truth) <= 3.0 * chance + 0.1 * np.array(truth))[is_fine].all()
    assert found.loc["s3", "rms"] > 20.0 * chance


def test_series_with_parameters_of_their_own_are_for_refits(data):
    forecaster = decay(per_series=["k"], inference="laplace", n_draws=50).fit(data[data["unique_id"] < "s3"])
    with pytest.raises(ParameterError, match="needs parameters that all series share"):
        influence(forecaster, horizon=1.0, method="importance")
