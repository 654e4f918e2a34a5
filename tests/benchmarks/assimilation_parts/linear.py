"""Linear systems of 1 to 12 states: filters that are exact there, beside Kalman's written out with dense matrices.

A third of the values is missing, two channels are seen at one time and one time is seen twice, and an event changes the
states. Noise of the values is of order one, or 1e-12 beside noise of the rates of 100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.assimilation.ensemble_motions import Kalman
from tests.assimilation.linear_scenes import along, scene
from tests.benchmarks.structural_parts.report import Report
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.gaussian import GaussianBelief
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.filters.unscented import UnscentedKalman
from tsode.assimilation.inflation import Inflation

__all__ = ["run"]

BAR = 1e-10
SIZES = ((1, 1), (2, 1), (3, 3), (6, 2), (12, 12))
N_SEEDS, N_STOPS = 10, 40


@torch.no_grad()
def run(report: Report) -> None:
    for name in ("extended", "unscented", "square root"):
        worst, tiny = np.zeros(3), np.zeros(3)
        for seed in range(report.count(N_SEEDS)):
            for d, k in SIZES:
                worst = np.maximum(worst, errors(*along(chosen(name, d), scene(d, k, N_STOPS, seed=seed))))
            parts = list(scene(3, 3, N_STOPS, noise=100.0, seed=seed))
            parts[6][:, 1] = parts[6][:, 0] + 1e-6 * np.random.default_rng(1).normal(size=(3, 2))  # the same time
            parts[7] = np.eye(3)[:2]
            tiny = np.maximum(tiny, errors(*along(chosen(name, 3), tuple(parts), (1e-12, 1e-12))))
        for what, error, small in zip(("mean", "covariance", "log evidence"), worst, tiny):
            report.at_most(f"{name}: {what}, worst of {N_SEEDS} seeds and {len(SIZES)} sizes", error, BAR)
            report.at_most(f"{name}: {what}, noise 1e-12 beside 100", small, BAR)


def chosen(name: str, d: int) -> Filter[Any]:
    if name == "square root":
        return SquareRootEnsemble(2 * d + 1, Inflation())
    return ExtendedKalman() if name == "extended" else UnscentedKalman()


def errors(belief: Any, total: Tensor, exact: list[Kalman]) -> np.ndarray:
    """Of mean, covariance and log evidence, each in units of the larger of 1 and its own size."""
    found = []
    for row, kalman in enumerate(exact):
        if isinstance(belief, GaussianBelief):
            mean, cov = belief.mean[row].numpy(), (belief.root[row] @ belief.root[row].mT).numpy()
        else:
            members = belief.members[row].numpy()
            mean, cov = members.mean(axis=0), np.cov(members.T).reshape(kalman.cov.shape)
        pairs = ((mean, kalman.mean), (cov, kalman.cov), (total[row].item(), kalman.log_evidence))
        found.append([np.abs(a - b).max() / max(1.0, np.abs(b).max()) for a, b in pairs])
    return np.max(found, axis=0)
