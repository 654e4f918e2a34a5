"""Posteriors in the units of the parameters, beside reference values, and what they have cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from tests.benchmarks.structural_parts.report import Report
from tsode.inference.draws import Posterior
from tsode.inference.known_density import KnownDensity

__all__ = ["Distance", "distance", "moments", "tell_cost"]


class Distance(NamedTuple):
    """Largest error of a mean in reference standard deviations, and of a standard deviation in parts of it."""

    mean: float
    sd: float


def moments(density: KnownDensity, posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (g p) of the parameters."""
    mean = posterior.expect(density.space.constrain)
    square = posterior.expect(lambda u: (density.space.constrain(u) - mean[:, None]) ** 2)
    return mean, square.sqrt()


def distance(density: KnownDensity, posterior: Posterior, reference: Mapping[str, tuple[float, float]]) -> Distance:
    """How far the first problem's answer is from reference means and standard deviations."""
    mean, sd = moments(density, posterior)
    known = torch.tensor([reference[name] for name in density.names], dtype=torch.float64)
    error = (mean[0] - known[:, 0]).abs() / known[:, 1]
    return Distance(float(error.max()), float((sd[0] / known[:, 1] - 1.0).abs().max()))


def tell_cost(report: Report, what: str, posterior: Posterior) -> None:
    """Print a line of the table of engines: CPU seconds, effective draws, and what is known about the answer."""
    ess = posterior.ess_bulk
    seconds = posterior.effort.cpu_seconds
    least = float(ess.min())
    rhat, k = float(posterior.rhat.max()), float(posterior.pareto_k.max())
    report.note(
        f"{what:<24} {posterior.engine[0]:<11} {seconds:6.1f} CPU-s  ESS {least:6.0f}  {least / seconds:6.0f} ESS/s  "
        f"k {k:5.2f}  R-hat {rhat:5.3f}  {'; '.join(text.split(':')[0] for text in posterior.problems[0])}"
    )
