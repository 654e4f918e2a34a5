"""Accuracy on real data: PhysioNet 2012 set-a and USHCN, three random splits by series.

    python tests/benchmarks/real_data.py [--tasks physionet ...] [--splits 0 1 2] [--estimators ...] [--json FILE]

Series are split 60 / 20 / 20 at random; models see the train part, stop early on the valid part, and forecast the test
part from its histories. The tasks:

- physionet: the first 24 hours are seen, all of the rest of 48 is forecast.
- ushcn: three years are seen, the next three observations and all of the following year are forecast, by one model.
- ushcn_month: 24 months are seen, the next month is forecast, at every month of the last two years.

Errors are per channel over all test values, in units where the train and valid parts span [0, 1] (PhysioNet) or have
unit variance (USHCN), then the mean over channels; MSE is that of the predictive mean, MAE that of the median, CRPS
from 19 quantiles. Coverage is over all values. Beside the models stand the mean of each channel, the last value, the
mean of the series, and (USHCN) the same month of the year before. `pred_cpu_s` is CPU time for the mean of 1,000
series at all their times. The folder is read from TSODE_REAL_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsode import ConstantForecaster, LastValueForecaster
from tsode.estimators import FORECASTERS

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
LEVELS = (50, 80, 90)
QUANTILES = np.arange(1, 20) / 20


def long_frame(name: str, time: str = "time") -> pd.DataFrame:
    rows = pd.read_parquet(FOLDER / f"{name}.parquet")
    table = rows.pivot_table(index=["series", time], columns="channel", values="value", aggfunc="mean", observed=True)
    table.columns = [str(c) for c in table.columns]
    return table.reset_index().rename(columns={"series": "unique_id", time: "ds"})


def physionet() -> tuple[pd.DataFrame, float, float]:
    frame = long_frame("physionet2012_a")
    values = frame.columns[2:]
    frame[values] = frame[values].where(frame[values] >= 0)  # negative codes mean missing
    return frame.dropna(subset=values, how="all"), 24.0, 24.0


YEAR = 49.02  # in the time unit of USHCN


def ushcn() -> tuple[pd.DataFrame, float, float]:
    return long_frame("ushcn_rebuild"), 3 * YEAR, 53.0


def ushcn_month() -> tuple[pd.DataFrame, float, float]:
    return long_frame("ushcn_rebuild"), 2 * YEAR, YEAR / 12


TASKS = {"physionet": physionet, "ushcn": ushcn, "ushcn_month": ushcn_month}


def split(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    ids = np.random.default_rng(seed).permutation(frame["unique_id"].unique())
    cuts = [int(0.6 * len(ids)), int(0.8 * len(ids))]
    return [frame[frame["unique_id"].isin(part)] for part in np.split(ids, cuts)]


def table_row(truth: np.ndarray, unit: np.ndarray, quantiles: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """Scores; ``truth`` and ``mean`` (rows, channels), ``quantiles`` (19, rows, channels), ``unit`` per channel."""
    seen = ~np.isnan(truth)
    error = (truth - mean) / unit
    absolute = (truth - quantiles[9]) / unit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel without test values has no mean
        row = {
            "MSE": float(np.nanmean(np.nanmean(error**2, axis=0))),
            "MAE": float(np.nanmean(np.nanmean(np.abs(absolute), axis=0))),
        }
        gap = (truth - quantiles) / unit
        pinball = np.maximum(QUANTILES[:, None, None] * gap, (QUANTILES[:, None, None] - 1) * gap)
        row["CRPS"] = float(2 * np.nanmean(np.nanmean(pinball, axis=(0, 1))))
    for level in LEVELS:
        low, high = quantiles[round((50 - level / 2) / 5) - 1], quantiles[round((50 + level / 2) / 5) - 1]
        row[f"cov{level}"] = float(((truth >= low) & (truth <= high))[seen].mean())
    return row


def histories(part: pd.DataFrame, task: str, cut: float, horizon: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is seen and what is asked; at every month of a task with many cuts, each cut a series of its own."""
    cuts = [cut + k * horizon for k in range(24)] if task == "ushcn_month" else [cut]
    seen, asked = [], []
    for k, when in enumerate(cuts):
        one = part.assign(unique_id=part["unique_id"].astype(str) + f"-{k}") if len(cuts) > 1 else part
        start = when - cut if len(cuts) > 1 else -np.inf
        history = one[(one["ds"] <= when) & (one["ds"] > start)]
        future = one[(one["ds"] > when) & (one["ds"] <= when + horizon)]
        asked.append(future[future["unique_id"].isin(history["unique_id"])])
        seen.append(history[history["unique_id"].isin(asked[-1]["unique_id"])] if len(cuts) > 1 else history)
    return pd.concat(seen), pd.concat(asked)


