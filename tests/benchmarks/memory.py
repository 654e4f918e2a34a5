"""Peak memory of large questions, above that of the fitted model.

    python tests/benchmarks/memory.py [--check] [--only NAME ...]

Each question is asked in a process of its own: the forecaster is fitted in another one and loaded, so that what fitting
took does not hide what the answer takes. The peak is the resident set's (`ru_maxrss`) from before the question to after
its answer, the answer included, which the second column shows by itself. `--check` ends with a non-zero exit code if a
question takes more than the bar of 1 GB, or fails.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import tsode
from tsode import JumpODEForecaster, LatentODEForecaster, LinearSDEForecaster

BAR = 1000.0  # MB


def panel(n_series: int, n_rows: int, n_channels: int, seen: float = 1.0) -> pd.DataFrame:
    """A long frame of walks at irregular times."""
    rng = np.random.default_rng(0)
    times = rng.uniform(0.1, 1.9, (n_series, n_rows)).cumsum(axis=1)
    values = rng.normal(size=(n_series, n_rows, n_channels)).cumsum(axis=1) / np.sqrt(n_rows)
    values[:, 1:][rng.random((n_series, n_rows - 1, n_channels)) > seen] = np.nan
    frame = pd.DataFrame(values.reshape(-1, n_channels), columns=[f"c{k}" for k in range(n_channels)])
    frame.insert(0, "unique_id", np.repeat([f"s{k}" for k in range(n_series)], n_rows))
    frame.insert(1, "ds", times.ravel())
    return frame


def rows_ahead(frame: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """Rows to ask for: so many of each series, after its last."""
    last = frame.groupby("unique_id", sort=False)["ds"].max()
    times = last.to_numpy()[:, None] + np.linspace(0.01, 10.0, n_rows)
    return pd.DataFrame({"unique_id": np.repeat(last.index.to_numpy(), n_rows), "ds": times.ravel()})


def uneven(frame: pd.DataFrame, n_rows: int) -> dict[str, Any]:
    """Many times of one series, one of each other."""
    last = frame.groupby("unique_id", sort=False)["ds"].max()
    asked: dict[str, Any] = {key: [time + 1.0] for key, time in last.items()}
    asked["s0"] = last["s0"] + np.linspace(0.001, 16.0, n_rows)
    return asked


def doses(frame: pd.DataFrame) -> pd.DataFrame:
    last = frame.groupby("unique_id", sort=False)["ds"].max()
    return pd.DataFrame({"unique_id": last.index, "ds": last.to_numpy() + 0.005, "amount": 1.0})


def jump(**settings: Any) -> JumpODEForecaster:
    return JumpODEForecaster(max_epochs=1, horizon=10.0, random_state=0, **settings)


Case = tuple[Callable[[], Any], Callable[[], pd.DataFrame], dict[str, Any], Callable[[Any, pd.DataFrame], Any]]

STAYS = lambda: panel(2400, 40, 37, 0.15)  # noqa: E731
SMALL = {"n_modes": 8, "n_static": 4, "n_hidden": 16}

CASES: dict[str, Case] = {
    "19 quantiles of 37 channels, 2,400 stays": (
        jump, STAYS, {}, lambda f, d: f.predict_quantiles(rows_ahead(d, 25), quantiles=np.arange(1, 20) / 20.0)),
    "16,000 times of one of 256 series": (
        jump, lambda: panel(256, 30, 2), {}, lambda f, d: f.predict(times=uneven(d, 16_000))),
    "1,000,000 times of 3 series": (
        lambda: jump(**SMALL), lambda: panel(3, 200, 2), {}, lambda f, d: f.predict(rows_ahead(d, 1_000_000))),
    "intervals of 300,000 rows, 3 channels": (
        jump, lambda: panel(300, 30, 3), {}, lambda f, d: f.predict_interval(rows_ahead(d, 1000))),
    "latent: 100,000 times of 3 series": (
        lambda: LatentODEForecaster(max_epochs=1, horizon=10.0, random_state=0), lambda: panel(3, 200, 2), {},
        lambda f, d: f.predict(rows_ahead(d, 100_000))),
    "linear: 256 series, 200 times, 37 channels": (
        lambda: LinearSDEForecaster(max_epochs=1, horizon=10.0, random_state=0), lambda: panel(256, 12, 37), {},
        lambda f, d: f.predict_interval(rows_ahead(d, 200))),
    "100 samples of 256 series, 200 times": (
        jump, lambda: panel(256, 30, 3), {},
        lambda f, d: f.sample(rows_ahead(d, 200), n_samples=100, random_state=0)),
    "what if, 300 series, 200 times": (
        jump, lambda: panel(300, 30, 2), {"events": doses},
        lambda f, d: f.what_if({"as it is": None, "more": doses(d).assign(amount=3.0)}, rows_ahead(d, 200))),
    "history of 200,000 rows": (
        jump, lambda: panel(2, 200_000, 3), {"fit_rows": 400}, lambda f, d: f.predict(context=d)),
    "latent: 100,000 rows to fill": (
        lambda: LatentODEForecaster(max_epochs=1, horizon=10.0, random_state=0), lambda: panel(500, 200, 3, 0.6), {},
        lambda f, d: f.impute(d)),
    "1,000 channels": (
        jump, lambda: panel(20, 30, 1000), {}, lambda f, d: f.predict_quantiles(rows_ahead(d, 20))),
    "score of 2,400 stays": (jump, STAYS, {}, lambda f, d: f.score(d, metric="crps")),
}  # fmt: skip


def fit(name: str, path: str) -> None:
    """Fit the forecaster of a case on some of its data, and keep it with no history."""
    make, data, settings, _ = CASES[name]
    frame = data()
    rows = settings.get("fit_rows", 30)
    few = frame[frame.groupby("unique_id").cumcount() < rows]
    few = few[few["unique_id"].isin(few["unique_id"].unique()[:64])]
    tables = {"events": settings["events"](few)} if "events" in settings else {}
    make().fit(few, **tables).save(path)


def ask(name: str, path: str) -> None:
    """Ask the question of a case, and print its peak and the size of its answer, in MB, and CPU seconds."""
    make, data, settings, question = CASES[name]
    frame = data()
    forecaster = type(make()).load(path)
    if "fit_rows" not in settings:
        forecaster = forecaster.with_history(frame)
    first = frame["unique_id"].iloc[0]
    forecaster.predict(times={first: [float(frame["ds"].max()) + 1.0]})  # what is loaded at first use
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answer = question(forecaster, frame)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = answer.memory_usage(index=True).sum() if isinstance(answer, pd.DataFrame) else 0
    print(f"{peak * 1024 / 1e6:.0f} {size / 1e6:.0f} {time.process_time() - begin:.1f}")


def run(job: str, name: str, path: str) -> list[str] | None:
    done = subprocess.run([sys.executable, __file__, job, name, path], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-600:])
        return None
    return done.stdout.split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="end with an error if a bar does not hold")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    arguments = parser.parse_args()
    print(f"tsode {tsode.__version__}; bar {BAR:.0f} MB above the model, the answer included")
    print(f"{'question':<48} {'peak MB':>8} {'answer':>8} {'CPU s':>8}")
    holds = True
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.st")
            found = run("fit", name, path) is not None and run("ask", name, path)
        holds &= bool(found) and float(found[0]) <= BAR
        print(f"{name:<48} " + ("{:>8} {:>8} {:>8}".format(*found) if found else "failed"), flush=True)
    return 0 if holds or not arguments.check else 1


if __name__ == "__main__":
    if sys.argv[1:2] in (["fit"], ["ask"]):
        warnings.simplefilter("ignore")
        {"fit": fit, "ask": ask}[sys.argv[1]](*sys.argv[2:])
    else:
        sys.exit(main())
