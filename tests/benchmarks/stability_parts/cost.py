"""Cost of carrying tangents: CPU seconds by dimension and number of starts, and of some exponents beside all.

Spans are those of one time unit's tenth on the attractors of Lorenz' equations of 1963 and 1996; the least of three,
but for the dearest.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from tests.benchmarks.stability_parts.systems import lorenz, lorenz96
from tests.benchmarks.structural_parts.report import Report
from tsode.stability import Flow, as_flow

__all__ = ["run"]

DIMENSIONS, STARTS, SOME = (3, 30, 100), (1, 10, 100, 1000), (1, 5, 25, 100)
SPAN = 0.1
N_ROUNDS = 3
LARGE = 5_000_000  # numbers of states and tangents together, from which on once is enough
SHARE = 0.25  # of the cost of all hundred exponents, that five may have


def run(report: Report) -> None:
    report.note(f"CPU-s for {SPAN:g} units of time, all tangents")
    report.note(f"{'dimension':<12}" + "".join(f"{n:>10} starts" for n in STARTS))
    seconds = {}
    for d in DIMENSIONS:
        for n in STARTS:
            seconds[d, n] = least_seconds(d, n, d)
        report.note(f"{d:<12}" + "".join(f"{seconds[d, n]:>17.3f}" for n in STARTS))
    report.at_most("dimension 3: 1,000 starts beside 1, times the cost", seconds[3, 1000] / seconds[3, 1], 5.0)
    report.at_most("dimension 30: 100 starts beside 1, times the cost", seconds[30, 100] / seconds[30, 1], 50.0)
    report.note(f"CPU-s for {SPAN:g} units of time in dimension 100, 10 starts, by the number of exponents")
    some = {k: least_seconds(100, 10, k) for k in SOME}
    report.note(", ".join(f"{k} of 100: {value:.3f}" for k, value in some.items()))
    report.at_most("dimension 100: five exponents beside all, share of the cost", some[5] / some[100], SHARE)


def least_seconds(d: int, n: int, k: int) -> float:
    flow, z = system(d, n)
    tangents = torch.linalg.qr(torch.randn(n, d, k, dtype=z.dtype, generator=torch.Generator().manual_seed(0))).Q
    best = float("inf")
    t = torch.zeros(n, dtype=torch.float64)
    for _ in range(N_ROUNDS if n * d * (k + 1) < LARGE else 1):
        started = time.process_time()
        with torch.no_grad():
            flow.carry(z, tangents, t, t + SPAN)
        best = min(best, time.process_time() - started)
    return best


def system(d: int, n: int) -> tuple[Flow, Tensor]:
    """A chaotic flow and states on its attractor, about."""
    generator = torch.Generator().manual_seed(0)
    flow = as_flow(lorenz() if d == 3 else lorenz96, d)
    z = 1.0 + torch.randn(n, d, dtype=torch.float64, generator=generator)
    t = torch.zeros(n, dtype=torch.float64)
    return flow, flow.arrive(z, t, t + 5.0)
