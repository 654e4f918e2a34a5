"""Fit of an expert beside a trained filter, and of how much either counts, from held-out forecasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tsode._random import OwnDraws
from tsode.core.series import Series
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.expert import N_SHARES, Expert, linear_expert
from tsode.models.filters.expert_posterior import leading_moves
from tsode.models.linear.rate_classes import RateClasses
from tsode.training.posterior_mode import PosteriorMode
from tsode.training.windows import Window

__all__ = ["MOST_CHANNELS", "fit_expert", "shares_of_filter"]

MOST_CHANNELS = 4  # the cost of the expert grows with the cube of its states
HOPELESS = 1.3  # times the filter's squared error, early in the search of the expert
CLEAR = 0.8  # a share above this which 1 is within two standard errors of is 1: a good filter is not touched
BETTER = 3.0  # standard errors by which the filter must be
APART = 0.25  # how far shares at different leads are expected to lie apart
FEWEST = 50  # held-out values from which shares are found
N_DRAWS, N_LOOKED_AT = 16, 16  # of the expert's posterior, and windows on which they are compared


def fit_expert(
    model: MarginalModel,
    held_out: Sequence[tuple[MarginalModel, Sequence[Window]]],
    series: Sequence[Series],
    max_context: int,
    n_targets: int,
    generator: torch.Generator,
    folds: np.ndarray | None = None,
) -> Expert | None:
    """An expert for a filter, or None where it would count for nothing.

    Parameters
    ----------
    model : MarginalModel
        The filter, trained.
    held_out : sequence of (MarginalModel, sequence of Window)
        See `tsode.training.calibration.calibrate`; with `folds` the pair at ``k`` is of the series of fold ``k``.
    series : sequence of Series
        What the filter has learned from.
    max_context : int
        Longest history at once.
    n_targets : int
        Channels that count.
    generator : torch.Generator
    folds : array[len(series)] of int or None
    """
    first = held_out[0][1][0].context
    n_features = 0 if first.covariates is None else first.covariates.at(first.times[:, :1]).shape[2]
    with OwnDraws(generator):
        expert = Expert(linear_expert(model.n_channels, n_features), len(model.members))
    windows = [of_fold for _, of_fold in held_out]
    filtered = [torch.cat([_means(judged, window) for window in of_fold]) for judged, of_fold in held_out]
    asked = [_asked(of_fold, n_targets) for of_fold in windows]
    truth, lead, number = (torch.cat(parts) for parts in zip(*asked))
    if len(truth) < FEWEST:
        return None
    seen = [_seen(of_fold, n_targets) for of_fold in windows]
    a = torch.cat([mean[mask] for mean, mask in zip(filtered, seen)]).double()
    error = float(((truth - a) ** 2).mean())
    mode = PosteriorMode(expert.model, series, max_context, generator, folds)
    for stage, _ in enumerate(mode.stages()):
        if stage == 0 and float(((truth - _by_expert(expert, windows, seen)) ** 2).mean()) > HOPELESS * error:
            return None
    if folds is None:
        p = _by_expert(expert, windows, seen)
    else:  # as the filter's members, each without the fold it is judged on
        parts = []
        for fold, of_fold in enumerate(windows):
            mode.without(fold)
            parts.append(_by_expert(expert, [of_fold], [seen[fold]]))
        mode.restore()
        p = torch.cat(parts)
    edges = lead.quantile(torch.linspace(0.0, 1.0, N_SHARES + 1, dtype=lead.dtype))
    group = torch.searchsorted(edges[1:-1].contiguous(), lead)
    middle = torch.stack([lead[group == k].median() if bool((group == k).any()) else edges[k] for k in range(N_SHARES)])
    expert.lead.copy_(middle + 1e-6 * (1.0 + middle.abs().amax()) * torch.arange(N_SHARES))
    expert.share.copy_(shares_of_filter(truth, a, p, number, group))
    if bool((expert.share == 1.0).all()):
        return None
    expert.moves = leading_moves(expert.model, mode.draws(N_DRAWS, generator), _means_at(windows))
    return expert


def shares_of_filter(truth: Tensor, filtered: Tensor, expert: Tensor, number: Tensor, group: Tensor) -> Tensor:
    """Shares of the filter's mean in the mean with the least squared error, one a group of lead times: Tensor[3].

    The share of all leads together decides first. Where it is not above 0 by three standard errors the expert is all:
    it has far fewer parameters, and the same forecasts have told the filter when to stop. Where it is large and within
    two standard errors of 1, the filter is. Otherwise each group has its own, drawn towards that of all as far as it
    is vague.

    Parameters
    ----------
    truth, filtered, expert : Tensor[k]
        Held-out values, and their forecasts by both.
    number : Tensor[k], int64
        Series of each value: their errors belong together.
    group : Tensor[k], int64
    """
    every = torch.ones(N_SHARES, dtype=torch.float64)
    share, error = _share(truth - expert, filtered - expert, number)
    if share < BETTER * error:
        return torch.zeros_like(every)
    if share > CLEAR and share > 1.0 - 2.0 * error:
        return every
    share = min(share * (1.0 - (error / share) ** 2), 1.0)
    for k in range(N_SHARES):
        of = group == k
        own, vague = _share((truth - expert)[of], (filtered - expert)[of], number[of])
        every[k] = share + (own - share) * APART**2 / (APART**2 + vague**2)
    return every.clamp(0.0, 1.0)


def _share(off: Tensor, apart: Tensor, number: Tensor) -> tuple[float, float]:
    """Slope of `off` on `apart`, and its standard error by series; 1 without an error where they are never apart."""
    square = float((apart * apart).sum())
    if square == 0.0:
        return 1.0, 0.0
    share = float((apart * off).sum()) / square
    _, place = number.unique(return_inverse=True)
    pulls = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(0, place, apart * (off - share * apart))
    return share, float(pulls.square().sum().sqrt()) / square


@torch.no_grad()
def _means(model: MarginalModel, window: Window) -> Tensor:
    """Of all channels at the targets of a window, flat over rows and times: Tensor[b m c]."""
    params, _ = model.predict_params(window.context, window.targets.times, "left")
    return model.likelihood.mean(params).flatten(0, 1)


def _means_at(windows: Sequence[Sequence[Window]]) -> Callable[[RateClasses], Tensor]:
    """What gives a model's means of the targets of some windows, half of them of one fold."""
    few = []
    for of_fold in windows[:: max(1, len(windows) - 1)]:
        if of_fold:
            size = of_fold[0].context.n_series
            rows = torch.linspace(0, size - 1, min(size, N_LOOKED_AT // 2)).round().long()
            few.append(of_fold[0].select(rows).to(dtype=torch.float64))

    def means_of(model: RateClasses) -> Tensor:
        return torch.cat([model.forecast(w.context, w.targets.times).mean[w.targets.mask] for w in few])

    return means_of


def _seen(windows: Sequence[Window], n_targets: int) -> Tensor:
    masks = [window.targets.mask.flatten(0, 1) for window in windows]
    channel = torch.arange(masks[0].shape[1])
    return torch.cat(masks) & (channel < n_targets)


def _asked(windows: Sequence[Window], n_targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values that were held out, their lead times, and the series they are of."""
    values = torch.cat([window.targets.values.flatten(0, 1) for window in windows]).double()
    leads = torch.cat([window.context.since_last(window.targets.times).flatten() for window in windows])
    numbers = [window.number[:, None].expand(window.targets.times.shape).flatten() for window in windows]  # type: ignore[index]
    row, channel = _seen(windows, n_targets).nonzero(as_tuple=True)
    return values[row, channel], leads[row], torch.cat(numbers)[row]


@torch.no_grad()
def _by_expert(expert: Expert, windows: Sequence[Sequence[Window]], seen: Sequence[Tensor]) -> Tensor:
    """The expert's means of the same values."""
    means = []
    for of_fold, mask in zip(windows, seen):
        each = [expert.forecast(window.context, window.targets.times).mean.flatten(0, 1) for window in of_fold]
        means.append(torch.cat(each)[mask])
    return torch.cat(means)
