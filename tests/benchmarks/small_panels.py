"""Small panels beside their optimum: what a few series cost a forecaster that has to learn.

    python tests/benchmarks/small_panels.py [--check] [--share SHARE] [PART ...]

Parts:

- rates: `LinearSDEForecaster(series_rates=9)` on simulated families whose best forecast is known.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the seeds, for trials. CPU seconds are of one thread.
"""

from __future__ import annotations

import argparse
import importlib
import time

import torch

from tests.benchmarks.structural_parts.report import Report

PARTS = ("rates",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--share", type=float, default=1.0, help="of the seeds")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}: choose from {', '.join(PARTS)}")
    torch.set_num_threads(1)
    report = Report(arguments.share)
    for name in arguments.parts or PARTS:
        part = importlib.import_module(f"tests.benchmarks.small_panels_parts.{name}")
        report.begin(name, part.__doc__)
        started = time.process_time()
        part.run(report)
        report.note(f"{time.process_time() - started:.1f} CPU-s")
    return int(report.finish() > 0) if arguments.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
