"""Hostile frames in bulk: what every container, kind of times and defect comes to.

    python tests/benchmarks/hostile.py [--frames N] [--seed S] [--learned SHARE] [--tables SHARE]

Builds `--frames` frames and questions at random with the strategies of `tests/hostile` (other draws than in its test:
containers, kinds of times and defects are drawn evenly), lets a forecaster answer each, and judges the answer by
`check_hostile`: a finite forecast in the kind and at the times asked for, the same as from the canonical data, or an
error of tsode that names a fix; never another exception, a warning, changed data or a hang. Prints how many came to a
forecast and to an error by container, kind of times, defect and question, how often each kind of error came, and the
slowest cases. Baselines answer; a share `--learned` of the cases goes to a jump ODE and a linear SDE of one epoch, and
to structural components. In a share `--tables` of the cases a jump ODE is asked with a table beside the data (events,
constants, known covariates, histories), which says the same in other words or does not fit: see
`tests/hostile/tables.py`. Ends with a non-zero exit code and the cases if any was answered wrongly.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tests.hostile.cases import Outcome, check_hostile, fits, make_case
from tests.hostile.containers import CONTAINERS
from tests.hostile.defects import DEFECTS
from tests.hostile.questions import QUESTIONS, SENSIBLE
from tests.hostile.tables import CHANGES, check_table, draw_table
from tests.hostile.times import NO_TIMES, TIMES
from tsode import JumpODEForecaster, LinearSDEForecaster
from tsode.estimators import FORECASTERS

# but for the one that rightly refuses data without a season
BASELINES = tuple(
    made() for name, made in FORECASTERS.items() if made.is_baseline and name != "SeasonalNaiveForecaster"
)
LEARNERS = (
    JumpODEForecaster(n_modes=2, n_static=2, n_hidden=4, max_epochs=1, dtype="float64", device="cpu", random_state=0),
    LinearSDEForecaster(max_epochs=1, dtype="float64", device="cpu", random_state=0),
    LinearSDEForecaster(components=["level", "ou"], random_state=0),
    LinearSDEForecaster(components="auto", support="auto", random_state=0),
    LinearSDEForecaster(components=["level"], per_series=True, random_state=0),
)
Names = tuple[str, str, str, str]


def draw(rng: np.random.Generator) -> Names:
    """Container, times, defect and question."""

    def one(names: Any) -> str:
        return str(rng.choice(list(names)))

    container = one(CONTAINERS)
    times = one([name for name in TIMES if fits(container, name)])
    bad = [name for name in NO_TIMES if fits(container, name)]
    if bad and rng.random() < 0.05:
        times = one(bad)
    defects = [name for name, defect in DEFECTS.items() if container in defect.containers]
    defect = one(defects) if rng.random() < 0.7 else "none"
    question = one(SENSIBLE) if rng.random() < 0.7 else one(name for name in QUESTIONS if name not in SENSIBLE)
    return container, times, defect, question


def kind_of(message: str) -> str:
    """An error without what is particular to one case."""
    plain = re.sub(r"'[^']*'|\[.*\]|\([^)]*\)|[-\d.:+ ]*\d[\d.:+e-]*", "…", message.replace("\n", " "))
    return plain[:110]


def show(title: str, tally: dict[str, Counter[str]]) -> None:
    print(f"\n{title:<44} forecasts  errors  wrong")
    for name, counts in tally.items():
        print(f"{name:<44} {counts['forecast']:>9} {counts['error']:>7} {counts['wrong']:>6}")


def of_tables(n: int, rng: np.random.Generator, wrong: dict[str, list[str]]) -> dict[str, Counter[str]]:
    """How many questions with a table beside the data came to what, by the change of the table."""
    tally: dict[str, Counter[str]] = {name: Counter() for name in CHANGES}
    for _ in range(n):
        names, seed = draw_table(rng), int(rng.integers(2**31))
        try:
            result = "forecast" if check_table(*names, seed) else "error"
        except Exception as error:
            result = "wrong"
            wrong[f"{type(error).__name__}: {kind_of(str(error))}"].append(f"check_table{(*names, seed)}: {error}")
        tally[names[3]][result] += 1
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learned", type=float, default=0.01)
    parser.add_argument("--tables", type=float, default=0.1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    tallies: list[dict[str, Counter[str]]] = [
        {name: Counter() for name in names} for names in (CONTAINERS, {**TIMES, **NO_TIMES}, DEFECTS, QUESTIONS)
    ]
    errors: Counter[str] = Counter()
    wrong: dict[str, list[str]] = defaultdict(list)
    slowest: list[tuple[float, str]] = []
    n_tables = round(arguments.tables * arguments.frames)
    for number in range(arguments.frames - n_tables):
        names, seed = draw(rng), int(rng.integers(2**31))
        made = LEARNERS if rng.random() < arguments.learned else BASELINES
        forecaster = made[number % len(made)]
        try:
            outcome = check_hostile(make_case(*names, seed), forecaster)
        except Exception as error:  # any other than those of tsode is what is looked for
            result, outcome = "wrong", Outcome(False, "", 0.0)
            wrong[f"{type(error).__name__}: {kind_of(str(error))}"].append(f"make_case{(*names, seed)}: {error}")
        else:
            result = "forecast" if outcome.is_forecast else "error"
            if outcome.message:
                errors[kind_of(outcome.message)] += 1
        for tally, name in zip(tallies, names):
            tally[name][result] += 1
        slowest = sorted([*slowest, (outcome.seconds, f"{type(forecaster).__name__}: {', '.join(names)}")])[-5:]
    by_change = of_tables(n_tables, rng, wrong)
    for title, tally in zip(("container", "times", "defect", "question"), tallies):
        show(title, tally)
    show("change of a table", by_change)
    print("\nerrors")
    for message, count in errors.most_common():
        print(f"{count:>6}  {message}")
    print("\nslowest, CPU seconds")
    for seconds, name in slowest[::-1]:
        print(f"{seconds:>6.2f}  {name}")
    total: Counter[str] = sum([*tallies[0].values(), *by_change.values()], Counter())
    print(
        f"\n{arguments.frames} frames: {total['forecast']} forecasts, {total['error']} errors, {total['wrong']} wrong"
    )
    for kind, cases in wrong.items():
        print(f"\n{len(cases)} x {kind}\n  {cases[0]}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
