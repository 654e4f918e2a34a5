"""Likelihood of point processes: simulated ones beside their truth, and real event streams beside a counting model.

    python tests/benchmarks/point_process.py [--tasks taxi ...] [--intensities neural_jump ...] [--json FILE]

Log-likelihoods are in nats per event of the test streams, in the data's own unit of time; higher is better. `valid`
is on the validation streams, on which training stops and any choice was made. The tasks:

- hawkes, self_correcting: 1,000 / 200 / 500 simulated streams on [0, 100], scored over the whole window. `gap` is the
  truth's log-likelihood on the same test streams minus the model's, `se` its paired standard error over streams, `p`
  the Kolmogorov-Smirnov test that the time-rescaled gaps of 100 of the test streams are exponential.
- taxi, earthquake: events_taxi and events_earthquake with their own split. The first event of a stream is given, and
  the integral ends at its last event. The counting model has a log-normal gap given the last mark and Markov marks.
- speed: CPU seconds for the Hawkes log-likelihood of 1,000 streams of 100 events.

The default settings are the same for all tasks. The folder is read from TSODE_REAL_DATA.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tsode import PointProcessForecaster
from tsode.core.events import StreamBatch
from tsode.intensities import INTENSITIES, HawkesExponential, Intensity, SelfCorrecting
from tsode.intensities.thinning import simulate

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
SPAN = 100.0


def true_intensity(name: str) -> Intensity:
    """Hawkes with baseline .2 and kernel .8 exp(-t); self-correcting with exp(t - N(t))."""
    made = (HawkesExponential if name == "hawkes" else SelfCorrecting)(1).double().requires_grad_(False)
    if isinstance(made, HawkesExponential):
        made.log_mu.fill_(math.log(0.2))
        made.log_alpha.fill_(math.log(0.8))
    else:
        made.log_mu.zero_()
        made.pause.fill_(1.0)
    return made


def draw(truth: Intensity, n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, StreamBatch]:
    """Events, windows, and both as a batch."""
    nothing = torch.zeros(n, dtype=torch.float64)
    keys = np.arange(n, dtype=np.uint64) + np.uint64(1_000_000 * seed)
    drawn = simulate(truth, truth.start(n), nothing, nothing + SPAN, keys)
    ids = drawn.rows + 1_000_000 * seed
    events = pd.DataFrame({"unique_id": ids, "ds": drawn.times})
    windows = pd.DataFrame({"unique_id": np.arange(n) + 1_000_000 * seed, "start": 0.0, "end": SPAN})
    cuts = np.searchsorted(drawn.rows, np.arange(1, n))
    times, marks = np.split(drawn.times, cuts), np.split(drawn.marks, cuts)
    return events, windows, StreamBatch.from_arrays(times, marks, np.zeros(n), np.full(n, SPAN))


def run_simulated(task: str, names: list[str], seed: int, settings: dict) -> list[dict]:
    truth = true_intensity(task)
    parts = [draw(truth, n, 3 * seed + k) for k, n in enumerate((1000, 200, 500))]
    (train, train_windows, _), (valid, valid_windows, _), (test, windows, batch) = parts
    both = pd.concat([train_windows, valid_windows])
    with torch.no_grad():
        trace = truth.trace(batch)
    best = trace.log_likelihood()
    n_events = int(batch.lengths.sum())
    row = {"task": task, "events": n_events}
    rows = [{**row, "model": "truth", "test": float(best.sum()) / n_events, "gap": 0.0}]
    some = windows.iloc[:100]
    few = test[test["unique_id"].isin(some["unique_id"])]
    for name in names:
        model = PointProcessForecaster(name, mark_col=None, random_state=seed, **settings)
        started = time.process_time()
        model.fit(train, validation=valid, windows=both)
        fitted = time.process_time() - started
        table = model.log_likelihood(test, windows=windows).set_index("unique_id")
        lost = best.numpy() - table["log_likelihood"].loc[windows["unique_id"]].to_numpy()
        result = {
            "valid": model.score(valid, windows=valid_windows),
            "test": table["log_likelihood"].sum() / n_events,
            "gap": lost.sum() / n_events,
            "se": lost.std() * math.sqrt(len(lost)) / n_events,
            "p": model.ks_test(few, windows=some).pvalue,
        }
        rows.append({**row, "model": name, **result, "epochs": model.n_iter_, "fit_cpu_s": fitted})
    return rows


def counting_model(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Log-likelihood per event of log-normal gaps given the last mark, and marks of a Markov chain (one added)."""

    def pairs(frame: pd.DataFrame) -> pd.DataFrame:
        one = frame.sort_values(["unique_id", "ds"], kind="stable")
        group = one.groupby("unique_id")
        return one.assign(gap=group["ds"].diff(), last=group["mark"].shift()).dropna().astype({"last": int})

    known, asked = pairs(train), pairs(test)
    shortest = known["gap"][known["gap"] > 0].min()  # two events at one time have no log gap
    for part in (known, asked):
        part["log_gap"] = np.log(part["gap"].clip(lower=shortest))
    n_marks = 1 + int(max(known["mark"].max(), asked["mark"].max()))
    of_last = known.groupby("last")["log_gap"]
    usual = (known["log_gap"].mean(), known["log_gap"].std(ddof=0))
    mean = of_last.mean().reindex(range(n_marks)).fillna(usual[0])
    spread = of_last.std(ddof=0).where(of_last.size() > 1).reindex(range(n_marks)).fillna(usual[1])
    counts = np.ones((n_marks, n_marks))
    np.add.at(counts, (known["last"], known["mark"]), 1.0)
    chain = np.log(counts / counts.sum(axis=1, keepdims=True))
    z = (asked["log_gap"].to_numpy() - mean[asked["last"]].to_numpy()) / spread[asked["last"]].to_numpy()
    gap = -0.5 * z**2 - np.log(spread[asked["last"]].to_numpy()) - 0.5 * math.log(2 * math.pi) - asked["log_gap"]
    return float((gap + chain[asked["last"], asked["mark"]]).mean())


