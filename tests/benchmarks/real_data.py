"""Accuracy on real data: PhysioNet 2012 set-a and USHCN, three random splits by series.

    python tests/benchmarks/real_data.py [--sets physionet ushcn] [--splits 0 1 2] [--json FILE]

Series are split 60 / 20 / 20 at random; models see the train part, stop early on the valid part, and forecast the test
part from its histories. PhysioNet: the first 24 hours are seen, all of the rest is forecast. USHCN: three years are
seen, the next three observations and all of the following year are forecast. Errors are per channel over all test
values, in units where the train and valid parts span [0, 1] (PhysioNet) or have unit variance (USHCN), then the mean
over channels; coverage is over all values. The folder is read from TSODE_REAL_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tsode import ConstantForecaster, JumpODEForecaster, LastValueForecaster

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
LEVELS = (50, 80, 90)
QUANTILES = np.arange(1, 100) / 100


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


def ushcn() -> tuple[pd.DataFrame, float, float]:
    return long_frame("ushcn_rebuild"), 147.06, 53.0  # 49.02 units = 1 year


def split(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    ids = np.random.default_rng(seed).permutation(frame["unique_id"].unique())
    cuts = [int(0.6 * len(ids)), int(0.8 * len(ids))]
    return [frame[frame["unique_id"].isin(part)] for part in np.split(ids, cuts)]


def table_row(truth: np.ndarray, unit: np.ndarray, quantiles: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """Scores; ``truth`` and ``mean`` (rows, channels), ``quantiles`` (99, rows, channels), ``unit`` per channel."""
    seen = ~np.isnan(truth)
    error = (truth - mean) / unit
    absolute = (truth - quantiles[49]) / unit
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
        low, high = quantiles[round(50 - level / 2) - 1], quantiles[round(50 + level / 2) - 1]
        row[f"cov{level}"] = float(((truth >= low) & (truth <= high))[seen].mean())
    return row


def run(name: str, seed: int, settings: dict) -> list[dict]:
    frame, cut, horizon = {"physionet": physionet, "ushcn": ushcn}[name]()
    train, valid, test = split(frame, seed)
    channels = list(frame.columns[2:])
    known = pd.concat([train, valid])[channels]
    unit = (known.max() - known.min() if name == "physionet" else known.std()).replace(0.0, 1.0).to_numpy()
    history, future = test[test["ds"] <= cut], test[(test["ds"] > cut) & (test["ds"] <= cut + horizon)]
    future = future[future["unique_id"].isin(history["unique_id"])]
    targets = {"all": future}
    if name == "ushcn":
        targets = {"next 3": future.groupby("unique_id").head(3), "next year": future}
    rows = []
    models = {
        "channel mean": None,
        "last value": LastValueForecaster(horizon=horizon),
        "series mean": ConstantForecaster(horizon=horizon),
        "JumpODE": JumpODEForecaster(horizon=horizon, random_state=seed, **settings),
    }
    for label, model in models.items():
        started = time.process_time()
        if isinstance(model, JumpODEForecaster):
            model.fit(train, validation=valid)
        elif model is not None:
            model.fit(pd.concat([train, valid]))
        fitted = time.process_time() - started
        for target, asked in targets.items():
            truth = asked[channels].to_numpy()
            if model is None:  # the mean and the quantiles of each channel, whatever the series
                mean = np.broadcast_to(known.mean().to_numpy(), truth.shape)
                quantiles = np.stack([np.broadcast_to(q, truth.shape) for q in known.quantile(QUANTILES).to_numpy()])
            else:
                out = model.predict_quantiles(asked, context=history, quantiles=QUANTILES)
                quantiles = np.stack([out[[f"{c}-q-{q:g}" for c in channels]].to_numpy() for q in QUANTILES])
                mean = model.predict(asked, context=history)[channels].to_numpy()
            row = {
                "set": name,
                "split": seed,
                "target": target,
                "model": label,
                "values": int((~np.isnan(truth)).sum()),
            }
            row |= table_row(truth, unit, quantiles, mean) | {"fit_cpu_s": round(fitted, 1)}
            row["epochs"] = getattr(model, "n_iter_", 0)
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["physionet", "ushcn"])
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON of JumpODEForecaster parameters")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not FOLDER.exists():
        print(f"no data in {FOLDER}: set TSODE_REAL_DATA")
        return 2
    rows: list[dict] = []
    for name in args.sets:
        for seed in args.splits:
            rows += run(name, seed, args.settings)
            print(f"{name} split {seed} done", file=sys.stderr)
    table = pd.DataFrame(rows)
    last = table[table["model"] == "last value"].set_index(["set", "split", "target"])
    for metric in ("MSE", "MAE"):
        base = [last.loc[tuple(key), metric] for key in table[["set", "split", "target"]].to_numpy()]
        table[f"{metric}/last"] = table[metric] / np.array(base)
    pd.options.display.float_format = "{:.4g}".format
    print(table.to_string(index=False))
    mean = table.drop(columns="split").groupby(["set", "target", "model"], sort=False).mean(numeric_only=True)
    print("\nmean over splits\n" + mean.to_string())
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
