"""Epistemic part of `predict_spread` beside errors, on panels of 10, 30 and 100 series.

    python tests/benchmarks/epistemic.py [--check] [--share SHARE] [PART ...]

Parts:

- simulated: families whose best forecast is known: the squared distance of the mean from it is what the epistemic part
  is to foretell; in its size, by forecast, by size of the panel and off the range of training.
- real: stations, stays and people never seen in fit: what squared errors of small panels have beyond those of larger
  ones, and whether the epistemic part tells of errors what the aleatoric part does not.

Every figure stands beside the bar it has to reach, or beside that of what the members disagree about alone; with
`--check` the exit code is 1 if a bar was missed. `--share` runs a share of the seeds. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("simulated", "real")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.epistemic_parts", PARTS))
