"""Bayesian inference of known dynamics beside its bars: exactness, reference draws, calibration, hard cases, speed.

    python tests/benchmarks/bayes.py [--check] [--share SHARE] [PART ...]

Parts:

- decay: exponential decay by every engine, beside quadrature: moments, evidence, leave-one-out, a forecast.
- lynx_hare: predators and prey from twenty seeds, beside 10,000 published reference draws.
- sir: an epidemic with counts and a log-normal channel, beside a million published reference draws.
- calibration: ranks of true parameters over 300 data sets of decay and of a damped oscillator; predictive intervals.
- hard: ridges, modes, funnels, failures: the right answer, or what is wrong with it by name.
- hybrid: a term of the rates that is left to a network, and a residual that nothing needs.
- hybrid_bands: the share of new values that bands of twenty hybrids hold.
- speed: CPU seconds and effective draws a second by engine, and what the gradient of many chains costs.

Every figure stands beside the bar it has to reach; with `--check` the exit code is 1 if any was missed. `--share` runs
a share of the seeds and data sets, for trials; the bars are those of the full counts. CPU seconds are of one thread.
"""

from __future__ import annotations

from tests.benchmarks.run_parts import run_parts

PARTS = ("decay", "lynx_hare", "sir", "calibration", "hard", "hybrid", "hybrid_bands", "speed")

if __name__ == "__main__":
    raise SystemExit(run_parts(__doc__ or "", "tests.benchmarks.bayes_parts", PARTS))
