"""Structural models beside their bars: exactness, simulated and real series, speed.

    python tests/benchmarks/structural.py [--check] [--share SHARE] [PART ...]

Parts, in the order of their cost; all by default:

- truth: likelihood, gradient, filter, smoother and forecast against the dense Gaussian, and statsmodels if installed.
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

import argparse
import importlib
import time

import torch

from tests.benchmarks.structural_parts.report import Report

PARTS = ("truth", "simulated", "classics", "co2", "weather", "palaeo", "speed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--share", type=float, default=1.0, help="of the series and cutoffs")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}: choose from {', '.join(PARTS)}")
    torch.set_num_threads(1)
    report = Report(arguments.share)
    for name in arguments.parts or PARTS:
        part = importlib.import_module(f"tests.benchmarks.structural_parts.{name}")
        report.begin(name, part.__doc__)
        started = time.process_time()
        part.run(report)
        report.note(f"{time.process_time() - started:.1f} CPU-s")
    n_missed = report.finish()
    if not arguments.check:
        return 0
    return int(n_missed > 0) if report.n_bars else 2


if __name__ == "__main__":
    raise SystemExit(main())
