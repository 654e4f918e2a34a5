"""Small panels beside their optimum: what a few series cost a forecaster that has to learn.

    python tests/benchmarks/small_panels.py [--check] [--share SHARE] [PART ...]

Parts:

- rates: `LinearSDEForecaster(series_rates=9)` on simulated families whose best forecast is known.
- latent_sde: the bound of `LatentSDEForecaster` against the evidence, its training step, and doses.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the seeds, for trials. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("rates", "latent_sde")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.small_panels_parts", PARTS))
