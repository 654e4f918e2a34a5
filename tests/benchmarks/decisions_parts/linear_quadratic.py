"""Linear systems with quadratic costs, beside Riccati's equations; the maximum principle along a plan."""

from __future__ import annotations

import time
import warnings

import numpy as np

from tests.benchmarks.structural_parts.report import Report
from tests.control.pendulum import adjoint
from tests.control.pendulum import planned as planned_pushes
from tests.control.riccati import best_doses, best_input, planned_doses, planned_input, pushed
from tsode.control.maximum_principle import costate, hamiltonian
from tsode.errors import TsodeWarning

__all__ = ["run"]


def run(report: Report) -> None:
    warnings.simplefilter("ignore", TsodeWarning)
    worst = 0.0
    for n, gap, weight in ((4, 1.0, 0.5), (8, 0.5, 0.1), (16, 0.25, 0.02)):
        found = planned_doses(n, gap, weight)
        worst = max(worst, float(np.abs(found._candidate.amounts - best_doses(n, gap, weight)).max()))
    report.at_most("doses, largest difference from the discrete Riccati equation", worst, 1e-6)
    started = time.process_time()
    found = planned_input(10, 2.0)
    report.note(f"input of 10 terms: {time.process_time() - started:.1f} CPU-s, residual {found.residual:.1e}")
    assert found.inputs is not None
    grid = np.linspace(0.0, 2.0, 201)
    u = pushed(grid, found.inputs.iloc[0, 1:].to_numpy(dtype=float), 2.0)
    off = float(np.abs(u - best_input(grid, 2.0)).max())
    report.at_most("input, largest difference from Riccati's equation", off, 1e-4)
    along = hamiltonian(found, list(np.linspace(0.001, 1.999, 100)))
    report.at_most("Hamiltonian, largest less smallest along the input", float(np.ptp(along, axis=1).max()), 1e-6)
    pushes, times = planned_pushes(0.004), np.array([0.1, 0.3, 0.9, 1.4, 1.9])
    truth = adjoint(pushes, times)
    error = float(np.abs(costate(pushes, list(times)) - truth).max() / np.abs(truth).max())
    report.at_most("costate of a pendulum, difference from its adjoint equation", error, 1e-10)
