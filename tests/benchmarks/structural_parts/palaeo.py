"""Ice ages: the last 200,000 years forecast from sixteen cutoffs, and gaps filled, beside damped oscillators.

Damped oscillators are quasi-periodic terms as those of celerite2, here by name: cycles about 100,000 and 41,000 years,
an Ornstein-Uhlenbeck part and noise. Times are thousands of years; both models see the last million of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.fits import fit, quantiles
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import LEVELS, crps, holds, missing_file, read
from tsode import LinearSDEForecaster, part

__all__ = ["run"]

FILE = "palaeoclimate"
SERIES = {"LR04": ("lr04_benthic_stack", "d18o_permil"), "EPICA": ("epica_dome_c", "co2_ppm")}
OSCILLATORS = [part("cycle", period=100.0), part("cycle", period=41.0), "ou"]
STEP = 12.5  # between cutoffs, and what is asked from each
N_CUTOFFS = 16
N_GAPS, GAP = 12, 15.0


def run(report: Report) -> None:
    why = missing_file(FILE)
    if why:
        report.skip(why)
        return
    table = read(FILE)
    for name, (series, channel) in SERIES.items():
        rows = table[(table["series"] == series) & (table["channel"] == channel)]
        rows = rows.assign(time=-rows["time"]).groupby("time", as_index=False)["value"].mean()
        rows = rows[rows["time"] >= -1000.0]
        times, values = rows["time"].to_numpy(), rows["value"].to_numpy()
        models: dict[str, tuple[Any, str]] = {"auto": ("auto", "auto"), "oscillators": (OSCILLATORS, "real")}
        for task in (_ahead, _gaps):
            found = {model: task(times, values, report, *settings) for model, settings in models.items()}
            (own, share, seconds), (theirs, other_share, other_seconds) = found["auto"], found["oscillators"]
            what = f"{name}, {'forecast' if task is _ahead else 'gaps'}"
            report.at_most(f"{what}: CRPS by that of the oscillators ({own:.4g} by {theirs:.4g})", own / theirs, 1.0)
            report.within(f"{what}: 90 % intervals hold, per cent", share, 85.0, 95.0)
            report.note(f"oscillators hold {other_share:.0f} %; {seconds:.1f} and {other_seconds:.1f} CPU-s a fit")


def _ahead(
    times: np.ndarray, values: np.ndarray, report: Report, components: Any, support: str
) -> tuple[float, float, float]:
    """CRPS, what 90 % intervals hold and CPU seconds a fit, over the cutoffs."""
    truths, answers, seconds = [], [], []
    for cutoff in report.some([-STEP * k for k in range(N_CUTOFFS, 0, -1)]):
        seen, asked = times <= cutoff, (times > cutoff) & (times <= cutoff + STEP)
        forecaster, used = fit(times[seen], values[seen], components, support)
        truths.append(values[asked])
        answers.append(quantiles(forecaster, times[asked]))
        seconds.append(used)
        (likeliest,) = forecaster.components_.values()
        print(
            f"{cutoff:7.1f}: CRPS {crps(truths[-1], answers[-1]):.4g}, {used:.1f} CPU-s, {' + '.join(likeliest)}",
            flush=True,
        )
    each = float(np.mean([crps(*pair) for pair in zip(truths, answers)]))
    return each, float(np.mean([holds(*pair) for pair in zip(truths, answers)])), float(np.mean(seconds))


def _gaps(
    times: np.ndarray, values: np.ndarray, report: Report, components: Any, support: str
) -> tuple[float, float, float]:
    """The same of gaps that are filled from both sides."""
    starts = np.linspace(times[0] + 2 * GAP, times[-1] - 2 * GAP, N_GAPS)
    is_asked = (times > starts[:, None]) & (times < starts[:, None] + GAP)
    hidden = is_asked.any(axis=0)
    forecaster, used = fit(times[~hidden], values[~hidden], components, support)
    answer = filled(forecaster, times, np.where(hidden, np.nan, values))
    scores = [crps(values[asked], answer[asked]) for asked in is_asked]
    return float(np.mean(scores)), float(np.mean([holds(values[asked], answer[asked]) for asked in is_asked])), used


def filled(forecaster: LinearSDEForecaster, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Quantiles (n 19) where values are NaN: pairs of ends of intervals, and between them what is filled in."""
    widths = [round(100 * (1 - 2 * level), 6) for level in LEVELS[:9]]
    table = forecaster.impute(pd.Series(values, index=times, name="value"), level=widths)
    lower = [table[f"value-lo-{width:g}"].to_numpy() for width in widths]
    upper = [table[f"value-hi-{width:g}"].to_numpy() for width in widths[::-1]]
    return np.stack([*lower, table["value"].to_numpy(), *upper], axis=1)
