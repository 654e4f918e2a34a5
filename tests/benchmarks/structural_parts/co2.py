"""Carbon dioxide at Mauna Loa, weekly: five years ahead from three cutoffs, refitted at each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.benchmarks.structural_parts.fits import fit, quantiles, series
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import crps, holds, missing_file, read
from tsode import LinearSDEForecaster

__all__ = ["run"]

FILE, SERIES = "regular_classics", "mauna_loa_co2_weekly"
CUTOFFS = (1986.0, 1991.0, 1996.0)
YEARS = 5.0
FAR = 50.0


def run(report: Report) -> None:
    why = missing_file(FILE)
    if why:
        report.skip(why)
        return
    table = read(FILE)
    times, values = (table.loc[table["series"] == SERIES, name].to_numpy() for name in ("time", "value"))
    scores, shares = [], []
    for cutoff in report.some(CUTOFFS):
        seen, asked = times < cutoff, (times >= cutoff) & (times < cutoff + YEARS)
        forecaster, seconds = fit(times[seen], values[seen])
        answer = quantiles(forecaster, times[asked])
        scores.append(crps(values[asked], answer))
        shares.append(holds(values[asked], answer))
        weights = next(iter(forecaster.weights_.values()))
        print(f"{cutoff:.0f}: CRPS {scores[-1]:.3f}, 90 % hold {shares[-1]:.0f} %, fit {seconds:.1f} CPU-s, {weights}")
        span = times[seen][-1] - times[seen][0]
        widest = 4.0 * np.ptp(values[seen]) * (1.0 + FAR / span)  # four times what the range grows to at its pace
        anew = forecaster.with_history(series(times[seen], values[seen]))  # no state is kept of other members
        for name, width in _widths(anew, times[seen][-1] + FAR).items():
            report.at_most(f"{cutoff:.0f}: {name}: 90 % width after {FAR:.0f} years, ppm", width, widest)
    report.at_most("CRPS, ppm", float(np.mean(scores)), 0.72)
    report.within("90 % intervals hold, per cent", float(np.mean(shares)), 85.0, 95.0)


def _widths(forecaster: LinearSDEForecaster, time: float) -> dict[str, float]:
    """Width of the 90 % interval at a time of each member by itself."""
    (channel,) = forecaster.module_.channels
    widths = {}
    for member in channel.members:
        forecaster.module_.set_channels([replace(channel, members=(replace(member, weight=1.0),))])
        answer = quantiles(forecaster, [time])[0]
        name = " + ".join(one.name for one in member.structure.components)
        widths[name] = float(answer[-1] - answer[0])
    forecaster.module_.set_channels([channel])
    return widths
