"""Hamiltonian Monte Carlo of many chains at once: a leapfrog step of all is one call."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tsode.inference.bridge import build_bridge
from tsode.inference.chains import hold, qualities, thinned
from tsode.inference.draws import Posterior
from tsode.inference.engines.importance import answer_by_importance, effective
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.mixture import Mixture, laplace_mixture, nearest_modes
from tsode.inference.mixture_fit import PRIOR_DRAWS, fit_mixture, split_mixture
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings
from tsode.inference.streams import Streams

__all__ = ["Chains", "answer_by_hmc", "leap", "move", "start_chains"]

ACCEPTED = 0.75  # mean acceptance that the step is adapted to
FIRST_STEP = 1.0  # in units of the posterior's width, times p^(-1/4)
PATH = (0.3, 0.7 * math.pi)  # least and most length of a trajectory; a quarter of a normal law's period is half pi
JITTER = (0.7, 1.05)  # of each chain's step
HOPELESS_RHAT = 1.1  # from which there is no evidence
WINDOWS = 4  # of the warm-up, after each of which the metric and the law of leaps are fitted anew
GAIN, OFFSET, FORGET = (
    0.1,
    5.0,
    0.75,
)  # of dual averaging (Hoffman & Gelman 2014, section 3.2.1; the gain is twice theirs)


@dataclass(frozen=True)
class Chains:
    """Where chains stand, and how the next trajectory goes.

    Attributes
    ----------
    u : Tensor[g c p]
    value : Tensor[g c]
    slope : Tensor[g c p]
    law : Mixture
        Of leaps from anywhere to anywhere; its widths are the metric.
    factor : Tensor[g p p]
        Cholesky factor of the metric's inverse.
    log_step : Tensor[g]
    """

    u: Tensor
    value: Tensor
    slope: Tensor
    law: Mixture
    factor: Tensor
    log_step: Tensor


def start_chains(evaluator: Evaluator, u: Tensor, weighted: Posterior) -> Chains:
    """Chains at given points, (g c p), with a metric and leaps by an answer."""
    value, slope = evaluator.value_and_slope(u)
    first = torch.full_like(value[:, 0], math.log(FIRST_STEP) - 0.25 * math.log(u.shape[-1]))
    law = fit_mixture(laplace_mixture(weighted.modes), weighted.nodes, weighted.log_weights)
    return Chains(u, value, slope, law, _metric(weighted.modes, weighted.nodes, weighted.log_weights), first)


def move(evaluator: Evaluator, chains: Chains, streams: Streams, most_steps: int) -> tuple[Chains, Tensor, Tensor]:
    """One trajectory of each chain: chains, mean acceptance (g), share of failures (g).

    Proposals whose log density is -inf are rejected. Trajectories of one problem have the same number of steps, and
    each chain its own step length.
    """
    _, c, p = chains.u.shape
    step = chains.log_step.exp()[:, None] * (JITTER[0] + (JITTER[1] - JITTER[0]) * streams.uniform(c))
    length = PATH[0] + (PATH[1] - PATH[0]) * streams.uniform(1)
    n_steps = (length / chains.log_step.exp()[:, None]).ceil().clamp(1, most_steps)
    momentum = streams.normal(c, p)
    u, value, slope, carried = chains.u, chains.value, chains.slope, momentum
    for n in range(int(n_steps.max())):
        goes_on = (n < n_steps)[..., None]
        half = carried + 0.5 * step[..., None] * (slope @ chains.factor)
        new = torch.where(goes_on, u + step[..., None] * (half @ chains.factor.mT), u)
        new_value, new_slope = evaluator.value_and_slope(new)
        value, slope = torch.where(goes_on[..., 0], new_value, value), torch.where(goes_on, new_slope, slope)
        carried = torch.where(goes_on, half + 0.5 * step[..., None] * (slope @ chains.factor), carried)
        u = new
    gain = value - chains.value - 0.5 * (carried.square() - momentum.square()).sum(dim=-1)
    acceptance = gain.nan_to_num(nan=-torch.inf).clamp(max=0.0).exp()
    failed = (~value.isfinite()).double().mean(dim=1)
    return _taken(chains, streams.uniform(c) < acceptance, u, value, slope), acceptance.mean(dim=1), failed


def leap(evaluator: Evaluator, chains: Chains, streams: Streams) -> tuple[Chains, Tensor]:
    """One proposal of each chain's law, wherever the chain is: chains, and the share of failures (g)."""
    c = chains.u.shape[1]
    points = chains.law.sample(c, streams)
    value, slope = evaluator.value_and_slope(points)
    gain = value - chains.law.log_prob(points) - chains.value + chains.law.log_prob(chains.u)
    chains = _taken(chains, streams.uniform(c).log() < gain.nan_to_num(nan=-torch.inf), points, value, slope)
    return chains, (~value.isfinite()).double().mean(dim=1)


