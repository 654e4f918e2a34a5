"""Structured dynamics, solvers and gradients beside their bars. Run ``python tests/benchmarks/structure.py [--check]``.

Parts:

- guarantees: what structured fields promise, at random weights and ten thousand states.
- symplectic: energy of Kepler's orbits and of pendulums over many periods.
- stiff: Robertson's reactions, van der Pol's oscillators; measured orders; batches with one stiff row.
- gradients: modes beside each other and beside truth, memory, work and precision.
- energy: Hamiltonian forecasters learned from noisy irregular samples.
- memory: the adding problem with irregular gaps, and the copy task.
- multilevel: evaluations of the field in multilevel training, and growing networks.
- cost: what structured fields cost beside the plain one.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the work, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("guarantees", "symplectic", "stiff", "gradients", "energy", "memory", "multilevel", "cost")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.structure_parts", PARTS))
