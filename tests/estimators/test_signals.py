"""Signals of forecasters: joint paths without the noise of observations, and how much they move between times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import fitted
from tsode import (
    JumpODEForecaster,
    KnownODEForecaster,
    KnownSDEForecaster,
    LatentODEForecaster,
    LinearSDEForecaster,
)
from tsode.estimators import FORECASTERS
from tsode.inference import AdditiveNoise, LogNormal, Normal
from tsode.testing.example_forecasts import TIMES as EXAMPLE_TIMES
from tsode.testing.example_forecasts import fitted_on_example

RATE, LEVEL, DIFFUSION, NOISE = 0.3, 2.0, 0.5, 0.2
TIMES = 12.0 + np.linspace(0.25, 5.0, 20)


def walks(n=25) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = {"unique_id": "a", "ds": np.sort(rng.uniform(0, 12, n)), "y": LEVEL + rng.normal(size=n).cumsum() / 3}
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(rows | {"unique_id": "b", "y": LEVEL - rows["y"]})])


def by_matrices() -> LinearSDEForecaster:
    system = {"drift": [[-RATE]], "offset": [RATE * LEVEL], "diffusion": [[DIFFUSION]], "readout": [[1.0]],
              "noise": [NOISE], "initial_mean": [LEVEL], "initial_cov": [[4.0]]}  # fmt: skip
    return LinearSDEForecaster(system=system, horizon=5.0, id_col="unique_id", time_col="ds")


def by_equations() -> KnownSDEForecaster:
    return KnownSDEForecaster(
        lambda t, z, p: (-p.k * (z[:, 0] - LEVEL),), states=["x"], parameters={"k": RATE}, initial={"x": Normal(2, 2)},
        observed={"y": AdditiveNoise("x", sd=NOISE)}, process_noise={"x": DIFFUSION}, initial_time=0.0, random_state=0,
        horizon=5.0, id_col="unique_id", time_col="ds",
    )  # fmt: skip


def decay() -> KnownODEForecaster:
    return KnownODEForecaster(
        lambda t, z, p: (-p.k * z[:, 0],), states=["x"], parameters={"k": LogNormal(0.3, 0.5)}, initial={"x": 2.0},
        observed={"y": AdditiveNoise("x", sd=0.1)}, initial_time=0.0, random_state=0, n_draws=50,
        horizon=5.0, id_col="unique_id", time_col="ds",
    )  # fmt: skip


def signals(forecaster, times=TIMES, n=400, of="signal", X=None):
    query, panel = forecaster._read_query(X, times, None, None, None)
    drawn = forecaster._signals(query, panel, n, torch.Generator().manual_seed(0), of)
    found = {row: one for rows, these in drawn for row, one in zip(rows, these)}
    return [found[row] for row in range(len(query.ids))]


@pytest.mark.parametrize("forecaster", [by_matrices(), by_equations()], ids=["matrices", "equations"])
def test_signals_of_a_linear_sde_have_the_forecasts_law_less_the_noise(forecaster):
    forecaster.fit(walks())
    spread = forecaster.predict_spread(times=TIMES)
    mean = forecaster.predict(times=TIMES)["y"].to_numpy().reshape(2, -1)
    sd = np.sqrt(spread["y-sd"].to_numpy() ** 2 - NOISE**2).reshape(2, -1)
    n = 4096
    for row, signal in enumerate(signals(forecaster, n=n)):
        assert (signal.of, signal.is_smooth) == ("signal", False)
        paths = signal.paths[..., 0]
        assert np.abs((paths.mean(axis=0) - mean[row]) / sd[row]).max() < 4.5 / np.sqrt(n)
        np.testing.assert_allclose(paths.std(axis=0), sd[row], rtol=4.5 / np.sqrt(2 * n))


@pytest.mark.parametrize("forecaster", [by_matrices(), by_equations()], ids=["matrices", "equations"])
def test_the_variation_is_that_of_the_brownian_part_in_the_data_s_units(forecaster):
    forecaster.fit(walks().assign(y=lambda rows: 10.0 * rows["y"]))
    for signal in signals(forecaster):
        expected = DIFFUSION**2 * np.diff(TIMES)
        np.testing.assert_allclose(signal.variation[..., 0], np.broadcast_to(expected, (400, 19)), rtol=1e-9)


def test_curves_are_those_of_the_draws_at_any_times():
    forecaster = decay().fit(walks(8).assign(y=lambda rows: 2 * np.exp(-0.3 * rows["ds"])))
    coarse, fine = signals(forecaster, TIMES[::5])[0], signals(forecaster, TIMES)[0]
    assert coarse.is_smooth
    assert coarse.variation is None
    np.testing.assert_allclose(fine.paths[:, ::5], coarse.paths, rtol=1e-9)
    rate = -np.log(fine.paths[:, :, 0] / 2.0) / TIMES
    np.testing.assert_allclose(rate, np.broadcast_to(rate[:, :1], rate.shape), rtol=1e-5)
    assert len(np.unique(rate[:, 0].round(12))) == 50


def test_observations_are_what_sample_draws():
    forecaster = by_matrices().fit(walks())
    drawn = forecaster.sample(times=TIMES, n_samples=400, random_state=0)
    for row, signal in zip("ab", signals(forecaster, of="observation")):
        own = drawn.loc[drawn["unique_id"] == row, "y"].to_numpy().reshape(400, -1)
        np.testing.assert_array_equal(signal.paths[..., 0], own)
        assert signal.of == "observation"


def test_a_linear_sde_with_classes_gives_each_path_the_variation_of_its_class():
    forecaster = LinearSDEForecaster(
        max_epochs=3, random_state=0, series_rates={"speed": 3}, horizon=5.0, id_col="unique_id", time_col="ds"
    )
    forecaster.fit(walks())
    for signal in signals(forecaster):
        assert signal.variation.shape == (400, 19, 1)
        per_time = signal.variation[..., 0] / np.diff(TIMES)
        np.testing.assert_allclose(per_time, per_time[:, :1].repeat(19, axis=1), rtol=1e-6)
        assert 1 < len(np.unique(per_time[:, 0].round(9))) <= 3


@pytest.mark.slow
def test_a_positive_quantity_has_the_variation_of_its_logarithm():
    data = walks().assign(y=lambda rows: np.exp(rows["y"] / 2))
    forecaster = LinearSDEForecaster(
        max_epochs=3, random_state=0, support="positive", horizon=5.0, id_col="unique_id", time_col="ds"
    )
    for signal in signals(forecaster.fit(data)):
        relative = signal.variation[..., 0] / (signal.paths[:, 1:, 0] * signal.paths[:, :-1, 0]) / np.diff(TIMES)
        np.testing.assert_allclose(relative, relative[0, 0], rtol=1e-6)


@pytest.mark.slow
def test_latent_models_leave_the_noise_out_and_filters_say_that_they_cannot():
    latent = LatentODEForecaster(max_epochs=2, random_state=0, horizon=5.0, id_col="unique_id", time_col="ds")
    latent.fit(walks())
    signal = signals(latent)[0]
    assert (signal.of, signal.is_smooth) == ("signal", True)
    rough, smooth = (
        np.abs(np.diff(x.paths[..., 0], n=2)).mean() for x in (signals(latent, of="observation")[0], signal)
    )
    assert smooth < 0.1 * rough
    filters = JumpODEForecaster(max_epochs=2, random_state=0, horizon=5.0, id_col="unique_id", time_col="ds")
    assert signals(filters.fit(walks()))[0].of == "observation"


def test_components_of_a_structural_model_are_drawn_without_their_noise():
    forecaster = LinearSDEForecaster(
        components=["level"], random_state=0, horizon=5.0, id_col="unique_id", time_col="ds"
    )
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"unique_id": "a", "ds": np.arange(40.0), "y": rng.normal(size=40)})
    forecaster.fit(data)
    times = 40.0 + np.linspace(0, 1, 5)
    with_noise = signals(forecaster, times, of="observation")[0].paths.std()
    assert signals(forecaster, times)[0].paths.std() < 0.7 * with_noise


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("name", FORECASTERS)
def test_signals_of_every_forecaster_have_the_mean_of_forecasts_and_no_more_spread(name):
    forecaster, n = fitted_on_example(fitted(f"{name}-float64")), 300
    spread = forecaster.predict_spread(times=EXAMPLE_TIMES).set_index("unique_id")
    means = forecaster.predict(times=EXAMPLE_TIMES).set_index("unique_id")
    for key, signal in zip(forecaster._panel.ids, signals(forecaster, EXAMPLE_TIMES, n)):
        assert signal.of in ("signal", "observation")
        assert signal.paths.shape == (n, len(EXAMPLE_TIMES), len(forecaster.channels_))
        sd = spread.loc[[key], [f"{channel}-sd" for channel in forecaster.channels_]].to_numpy()
        off = signal.paths.mean(axis=0) - means.loc[[key], forecaster.channels_].to_numpy()
        assert (np.abs(off) <= 6.0 * sd / n**0.5).all()
        if signal.of == "signal":
            assert (signal.paths.std(axis=0) <= 1.3 * sd).all()
        if signal.variation is not None:
            assert signal.variation.shape == (n, len(EXAMPLE_TIMES) - 1, len(forecaster.channels_))
            assert (signal.variation >= 0.0).all()
