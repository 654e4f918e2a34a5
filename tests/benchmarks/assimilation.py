"""Assimilation beside its bars. Run ``python tests/benchmarks/assimilation.py [PART ...] [--check]``.

Parts:

- linear: extended, unscented and square-root filters on linear systems, beside Kalman.
- scalar: the scalar case of a normal prior and one value, by both ensembles, and the slope of the error in members.
- lorenz96: analysis errors on Lorenz' ring of 40 variables over 20 seeds; time and memory of 1,000 variables.
- particles: bias, slope, gradients and guiding of particle filters, and particle marginal Metropolis-Hastings.
- grid: particle filters and smoothers of double wells and of prey and predators, beside sums over a grid.
- lynx: log scores one year ahead on lynx and hare, of equations with process noise beside those without.
- parameters: coverage of 90 % intervals over 100 data sets of a motion seen through counts, and of a noisy Lorenz-63.
- speed: CPU seconds of 1,000 series, 100 times and 100 members, beside one plain solve.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the work, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("linear", "scalar", "lorenz96", "particles", "grid", "lynx", "parameters", "speed")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.assimilation_parts", PARTS))
