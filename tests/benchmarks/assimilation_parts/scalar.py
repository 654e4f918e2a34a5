"""Scalar case: prior N(1, 4), noise of variance 1, value 3; the posterior is N(2.6, .8)."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.assimilation.ensemble_motions import LinearMotion, normal_seen, normal_start
from tests.benchmarks.structural_parts.report import Report
from tsode.assimilation.filters.ensemble import EnsembleFilter
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.inflation import Inflation
from tsode.assimilation.motion import Draws

__all__ = ["run"]

PUBLISHED = {10: 0.360, 100: 0.104, 1000: 0.032, 10000: 0.010}  # sd of the mean over 400 repeats
N_REPEATS = 400


def run(report: Report) -> None:
    members, evidence = posterior(SquareRootEnsemble(10, Inflation()), 1)
    report.at_most("square root: |mean - 2.6|", abs(members.mean().item() - 2.6), 1e-12)
    report.at_most("square root: |variance - .8|", abs(members.var().item() - 0.8), 1e-12)
    truth = -0.5 * (4.0 / 5.0 + math.log(2.0 * math.pi * 5.0))
    report.at_most("square root: |log evidence - closed form|", abs(evidence.item() - truth), 1e-12)
    found = []
    for m, published in PUBLISHED.items():
        members, _ = posterior(EnsembleKalman(m, Inflation()), N_REPEATS)
        means = members.mean(dim=(1, 2))
        found.append(means.std().item())
        report.note(f"perturbed, {m} members: sd of the mean {found[-1]:.4f}, notes {published:.3f}; "
                    f"bias {means.mean().item() - 2.6:+.4f}")  # fmt: skip
    slope = np.polyfit(np.log(list(PUBLISHED)), np.log(found), 1)[0]
    report.within("perturbed: slope of log sd in log members", slope, -0.6, -0.4)


def posterior(filter_: EnsembleFilter, n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    one, t, draws = torch.ones(n_rows).double(), torch.zeros(n_rows).double(), Draws(torch.arange(n_rows))
    still = torch.zeros(1, 1).double()
    motion = LinearMotion(still, still[0], still)
    belief = filter_.start(normal_start(one[:, None], 2.0 * one[:, None]), motion, t, draws)
    belief, evidence = filter_.observe(belief, normal_seen(torch.ones(1).double(), 3.0 * one, one), t, draws)
    return belief.members, evidence
