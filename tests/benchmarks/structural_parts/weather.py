"""Weather of New York, hourly: two days ahead from fifteen cutoffs of 2013 at Newark, refitted at each."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.fits import fit, quantiles
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import LEVELS, crps, holds, missing_file, read

__all__ = ["run"]

FILE, STATION = "nyc_weather_2013", "EWR"
CUTOFFS = np.linspace(3750.0, 8000.0, 15).round().tolist()  # hours of the year
AHEAD = 48.0
BARS = {"pressure": 3.7, "temp": 4.0, "dewp": 5.6}


def run(report: Report) -> None:
    why = missing_file(FILE)
    if why:
        report.skip(why)
        return
    table = read(FILE)
    cutoffs = report.some(CUTOFFS)
    for channel, bar in BARS.items():
        rows = table[(table["series"] == STATION) & (table["channel"] == channel)]
        hours, values = rows["time"].to_numpy(), rows["value"].to_numpy(dtype=float)
        dates = (pd.Timestamp("2013-01-01") + pd.to_timedelta(hours, unit="h")).to_numpy()
        scores, naive, shares, seconds = [], [], [], 0.0
        for cutoff in cutoffs:
            seen, asked = hours <= cutoff, (hours > cutoff) & (hours <= cutoff + AHEAD)
            forecaster, used = fit(dates[seen], values[seen])
            answer = quantiles(forecaster, dates[asked])
            scores.append(crps(values[asked], answer))
            shares.append(holds(values[asked], answer))
            naive.append(crps(values[asked], _last_value(values[seen], hours[asked] - cutoff)))
            seconds += used
            (likeliest,) = forecaster.components_.values()
            print(
                f"{channel} {cutoff:.0f}: CRPS {scores[-1]:.2f}, last value {naive[-1]:.2f}, 90 % hold "
                f"{shares[-1]:.0f} %, fit {used:.1f} CPU-s, {' + '.join(likeliest)}",
                flush=True,
            )
        report.at_most(f"{channel}: CRPS (last value {np.mean(naive):.2f})", float(np.mean(scores)), bar)
        report.note(f"{channel}: 90 % intervals hold {np.mean(shares):.0f} %; {seconds / len(cutoffs):.1f} CPU-s a fit")


def _last_value(values: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Quantiles (n 19) of the last value with errors that grow as those of a random walk."""
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return values[-1] + np.std(np.diff(values)) * np.sqrt(ahead)[:, None] * normal
