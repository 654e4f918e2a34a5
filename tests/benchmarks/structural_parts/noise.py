"""Noise: how often a period is found where there is none, at the level of .01."""

from __future__ import annotations

from tests.benchmarks.structural_parts.report import Report
from tests.numerics.test_periodogram import n_false_alarms

__all__ = ["run"]

N_SERIES = 100


def run(report: Report) -> None:
    """Count false alarms among series of each kind of noise and of two lengths, regular and irregular in turn."""
    n_series = report.count(N_SERIES)
    for kind in ("white", "autoregression", "walk", "integrated walk"):
        for n in (60, 200):
            # of 100, four or more come once in 50 times
            report.at_most(f"{kind}, {n} rows: false alarms of {n_series}", n_false_alarms(kind, n, n_series), 3)
