"""Populations on frames: estimates, individuals, and forecasts of series that fit has not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tsode
from tsode.errors import DataError, ParameterError, SolverError
from tsode.inference.noise import LogNormalNoise
from tsode.inference.priors import LogNormal

TIMES, N = np.array([0.5, 1.0, 2.0, 4.0]), 8
WEIGHTS = pd.DataFrame({"unique_id": [f"s{k}" for k in range(N)], "weight": np.linspace(40.0, 110.0, N)})


def doses(*ids) -> pd.DataFrame:
    ids = ids or tuple(WEIGHTS["unique_id"])
    return pd.DataFrame({"unique_id": list(ids), "ds": 0.0, "target": "c", "amount": 10.0})


def rates(t, z, p):
    return (-p.ke * z[:, 0],)


def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    ke = 0.5 * np.exp(0.3 * generator.standard_normal(N))
    level = 10.0 * np.exp(-ke[:, None] * TIMES + 0.1 * generator.standard_normal((N, 4)))
    return pd.DataFrame({"unique_id": np.repeat(WEIGHTS["unique_id"], 4), "ds": np.tile(TIMES, N), "y": level.ravel()})


def model(**settings) -> tsode.KnownODEForecaster:
    given = {"random_effects": ["ke"], "inference": "likelihood", "n_starts": 1, "random_state": 0, "n_draws": 128}
    return tsode.KnownODEForecaster(
        rates, states=["c"], parameters={"ke": LogNormal(-0.5, 0.5), "sd": LogNormal(-2.0, 0.5)}, initial={"c": 0.0},
        **(given | {"observed": {"y": LogNormalNoise("c", sd="sd")}} | settings),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> tsode.KnownODEForecaster:
    return model().fit(frame(), events=doses())


@pytest.fixture(scope="module")
def weighed() -> tsode.KnownODEForecaster:
    return model(covariates={"ke": {"weight": -0.25}}).fit(frame(), events=doses(), static=WEIGHTS)


ASKED = pd.DataFrame({"unique_id": "new", "ds": [3.0, 6.0]})


def width(band: pd.DataFrame) -> np.ndarray:
    """Of bands, in parts of the mean: noise is in proportion."""
    return ((band["y-hi-90"] - band["y-lo-90"]) / band["y"]).to_numpy()


@pytest.mark.slow
def test_estimates_have_errors_intervals_and_what_the_objective_is(fitted):
    table = fitted.estimates()
    assert table.index.tolist() == ["ke", "omega_ke", "sd"]
    assert (table["lower"] < table["estimate"]).all()
    assert (table["estimate"] < table["upper"]).all()
    assert table.loc["ke", "estimate"] == pytest.approx(0.5, abs=3 * table.loc["ke", "se"])
    assert table.attrs["method"].startswith("FOCEI")
    assert table.attrs["aic"] == table.attrs["objective"] + 6
    assert np.isnan(table.loc["ke", "shrinkage"])
    assert 0 < table.loc["omega_ke", "shrinkage"] < 1
    assert not fitted.summary().index.str.startswith("eta").any()


@pytest.mark.slow
def test_individuals_lie_between_their_own_data_and_the_typical_value(fitted):
    own = fitted.individual_parameters()["ke", "mean"]
    rows = frame()
    slope = rows.groupby("unique_id").apply(lambda one: -np.polyfit(one["ds"], np.log(one["y"] / 10.0), 1)[0])
    typical = fitted.estimates().loc["ke", "estimate"]
    assert np.corrcoef(own, slope)[0, 1] > 0.9
    assert own.std() < 1.2 * slope.std()
    assert own.min() < typical < own.max()


def test_a_new_series_is_forecast_by_the_population_and_narrower_by_its_own_rows(fitted):
    seen = pd.DataFrame({"unique_id": "new", "ds": [0.5, 2.0], "y": [8.5, 5.2]})
    before = fitted.predict_interval(ASKED, context=seen.iloc[:0], events=doses("new"), level=90)
    after = fitted.predict_interval(ASKED, context=seen, events=doses("new"), level=90)
    assert (width(after) < 0.8 * width(before)).all()
    spread = fitted.predict_spread(ASKED, context=seen, events=doses("new"))
    total = spread["y-sd-aleatoric"] ** 2 + spread["y-sd-epistemic"] ** 2
    np.testing.assert_allclose(total, spread["y-sd"] ** 2, rtol=1e-9)


@pytest.mark.slow
def test_a_file_gives_the_same_forecasts(weighed, tmp_path):
    weighed.save(tmp_path / "model.tsode")
    again = tsode.KnownODEForecaster.load(tmp_path / "model.tsode", rates=rates)
    static = pd.DataFrame({"unique_id": ["new"], "weight": [90.0]})
    one, other = (m.predict(ASKED, events=doses("new"), static=static) for m in (weighed, again))
    pd.testing.assert_frame_equal(one, other)
    pd.testing.assert_frame_equal(weighed.individual_parameters(), again.individual_parameters())
    pd.testing.assert_frame_equal(weighed.estimates(), again.estimates())
    assert weighed.estimates().attrs == again.estimates().attrs


@pytest.mark.slow
def test_covariates_move_forecasts_of_new_series_as_their_power_says(weighed):
    means = []
    for weight in (40.0, 110.0):
        static = pd.DataFrame({"unique_id": ["new"], "weight": [weight]})
        means.append(weighed.predict(ASKED, events=doses("new"), static=static)["y"].to_numpy())
    assert (means[1] > means[0]).all()  # the heavier clear more slowly


def test_a_missing_covariate_is_named_with_its_series(weighed):
    static = WEIGHTS.assign(weight=WEIGHTS["weight"].where(WEIGHTS["unique_id"] != "s3"))
    with pytest.raises(DataError, match="'weight' is missing for 1 series, the first 's3'"):
        model(covariates={"ke": {"weight": -0.25}}).fit(frame(), events=doses(), static=static)
    with pytest.raises(DataError, match="'weight' is missing for 1 series, the first 'new'"):
        weighed.predict(ASKED, events=doses("new"), static=pd.DataFrame({"unique_id": ["new"], "weight": [np.nan]}))


@pytest.mark.slow
def test_a_posterior_of_a_population_holds_its_estimates(fitted):
    table = model(inference="laplace").fit(frame(), events=doses()).summary()
    estimates = fitted.estimates()
    for name in ("ke", "sd"):
        assert abs(table.loc[name, "mean"] - estimates.loc[name, "estimate"]) < table.loc[name, "sd"]


@pytest.mark.slow
def test_a_population_without_any_start_says_what_is_not_finite():
    rows = frame().assign(y=-1.0)
    with pytest.raises(DataError, match="numbers above 0"):
        model(inference="laplace").fit(rows, events=doses())
    falls = LogNormalNoise(lambda t, z, p: -z[:, 0] - 1.0, sd="sd")
    for inference in ("laplace", "likelihood"):
        with pytest.raises(SolverError):
            model(inference=inference, observed={"y": falls}).fit(frame(), events=doses())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"random_effects": None}, "'likelihood' is for populations"),
        ({"random_effects": None, "covariates": {"ke": {"w": 1.0}}}, "act beside random effects"),
        ({"random_effects": ["kee"]}, "'kee', which is no parameter"),
        ({"marginal": "saem"}, "is no method"),
        ({"covariates": {"cl": {"w": 1.0}}}, "'cl', which is no parameter"),
    ],
)
def test_populations_that_cannot_be_are_refused_by_name(settings, says):
    with pytest.raises(ParameterError, match=says):
        model(**settings).fit(frame(), events=doses(), static=WEIGHTS if "covariates" in settings else None)
