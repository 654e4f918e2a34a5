"""Which container each class reads, and in what kind it answers: measured by giving it each.

    python tests/benchmarks/containers.py

Fits every class to the same data in every container (one epoch), asks it, and prints a table in Markdown: the kind of
the answer, or a dash where the container is refused. Forecasters are asked by rows of the same kind and by a horizon;
where the second answer is of another kind, it stands after a comma. "A row is read as a series" is what
`SeriesEncoder` and those on it promise of frames of numbers. A column stands for one or several classes that read
alike.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd

import tsode
from tests.hostile.containers import CONTAINERS
from tsode.errors import TsodeError
from tsode.estimators import FORECASTERS

SMALL = {
    "n_modes": 3, "n_static": 2, "n_state": 3, "n_hidden": 4, "n_encoder": 4, "max_epochs": 1, "random_state": 0,
    "device": "cpu",
}  # fmt: skip
REFUSED = "–"
KINDS = {"DataFrame": "frame", "Table": "Arrow table", "ndarray": "array"}


def small(made: type, **params: Any) -> Any:
    known = inspect.signature(made.__init__).parameters
    return made(**{name: value for name, value in SMALL.items() if name in known} | params)


def data(container: str) -> pd.DataFrame:
    """Up to twelve series of two channels, as many as the container holds."""
    rng = np.random.default_rng(0)
    kind = CONTAINERS[container]
    parts = []
    for number in range(12 if kind.has_ids else 1):
        hours = np.sort(rng.choice(200, 25, replace=False)) / 4.0
        values = np.sin(hours / 4.0)[:, None] + 0.1 * rng.normal(size=(25, 2 if kind.has_channels else 1))
        part = pd.DataFrame(values, columns=["a", "b"][: values.shape[1]])
        part.insert(0, "ds", hours)
        part.insert(0, "unique_id", f"s{number}")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def kind_of(answer: Any) -> str:
    """What an answer is called in the table."""
    name = type(answer).__name__
    if isinstance(answer, list):
        return "list of Series" if isinstance(answer[0], pd.Series) else "list of frames"
    if isinstance(answer, pd.DataFrame) and isinstance(answer.index, pd.MultiIndex):
        return "MultiIndex frame"
    return ("polars " if type(answer).__module__.startswith("polars") else "") + KINDS.get(name, name)


def forecaster(made: type, container: str) -> str:
    frame, kind = data(container), CONTAINERS[container]
    fitted = small(made, **kind.arguments).fit(*kind.build(frame))
    kinds = [kind_of(fitted.predict(kind.rows(frame))), kind_of(fitted.predict(horizon=[2.0]))]
    return ", ".join(dict.fromkeys(kinds))


def point_process(container: str) -> str:
    kind = CONTAINERS[container]
    frame = data(container)[["unique_id", "ds"]].assign(mark="x")
    fitted = small(tsode.PointProcessForecaster, **kind.arguments).fit(*kind.build(frame))
    kinds = [kind_of(fitted.predict_intensity(horizon=[2.0])), kind_of(fitted.predict_next())]
    return ", ".join(dict.fromkeys(kinds))


def path_regressor(container: str) -> str:
    """Of one path: a container that can do without ids has none."""
    frame = data(container)
    one = frame[frame["unique_id"] == "s0"]
    is_indexed = container in ("long frame indexed by time", "MultiIndex frame", "list of Series", "list of frames")
    rows = CONTAINERS[container].rows(one[["unique_id", "ds"] if is_indexed else ["ds"]])
    return kind_of(small(tsode.PathRegressor).fit(rows, one["a"].to_numpy()).predict(rows))


def of_series(made: type, container: str) -> str:
    frame = data(container)
    given = CONTAINERS[container].build(frame)[0]
    if container in ("NumPy arrays", "wide frame"):  # on a common grid, a row is a series
        given = np.random.default_rng(0).normal(size=(12, 9))
    if container == "wide frame":
        given = pd.DataFrame(given)
    n_series = 12 if container == "wide frame" or not isinstance(given, pd.DataFrame) else frame["unique_id"].nunique()
    encoder = tsode.SeriesEncoder(small(tsode.JumpODEForecaster), random_state=0)
    if made is tsode.SeriesEncoder:
        answer = encoder.fit_transform(given)
    else:
        answer = made(encoder, random_state=0).fit(given, np.arange(len(given)) % 2).predict(given)
    return kind_of(answer) if len(answer) == n_series else "a row is read as a series"


def measure() -> dict[str, dict[str, str]]:
    """Answers by class and container."""
    columns: dict[str, Any] = {name: (lambda c, made=made: forecaster(made, c)) for name, made in FORECASTERS.items()}
    columns["PointProcessForecaster"] = point_process
    columns["PathRegressor"] = path_regressor
    for made in (tsode.SeriesEncoder, tsode.SeriesClassifier, tsode.SeriesRegressor):
        columns[made.__name__] = lambda c, made=made: of_series(made, c)
    found: dict[str, dict[str, str]] = {}
    for name, answer in columns.items():
        found[name] = {}
        for container in CONTAINERS:
            try:
                found[name][container] = answer(container)
            except (TsodeError, ValueError, TypeError):  # scikit-learn's own checks of arrays raise the latter
                found[name][container] = REFUSED
    return found


def main() -> None:
    found = measure()
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, answers in found.items():
        alike.setdefault(tuple(answers.values()), []).append(name)
    print("| | " + " | ".join(", ".join(f"`{name}`" for name in names) for names in alike.values()) + " |")
    print("|---" * (len(alike) + 1) + "|")
    for row, container in enumerate(CONTAINERS):
        print(f"| {container} | " + " | ".join(answers[row] for answers in alike) + " |")


if __name__ == "__main__":
    main()
