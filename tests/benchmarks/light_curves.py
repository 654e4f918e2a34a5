"""Light curves of RR Lyrae stars: later nights forecast from the first 60 % of each star's nights, five bands.

    python tests/benchmarks/light_curves.py [--check] [--stars 242] [--json FILE]

"alone" fits each star by itself, with the law of the errors from the other half of the stars; "pooled" has the shape
from the other half too: stars are dealt to two halves in turn, and each half is scored with what was learned from all
nights of the other. The score is the CRPS from 19 quantiles, over all values of a band. With ``--check`` the exit code
is 1 if a figure misses its bar. The folder is read from TSODE_REAL_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tsode.core.batch import IrregularBatch
from tsode.core.series import Series
from tsode.models.folded.model import FoldedModel

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
BANDS = list("ugriz")
GIVEN = 0.6
LEVELS = np.arange(1, 20) / 20.0

BARS = {
    "alone": {"CRPS g": (0.0, 0.041), "90 % holds": (0.85, 0.93)},
    "pooled": {"CRPS g": (0.0, 0.038), "90 % holds": (0.85, 0.93), "periods right": (0.95, 1.0)},
}


def read() -> tuple[list[Series], np.ndarray]:
    """Stars as series, in magnitudes and days, and their catalogue's periods."""
    rows = pd.read_parquet(FOLDER / "rrlyrae_sdss_s82.parquet")
    periods = pd.read_parquet(FOLDER / "rrlyrae_sdss_s82_static.parquet").set_index("series")["period_days"]
    stars, names = [], []
    for name, star in rows.groupby("series"):
        table = star.pivot_table(index="time", columns="channel", values="value").reindex(columns=BANDS)
        stars.append(Series(table.index.to_numpy(float), table.to_numpy(float)))
        names.append(name)
    return stars, periods.loc[names].to_numpy()


def split(star: Series) -> tuple[Series, Series]:
    """The first 60 % of the nights, and the others."""
    nights = np.floor(star.times)
    each = np.unique(nights)
    n = int((nights <= each[round(GIVEN * len(each)) - 1]).sum())
    return star.part(slice(n)), star.part(slice(n, None))


def score(model: FoldedModel, star: Series) -> tuple[np.ndarray, np.ndarray, float]:
    """CRPS and whether the 90 % interval holds, of each later value (n c; NaN = no value), and the period."""
    given, later = split(star)
    batch = IrregularBatch.from_arrays([given.times], [given.values], torch.float64)
    forecast = model.forecast(batch, torch.tensor(later.times)[None])
    quantiles = forecast.quantile(torch.from_numpy(LEVELS))[0].numpy()
    error = later.values[..., None] - quantiles
    crps = 2.0 * np.maximum(LEVELS * error, (LEVELS - 1.0) * error).mean(axis=-1)
    held = (later.values >= quantiles[..., 0]) & (later.values <= quantiles[..., -1])
    return crps, np.where(np.isfinite(later.values), held, np.nan), float(model.periods(batch)[0])


def run(stars: list[Series], periods: np.ndarray, pooled: bool) -> dict[str, float]:
    learned, spent, parts, found = 0.0, 0.0, [], np.zeros(len(stars))
    for half in (0, 1):
        model = FoldedModel(len(BANDS), pooled=pooled)
        started = time.process_time()
        model.learn(stars[1 - half :: 2])
        learned += time.process_time() - started
        started = time.process_time()
        for i in range(half, len(stars), 2):
            crps, held, found[i] = score(model, stars[i])
            parts.append((crps, held))
        spent += time.process_time() - started
    crps, held = (np.concatenate(column) for column in zip(*parts, strict=True))
    row = {f"CRPS {band}": float(np.nanmean(crps[:, k])) for k, band in enumerate(BANDS)}
    row["90 % holds"] = float(np.nanmean(held))
    row["periods right"] = float((np.abs(found / periods - 1.0) < 1e-3).mean())
    row["CPU-s a star, learning"] = learned / len(stars)
    row["CPU-s a star, two searches and a forecast"] = spent / len(stars)
    return row


def main() -> int:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a figure misses its bar")
    parser.add_argument("--stars", type=int, default=10**6, help="so many of them, evenly spread")
    parser.add_argument("--models", nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not (FOLDER / "rrlyrae_sdss_s82.parquet").exists():
        print(f"no light curves in {FOLDER}: set TSODE_REAL_DATA")
        return 2
    stars, periods = read()
    chosen = np.unique(np.linspace(0, len(stars) - 1, min(args.stars, len(stars))).round().astype(int))
    results, n_missed = {}, 0
    for name in args.models:
        row = results[name] = run([stars[i] for i in chosen], periods[chosen], pooled=name == "pooled")
        print(f"{name}, {len(chosen)} stars")
        for figure, value in row.items():
            low, high = BARS[name].get(figure, (-np.inf, np.inf))
            is_missed = not low <= value <= high
            n_missed += is_missed
            bar = f"   bar {low:g} to {high:g}{'   MISSED' if is_missed else ''}" if np.isfinite(high) else ""
            print(f"  {figure:<42} {value:.4f}{bar}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    return int(args.check and n_missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
