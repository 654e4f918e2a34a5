"""Scores of what a careful user would pick on the tasks of the first hour, in an environment of its own: `make peers`.

    python tests/benchmarks/peers_first_hour.py [--tasks NAME ...] [--models NAME ...] [--out FILE]

The frames are those of `first_hour.py`, which sets the table that this writes beside its own scores. Rows of the tasks
and models that are run take the place of those in FILE.

- seasonal naive, AutoETS, AutoARIMA, MSTL, prophet, Gaussian process: each channel of a single series by itself, told
  the season; gaps and uneven times are brought to a grid for the first four, the others see the times as they are.
  AutoARIMA is given three harmonics of a season of more than 12 rows or a broken number of them; it is chosen once a
  fit, and run over later histories. The naive of no season is the last value.
- last value, ridge, LightGBM: direct regressions of the difference from the last value on the last values of all
  channels and their ages, means, lead, clock, constants and doses; where series are regular and leads few, 24 values,
  and a ridge for each lead. Positive channels that are skewed are learned as logarithms. Penalties, numbers of trees
  and what intervals hold come from series, or stretches of the one there is, that were left out.
- linear mixed model: logarithms of levels, each subject with its own intercept and slope.
- Lomb-Scargle: up to five harmonics of one period for each star.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.first_hour_parts.peers import grid, mixed, periodic, regressions
from tests.benchmarks.first_hour_parts.tasks import TASKS
from tests.benchmarks.first_hour_parts.trials import Trial, scores_of, summary

RESULTS = Path(__file__).with_name("first_hour_peers.csv")
GRID = ("seasonal naive", "AutoETS", "AutoARIMA", "MSTL", "prophet", "Gaussian process")
DIRECT = ("last value", "ridge", "LightGBM")
MODELS: dict[str, Callable[[Trial], list[np.ndarray]]] = {
    **{name: partial(grid.forecast, name) for name in GRID},
    **{name: partial(regressions.forecast, name) for name in DIRECT},
    "linear mixed model": mixed.forecast,
    "Lomb-Scargle": periodic.forecast,
}
OF_TASK = {
    "co2": GRID,
    "classics": GRID,
    "classics_thinned": GRID,
    "lr04": GRID,
    "weather": ("seasonal naive", "AutoARIMA", "MSTL", *DIRECT),
    "theophylline": (*DIRECT, "linear mixed model"),
    "indomethacin": (*DIRECT, "linear mixed model"),
    "phenobarbital": (*DIRECT, "linear mixed model"),
    "pbc": (*DIRECT, "linear mixed model"),
    "glucose": DIRECT,
    "ushcn": DIRECT,
    "physionet": DIRECT,
    "rrlyrae": ("last value", "Lomb-Scargle"),
}


def score(name: str, model: str) -> dict[str, Any]:
    """One row of the table."""
    task, started, scored = TASKS[name], time.process_time(), []
    for trial in task.trials():
        scored.append(scores_of(trial, MODELS[model](trial)))
    row = {"task": name, "model": model} | summary(task, scored)
    return row | {"cpu_seconds": round(time.process_time() - started, 1)}


def write(row: dict[str, Any], out: Path) -> None:
    table = pd.DataFrame([row])
    if out.exists():
        before = pd.read_csv(out)
        is_other = (before["task"] != row["task"]) | (before["model"] != row["model"])
        table = pd.concat([before[is_other], table])
    place = {name: i for i, name in enumerate([*TASKS, *MODELS])}
    table = table.sort_values(["task", "model"], key=lambda column: column.map(place))
    table.to_csv(out, index=False, float_format="%.6g")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("prophet", "prophet.plot", "cmdstanpy"):
        logging.getLogger(name).disabled = True
    for name in arguments.tasks:
        why = TASKS[name].missing()
        if why:
            print(f"skip {name}: {why}", flush=True)
            continue
        for model in OF_TASK[name]:
            if model not in arguments.models:
                continue
            row = score(name, model)
            write(row, arguments.out)
            print(
                "{task:<17} {model:<19} CRPS {crps:<9.4g} 80 % hold {hold_80:3.0f} % 90 % hold {hold_90:3.0f} % "
                "{cpu_seconds:8.1f} CPU-s".format(**row),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