def answer_by_hmc(
    evaluator: Evaluator, modes: Modes, settings: Settings, weighted: Posterior | None = None
) -> Posterior:
    """Chains from all modes, spread wider than the posterior, until they agree and there are enough effective draws.

    The metric is at first that of importance sampling, then that of the chains, which share it. Every trajectory is
    followed by a leap: a proposal of the mixture over the modes, independent of where the chain is. Leaps carry chains
    between modes wherever the mixture is not too bad, and are what gives modes their weights.

    Parameters
    ----------
    evaluator : Evaluator
    modes : Modes
    settings : Settings
    weighted : Posterior or None
        By importance sampling; one round of it is made where there is none.
    """
    if weighted is None:
        weighted = answer_by_importance(evaluator, modes, replace(settings, n_rounds=1))
    evaluator.stage("chains")
    streams = evaluator.streams.branch("chains")
    kept: list[Tensor] = []
    values: list[Tensor] = []
    end = torch.full((len(modes.point),), -1)
    failures: list[Tensor] = []
    try:
        chains = start_chains(evaluator, _starts(weighted, streams, settings.n_chains), weighted)
        chains = _warmed_up(evaluator, chains, modes, streams, settings)
        for _ in range(settings.most_blocks):
            for _ in range(settings.n_block):
                chains, _, failed = move(evaluator, chains, streams, settings.most_steps)
                chains, failed_leaps = leap(evaluator, chains, streams)
                kept.append(chains.u)
                values.append(chains.value)
                failures.append(0.5 * (failed + failed_leaps))
            draws = torch.stack(kept, dim=2)
            is_done = (end < 0) & (len(kept) >= 2 * settings.n_block) & hold(draws, settings.max_rhat, settings.enough)
            end[is_done] = len(kept)
            if (end > 0).all():
                break
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
        if len(kept) < 8:  # too few to say anything
            raise Stopped(evaluator.why_stopped) from None
    end[end < 0] = len(kept)
    return _answer(
        evaluator, chains, torch.stack(kept, 2), torch.stack(values, 2), torch.stack(failures), end, weighted, settings
    )


