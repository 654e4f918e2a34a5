"""Exponential decay with every engine, beside quadrature.

Observations at five times with noise of known width; see `tests.inference.known_examples.decay`.
"""

from __future__ import annotations

import torch

from tests.benchmarks.bayes_parts.answers import distance, tell_cost
from tests.benchmarks.structural_parts.report import Report
from tests.inference.known_examples import decay, numbers
from tsode.inference.infer import infer
from tsode.inference.loo import leave_one_out

__all__ = ["run"]

REFERENCE = {"k": (0.4628011608, 0.0579907995), "drug_initial": (9.8265125821, 0.7121387012)}
LOG_EVIDENCE = -4.572800802802
LEAVE_ONE_OUT = numbers([-0.877313179, -0.708949926, -0.574905369, -0.601658489, -0.437631403])
LATER, MEAN, EPISTEMIC, TOTAL = 8.0, 0.2620475174, 0.1048267182, 0.5108704736
# mean and standard deviation (in parts of it), evidence, forecast: the rule is exact
BARS = {"quadrature": (1e-6, 1e-6, 1e-6, 1e-6)}
SAMPLED = (0.05, 0.05, 0.03, 0.03)


def run(report: Report) -> None:
    density = decay()
    for engine in ("quadrature", "auto", "importance", "hmc"):
        posterior = infer(density, engine, 0)
        tell_cost(report, engine, posterior)
        mean_bar, sd_bar, evidence_bar, later_bar = BARS.get(engine, SAMPLED)
        apart = distance(density, posterior, REFERENCE)
        report.at_most(f"{engine}: error of means, in standard deviations", apart.mean, mean_bar)
        report.at_most(f"{engine}: error of standard deviations, relative", apart.sd, sd_bar)
        error = abs(float(posterior.log_evidence[0]) - LOG_EVIDENCE)
        report.at_most(f"{engine}: error of the log evidence", error, evidence_bar)
        loo = leave_one_out(
            density.pointwise(posterior.nodes)["level"],
            log_weights=posterior.log_weights,
            is_rule=posterior.engine[0] == "quadrature",
        )
        error = float((loo.pointwise[0] - LEAVE_ONE_OUT).abs().max())
        report.at_most(f"{engine}: error of leave-one-out values", error, 0.05)
        level = density.trajectories(posterior.nodes, numbers([[LATER]]))[0][0, :, 0, 0, 0]
        weight = posterior.log_weights[0].exp()
        center = (weight * level).sum()
        epistemic = (weight * (level - center) ** 2).sum()
        total = (epistemic + 0.5**2).sqrt()
        errors = torch.stack([center / MEAN - 1.0, epistemic.sqrt() / EPISTEMIC - 1.0, total / TOTAL - 1.0]).abs()
        report.at_most(f"{engine}: forecast at 8: mean, epistemic and total, relative", float(errors.max()), later_bar)
