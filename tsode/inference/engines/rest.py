"""Rest of draws under Hamiltonian dynamics, a check that needs no chain to converge."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from tsode.inference.draws import Posterior
from tsode.inference.engines.hmc import move, start_chains
from tsode.inference.evaluation import Evaluator
from tsode.inference.mixture import laplace_mixture
from tsode.inference.settings import Settings

__all__ = ["drift_scores", "is_at_rest"]

STEPS = (0.8, 0.4, 0.2)  # of each trajectory, in units of the posterior's width, times p^(-1/4): one will do
MOST_STEPS = 8
HIGH = 0.97  # level of the density, in units of a law like the answer, above which draws are counted
UNLIKELY = 1e-3  # chance that a right answer is taken for a wrong one by the check


def is_at_rest(evaluator: Evaluator, posterior: Posterior, settings: Settings) -> Tensor:
    """Whether a few trajectories from draws of an answer leave their distribution as it is, (g)."""
    score, bound = drift_scores(evaluator, posterior, settings)
    return (score < bound).all(dim=1)


def drift_scores(evaluator: Evaluator, posterior: Posterior, settings: Settings) -> tuple[Tensor, Tensor]:
    """Standard scores of how far draws drift in a few trajectories, (g q), and what is likely at most.

    They stay where they are as a whole if they are the posterior's. They drift, paired draw by draw, where it lacks a
    part that can be reached from the rest, which importance weights cannot see where no draw has come.
    """
    evaluator.stage("check")
    flat = posterior.draws.flatten(1, 2)
    chosen = flat[:, torch.linspace(0, flat.shape[1] - 1, min(settings.n_check, flat.shape[1])).long()]
    chains = start_chains(evaluator, chosen, posterior)
    law = laplace_mixture(posterior.modes)  # one fitted to these very draws would be nearer to them than to others
    ratio = chains.value - law.log_prob(chosen)
    middle = (_quartiles(chosen), _quartiles(ratio[..., None]))
    high = torch.quantile(ratio, HIGH, dim=1)[:, None]
    before = _marks(chosen, ratio, middle, high)
    streams = evaluator.streams.branch("check")
    for step in STEPS:
        log_step = torch.full_like(chains.log_step, math.log(step) - 0.25 * math.log(chosen.shape[-1]))
        chains, _, _ = move(evaluator, replace(chains, log_step=log_step), streams, MOST_STEPS)
    change = _marks(chains.u, chains.value - law.log_prob(chains.u), middle, high) - before  # (g c q)
    error = change.std(dim=1) / change.shape[1] ** 0.5
    score = (change.mean(dim=1) / error.clamp(min=1e-12)).abs()
    bound = -torch.special.ndtri(torch.tensor(0.5 * UNLIKELY / change.shape[2], dtype=score.dtype))
    return score, bound


def _marks(u: Tensor, ratio: Tensor, middle: tuple[tuple[Tensor, Tensor], ...], high: Tensor) -> Tensor:
    """Bounded marks of where each draw is: (g c 2 p + 2). Unbounded ones may have no variance.

    Of each coordinate, and of the density in units of a law like the answer: where a part is missing it is high.
    """
    z, height = ((x - centre) / width for x, (centre, width) in zip((u, ratio[..., None]), middle))
    is_high = (ratio > high).to(u.dtype)[..., None]
    return torch.cat([torch.tanh(z), z.square() / (1.0 + z.square()), torch.tanh(height), is_high], dim=-1)


def _quartiles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Medians and interquartile ranges of (g c q), each (g 1 q)."""
    low, middle, high = torch.quantile(x, x.new_tensor([0.25, 0.5, 0.75]), dim=1)[:, :, None]
    return middle, (high - low).clamp(min=1e-300)
