"""Small panels beside their optimum: what a few series cost a forecaster that has to learn.

    python tests/benchmarks/small_panels.py [--check] [--share SHARE] [PART ...]

Parts:

- rates: `LinearSDEForecaster(series_rates=9)` on simulated families whose best forecast is known.
- default: the default forecaster on the same.
- other_rates: both on families whose classes are not ours, without bars.
- optimum: simulated problems of the literature on neural jump ODEs, by the optimum's loss.
- glucose: people never seen in training, beside a ridge autoregression.
- typing_errors: values mistyped in the histories of PhysioNet 2012 set-a.
- far_ahead: every forecaster at up to a million horizons.
- warnings_told: false alarms and hits where a question leaves what was learned.
- positive: learned forecasters with ``support=`` on glucose and drugs, beside themselves without it.
- latent_sde: the bound of `LatentSDEForecaster` against the evidence, its training step, and doses.
- infusions: learned forecasters on boluses and infusions of a three-compartment drug, beside the true model.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the seeds, paths and stays, for trials. CPU seconds are of one thread. What all parts measure is made in
`small_panels_parts/forecasters.py`. The folder of the real data is read from TSODE_REAL_DATA; a part without its data
says so and is left out.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = (
    "rates",
    "default",
    "other_rates",
    "optimum",
    "glucose",
    "typing_errors",
    "far_ahead",
    "positive",
    "warnings_told",
    "latent_sde",
    "infusions",
)

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.small_panels_parts", PARTS))
