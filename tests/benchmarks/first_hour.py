"""Thirteen tasks as users have them in their first hour: `AutoForecaster` beside what a careful user would pick.

    python tests/benchmarks/first_hour.py [--tasks NAME ...] [--models NAME ...] [--out FILE] [--check]

A model is the name of a forecaster, with settings after a colon: ``Auto``, ``Auto:budget=5``, ``JumpODEForecaster``,
``DirectForecaster:regression=boosting``. Its rows are merged into FILE, a JSON list; ``--models`` without a name runs
nothing. Every model gets the same frames, the horizon, and the events and constants that it reads. CRPS is that of 19
quantiles, .05 to .95: of each channel in standard deviations of the training data where there are several, then the
mean over channels; in the data's own units where there is one; of the textbook series by that of the seasonal naive, in
the geometric mean. The tasks (`first_hour_parts/`), with the number of fits:

- co2 (3): Mauna Loa, weekly, five years ahead from three cutoffs.
- classics (15): textbook series, the last fifth. classics_thinned (15): 30 % removed at random and times moved.
- weather (1): temperature, humidity and wind at Newark, 48 hours ahead from 30 cutoffs, fitted before the first.
- glucose (1): people held out, 30 to 120 minutes ahead.
- theophylline (4), indomethacin (3), phenobarbital (5): subjects held out; after two levels, or after each.
- pbc (1): patients held out, seven laboratory values in five years after the third visit.
- ushcn (1): daily weather at 119 stations, sporadic, 30 days ahead from six cutoffs after the fit.
- physionet (1): stays held out, six vital signs in hours 24 to 36 from the first 24.
- rrlyrae (1): twenty variable stars in five bands, the last 40 % of nights.
- lr04 (4): ice ages, 200,000 years ahead from four cutoffs.

Peers are those of `first_hour_peers.csv`, written by `make peers`. With ``--check`` the rows of FILE stand beside them
and their bars, and the exit code is 1 if one was missed, 2 if none could be measured. The folder of the real data is
read from TSODE_REAL_DATA; a task without its data says so and is left out. CPU seconds are of one thread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.first_hour_parts.check import check
from tests.benchmarks.first_hour_parts.forecasts import Model, model_of, run
from tests.benchmarks.first_hour_parts.tasks import TASKS
from tsode.errors import TsodeError


def merged(rows: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with a new one, in the place of that of the same task and model."""
    return [row for row in rows if (row["task"], row["model"]) != (new["task"], new["model"])] + [new]


def measure(models: list[Model], tasks: list[str], out: Path) -> None:
    for name in tasks:
        why = TASKS[name].missing()
        if why:
            print(f"skip {name}: {why}", flush=True)
            continue
        for model in models:
            try:
                row = run(model, TASKS[name])
            except TsodeError as error:
                print(f"{name} {model.label} does not apply: {str(error).splitlines()[0]}", flush=True)
                continue
            print(
                "{task:<17} {model:<40} CRPS {crps:<9.4g} 80 % hold {hold_80:3.0f} % 90 % hold {hold_90:3.0f} %  fit "
                "{fit_cpu_s:.1f}, at most {most_fit_cpu_s:.1f}, answers {predict_cpu_s:.1f} CPU-s".format(**row),
                flush=True,
            )
            rows = json.loads(out.read_text()) if out.exists() else []
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(merged(rows, row), indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--models", nargs="*", default=["Auto", "Auto:budget=5"])
    parser.add_argument("--out", type=Path, default=Path("output") / "first_hour.json")
    parser.add_argument("--check", action="store_true", help="compare what is in FILE with peers and bars")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure([model_of(label) for label in arguments.models], arguments.tasks, arguments.out)
    if not arguments.check:
        return 0
    return check(json.loads(arguments.out.read_text()) if arguments.out.exists() else [], arguments.tasks)


if __name__ == "__main__":
    raise SystemExit(main())
