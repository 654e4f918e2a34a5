"""Calibration of forecasts where the truth is simulated: coverage at every lead time, and a flat PIT histogram.

    python tests/benchmarks/calibration.py [--processes ou ...] [--estimators JumpODEForecaster ...] [--check]

An Ornstein-Uhlenbeck process, two of them driven by correlated noise, and noisy Lotka-Volterra cycles whose rates
differ from series to series; every value is seen with probability .15 on a grid of 200 steps over two units of time.
The first unit is the history, the second is forecast. Coverage of the 90 % interval is over all values in each of five
bins of lead time. The PIT histogram has ten bins and takes one value a series, so that its values are independent; its
chi-square test is at 1 %. `--check` ends with 1 where coverage leaves [88, 92] or the test rejects.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd
import scipy.stats
import torch

from tsode.estimators import FORECASTERS
from tsode.simulate import lotka_volterra, observe, ornstein_uhlenbeck

TIMES = torch.linspace(0.0, 2.0, 201, dtype=torch.float64)
LEVELS = (0.5, 0.8, 0.9)
GRID = np.arange(1, 100) / 100


def ou(n: int, generator: torch.Generator) -> torch.Tensor:
    start = 1.0 + torch.randn(n, generator=generator, dtype=torch.float64)
    path = ornstein_uhlenbeck(TIMES, speed=2.0, mean=4.0, sigma=1.0, start=start, n_paths=n, generator=generator)
    return path[..., None]


def double_ou(n: int, generator: torch.Generator) -> torch.Tensor:
    """Two processes of equal speed that share most of their noise: a sum and a difference of independent ones."""
    both, own = (
        ornstein_uhlenbeck(
            TIMES, speed=1.5, mean=mean, sigma=sigma, n_paths=n, generator=generator,
            start=torch.randn(n, generator=generator, dtype=torch.float64),
        )
        for mean, sigma in ((1.0, 0.9), (-0.5, 0.3))
    )  # fmt: skip
    return torch.stack([both + own, both - own], dim=-1)


def noisy_lotka_volterra(n: int, generator: torch.Generator) -> torch.Tensor:
    def uniform(*shape: int) -> torch.Tensor:
        return 0.5 + torch.rand(*shape, generator=generator, dtype=torch.float64)

    rates = 6.0 * uniform(4, n)
    path = lotka_volterra(TIMES, uniform(n, 2), tuple(rates), n_steps=4)
    return path + 0.1 * torch.randn(path.shape, generator=generator, dtype=torch.float64)


PROCESSES = {"ou": ou, "double_ou": double_ou, "lotka_volterra": noisy_lotka_volterra}


def simulate(name: str, n: int, seed: int) -> pd.DataFrame:
    generator = torch.Generator().manual_seed(seed)
    seen = observe(PROCESSES[name](n, generator), 0.15, generator).numpy()
    rows, steps = np.nonzero(~np.isnan(seen).all(axis=2))
    frame = pd.DataFrame({"unique_id": rows + 1_000_000 * seed, "ds": TIMES.numpy()[steps]})
    return frame.join(pd.DataFrame(seen[rows, steps], columns=[f"x{c}" for c in range(seen.shape[2])]))


def assess(estimator: str, name: str, n_series: int, seed: int) -> dict[str, float]:
    train, valid, test = (simulate(name, n, 3 * seed + k) for k, n in enumerate((n_series, 1000, 2000)))
    model = FORECASTERS[estimator](horizon=1.0, random_state=seed)
    started = time.process_time()
    model.fit(train, validation=valid)
    seconds = time.process_time() - started
    history, future = test[test["ds"] <= 1.0], test[test["ds"] > 1.0]
    future = future[future["unique_id"].isin(history["unique_id"])]
    answer = model.predict_quantiles(future, context=history, quantiles=GRID)
    channels = [c for c in test.columns if c.startswith("x")]
    truth = future[channels].to_numpy()
    quantiles = np.stack([answer[[f"{c}-q-{q:g}" for c in channels]].to_numpy() for q in GRID], axis=-1)
    seen = ~np.isnan(truth)
    row: dict[str, float] = {}

    def inside(level: float) -> np.ndarray:
        low, high = (quantiles[..., round(100 * (0.5 + sign * level / 2)) - 1] for sign in (-1, 1))
        return (truth >= low) & (truth <= high)

    for level in LEVELS:
        row[f"cov{100 * level:.0f}"] = 100 * float(inside(level)[seen].mean())
    lead = np.repeat(future["ds"].to_numpy()[:, None] - 1.0, truth.shape[1], axis=1)
    for k in range(5):
        here = seen & (lead > k / 5) & (lead <= (k + 1) / 5)
        row[f"lead {0.2 * (k + 1):.1f}"] = 100 * float(inside(0.9)[here].mean())
    # the share of quantile levels below the truth is its PIT to one per cent; ties are spread evenly
    rng = np.random.default_rng(seed)
    pit = ((quantiles < truth[..., None]).sum(axis=-1) + rng.random(truth.shape)) / 100
    values = pd.DataFrame({"id": np.repeat(future["unique_id"].to_numpy(), truth.shape[1]), "pit": pit.reshape(-1)})
    one = values[seen.reshape(-1)].sample(frac=1.0, random_state=seed).drop_duplicates("id")["pit"]
    counts = np.histogram(one, bins=10, range=(0.0, 1.0))[0]
    row["chi2"], row["p"] = scipy.stats.chisquare(counts)
    row["CRPS"] = float(-model.score(future, context=history, metric="crps"))
    row["fit_cpu_s"] = seconds
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", nargs="+", default=list(PROCESSES), choices=list(PROCESSES))
    parser.add_argument("--estimators", nargs="+", default=["JumpODEForecaster"], choices=sorted(FORECASTERS))
    parser.add_argument("--n-series", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar does not hold")
    args = parser.parse_args()
    rows = []
    for name in args.processes:
        for estimator in args.estimators:
            row = assess(estimator, name, args.n_series, args.seed)
            rows.append({"process": name, "estimator": estimator, **row})
            print(f"{name} {estimator} done", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    pd.options.display.float_format = "{:.3g}".format
    pd.options.display.width = 200
    print(table.to_string(index=False))
    leads = table.filter(like="lead").to_numpy()
    good = bool(((leads >= 88.0) & (leads <= 92.0)).all() and (table["p"] >= 0.01).all())
    return int(args.check and not good)


if __name__ == "__main__":
    sys.exit(main())
