"""Structural models beside their bars: exactness, simulated and real series, speed.

    python tests/benchmarks/structural.py [--check] [--share SHARE] [PART ...]

Parts, in the order of their cost; all by default:

- truth: likelihood, gradient, filter, smoother and forecast against the dense Gaussian, and statsmodels if installed.
- noise: how often a period is found where there is none.
- simulated: parameters found again, intervals that hold, decompositions that add up, noise in which nothing is found.
- classics: fifteen textbook series, the last fifth held out, beside the seasonal naive; far ahead; rows removed.
- co2: weekly carbon dioxide at Mauna Loa, five years ahead from three cutoffs.
- weather: hourly weather of New York, two days ahead from fifteen cutoffs.
- palaeo: ice ages, forecast and filled, beside damped oscillators of given periods.
- speed: CPU seconds of a fit by length and by number of series.

`light_curves.py` measures series with a sharp period each, and `make peers` what other libraries score on the classics.
Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed, and 2 if none
could be measured. `--share` runs a share of the series and cutoffs, for trials; the bars are those of the full counts.
CPU seconds are of one thread.
The folder of the real data is read from TSODE_REAL_DATA; a part without its data says so and is left out.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("truth", "noise", "simulated", "classics", "co2", "weather", "palaeo", "speed")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.structural_parts", PARTS))