def _answer(
    evaluator: Evaluator,
    chains: Chains,
    draws: Tensor,
    values: Tensor,
    failures: Tensor,
    end: Tensor,
    weighted: Posterior,
    settings: Settings,
) -> Posterior:
    g = len(draws)
    quality = qualities(draws, end)
    bridge = build_bridge(evaluator, chains.law, draws, values, end, quality[1].amin(dim=1))
    agree = (quality[0] < HOPELESS_RHAT).all(dim=1)  # else the draws are not the posterior's, nor is the evidence
    evidence, se = bridge.log_evidence.where(agree, torch.nan), bridge.se.where(agree, torch.nan)
    mean_failures = torch.stack([failures[: int(end[own]), own].mean() for own in range(g)])
    return replace(
        weighted,
        engine=("hmc",) * g,
        draws=thinned(draws, end, settings.n_draws // settings.n_chains),
        nodes=bridge.nodes,
        log_weights=bridge.log_weights,
        log_evidence=evidence,
        log_evidence_se=se,
        rhat=quality[0],
        ess_bulk=quality[1],
        ess_tail=quality[2],
        pareto_k=torch.full_like(evidence, torch.nan),
        share_failed=mean_failures,
        effort=evaluator.effort,
        problems=((),) * g,
    )


def _starts(weighted: Posterior, streams: Streams, n: int) -> Tensor:
    """Starts (g n p) wider than the posterior: by the roots of the weights. Points that have failed have none."""
    half = 0.5 * weighted.log_weights
    half = half - half.logsumexp(dim=1, keepdim=True)
    share = half.exp().cumsum(dim=1)
    chosen = torch.searchsorted(share, (torch.arange(n) + streams.uniform(1)) / n * share[:, -1:])
    chosen = chosen.clamp(max=share.shape[1] - 1)
    return weighted.nodes.gather(1, chosen[..., None].expand(-1, -1, weighted.nodes.shape[-1]))


def _warmed_up(evaluator: Evaluator, chains: Chains, modes: Modes, streams: Streams, settings: Settings) -> Chains:
    """Chains with a step and a metric that suit them."""
    length = max(1, settings.n_warm_up // WINDOWS)
    for window in range(WINDOWS):
        middle = chains.log_step + math.log(2.0)  # dual averaging leans towards longer steps, which cost less
        averaged, error = chains.log_step, torch.zeros_like(middle)
        seen: list[Tensor] = []
        for n in range(1, length + 1):
            chains, acceptance, _ = move(evaluator, chains, streams, settings.most_steps)
            chains, _ = leap(evaluator, chains, streams)
            seen.append(chains.u)
            error = error + ((ACCEPTED - acceptance) - error) / (n + OFFSET)
            log_step = middle - math.sqrt(n) / GAIN * error
            averaged = averaged + n**-FORGET * (log_step - averaged)
            chains = replace(chains, log_step=log_step)
        chains = replace(chains, log_step=averaged)
        if window < WINDOWS - 1:
            nodes = torch.cat(seen[len(seen) // 3 :], dim=1)
            even = torch.full_like(nodes[..., 0], -math.log(nodes.shape[1]))
            n_laws = max(settings.n_laws, chains.law.weight.shape[1])
            law = split_mixture(chains.law, nodes, even, n_laws, streams.branch(f"split {window}"))
            chains = replace(chains, law=law, factor=_metric(modes, nodes, even))
    return chains


def _metric(modes: Modes, nodes: Tensor, log_weights: Tensor) -> Tensor:
    """Cholesky factor of the covariance of weighted draws about the mean of those of their mode."""
    mine = torch.nn.functional.one_hot(nearest_modes(modes, nodes), modes.point.shape[1]) * log_weights.exp()[..., None]
    mean = torch.einsum("gkm,gkp->gmp", mine, nodes) / mine.sum(dim=1).clamp(min=1e-300)[..., None]
    covariance = torch.zeros_like(modes.covariance[:, 0])
    for m in range(mean.shape[1]):
        apart = nodes - mean[:, m, None]
        covariance = covariance + (apart * mine[..., m, None]).mT @ apart
    # few effective draws lean on Laplace's approximation
    n, p = effective(log_weights)[:, None, None], nodes.shape[-1]
    laplace = (modes.weight[..., None, None] * modes.covariance).sum(dim=1)
    return torch.linalg.cholesky((n * covariance + PRIOR_DRAWS * p * laplace) / (n + PRIOR_DRAWS * p))


def _taken(chains: Chains, is_taken: Tensor, u: Tensor, value: Tensor, slope: Tensor) -> Chains:
    return replace(
        chains,
        u=torch.where(is_taken[..., None], u, chains.u),
        value=torch.where(is_taken, value, chains.value),
        slope=torch.where(is_taken[..., None], slope, chains.slope),
    )
