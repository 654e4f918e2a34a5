"""Modes by many starts: the best and the most scattered of many draws of the prior, climbed all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.inference.ascent import FIRST_STEP, Climbed, along_axes, curvature_at
from tsode.inference.draws import Posterior, resample
from tsode.inference.evaluation import INTERRUPTED, Evaluator, Stopped
from tsode.inference.modes import Modes, Prior
from tsode.inference.quick_first import climb_quick_first
from tsode.inference.settings import Settings

__all__ = ["Starts", "answer_by_mode", "choose_starts", "find_modes"]

MOST_MODES = 8
POOL = 8  # times the starts, of which the scattered half is chosen
SAME = 1.0  # squared distance in units of its Hessian within which a point is a mode's
STEP = (1e-6, 3e-2, 0.05)  # of central differences: least and most in units of the prior, and in those of the width
WIDEST = 3.0  # standard deviations of the prior, of a direction without curvature


class Starts(NamedTuple):
    """Starts that a search has found, in units of the prior.

    Parameters
    ----------
    point : Tensor[g b p]
    moves : Tensor[g b p p]
        For differences: a share of the width of the density along its axes.
    relaxed : Tensor[g]
        See `Modes`.
    """

    point: Tensor
    moves: Tensor
    relaxed: Tensor


Search = Callable[[Evaluator, Prior, Settings], Starts]


def find_modes(evaluator: Evaluator, settings: Settings, search: Search | None = None) -> Modes:
    """Modes of each problem, told apart by distance in units of their Hessians.

    Parameters
    ----------
    evaluator : Evaluator
    settings : Settings
    search : callable or None
        Where it leads to nothing of finite density, and without it, the best and the most scattered draws are starts.

    Raises
    ------
    Stopped
        If time is up before anything is known.
    """
    evaluator.stage("prior")
    draws = evaluator.sample_prior(settings.n_prior)
    value = evaluator.value(draws)
    quartiles = torch.quantile(draws, draws.new_tensor([0.25, 0.5, 0.75]), dim=1)
    scale = ((quartiles[2] - quartiles[0]) / 1.349).clamp(min=1e-12)
    prior = Prior(draws, quartiles[1], scale, (~value.isfinite()).double().mean(dim=1))

    places = choose_starts(draws / scale[:, None], value, settings.n_starts)
    start, start_value = (
        draws.gather(1, places[..., None].expand_as(draws[:, : places.shape[1]])),
        value.gather(1, places),
    )
    start = start / scale[:, None]
    relaxed = torch.full_like(value[:, 0], torch.nan)
    step = None
    if search is not None:
        found = search(evaluator, prior, settings)
        relaxed, step = found.relaxed, found.moves
        found_value = evaluator.value(found.point * scale[:, None])
        if found_value.isfinite().any(dim=1).all():
            start, start_value = found.point, found_value
        else:
            step = torch.cat([step, torch.diag_embed(torch.full_like(start, FIRST_STEP))], dim=1)
            start, start_value = torch.cat([found.point, start], dim=1), torch.cat([found_value, start_value], dim=1)
    evaluator.stage("modes")
    climbed = climb_quick_first(evaluator, start, start_value, scale, step)
    return _as_modes(evaluator, climbed, prior, relaxed, by_axes=search is not None)


def choose_starts(draws: Tensor, value: Tensor, n_starts: int) -> Tensor:
    """Places (g n) of starts among draws (g b p).

    The better half by value; the other far from these and from one another among the next best. The best alone may all
    lie on one wide mode.
    """
    g, n, p = draws.shape
    n_starts = min(n_starts, n)
    order = value.argsort(dim=1, descending=True, stable=True)[:, : POOL * n_starts]
    pool, pool_value = draws.gather(1, order[..., None].expand(-1, -1, p)), value.gather(1, order)
    n_best = (n_starts + 1) // 2
    chosen = [torch.full((g,), i) for i in range(n_best)]
    nearest = torch.cdist(pool, pool[:, :n_best]).amin(dim=2)
    for _ in range(n_starts - n_best):
        place = nearest.where(pool_value.isfinite(), -1.0).argmax(dim=1)
        chosen.append(place)
        nearest = torch.minimum(nearest, (pool - pool[torch.arange(g), place][:, None]).norm(dim=2))
    return order.gather(1, torch.stack(chosen, dim=1))


def _as_modes(evaluator: Evaluator, climbed: Climbed, prior: Prior, relaxed: Tensor, by_axes: bool) -> Modes:
    g, _, p = climbed.point.shape
    is_found = climbed.is_done.any(dim=1)
    # where no start is done, the best point stands in
    rank = climbed.value.where(climbed.is_done | ~is_found[:, None], -torch.inf)
    chosen, owner, is_mode = _distinct(climbed, rank)
    n_most = max(1, int(is_mode.sum(dim=1).max()))
    chosen, is_mode = chosen[:, :n_most], is_mode[:, :n_most]
    point = climbed.point.gather(1, chosen[..., None].expand(-1, -1, p))
    value = climbed.value.gather(1, chosen).where(is_mode, -torch.inf)
    curvature = climbed.curvature.gather(1, chosen[..., None, None].expand(-1, -1, p, p))
    least, most, share = STEP
    if by_axes:
        step = along_axes(curvature)
    else:
        step = (share / curvature.diagonal(dim1=-2, dim2=-1).abs().clamp(min=1e-12).sqrt()).clamp(least, most)
    try:
        curvature = curvature_at(evaluator, point, prior.scale, step, is_central=True)[2]
    except (Stopped, KeyboardInterrupt) as stopped:
        evaluator.stop(str(stopped) or INTERRUPTED)
    width, axes = torch.linalg.eigh(curvature)
    is_repaired = (width < WIDEST**-2).any(dim=-1)
    width = width.clamp(min=WIDEST**-2)
    covariance = (axes / width[..., None, :]) @ axes.mT * prior.scale[:, None, :, None] * prior.scale[:, None, None]
    n_starts = torch.zeros(g, n_most + 1, dtype=torch.long)
    n_starts.scatter_add_(1, owner.clamp(max=n_most), torch.ones_like(owner))
    return Modes(
        point * prior.scale[:, None],
        value,
        covariance,
        n_starts[:, :n_most],
        is_repaired & is_mode,
        is_found,
        n_starts[:, n_most],
        relaxed,
        prior,
    )


def _distinct(climbed: Climbed, rank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places of the distinct modes, the best first, which of them each start has come to, and which exist."""
    g, b, _ = climbed.point.shape
    n_most = min(MOST_MODES, b)
    left = rank.clone()
    owner = torch.full((g, b), b)
    chosen, is_mode = [], []
    everyone = torch.arange(g)
    for m in range(n_most):
        place = left.argmax(dim=1)
        exists = left[everyone, place].isfinite()
        apart = climbed.point - climbed.point[everyone, place][:, None]
        distance = torch.einsum("gbp,gpq,gbq->gb", apart, climbed.curvature[everyone, place], apart)
        is_here = (distance.abs() < SAME) & rank.isfinite()
        is_here[everyone, place] = True
        is_here &= exists[:, None]
        owner = torch.where(is_here & (owner == b), m, owner)
        left = left.masked_fill(is_here, -torch.inf)
        chosen.append(place)
        is_mode.append(exists)
    heir = climbed.heir
    for _ in range(int(b).bit_length()):  # starts go where those go that they have been merged with
        heir = heir.gather(1, heir)
    return torch.stack(chosen, dim=1), owner.gather(1, heir), torch.stack(is_mode, dim=1)


def answer_by_mode(evaluator: Evaluator, modes: Modes, settings: Settings) -> Posterior:
    """A point for a posterior: the modes, weighted by Laplace's approximation, without any width."""
    log_weights = modes.weight.log()
    nothing = modes.log_prob.new_full((len(modes.point), len(evaluator.names)), torch.nan)
    return Posterior(
        evaluator.names,
        ("mode",) * len(modes.point),
        resample(modes.point, log_weights, evaluator.streams.branch("draws"), settings.n_chains, settings.n_draws),
        modes.point,
        log_weights,
        modes,
        nothing[:, 0],
        nothing[:, 0],
        nothing,
        nothing,
        nothing,
        nothing[:, 0],
        torch.zeros(len(modes.point), dtype=modes.point.dtype),
        evaluator.effort,
        (("a mode has no width: these draws are no posterior",),) * len(modes.point),
    )
