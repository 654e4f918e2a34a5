"""Posteriors that mislead: the right answer, or what is wrong with it by name.

Densities with known answers from `tests.inference.densities`; errors of the evidence in nats.
"""

from __future__ import annotations

import math

import torch

from tests.benchmarks.bayes_parts.answers import tell_cost
from tests.benchmarks.structural_parts.report import Report
from tests.inference.densities import (
    Written,
    at_a_bound,
    banana,
    failing,
    funnel,
    log_normal_density,
    product_of_rates,
    ridge_of_cauchys,
    student,
    two_modes,
    untouched,
)
from tsode.inference.draws import Posterior
from tsode.inference.infer import infer

__all__ = ["run"]

DOUBTS = {"R-hat", "effective draws", "Pareto k", "no mode"}
EVIDENCE = 0.1


def run(report: Report) -> None:
    third = _of_the_failing()
    cases: dict[str, tuple[Written, float, str]] = {
        "ridge of 2 Cauchys": (ridge_of_cauchys(2), _of_the_ridge(2), ""),
        "ridge of 6 Cauchys": (ridge_of_cauchys(6), _of_the_ridge(6), ""),
        "two modes of equal weight": (two_modes(4), 0.0, "several modes"),
        "two modes, one of 5 %": (two_modes(4, weight=0.05), 0.0, "several modes"),
        "a product of rates": (product_of_rates(), _of_the_product(), "not identified"),
        "a coordinate without data": (untouched(), math.nan, "not identified"),
        "a third of the prior fails": (failing(3), third, "failed solves"),
        "funnel": (funnel(5), 0.0, ""),
        "crescent": (banana(3), 0.0, ""),
        "tails of three degrees": (student(4), 0.0, ""),
        "modes at a bound": (at_a_bound(3), 0.0, ""),
    }
    for name, (density, log_evidence, kind) in cases.items():
        posterior = infer(density, random_state=0)
        tell_cost(report, name, posterior)
        kinds = {text.split(":")[0] for text in posterior.problems[0]}
        if kind:
            report.at_least(f"{name}: told as {kind!r}", float(kind in kinds), 1.0)
        if math.isfinite(log_evidence):
            error = abs(float(posterior.log_evidence[0]) - log_evidence)
            is_told = bool(kinds & DOUBTS)
            report.at_least(f"{name}: evidence right, or a doubt told", float(is_told or error < EVIDENCE), 1.0)
            report.note(f"  error of the log evidence {error:.4f}{', told' if is_told else ''}")
    posterior = infer(two_modes(4), random_state=0)
    report.within("two modes of equal weight: share of one", _share_below(posterior, 0.0), 0.45, 0.55)


def _share_below(posterior: Posterior, bound: float) -> float:
    return float(posterior.expect(lambda u: (u[..., 0] < bound).double())[0])


def _of_the_ridge(p: int) -> float:
    """Log evidence: the sum of `p` Cauchy variables is one of width `p`."""
    step = 1e-4
    x = torch.arange(-4.0, 6.0, step, dtype=torch.float64)
    density = (p / math.pi / (p**2 + x**2)).log() + log_normal_density(x, 1.0, 0.1)
    return float(density.logsumexp(0)) + math.log(step)


def _of_the_product() -> float:
    at = torch.tensor([0.5, 1.0], dtype=torch.float64)
    both = log_normal_density(at[0], 0.0, math.sqrt(2.0 + 0.05**2))
    return float(both + log_normal_density(at[1], 0.0, math.sqrt(1.0 + 0.1**2)))


def _of_the_failing() -> float:
    """Product of N(0, 1) and N(.5, .5): a normal law about .4, cut at -.4307."""
    inside = torch.special.ndtr(torch.tensor((0.4 + 0.4307) / math.sqrt(0.2), dtype=torch.float64))
    whole = log_normal_density(torch.tensor(0.5, dtype=torch.float64), 0.0, math.sqrt(1.25))
    return float(whole + inside.log())
