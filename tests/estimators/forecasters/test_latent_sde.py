import numpy as np
import pandas as pd
import pytest
import torch

from tests.registries import quick_epochs, small
from tsode import LatentSDEForecaster, LinearSDEForecaster
from tsode.errors import ParameterError, UnknownNameError
from tsode.numerics import EulerMaruyama
from tsode.numerics.sde import Stratonovich
from tsode.simulate import ornstein_uhlenbeck
from tsode.testing import example_panel

SPEED, SIGMA, NOISE = 1.0, 1.0, 0.1


def noisy_ornstein_uhlenbeck(n_series, seed, n_times=40):
    """Series at random times over four units, in stationarity."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    frames = []
    for name in range(n_series):
        times = np.sort(rng.uniform(0.0, 4.0, n_times))
        start = torch.tensor([rng.normal() * SIGMA / (2.0 * SPEED) ** 0.5])
        path = ornstein_uhlenbeck(
            torch.from_numpy(times), speed=SPEED, mean=0.0, sigma=SIGMA, start=start, n_paths=1, generator=generator
        )[0].numpy()  # fmt: skip
        frames.append(pd.DataFrame({"unique_id": name, "ds": times, "x": path + NOISE * rng.normal(size=n_times)}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.slow
def test_forecast_of_an_ornstein_uhlenbeck_process_is_nearly_the_best_possible():
    train, test = noisy_ornstein_uhlenbeck(100, 0), noisy_ornstein_uhlenbeck(100, 1)
    fitted = LatentSDEForecaster(
        encoder="set_attention", n_state=8, horizon=1.0, max_epochs=12, random_state=0
    )  # fmt: skip
    fitted.fit(train)
    system = {"drift": [[-SPEED]], "diffusion": [[SIGMA]], "readout": [[1.0]], "noise": [NOISE]}
    best = LinearSDEForecaster(system=system, horizon=1.0, random_state=0).fit(train)
    history, future = test[test["ds"] < 3.0], test[test["ds"] >= 3.0]
    scores = {}
    for name, forecaster in {"sde": fitted, "best": best}.items():
        out = forecaster.predict_interval(future[["unique_id", "ds"]], context=history, level=[80])
        inside = (future["x"] >= out["x-lo-80"]) & (future["x"] <= out["x-hi-80"])
        scores[name] = float(((out["x"] - future["x"]) ** 2).mean()), float(inside.mean())
    assert scores["sde"][0] < 1.1 * scores["best"][0]
    assert abs(scores["sde"][1] - scores["best"][1]) < 0.05


@pytest.mark.slow
def test_another_seed_gives_other_noise_and_the_same_seed_the_same():
    frame = example_panel(4)
    with quick_epochs():
        first, again, other = (
            small(LatentSDEForecaster, random_state=seed, kl_schedule="linear").fit(frame).module_.seed
            for seed in (0, 0, 1)
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Mild(Stratonovich):
    """Relaxation under noise that depends on the state."""

    def drift(self, t, z):
        return -z

    def diffusion(self, t, z):
        return 0.3 + 0.1 * torch.tanh(z)


def test_an_equation_and_a_solver_of_ones_own_are_taken():
    forecaster = small(LatentSDEForecaster, sde=Mild(3), solver=EulerMaruyama(max_step=0.25)).fit(example_panel(6))
    assert isinstance(forecaster.module_.sde, Mild)
    assert np.isfinite(forecaster.predict(horizon=["3h", "20h"])["a"]).all()


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"loss": "iwae"}, ParameterError, "use loss='elbo'"),
        ({"sde": "ornstein"}, UnknownNameError, "Did you mean 'ornstein_uhlenbeck'"),
        ({"solver": "milstien"}, UnknownNameError, "Did you mean 'milstein'"),
        ({"n_state": 0}, ParameterError, "n_state must be a whole number"),
    ],
)
def test_mistakes_are_named(params, error, match):
    with pytest.raises(error, match=match):
        small(LatentSDEForecaster, **params).fit(example_panel(4))