def same_month_last_year(history: pd.DataFrame, asked: pd.DataFrame, channels: list[str]) -> np.ndarray:
    """Mean of the same month a year earlier of the same series, else of its history, else 0."""
    month = YEAR / 12

    def key(times: pd.Series) -> pd.Series:
        return np.floor(times / month).astype(int)

    past = history[channels].groupby([history["unique_id"], key(history["ds"])]).mean()
    own = history.groupby("unique_id")[channels].mean().reindex(asked["unique_id"]).to_numpy()
    before = past.reindex(pd.MultiIndex.from_arrays([asked["unique_id"], key(asked["ds"]) - 12])).to_numpy()
    return np.nan_to_num(np.where(np.isnan(before), own, before))


def run(task: str, seed: int, estimators: list[str], settings: dict) -> list[dict]:
    frame, cut, horizon = TASKS[task]()
    train, valid, test = split(frame, seed)
    channels = list(frame.columns[2:])
    known = pd.concat([train, valid])[channels]
    unit = (known.max() - known.min() if task == "physionet" else known.std()).replace(0.0, 1.0).to_numpy()
    history, future = histories(test, task, cut, horizon)
    targets = {"all": future}
    if task == "ushcn":
        targets = {"next 3": future.groupby("unique_id").head(3), "next year": future}
    rows = []
    models: dict[str, Any] = {
        "channel mean": None,
        "same month": None,
        "last value": LastValueForecaster(horizon=horizon),
        "series mean": ConstantForecaster(horizon=horizon),
    }
    if task == "physionet":
        del models["same month"]
    models |= {name: FORECASTERS[name](horizon=horizon, random_state=seed, **settings) for name in estimators}
    for label, model in models.items():
        started = time.process_time()
        if label in estimators:
            model.fit(train, validation=valid)
        elif model is not None:
            model.fit(pd.concat([train, valid]))
        fitted = time.process_time() - started
        for target, asked in targets.items():
            truth = asked[channels].to_numpy()
            started = time.process_time()
            if model is not None:
                mean = model.predict(asked, context=history)[channels].to_numpy()
                predicted = time.process_time() - started
                out = model.predict_quantiles(asked, context=history, quantiles=QUANTILES)
                quantiles = np.stack([out[[f"{c}-q-{q:g}" for c in channels]].to_numpy() for q in QUANTILES])
            elif label == "channel mean":  # the mean and the quantiles of each channel, whatever the series
                mean, predicted = np.broadcast_to(known.mean().to_numpy(), truth.shape), 0.0
                quantiles = np.stack([np.broadcast_to(q, truth.shape) for q in known.quantile(QUANTILES).to_numpy()])
            else:
                mean, predicted = same_month_last_year(history, asked, channels), 0.0
                quantiles = np.broadcast_to(mean, (len(QUANTILES), *mean.shape))
            row = {"task": task, "split": seed, "target": target, "model": label}
            row |= {"values": int((~np.isnan(truth)).sum())} | table_row(truth, unit, quantiles, mean)
            row |= {"fit_cpu_s": round(fitted, 1), "epochs": getattr(model, "n_iter_", 0)}
            row["pred_cpu_s"] = round(1000 * predicted / asked["unique_id"].nunique(), 2)
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--estimators", nargs="+", default=["JumpODEForecaster"], choices=sorted(FORECASTERS))
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of parameters, for ablations")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not FOLDER.exists():
        print(f"no data in {FOLDER}: set TSODE_REAL_DATA")
        return 2
    rows: list[dict] = []
    for task in args.tasks:
        for seed in args.splits:
            rows += run(task, seed, args.estimators, args.settings)
            print(f"{task} split {seed} done", file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))
    table = pd.DataFrame(rows)
    last = table[table["model"] == "last value"].set_index(["task", "split", "target"])
    for metric in ("MSE", "MAE"):
        base = [last.loc[tuple(key), metric] for key in table[["task", "split", "target"]].to_numpy()]
        table[f"{metric}/last"] = table[metric] / np.array(base)
    pd.options.display.float_format = "{:.4g}".format
    pd.options.display.width = 250
    print(table.to_string(index=False))
    mean = table.drop(columns="split").groupby(["task", "target", "model"], sort=False).mean(numeric_only=True)
    print("\nmean over splits\n" + mean.to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
