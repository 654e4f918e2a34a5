"""The solver "auto" wherever the name of a solver may stand, on fields that are stiff."""

from math import log

import numpy as np
import pandas as pd
import pytest
import torch

from tsode import JumpODEForecaster, KnownODEForecaster, Trigger, find_crossings, part, solve, solve_schedule
from tsode.frames.schedule import read_schedule
from tsode.inference import AdditiveNoise, LogNormal

RATE = 1e5


def follows(t, z):
    """The first state follows the second, which decays, a hundred thousand times as fast."""
    follower, leader = z.unbind(dim=1)
    return torch.stack([-RATE * (follower - leader) * (1 + leader**2), -leader], dim=1)


DOSES = pd.DataFrame({"ds": [1.0, 2.0], "target": ["leader", "leader"], "amount": [1.0, 0.5]})
START = {"follower": 0.0, "leader": 1.0}


@pytest.mark.slow
def test_through_doses():
    frame = solve(follows, START, [0.5, 1.5, 3.0], t0=0.0, events=DOSES, solver="auto")
    exact = np.exp(-0.5), np.exp(-1.5) + np.exp(-0.5), np.exp(-3.0) + np.exp(-2.0) + 0.5 * np.exp(-1.0)
    np.testing.assert_allclose(frame["leader"], exact, rtol=1e-7)
    np.testing.assert_allclose(frame["follower"], exact, rtol=1e-4)
    assert frame.attrs["solver"]["n_switches"][0] >= 1


@pytest.mark.slow
def test_to_triggers():
    half = Trigger(lambda t, z: z[:, 0] - 0.5, direction=-1)
    met = find_crossings(follows, {"follower": 1.0, "leader": 1.0}, 2.0, [half], t0=0.0, solver="auto")
    assert met["ds"].tolist() == pytest.approx([log(2)], abs=1e-4)


@pytest.mark.slow
def test_with_gradients_through_doses():
    schedule = read_schedule([3.0], DOSES, states=["follower", "leader"], ids=None, t0=0.0)
    start = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    state = solve_schedule(follows, start, schedule, solver=part("auto", rtol=1e-6, atol=1e-8))
    (slope,) = torch.autograd.grad(state[0, 0], start)
    assert slope[0].tolist() == pytest.approx([0.0, np.exp(-3.0)], rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_in_known_equations_and_their_files(tmp_path):
    def rates(t, z, p):
        return -RATE * (z[:, 0] - z[:, 1]) * (1 + z[:, 1] ** 2), -p.k * z[:, 1]

    times = [0.5, 1.0, 2.0, 3.0]
    data = pd.DataFrame({"unique_id": "a", "ds": times, "level": 2.0 * np.exp(-0.5 * np.array(times))})
    model = KnownODEForecaster(
        rates, states=["follower", "leader"], parameters={"k": LogNormal(log(0.4), 0.5)},
        initial={"follower": 2.0, "leader": 2.0}, observed={"level": AdditiveNoise("follower", sd=0.05)},
        initial_time=0.0, random_state=0, inference="laplace", n_draws=8, solver=part("auto", rtol=1e-4, atol=1e-6),
    ).fit(data)  # fmt: skip
    assert model.summary().loc["k", "mean"] == pytest.approx(0.5, rel=0.1)
    ahead = model.predict(times=[4.0])
    assert ahead["level"].item() == pytest.approx(2 * np.exp(-2.0), abs=0.05)
    model.save(tmp_path / "model.safetensors")
    again = KnownODEForecaster.load(tmp_path / "model.safetensors", rates=rates)
    assert again.solver == model.solver
    pd.testing.assert_frame_equal(again.predict(times=[4.0]), ahead)


@pytest.mark.slow
def test_in_a_forecaster_that_learns_its_field_and_its_file(tmp_path):
    times = np.linspace(0.0, 2.0, 5)
    data = pd.DataFrame({"unique_id": "a", "ds": times, "x": np.sin(times)})
    model = JumpODEForecaster(
        evolution=part("mlp", width=4),
        n_state=2,
        solver=part("auto", rtol=1e-3, atol=1e-4),
        max_epochs=1,
        random_state=0,
    )
    ahead = model.fit(data).predict(times=[2.5])
    assert np.isfinite(ahead["x"]).all()
    model.save(tmp_path / "model.safetensors")
    again = JumpODEForecaster.load(tmp_path / "model.safetensors")
    assert again.solver == model.solver
    pd.testing.assert_frame_equal(again.predict(times=[2.5]), ahead)
