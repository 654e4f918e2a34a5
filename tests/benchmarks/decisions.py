"""Decisions beside their bars. Run ``python tests/benchmarks/decisions.py [PART ...] [--check]``.

Parts:

- crossings: first passages of Brownian motion and of mean-reverting paths, and whether crossings come as foretold.
- functionals: the price of an option on a fitted geometric Brownian motion, beside Black and Scholes.
- backward_sde: nonlinear expectations in 100 dimensions, beside an exact and a published value.
- linear_quadratic: plans for linear systems with quadratic costs, beside Riccati equations.
- patients: doses for 100 simulated patients after a few levels, beside doses by those who know the truth.
- planning: CPU seconds of a plan of eight doses.
- structure: networks of three nodes, told apart or not.
- influence: series left out, beside true refits and the bound of uniform stability.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the work, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = (
    "crossings", "functionals", "backward_sde", "linear_quadratic", "patients", "planning", "structure", "influence",
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.decisions_parts", PARTS))
