"""Distance to the optimum on the public jump-ODE task: an Ornstein-Uhlenbeck process seen at random steps.

    python tests/benchmarks/neural_jump_ou.py [--paths 4000] [--models neural_jump_ode innovation]

Speed 2, mean 4, sigma .3, start 1, horizon 1, 100 steps, each step seen with probability .1, the start always. The loss
is the mean over paths of the mean squared pre-jump error over that path's observations. As in the public generator,
paths are Euler-Maruyama steps; the optimum is that of the conditional expectation (.00663), computed on the test paths.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import torch

from tsode import JumpODEForecaster, LastValueForecaster
from tsode.simulate import observe, ornstein_uhlenbeck

SPEED, MEAN, SIGMA, START = 2.0, 4.0, 0.3, 1.0


def simulate(n_paths: int, seed: int) -> pd.DataFrame:
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    paths = ornstein_uhlenbeck(
        times, speed=SPEED, mean=MEAN, sigma=SIGMA, start=START, n_paths=n_paths, generator=generator, scheme="euler"
    )
    seen = observe(paths, 0.1, generator)
    seen[:, 0] = paths[:, 0]
    rows, columns = np.nonzero(~torch.isnan(seen).numpy())
    return pd.DataFrame({"unique_id": rows, "ds": times.numpy()[columns], "x": seen.numpy()[rows, columns]})


def jump_loss(frame: pd.DataFrame, forecast: np.ndarray) -> float:
    """Mean over paths of the mean over its observations after the start."""
    squared = pd.Series((frame["x"].to_numpy() - forecast) ** 2, index=frame.index)[frame["ds"] > 0]
    return float(squared.groupby(frame["unique_id"]).mean().mean())


def conditional_expectation(frame: pd.DataFrame) -> np.ndarray:
    before = frame.groupby("unique_id")[["ds", "x"]].shift()
    keep = (1.0 - SPEED * 0.01) ** ((frame["ds"] - before["ds"]) / 0.01)  # the mean of n Euler steps
    return (MEAN + keep * (before["x"] - MEAN)).to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--paths", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--models", nargs="+", default=["neural_jump_ode", "innovation"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, test = simulate(args.paths, seed=args.seed), simulate(20_000, seed=args.seed + 1)
    optimum = jump_loss(test, conditional_expectation(test))
    print(f"{'forecast':22} {'loss':>9} {'/ optimum':>10}")
    print(f"{'conditional expectation':22} {optimum:9.5f} {1.0:10.3f}")
    for name in ("last value", *args.models):
        if name == "last value":
            model = LastValueForecaster().fit(train)
        else:
            model = JumpODEForecaster(
                name, n_state=32, n_modes=32, n_static=16, max_epochs=args.epochs, loss="mse", random_state=args.seed
            ).fit(train)
        loss = jump_loss(test, model.predict(test, context=test)["x"].to_numpy())
        print(f"{name:22} {loss:9.5f} {loss / optimum:10.3f}", flush=True)


if __name__ == "__main__":
    main()
