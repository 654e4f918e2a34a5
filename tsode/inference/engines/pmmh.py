"""Particle marginal Metropolis-Hastings: chains whose likelihood is an estimate, and whose posterior is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.inference.chains import hold, qualities, thinned
from tsode.inference.draws import Posterior
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.mixture import laplace_mixture
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings
from tsode.inference.streams import Streams

__all__ = ["answer_by_pmmh"]

SCALE = 2.38  # times the posterior's width over the root of p (Roberts & Rosenthal 2001)
WINDOWS = 4  # of the warm-up, after each of which proposals are fitted anew
PRIOR_DRAWS = 10.0  # times p, by which Laplace's covariance counts beside that of the chains
STICKY = 0.03  # accepted share below which a word is said
LEAST_DRAWS = 8  # of a chain, with which an answer can be given


@dataclass(frozen=True)
class _Walk:
    """Points (g c p), the estimates (g c) that they were taken with, and the root (g p p) of proposals."""

    u: Tensor
    value: Tensor
    factor: Tensor


def answer_by_pmmh(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """Random walks of many chains; each point keeps the estimate with which it was accepted.

    Each proposal is evaluated with new random numbers (see `tsode.inference.density.Density`). As long as the mean of
    the estimated likelihood is the likelihood, the chains have its posterior, whatever the variance of the estimate is
    (Andrieu, Doucet & Holenstein 2010, theorem 4): a large one makes them stick, and is best between 1 and 3 for the
    logarithm (Doucet et al. 2015). Without such estimates this is the Metropolis-Hastings algorithm.

    Proposals have the covariance of the chains, pooled in the warm-up and then left as it is, times ``2.38^2 / p``. In
    place of a trajectory of Hamiltonian Monte Carlo there are as many steps as it has gradients at most
    (`Settings.most_steps`): so many make up `n_warm_up` and `n_block`. There is no evidence.

    References
    ----------
    Andrieu, Doucet and Holenstein, "Particle Markov chain Monte Carlo methods", Journal of the Royal Statistical
    Society B 72, 2010, section 2.4.2; Doucet, Pitt, Deligiannidis and Kohn, "Efficient implementation of Markov chain
    Monte Carlo when using an unbiased likelihood estimator", Biometrika 102, 2015.
    """
    evaluator.stage("chains")
    streams = evaluator.streams.branch("pmmh")
    kept: list[Tensor] = []
    accepted: list[Tensor] = []
    failures: list[Tensor] = []
    end = torch.full((len(modes.point),), -1)
    seed, block = 0, settings.n_block * settings.most_steps
    try:
        walk = _started(evaluator, modes, streams, settings.n_chains)
        for _ in range(WINDOWS):
            seen: list[Tensor] = []
            for _ in range(max(2, settings.n_warm_up * settings.most_steps // WINDOWS)):
                seed += 1
                walk, _, _ = _moved(evaluator, walk, streams, seed)
                seen.append(walk.u)
            walk = _Walk(walk.u, walk.value, _factor(modes, torch.cat(seen[len(seen) // 3 :], dim=1)))
        for _ in range(settings.most_blocks):
            for _ in range(block):
                seed += 1
                walk, is_taken, failed = _moved(evaluator, walk, streams, seed)
                kept.append(walk.u)
                accepted.append(is_taken)
                failures.append(failed)
            is_long = len(kept) >= 2 * block
            is_done = (end < 0) & is_long & hold(torch.stack(kept, dim=2), settings.max_rhat, settings.enough)
            end[is_done] = len(kept)
            if (end > 0).all():
                break
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
        if len(kept) < LEAST_DRAWS:
            raise Stopped(evaluator.why_stopped) from None
    end[end < 0] = len(kept)
    draws = torch.stack(kept, dim=2)
    rates, failed = (_mean_until(torch.stack(shares), end) for shares in (accepted, failures))
    return _answer(evaluator, draws, end, failed, modes, settings).with_problems(
        [
            [
                f"sticky: {rate:.1%} of the proposals were accepted; the estimates of the likelihood scatter too much: "
                "take more particles, or guided ones"
            ]
            if rate < STICKY
            else []
            for rate in rates.tolist()
        ]
    )


def _started(evaluator: Evaluator, modes: Modes, streams: Streams, n: int) -> _Walk:
    """Chains from draws of Laplace's laws with heavy tails."""
    u = laplace_mixture(modes).sample(n, streams)
    laplace = (modes.weight[..., None, None] * modes.covariance).sum(dim=1)
    scale = SCALE / math.sqrt(u.shape[-1])
    return _Walk(u, evaluator.reseeded(0).value(u), scale * torch.linalg.cholesky(laplace))


def _moved(evaluator: Evaluator, walk: _Walk, streams: Streams, seed: int) -> tuple[_Walk, Tensor, Tensor]:
    """One proposal of each chain: chains, and shares (g) that were accepted and that have failed.

    A chain whose start has failed takes the first point that has not.
    """
    _, c, p = walk.u.shape
    u = walk.u + streams.normal(c, p) @ walk.factor.mT
    value = evaluator.reseeded(seed).value(u)
    is_taken = streams.uniform(c).log() < value - walk.value  # not where both have failed
    moved = _Walk(
        torch.where(is_taken[..., None], u, walk.u), torch.where(is_taken, value, walk.value), walk.factor
    )  # fmt: skip
    return moved, is_taken.double().mean(dim=1), (~value.isfinite()).double().mean(dim=1)


def _factor(modes: Modes, nodes: Tensor) -> Tensor:
    """Root of proposals by draws (g k p), which count as few beside Laplace's approximation where they do not mix."""
    apart = nodes - nodes.mean(dim=1, keepdim=True)
    k, p = nodes.shape[1:]
    laplace = (modes.weight[..., None, None] * modes.covariance).sum(dim=1)
    few = PRIOR_DRAWS * p
    covariance = (apart.mT @ apart + few * laplace) / (k + few)
    return SCALE / math.sqrt(p) * torch.linalg.cholesky(covariance)


def _mean_until(shares: Tensor, end: Tensor) -> Tensor:
    """Means (g) of shares (n g) over the first `end` (g)."""
    is_counted = torch.arange(len(shares))[:, None] < end
    return (shares * is_counted).sum(dim=0) / end


def _answer(
    evaluator: Evaluator, draws: Tensor, end: Tensor, failed: Tensor, modes: Modes, settings: Settings
) -> Posterior:
    g = len(draws)
    chosen = thinned(draws, end, settings.n_draws // settings.n_chains)
    nodes = chosen.flatten(1, 2)
    rhat, bulk, tail = qualities(draws, end)
    unknown = torch.full_like(failed, torch.nan)
    return Posterior(
        evaluator.names,
        ("pmmh",) * g,
        chosen,
        nodes,
        torch.full_like(nodes[..., 0], nodes.shape[1]).log().neg(),
        modes,
        unknown,
        unknown,
        rhat,
        bulk,
        tail,
        unknown,
        failed,
        evaluator.effort,
        ((),) * g,
    )
