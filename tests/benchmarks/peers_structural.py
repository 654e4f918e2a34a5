"""Scores of other libraries on the textbook series, in an environment of their own: `make peers`.

    python tests/benchmarks/peers_structural.py [--series NAME ...] [--models NAME ...] [--out FILE]

The series and the cut are those of the part `classics` of `structural.py`, which sets the table that this writes beside
its own scores; scored are 19 quantiles of the last fifth. All models are given the period (structural models find it).
AutoETS and AutoARIMA are told none where it has more than 24 rows: the one refuses, the other does not end. Prophet has
a row for a day, one season of the period and no holidays. The Gaussian process has a smooth trend, a rough part, noise
and, with a period, a season that decays; it is fitted to the last 1,000 rows, for its cost grows with their cube.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.classic_series import FILE, Classic, classics, seasonal_naive
from tests.benchmarks.structural_parts.scores import LEVELS, crps, holds, missing_file

RESULTS = Path(__file__).with_name("peers_classics.csv")
LONGEST_SEASON = 24
MOST_ROWS = 1_000


def intervals(ask: Callable[[list[int]], dict[str, np.ndarray]]) -> np.ndarray:
    """Quantiles (n 19) of the intervals that a model of statsforecast gives, asked for widths in per cent."""
    widths = [round(100 * (1 - 2 * level)) for level in LEVELS[:9]]
    answer = ask(widths[::-1])
    lower = [answer[f"lo-{width}"] for width in widths]
    upper = [answer[f"hi-{width}"] for width in widths[::-1]]
    return np.stack([*lower, answer["mean"], *upper], axis=1)


def of_statsforecast(name: str) -> Callable[[np.ndarray, int, int], np.ndarray]:
    def forecast(values: np.ndarray, period: int, n_ahead: int) -> np.ndarray:
        from statsforecast import models

        season = period if name == "MSTL" or period <= LONGEST_SEASON else 1
        if name == "MSTL" and season == 1:
            raise ValueError("it needs a season")
        model = getattr(models, name)(season_length=season)
        return intervals(lambda widths: model.forecast(y=values.astype(float), h=n_ahead, level=widths))

    return forecast


def prophet_at(times: np.ndarray, values: np.ndarray, period: float, asked: np.ndarray) -> np.ndarray:
    """Quantiles (m 19) at the times asked; times and period are in rows."""
    from prophet import Prophet

    def days(rows: np.ndarray) -> Any:
        return pd.Timestamp("2000-01-01") + pd.to_timedelta(rows - times[0], unit="D")

    model = Prophet(yearly_seasonality=False, weekly_seasonality=False, daily_seasonality=False)
    if period > 1:
        model.add_seasonality("own", period=period, fourier_order=min(6, int(period // 2)))
    model.fit(pd.DataFrame({"ds": days(times), "y": values}), seed=0)
    np.random.seed(0)  # noqa: NPY002 its samples come from there
    samples = model.predictive_samples(pd.DataFrame({"ds": days(asked)}))["yhat"]
    return np.quantile(samples, LEVELS, axis=1).T


def gaussian_process_at(times: np.ndarray, values: np.ndarray, period: float, asked: np.ndarray) -> np.ndarray:
    """Quantiles (m 19) at the times asked; times and period are in rows."""
    from scipy.stats import norm
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, Matern, WhiteKernel

    times, given = times[-MOST_ROWS:], values[-MOST_ROWS:]
    n = len(given)
    kernel: Any = ConstantKernel(1.0) * RBF(0.5 * n, (5.0, 10.0 * n))
    kernel = kernel + ConstantKernel(0.3) * Matern(5.0, (0.5, n), nu=0.5) + WhiteKernel(0.1)
    if period > 1:
        season = ExpSineSquared(1.0, float(period), periodicity_bounds="fixed") * RBF(float(n), (period, 100.0 * n))
        kernel = kernel + ConstantKernel(0.5) * season
    shift, spread = given.mean(), given.std()
    model = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0)
    model.fit((times - times[0])[:, None], (given - shift) / spread)
    mean, deviation = model.predict((asked - times[0])[:, None], return_std=True)
    return shift + spread * (mean[:, None] + deviation[:, None] * norm.ppf(LEVELS))


def on_rows(
    at: Callable[[np.ndarray, np.ndarray, float, np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The same for values on a grid and as many rows ahead."""

    def forecast(values: np.ndarray, period: int, n_ahead: int) -> np.ndarray:
        return at(np.arange(len(values), dtype=float), values, period, np.arange(n_ahead, dtype=float) + len(values))

    return forecast


MODELS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "seasonal naive": seasonal_naive,
    "AutoETS": of_statsforecast("AutoETS"),
    "AutoARIMA": of_statsforecast("AutoARIMA"),
    "MSTL": of_statsforecast("MSTL"),
    "prophet": on_rows(prophet_at),
    "Gaussian process": on_rows(gaussian_process_at),
}


def score(one: Classic, model: str) -> dict[str, Any] | None:
    """One row of the table, or None where the model does not apply."""
    cut = int(0.8 * len(one.values))
    started = time.process_time()
    try:
        answer = MODELS[model](one.values[:cut], one.period, len(one.values) - cut)
    except Exception as error:  # whatever another library raises: it has no score then
        print(f"{one.name} {model}: {type(error).__name__}: {error}", flush=True)
        return None
    asked = one.values[cut:]
    row = {"series": one.name, "model": model, "crps": crps(asked, answer), "holds_90": holds(asked, answer)}
    return row | {"cpu_s": round(time.process_time() - started, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", nargs="+")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    why = missing_file(FILE)
    if why:
        print(why)
        return 2
    warnings.simplefilter("ignore")
    for name in ("prophet", "prophet.plot", "cmdstanpy"):
        logging.getLogger(name).disabled = True
    rows = []
    for one in classics():
        if arguments.series and one.name not in arguments.series:
            continue
        for model in arguments.models:
            row = score(one, model)
            if row is not None:
                rows.append(row)
                print(
                    "{series:<16} {model:<17} CRPS {crps:<9.4g} 90 % hold {holds_90:3.0f} % {cpu_s:7.1f} CPU-s".format(
                        **row
                    ),
                    flush=True,
                )
                pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")
    table = pd.DataFrame(rows).pivot(index="series", columns="model", values="crps")
    print("\nCRPS by that of the seasonal naive, geometric mean over the series that a model has a score on")
    ratio = table.div(table["seasonal naive"], axis=0) if "seasonal naive" in table else table
    print(np.exp(np.log(ratio).mean()).round(3).to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
