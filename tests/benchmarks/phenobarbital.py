"""What doses are worth: phenobarbital in 59 newborns, subjects left out of fit, three concentrations each.

    python tests/benchmarks/phenobarbital.py [--folds 59] [--estimators ...] [--json FILE]

Every concentration of a subject that fit has not seen is forecast from the earlier ones and, by the models that are
told of them, from the doses before it (mg per kg of birth weight). Errors are root mean squares of the logarithm of
the concentration, over all concentrations that have an earlier one in the same subject (96), where a last value
exists, and over the first ones (59), of which only doses say anything. With 59 folds each subject is left out alone.
The folder is read from TSODE_REAL_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tsode import JumpODEForecaster, LastValueForecaster, LinearSDEForecaster
from tsode.estimators.forecasters.base import BaseForecaster

FOLDER = Path(os.environ.get("TSODE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "real"))
LOWEST = 1.0  # mg/L, below any concentration that was measured: a forecast must have a logarithm

ESTIMATORS = {
    "LinearSDEForecaster": lambda: LinearSDEForecaster(n_state=2, horizon=100.0, random_state=0),
    "JumpODEForecaster": lambda: JumpODEForecaster(n_modes=8, n_static=4, n_hidden=32, horizon=100.0, random_state=0),
    "LastValueForecaster": lambda: LastValueForecaster(horizon=100.0),
}


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Concentrations, and doses per kg."""
    rows = pd.read_parquet(FOLDER / "pk_phenobarb.parquet").rename(columns={"series": "unique_id", "time": "ds"})
    frame = rows[["unique_id", "ds"]].assign(mg_per_l=rows["value"])
    doses = pd.read_parquet(FOLDER / "pk_phenobarb_doses.parquet").rename(columns={"series": "unique_id", "time": "ds"})
    weight = pd.read_parquet(FOLDER / "pk_phenobarb_static.parquet").set_index("series")["weight_kg"]
    doses["amount"] = doses.pop("amount_mg") / doses["unique_id"].map(weight).to_numpy()
    return frame.sort_values(["unique_id", "ds"], ignore_index=True), doses


def forecast(model: BaseForecaster, left_out: pd.DataFrame, doses: pd.DataFrame | None) -> np.ndarray:
    told = {} if doses is None else {"events": doses}
    return model.predict(left_out[["unique_id", "ds"]], context=left_out, **told)["mg_per_l"].to_numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, default=59)
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=list(ESTIMATORS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not FOLDER.exists():
        print(f"no data in {FOLDER}: set TSODE_REAL_DATA")
        return 2
    frame, doses = read()
    ids = np.random.default_rng(0).permutation(frame["unique_id"].unique())
    is_first = ~frame["unique_id"].duplicated().to_numpy()
    rows = []
    for name in args.estimators:
        for told in (doses, None) if name != "LastValueForecaster" else (None,):
            predicted, started = np.full(len(frame), np.nan), time.process_time()
            for part in np.array_split(ids, args.folds):
                is_out = frame["unique_id"].isin(part).to_numpy()
                model = ESTIMATORS[name]()
                model.fit(frame[~is_out], **({} if told is None else {"events": told}))
                predicted[is_out] = forecast(model, frame[is_out], told)
            error = np.log(np.maximum(predicted, LOWEST)) - np.log(frame["mg_per_l"].to_numpy())
            row = {"estimator": name, "doses": told is not None}
            row |= {"later RMSE": float(np.sqrt(np.mean(error[~is_first] ** 2)))}
            row |= {"first RMSE": float(np.sqrt(np.mean(error[is_first] ** 2)))}
            rows.append(row | {"cpu_s a fit": round((time.process_time() - started) / args.folds, 1)})
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
