"""Classes of series that differ in the order of their values alone: accuracy and CPU seconds of `SeriesClassifier`.

    python tests/benchmarks/series_classes.py [--n-series 30] [--seeds 3] [--last-state]

Summaries of single channels are the same in both classes of `sawteeth` and `turns` by symmetry, and hardly differ in
`periods`. The rows: summaries alone; the defaults; with --last-state, the last state of a forecaster with its defaults.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsode import JumpODEForecaster, SeriesClassifier, SeriesEncoder

Labelled = tuple[list, np.ndarray]


def times(rng: np.random.Generator, fewest: int, most: int) -> np.ndarray:
    return np.sort(rng.uniform(0.0, 8.0, rng.integers(fewest, most)))


def sawteeth(n: int, seed: int) -> Labelled:
    """Slow up and fast down, or the reverse; random period and phase."""
    rng, label, series = np.random.default_rng(seed), np.arange(n) % 2, []
    for k in label:
        t = times(rng, 25, 40)
        tooth = 2.0 * ((t / rng.uniform(1.5, 2.5) + rng.uniform()) % 1.0) - 1.0
        series.append(pd.Series((-1.0) ** k * tooth + 0.1 * rng.normal(size=len(t)), index=t))
    return series, label


def turns(n: int, seed: int) -> Labelled:
    """Two channels, never seen together, of a point that goes round one way or the other."""
    rng, label, series = np.random.default_rng(seed), np.arange(n) % 2, []
    for k in label:
        t = times(rng, 30, 50)
        angle = 2.0 * np.pi * (t / rng.uniform(2.0, 3.0) + rng.uniform())
        values = np.stack([np.cos(angle), (-1.0) ** k * np.sin(angle)], axis=1) + 0.1 * rng.normal(size=(len(t), 2))
        values[np.arange(len(t)), rng.integers(0, 2, len(t))] = np.nan
        series.append(pd.DataFrame(values, index=t, columns=["east", "north"]))
    return series, label


def periods(n: int, seed: int) -> Labelled:
    """Noisy waves of period 2 or 2.5 in 12 to 19 observations: three to five a period."""
    rng, label, series = np.random.default_rng(seed), np.arange(n) % 2, []
    for k in label:
        t = times(rng, 12, 20)
        wave = np.sin(2.0 * np.pi * (t / (2.0, 2.5)[k] + rng.uniform()))
        series.append(pd.Series(wave + 0.2 * rng.normal(size=len(t)), index=t))
    return series, label


def measure(
    task: Callable[[int, int], Labelled], n: int, seed: int, with_last_state: bool
) -> dict[str, tuple[float, float]]:
    """Accuracy on 400 other series, and CPU seconds of the fit."""
    (X, y), (others, truth) = task(n, seed), task(400, 1000 + seed)
    encoders = {"last state": SeriesEncoder(JumpODEForecaster(), pooling="last")} if with_last_state else {}
    found = {}
    for name, encoder in (encoders | {"defaults": None}).items():
        start = time.process_time()
        classifier = SeriesClassifier(encoder, random_state=seed).fit(X, y)
        found[name] = classifier.score(others, truth), time.process_time() - start
    n_states = len(classifier.encoder_.get_feature_names_out())
    summaries, those = (classifier.transform(some)[:, n_states:] for some in (X, others))
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(summaries, y)
    return {"summaries": (head.score(those, truth), 0.0), **found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-series", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--last-state", action="store_true")
    arguments = parser.parse_args()
    for task in (sawteeth, turns, periods):
        runs = [measure(task, arguments.n_series, seed, arguments.last_state) for seed in range(arguments.seeds)]
        for name in runs[0]:
            accuracy, seconds = zip(*(run[name] for run in runs))
            print(
                f"{task.__name__:9} {name:10}  accuracy {' '.join(f'{a:.3f}' for a in accuracy)}"
                f"  CPU seconds {' '.join(f'{s:.1f}' for s in seconds)}",
                flush=True,
            )