def run_real(task: str, names: list[str], seed: int, settings: dict) -> list[dict]:
    rows = pd.read_parquet(FOLDER / f"events_{task}.parquet").rename(columns={"series": "unique_id", "time": "ds"})
    train, valid, test = (rows[rows["split"] == part].drop(columns="split") for part in ("train", "dev", "test"))
    row = {"task": task, "events": len(test) - test["unique_id"].nunique()}
    found = [{**row, "model": "counting", "valid": counting_model(train, valid), "test": counting_model(train, test)}]
    for name in names:
        model = PointProcessForecaster(name, random_state=seed, **settings)
        started = time.process_time()
        model.fit(train, validation=valid)
        fitted = time.process_time() - started
        result = {"valid": model.score(valid), "test": model.score(test)}
        found.append({**row, "model": name, **result, "epochs": model.n_iter_, "fit_cpu_s": fitted})
    return found


def run_speed() -> list[dict]:
    times = np.sort(np.random.default_rng(0).uniform(0.0, SPAN, (1000, 100)), axis=1)
    marks = np.zeros((1000, 100), dtype=np.int64)
    batch = StreamBatch.from_arrays(list(times), list(marks), np.zeros(1000), np.full(1000, SPAN))
    truth = true_intensity("hawkes")
    seconds = []
    for _ in range(5):
        started = time.process_time()
        truth.trace(batch).log_likelihood()
        seconds.append(time.process_time() - started)
    return [{"task": "speed", "events": 100_000, "model": "hawkes", "cpu_s": float(np.median(seconds))}]


def main() -> int:
    tasks = ["hawkes", "self_correcting", "taxi", "earthquake", "speed"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks)
    parser.add_argument("--intensities", nargs="+", default=None, choices=sorted(INTENSITIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of parameters, for ablations")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if {"taxi", "earthquake"} & set(args.tasks) and not FOLDER.exists():
        print(f"no data in {FOLDER}: set TSODE_REAL_DATA")
        return 2
    rows: list[dict] = []
    for task in args.tasks:
        for seed in args.seeds:
            if task == "speed":
                rows += run_speed()
            elif task in ("taxi", "earthquake"):
                rows += run_real(task, args.intensities or ["poisson", "hawkes", "neural_jump"], seed, args.settings)
            else:
                rows += run_simulated(task, args.intensities or [task, "neural_jump"], seed, args.settings)
            print(f"{task} seed {seed} done", file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))
    pd.options.display.float_format = "{:.4f}".format
    pd.options.display.width = 200
    print(pd.DataFrame(rows).to_string(index=False, na_rep=""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
