"""Trust in a posterior: checks of what has been found, and names for what is wrong with it."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.draws import Posterior
from tsode.inference.engines.hmc import move, start_chains
from tsode.inference.evaluation import Evaluator
from tsode.inference.mixture import fitted, laplace_mixture
from tsode.inference.modes import Modes
from tsode.inference.settings import Settings

__all__ = ["find_problems", "is_at_rest", "mode_shares"]

N_MOVES, STEP = 3, 0.8  # trajectories of the check, and their step in units of the posterior's width, times p^(-1/4)
UNLIKELY = 1e-3  # chance that a right answer is taken for a wrong one by the check
FAILED_PRIOR, FAILED = 0.05, 0.2  # shares of failures that are worth a word; proposals reach far, and more of them fail
UNTOUCHED = 0.9  # width in units of the prior's from which the data have told nothing
LOADING = 0.35  # in units of the largest, from which a coordinate is named in a direction
ANOTHER = 0.01  # share of the draws from which another mode is worth a word


def is_at_rest(evaluator: Evaluator, posterior: Posterior, settings: Settings) -> Tensor:
    """Whether a few trajectories from draws of an answer leave their distribution as it is, (g).

    They do if it is the posterior. They drift, paired draw by draw, where it lacks a part that can be reached from the
    rest, which importance weights cannot see where no draw has come.
    """
    evaluator.stage("check")
    flat = posterior.draws.flatten(1, 2)
    chosen = flat[:, torch.linspace(0, flat.shape[1] - 1, min(settings.n_check, flat.shape[1])).long()]
    law = fitted(laplace_mixture(posterior.modes), posterior.nodes, posterior.log_weights)
    chains = start_chains(evaluator, chosen, law)
    chains.log_step.fill_(STEP * chosen.shape[-1] ** -0.25).log_()
    before = _marks(chosen, chains.value, chosen)
    streams = evaluator.streams.branch("check")
    for _ in range(N_MOVES):
        chains, _, _ = move(evaluator, chains, streams, settings.most_steps)
    change = _marks(chains.u, chains.value, chosen) - before  # (g c q)
    error = change.std(dim=1) / change.shape[1] ** 0.5
    score = (change.mean(dim=1) / error.clamp(min=1e-12)).abs()
    bound = -torch.special.ndtri(torch.tensor(0.5 * UNLIKELY / change.shape[2], dtype=score.dtype))
    return (score < bound).all(dim=1)


def _marks(u: Tensor, value: Tensor, reference: Tensor) -> Tensor:
    """Bounded marks of where each draw is: (g c 2 p + 1). Unbounded ones may have no variance."""
    quartiles = torch.quantile(reference, reference.new_tensor([0.25, 0.5, 0.75]), dim=1)
    z = (u - quartiles[1][:, None]) / (quartiles[2] - quartiles[0]).clamp(min=1e-300)[:, None]
    top = value.amax(dim=1, keepdim=True)
    depth = (top - value) / u.shape[-1]
    return torch.cat([torch.tanh(z), z.square() / (1.0 + z.square()), torch.tanh(depth)[..., None]], dim=-1)


def mode_shares(posterior: Posterior) -> Tensor:
    """Share of the posterior that lies about each mode, (g m): nearest in units of its width."""
    modes = posterior.modes
    law = laplace_mixture(modes)
    even = type(law)(torch.ones_like(law.weight), law.location, law.factor, law.degrees)
    parts = even.parts(posterior.nodes).masked_fill(~modes.log_prob.isfinite()[:, None], -torch.inf)
    mine = torch.nn.functional.one_hot(parts.argmax(dim=-1), modes.log_prob.shape[1])
    return torch.einsum("gk,gkm->gm", posterior.log_weights.exp(), mine.to(parts.dtype))


def find_problems(posterior: Posterior, settings: Settings) -> list[list[str]]:
    """Names, for each problem, of what is wrong with its answer or worth knowing before it is used."""
    modes, prior = posterior.modes, posterior.modes.prior
    names: list[list[str]] = [[] for _ in posterior.engine]
    shares = mode_shares(posterior)
    for g, found in enumerate(names):
        found += _of_the_search(modes, g, settings)
        if float(posterior.share_failed[g]) > FAILED:
            found.append(
                f"failed solves: {float(posterior.share_failed[g]):.0%} of the points that {posterior.engine[g]} asked for "
                "have no finite density"
            )
        heavy = (shares[g] > ANOTHER).nonzero().squeeze(1).tolist()
        if len(heavy) > 1:
            parts = [f"{float(shares[g, m]):.0%} at {_place(posterior.names, modes.point[g, m])}" for m in heavy]
            found.append(f"several modes: {'; '.join(parts)}")
        if float(posterior.pareto_k[g]) >= settings.max_k:
            found.append(
                f"Pareto k: {float(posterior.pareto_k[g]):.2f}, above {settings.max_k:g}: few draws carry most of the weight"
            )
        if bool((posterior.rhat[g] > settings.max_rhat).any()):
            worst = int(posterior.rhat[g].nan_to_num().argmax())
            found.append(
                f"R-hat: {float(posterior.rhat[g, worst]):.3f} for {posterior.names[worst]}, above {settings.max_rhat:g}: "
                "chains from different starts do not agree"
            )
        ess = torch.minimum(posterior.ess_bulk[g], posterior.ess_tail[g])
        if bool((ess < settings.enough).any()):
            worst = int(ess.argmin())
            found.append(f"effective draws: {float(ess[worst]):.0f} for {posterior.names[worst]}, fewer than {settings.enough:g}")
    draws = posterior.draws.flatten(1, 2)
    if draws.shape[1] > 1:
        for g, flat in _flat_directions(draws, prior.draws, prior.scale, posterior.names):
            names[g].append(flat)
    return names


def _of_the_search(modes: Modes, g: int, settings: Settings) -> list[str]:
    found = []
    share = float(modes.prior.share_failed[g])
    if share > FAILED_PRIOR:
        found.append(f"failed solves: {share:.0%} of the draws of the prior have no finite density")
    if not bool(modes.is_found[g]):
        found.append("no mode: none of the starts has come to one; the density may rise without end, or be rough")
    return found


def _place(names: tuple[str, ...], point: Tensor) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in zip(names, point.tolist()))


def _flat_directions(draws: Tensor, prior: Tensor, scale: Tensor, names: tuple[str, ...]) -> list[tuple[int, str]]:
    """Directions in which the posterior is as wide as the prior, with the signs of the coordinates.

    Principal axes of the draws in units of the prior, by correlations of ranks and interquartile ranges: tails may have
    no moments.
    """
    found = []
    z, reference = draws / scale[:, None], prior / scale[:, None]
    width = _width(z)
    score = z.argsort(dim=1).argsort(dim=1).double()
    score = torch.special.ndtri((score + 0.5) / z.shape[1])
    score = (score - score.mean(dim=1, keepdim=True)) / score.std(dim=1, keepdim=True)
    correlation = torch.einsum("gkp,gkq->gpq", score, score) / (z.shape[1] - 1)
    correlation = correlation.where(correlation.abs() > 0.1, 0.0)  # what is noise would mix axes of like width
    correlation.diagonal(dim1=1, dim2=2).fill_(1.0)
    axes = torch.linalg.eigh(correlation * width[:, :, None] * width[:, None])[1]
    ratio = _width(z @ axes) / _width(reference @ axes)
    for g, axis in (ratio > UNTOUCHED).nonzero().tolist():
        loading = axes[g, :, axis]
        is_named = loading.abs() > LOADING * loading.abs().max()
        order = [i for i in loading.abs().argsort(descending=True).tolist() if is_named[i]]
        first = 1.0 if float(loading[order[0]]) > 0 else -1.0
        signs = ["+" if first * float(loading[i]) > 0 else "-" for i in order]
        direction = " ".join(f"{sign} {names[i]}" for sign, i in zip(signs, order)).removeprefix("+ ")
        found.append((g, f"not identified: {direction} is {float(ratio[g, axis]):.2f} times as wide as in the prior"))
    return found


def _width(z: Tensor) -> Tensor:
    quartiles = torch.quantile(z, z.new_tensor([0.25, 0.75]), dim=1)
    return (quartiles[1] - quartiles[0]).clamp(min=1e-300)
