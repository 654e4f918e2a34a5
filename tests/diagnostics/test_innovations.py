"""Innovations against closed forms: Kalman filters, counts of a known law, models that are wrong in one way each."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from tests.registries import SMALL_FORECASTERS, fitted
from tsode import KnownSDEForecaster, LinearSDEForecaster, PointProcessForecaster
from tsode.diagnostics import innovations
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.estimators.forecasters.predictive import Predictive
from tsode.inference import AdditiveNoise, LogNormal, Normal, PoissonNoise
from tsode.likelihoods.ensemble_mixture import EnsembleMixture
from tsode.likelihoods.normal import Normal as NormalLaw
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.poisson import Poisson

pytestmark = pytest.mark.usefixtures("short_epochs")

OU = {"drift": [[-0.3]], "diffusion": [[1.0]], "readout": [[1.0]], "noise": [0.8]}


def _simulated(n: int, rate: float = 0.3, noise: float = 0.8, seed: int = 0) -> pd.Series:
    """An Ornstein-Uhlenbeck process of unit diffusion, from its stationary law, with noise, at uneven times."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(size=n))
    z = rng.normal() / math.sqrt(2 * rate)
    values = np.empty(n)
    for k in range(n):
        f = math.exp(-rate * (times[k] - times[k - 1])) if k else 1.0
        z = f * z + math.sqrt((1.0 - f * f) / (2 * rate)) * rng.normal()
        values[k] = z + noise * rng.normal()
    return pd.Series(values, index=times, name="y")


def _kalman(data: pd.Series, rate: float, noise: float, start_mean: float, start_var: float) -> np.ndarray:
    """Mean, variance of the forecast and innovation of each value: (3, n)."""
    mean, var, before, rows = start_mean, start_var, data.index[0], []
    for t, y in data.items():
        f = math.exp(-rate * (t - before))
        mean, var = f * mean, f * f * var + (1.0 - f * f) / (2 * rate)
        total = var + noise**2
        rows.append((mean, total, (y - mean) / math.sqrt(total)))
        gain = var / total
        mean, var, before = mean + gain * (y - mean), (1.0 - gain) * var, t
    return np.array(rows).T


def test_innovations_of_a_linear_model_are_those_of_its_kalman_filter():
    data = _simulated(60)
    data.iloc[20] += 12.0  # far out in the tail
    table = innovations(LinearSDEForecaster(system=OU).fit(data))
    mean, variance, scores = _kalman(data, 0.3, 0.8, 0.0, 1.0 / 0.6)
    np.testing.assert_allclose(table["mean"], mean, atol=1e-8)
    np.testing.assert_allclose(table["sd"], np.sqrt(variance), rtol=1e-8)
    np.testing.assert_allclose(table["innovation"], scores, atol=1e-8)
    assert np.abs(scores).max() > 7.0
    assert table["ds"].tolist() == data.index.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("filter", ["extended", "unscented"])
