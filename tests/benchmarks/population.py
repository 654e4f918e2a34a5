"""Populations beside published numbers. Run ``python tests/benchmarks/population.py [--check] [PART ...]``.

Parts:

- wang: ten subjects at fixed parameters, the objective by each method.
- theophylline: twelve people by all methods: objectives, estimates, standard errors, twenty starts.
- phenobarbital: 59 newborns: published estimates, and later levels of each newborn left out.
- labels: two compartments whose volumes can be swapped.
- coverage: estimates in their standard errors, intervals of new subjects.
- speed: FOCEI of 50 to 5,000 subjects, with gradient, and a whole fit of 500.
- calibration: ranks of what 300 simulated populations share.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of starts and data sets, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("wang", "theophylline", "phenobarbital", "labels", "coverage", "speed", "calibration")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.population_parts", PARTS))
