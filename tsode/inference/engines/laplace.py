"""Laplace's approximation: a normal law at each mode, weighted by its mass."""

from __future__ import annotations

import torch

from tsode.inference.draws import Posterior, resample
from tsode.inference.evaluation import Evaluator
from tsode.inference.mixture import laplace_mixture
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings

__all__ = ["answer_by_laplace"]


def answer_by_laplace(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Draws of normal laws with the curvature of the log density at each mode; the density is not asked again."""
    law = laplace_mixture(modes, degrees=torch.inf)
    nodes = law.sample(settings.n_draws, evaluator.streams.branch("laplace"))
    g, k, p = nodes.shape
    unknown = nodes.new_full((g, p), torch.nan)
    return Posterior(
        evaluator.names,
        ("laplace",) * g,
        resample(nodes, nodes.new_zeros(g, k), evaluator.streams.branch("draws"), settings.n_chains, settings.n_draws),
        nodes,
        nodes.new_full((g, k), k).log().neg(),
        modes,
        modes.log_mass.logsumexp(dim=1),
        unknown[:, 0],
        unknown,
        unknown,
        unknown,
        unknown[:, 0],
        nodes.new_zeros(g),
        evaluator.effort,
        ((),) * g,
    )