def test_innovations_of_a_known_linear_sde_are_those_of_its_kalman_filter(filter):
    data = pd.DataFrame({"unique_id": 1, "ds": _simulated(30).index, "y": _simulated(30).to_numpy()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)  # of a parameter of which next to nothing is left open
        model = KnownSDEForecaster(
            lambda t, z, p: -p.k[:, None] * z,
            states=["level"],
            parameters={"k": LogNormal(math.log(0.3), 1e-9)},
            initial={"level": Normal(0.0, math.sqrt(1.0 / 0.6))},
            observed={"y": AdditiveNoise("level", sd=0.8)},
            process_noise={"level": 1.0},
            inference="laplace",
            filter=filter,
            n_draws=8,
            random_state=0,
        ).fit(data)
        table = innovations(model)
    scores = _kalman(data.set_index("ds")["y"], 0.3, 0.8, 0.0, 1.0 / 0.6)[2]
    np.testing.assert_allclose(table["innovation"], scores, atol=1e-8)


@pytest.mark.slow
def test_the_right_model_is_fine_and_wrong_ones_are_named():
    data = _simulated(600)
    verdict = {
        name: innovations(LinearSDEForecaster(system=OU | change).fit(data)).attrs["channels"].loc["y", "verdict"]
        for name, change in {
            "right": {},
            "tame": {"noise": [0.4], "diffusion": [[0.4]]},
            "wild": {"noise": [1.6], "diffusion": [[2.0]]},
            "stiff": {"noise": [1.3], "diffusion": [[0.1]]},
        }.items()
    }
    assert verdict["right"] == "fine"
    assert "bands too narrow" in verdict["tame"]
    assert "bands too wide" in verdict["wild"]
    assert "errors go on from row to row" in verdict["stiff"]
    level = innovations(LinearSDEForecaster(system=OU).fit(data + 3.0)).attrs["channels"].loc["y"]
    assert level["mean"] > 0.5
    assert "too low" in level["verdict"]


@pytest.mark.slow
def test_the_right_model_is_named_wrong_four_times_in_a_hundred_at_most():
    fitted_once = LinearSDEForecaster(system=OU).fit(_simulated(20))
    frame = pd.concat([
        pd.DataFrame({"unique_id": k, "ds": one.index, "y": one.to_numpy()})
        for k, one in enumerate(_simulated(80, seed=seed) for seed in range(200))
    ])  # fmt: skip
    wrong = 0
    for _, one in frame.groupby("unique_id"):
        wrong += innovations(fitted_once, one.set_index("ds")["y"]).attrs["channels"]["verdict"].iloc[0] != "fine"
    assert wrong <= 8 + 3 * math.sqrt(8)  # of 200


def test_counts_lie_at_a_random_level_within_their_chance():
    rng = np.random.default_rng(0)
    counts, u = rng.poisson(1.5, (4000, 1)), rng.uniform(size=(4000, 1))
    params = torch.full((4000, 1, 1), math.log(1.5), dtype=torch.float64)
    answer = Predictive(Poisson(), params, np.arange(4000))
    scores = answer.normal_scores(counts.astype(float), u)
    low, high = scipy.stats.poisson.cdf(counts - 1, 1.5), scipy.stats.poisson.cdf(counts, 1.5)
    np.testing.assert_allclose(scipy.stats.norm.cdf(scores), low + u * (high - low), atol=1e-12)
    assert scipy.stats.kstest(scores[:, 0], "norm").pvalue > 1e-4


def test_scores_lose_no_digits_in_either_tail_and_end_where_numbers_do():
    members = torch.tensor([[0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)[:, None].expand(6, 1, 4)
    x = np.array([[-30.0], [-9.0], [0.5], [9.0], [30.0], [1e9]])
    families = {EnsembleMixture(2, NormalLaw()): 4, NormalMixture(1): 3, NormalLaw(): 2}
    for family, n_params in families.items():
        params = members[..., :n_params]
        scores = Predictive(family, params, np.arange(6)).normal_scores(x, np.full((6, 1), 0.5))
        np.testing.assert_allclose(scores, np.minimum(x, 40.0), rtol=1e-12)


@pytest.mark.slow
def test_innovations_of_counts_by_a_known_sde_are_normal_numbers_of_the_seed():
    rng = np.random.default_rng(1)
    walk = math.log(20.0) + np.cumsum(0.2 * rng.normal(size=150))
    data = pd.DataFrame({"ds": np.arange(150.0), "cases": rng.poisson(np.exp(walk))})
    model = KnownSDEForecaster(
        lambda t, z, p: p.drift[:, None] + 0.0 * z,
        states=["log_rate"],
        parameters={"drift": Normal(0.0, 0.05)},
        initial={"log_rate": Normal(math.log(20.0), 0.5)},
        observed={"cases": PoissonNoise(lambda t, z, p: z[:, 0].exp())},
        process_noise={"log_rate": 0.2},
        inference="laplace",
        random_state=0,
    ).fit(data)
    table = innovations(model)
    assert table.attrs["channels"].loc["cases", "verdict"] == "fine"
    assert scipy.stats.kstest(table["innovation"], "norm").pvalue > 1e-3
    pd.testing.assert_frame_equal(innovations(model), table)
    assert not innovations(model, random_state=1)["innovation"].equals(table["innovation"])


SLOW = {"AutoForecaster-float64", "expert-float64"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SMALL_FORECASTERS]
)
def test_every_forecaster_has_innovations_beside_what_it_predicts_from_the_rows_before(name):
    forecaster = fitted(name)
    history = forecaster._panel
    table = innovations(forecaster)
    assert table["innovation"].notna().mean() > 0.9
    assert len(table) == sum(int((~np.isnan(x[:, : len(forecaster.channels_)])).sum()) for x in history.values)
    one = table.iloc[len(table) // 2]
    asked = {"times": {one["unique_id"]: [one["ds"]]}}
    assert one["mean"] == pytest.approx(forecaster.predict(**asked)[one["channel"]].iloc[0], rel=1e-5, abs=1e-5)
    spread = forecaster.predict_spread(**asked)[f"{one['channel']}-sd"].iloc[0]
    assert one["sd"] == pytest.approx(spread, rel=1e-4)


def test_few_values_say_nothing_and_wrong_questions_are_told():
    table = innovations(LinearSDEForecaster(system=OU).fit(_simulated(20)), _simulated(1))
    assert table.attrs["channels"]["verdict"].tolist() == ["too few values"]
    with pytest.raises(ParameterError, match="PointProcessForecaster is none"):
        innovations(PointProcessForecaster())
    with pytest.raises(DataError, match="innovations are of values"):
        innovations(LinearSDEForecaster(system=OU).fit(_simulated(20)), _simulated(2) * np.nan)
