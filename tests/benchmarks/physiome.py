"""Accuracy on the Physiome-ODE benchmark: one default configuration, beside every published number.

    python tests/benchmarks/physiome.py [--sets LI01 ...] [--folds 0 ...] [--estimator JumpODEForecaster] [--json FILE]
    python tests/benchmarks/physiome.py --show FILE ...     the table of results that earlier runs wrote

For each set and fold the estimator is fitted on the training series, stops early on the validation series, and is
scored once on the test series: forecasts of the second half of each series from its first half, mean squared error
pooled over all test values. The folder is read from PHYSIOME_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.estimators import FORECASTERS

FOLDER = Path(os.environ.get("PHYSIOME_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "physiome"))


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a series and time, one column a channel."""
    table = rows.pivot(index=["series", "time"], columns="channel", values="value")
    table.columns = [f"x{channel}" for channel in table.columns]
    return table.reset_index().rename(columns={"series": "unique_id", "time": "ds"})


def load(code: str, fold: int, entry: dict[str, Any]) -> dict[str, dict[str, pd.DataFrame]]:
    rows = pd.read_parquet(FOLDER / f"{code}.parquet", filters=[("fold", "==", fold)])
    ids = entry["folds"][str(fold)]
    return {
        part: {
            split: rows[rows["series"].isin(ids[part]) & (rows["split"] == split)] for split in ("observed", "target")
        }
        for part in ("train", "valid", "test")
    }


def fit_and_score(code: str, fold: int, entry: dict[str, Any], name: str, settings: dict[str, Any]) -> dict[str, float]:
    parts = load(code, fold, entry)
    train, valid = (wide(pd.concat(parts[part].values())) for part in ("train", "valid"))
    model = FORECASTERS[name](**({"random_state": 0} | settings))
    started = time.process_time()
    model.fit(train, validation=valid)
    seconds = time.process_time() - started
    context = wide(parts["test"]["observed"]).reindex(columns=train.columns)
    target = parts["test"]["target"]
    asked = target[["series", "time"]].drop_duplicates().rename(columns={"series": "unique_id", "time": "ds"})
    started = time.process_time()
    answer = model.predict(asked, context=context).set_index(["unique_id", "ds"])
    forecast_seconds = time.process_time() - started
    flat = answer.to_numpy().reshape(-1)
    row = answer.index.get_indexer(pd.MultiIndex.from_frame(target[["series", "time"]]))
    column = answer.columns.get_indexer([f"x{channel}" for channel in target["channel"]])
    error = target["value"].to_numpy() - flat[row * answer.shape[1] + column]
    valid_loss = model.history_["valid_loss"] if len(model.history_) else pd.Series([np.nan])
    return {
        "mse": float(np.mean(error**2)),
        "cpu_seconds": seconds,
        "forecast_seconds": forecast_seconds,
        "valid_mse": float(model.history_["valid_mse"][valid_loss.idxmin()]) if len(model.history_) else np.nan,
        "best_epoch": int(valid_loss.argmin()) + 1,
    }


def show(results: dict[str, dict[str, list[float]]], sets: dict[str, Any]) -> None:
    """Print mean and standard deviation over folds of every set beside the published numbers."""
    print(f"{'set':6} {'MSE':>7} {'sd':>7} {'valid':>7} {'max s':>6} {'best':>5}  {'ratio':>5} {'rank':>5}   published")
    ratios, firsts = [], []
    for code, result in results.items():
        published = {name: peer["mse"] for name, peer in sets[code]["published"].items()}
        mean, best = float(np.mean(result["mse"])), min(published.values())
        ratios.append(mean / best)
        firsts.append(result["mse"][0] / best)
        rank = 1 + sum(mse < mean for mse in published.values())
        others = ", ".join(f"{name} {mse:.3f}" for name, mse in sorted(published.items(), key=lambda item: item[1]))
        print(
            f"{code:6} {mean:7.4f} {np.std(result['mse']):7.4f} {np.mean(result['valid_mse']):7.4f} "
            f"{max(result['cpu_seconds']):6.0f} {np.mean(result['best_epoch']):5.1f}  {ratios[-1]:5.2f} "
            f"{rank:2d}/{len(published) + 1:<2d}   {others}"
        )
    print(f"geometric mean of MSE / best published: {np.exp(np.mean(np.log(ratios))):.3f} over {len(ratios)} sets")
    print(f"the same of the first fold alone: {np.exp(np.mean(np.log(firsts))):.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--estimator", default="JumpODEForecaster", choices=sorted(FORECASTERS))
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of parameters, for ablations")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", nargs="+", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not (FOLDER / "manifest.json").exists():
        print(f"no benchmark in {FOLDER}: set PHYSIOME_DATA")
        return 2
    sets = json.loads((FOLDER / "manifest.json").read_text())["datasets"]
    results: dict[str, dict[str, list[float]]] = {}
    if args.show:
        for file in args.show:
            results |= json.loads(file.read_text())
        show(results, sets)
        return 0
    for code in args.sets or list(sets):
        folds = [fit_and_score(code, fold, sets[code], args.estimator, args.settings) for fold in args.folds]
        results[code] = {key: [fold[key] for fold in folds] for key in folds[0]}
        print(f"{code}: {results[code]}", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1))
    show(results, sets)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
