"""Wang's ten subjects at fixed parameters, proportional noise: the objective by each method."""

from __future__ import annotations

import math

import torch

from tests.benchmarks.structural_parts.report import Report
from tests.inference.population.known_populations import decays, shared
from tsode.inference.population.methods import METHODS
from tsode.inference.population.subjects import Subjects, apart

__all__ = ["run"]

PUBLISHED = {"focei": 39.458, "foce": 39.207, "fo": 39.213, "laplace": 39.2268, "quadrature": 39.3548}


def run(report: Report) -> None:
    subjects = Subjects(apart(decays()))
    theta = shared(subjects, {"ke": 0.5})
    for name, method in METHODS.items():
        with torch.no_grad():
            found = method().log_likelihood(subjects, theta)
        objective = -2.0 * float(found.value.sum()) - 20.0 * math.log(2.0 * math.pi)
        if name in PUBLISHED:
            report.at_most(f"{name}: distance of {objective:.4f} from {PUBLISHED[name]}",
                           abs(objective - PUBLISHED[name]), 1e-3)  # fmt: skip
        else:
            report.note(f"{name}: {objective:.4f}")
