"""Leaving out series with parameters of their own, and values by a posterior without them, against quadrature."""

from __future__ import annotations

from math import log

import numpy as np
import pandas as pd
import pytest

from tests.estimators.known_ode.test_known_ode import decay
from tsode import compare_models
from tsode.errors import ParameterError
from tsode.estimators.known_ode import left_out

TIMES = np.array([0.5, 1.2, 2.0, 3.5, 6.0])
K = np.linspace(0.002, 8.0, 4000)  # less than 1e-7 of the prior lies beyond


def simulated(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for key in "abcdefg"[:n]:
        level = rng.normal(10.0, 2.0) * np.exp(-0.5 * TIMES) + rng.normal(0.0, 0.5, 5)
        parts.append(pd.DataFrame({"unique_id": key, "ds": TIMES, "level": level}))
    return pd.concat(parts, ignore_index=True)


def marginals(data: pd.DataFrame) -> np.ndarray:
    """Log density of each series (s k) at each k, its start integrated out: normal, in closed form."""
    shape = np.exp(-K[:, None] * TIMES)  # (k m)
    cov = 4.0 * shape[:, :, None] * shape[:, None] + 0.25 * np.eye(5)
    scores = []
    for _, level in data.groupby("unique_id")["level"]:
        gap = level.to_numpy() - 10.0 * shape
        squared = np.einsum("km,kmn,kn->k", gap, np.linalg.inv(cov), gap)
        scores.append(-0.5 * (squared + np.linalg.slogdet(2.0 * np.pi * cov)[1]))
    return np.array(scores)


LOG_PRIOR = -0.5 * ((np.log(K) - log(0.5)) / 0.5) ** 2 - np.log(K)


def mean_by(log_weight: np.ndarray, score: np.ndarray) -> float:
    """Log of the mean of exp(score)."""
    weight = np.exp(log_weight - log_weight.max())
    return float(np.log((weight * np.exp(score)).sum() / weight.sum()))


@pytest.mark.slow
def test_a_series_with_a_start_of_its_own_is_left_out_by_its_marginal_density():
    data = simulated(4)
    scores = marginals(data)
    truth = [mean_by(LOG_PRIOR + scores.sum(axis=0) - own, own) for own in scores]
    found = decay(inference="importance").fit(data).loo("series")
    assert found["unique_id"].tolist() == list("abcd")
    np.testing.assert_allclose(found["elpd"], truth, atol=0.05)
    assert (found["k"] < 0.7).all()
    assert found.attrs["elpd"] == pytest.approx(found["elpd"].sum())


def test_where_nothing_is_shared_a_series_left_out_has_its_evidence():
    data = simulated(2)
    truth = [mean_by(LOG_PRIOR, own) for own in marginals(data)]
    model = decay(n_draws=64, per_series=["k"]).fit(data)
    found = model.loo("series")
    np.testing.assert_allclose(found["elpd"], truth, atol=0.01)
    assert 0.0 < found.attrs["n_effective"] < 6.0
    with pytest.raises(ParameterError, match="Leaving out a series needs several"):
        decay(inference="laplace", n_draws=64).fit(simulated(1)).loo("series")


def test_models_are_compared_by_series(monkeypatch):
    monkeypatch.setattr(left_out, "N_SHARED", 32)
    data = simulated(3)
    models = {
        "starts differ": decay(n_draws=128, inference="importance"),
        "starts are alike": decay(n_draws=128, inference="importance", initial={"drug": 5.0}),
    }
    table = compare_models({name: model.fit(data) for name, model in models.items()}, by="series")
    assert table["model"].tolist() == ["starts differ", "starts are alike"]
