"""Stability analysis beside its bars. Run ``python tests/benchmarks/stability.py [PART ...] [--check]``.

Parts:

- exponents: Lyapunov exponents of Lorenz', Roessler's and Henon's systems and of a driven pendulum, with their errors.
- points: fixed points, manifolds, Hopf points, folds and cycles beside closed forms and published values.
- linear: every analysis of linear systems of 1 to 30 dimensions beside its closed form.
- forecasters: exponents and horizons of a jump filter and of known equations fitted to Lorenz' system; Kalman filters.
- cost: CPU seconds by dimension and number of starts, and of some exponents beside all.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the work, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("exponents", "points", "linear", "forecasters", "cost")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.stability_parts", PARTS))
