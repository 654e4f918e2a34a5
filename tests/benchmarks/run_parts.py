"""Runner of a benchmark in parts, each of which prints its figures beside their bars."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence

import torch

from tests.benchmarks.structural_parts.report import Report

__all__ = ["run_parts"]


def run_parts(doc: str, package: str, parts: Sequence[str]) -> int:
    """Run the parts that the command line names, of a package of modules with ``run(report)``.

    Returns
    -------
    int
        With ``--check`` 1 if a bar was missed, and 2 if none could be measured; else 0.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--share", type=float, default=1.0, help="of the series, cutoffs and seeds")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in parts:
            parser.error(f"there is no part {name!r}: choose from {', '.join(parts)}")
    torch.set_num_threads(1)
    report = Report(arguments.share)
    for name in arguments.parts or parts:
        part = importlib.import_module(f"{package}.{name}")
        report.begin(name, part.__doc__)
        started = time.process_time()
        part.run(report)
        report.note(f"{time.process_time() - started:.1f} CPU-s")
    n_missed = report.finish()
    if not arguments.check:
        return 0
    return int(n_missed > 0) if report.n_bars else 2
