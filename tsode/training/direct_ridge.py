"""Ridge regression of a direct model: location, spread, quantiles of errors, and how errors hang together."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.models.direct.model import DirectModel
from tsode.models.direct.signals import SHARES, core_regressors
from tsode.training.direct_windows import N_FOLDS, DirectRows

__all__ = ["fit_ridge"]

PENALTIES = torch.logspace(-6, 1, 15, dtype=torch.float64)  # times the number of rows, of standardised regressors
SHARES_OF_OTHERS = (1.0, 0.1, 0.01)  # sizes of regressors beside those of the core, whose penalty is the same
SPREAD_PENALTY = 1e-3
LEAST_ERROR = 1e-3  # in standard deviations of the channel: that a value was met exactly says little about the spread
FEWEST = 20  # observations of a channel, to learn anything from: with fewer it is its last value
PRIOR = 200.0  # errors that those of all channels count for in the quantiles of one


class _Line(NamedTuple):
    """A linear fit: weights (p), intercept, what it gives (r), and what it gives for rows that it has not seen (r)."""

    weight: Tensor
    bias: Tensor
    fitted: Tensor
    held_out: Tensor


@torch.no_grad()
def fit_ridge(model: DirectModel, rows: DirectRows) -> Tensor:
    """Fit location, spread and quantiles of errors in place.

    The penalty of each channel, and how much less the regressors beside `core_regressors` are let in, are those with
    the least squared error on parts of the data that were left out: the errors that spread and quantiles are made of
    are those on such parts.

    Returns
    -------
    Tensor[r c]
        Standardised errors, each from a location that was fitted without its part of the data; NaN = not seen.
    """
    assert isinstance(model.likelihood, QuantileKnots)
    signals, errors = rows.signals, torch.full_like(rows.values, torch.nan)
    n_inputs = signals.doses.shape[-1] // len(SHARES)
    is_core = core_regressors(model.n_channels, signals.now.shape[-1], n_inputs)
    for channel in range(model.n_channels):
        seen = rows.mask[:, channel]
        if len(rows.event[seen].unique()) < FEWEST:
            continue
        own, fold = signals.at(seen), rows.fold[seen]
        target = rows.values[seen, channel] - own.last[:, channel]
        line = _ridge(own.regressors(channel), target, fold, PENALTIES, is_core)
        model.lowest[channel], model.highest[channel] = (
            end.to(model.bias) for end in (line.fitted.min(), line.fitted.max())
        )
        error = target - line.held_out.clamp(line.fitted.min(), line.fitted.max())
        size = error.abs().clamp(min=LEAST_ERROR).log()
        spread = _ridge(own.noise[:, channel], size, fold, torch.tensor([SPREAD_PENALTY], dtype=torch.float64))
        fitted = own.noise[:, channel] @ spread.weight + spread.bias
        model.weight[channel], model.bias[channel] = line.weight.to(model.weight), line.bias.to(model.bias)
        model.spread_weight[channel] = spread.weight.to(model.weight)
        model.spread_bias[channel] = spread.bias.to(model.bias)
        ends = fitted.min(), fitted.max()
        model.narrowest[channel], model.widest[channel] = (end.to(model.bias) for end in ends)
        errors[seen, channel] = error / spread.held_out.clamp(*ends).exp()
    _set_quantiles(model, errors)
    _tie_errors(model, rows, errors)
    return errors


def _ridge(x: Tensor, y: Tensor, fold: Tensor, penalties: Tensor, is_core: Tensor | None = None) -> _Line:
    """Ridge regression of `y` (r) on `x` (r p), with the penalty of the least error on folds that were left out.

    With `is_core` (p), regressors that are not are taken less or more for granted, likewise chosen.
    """
    center, middle = x.mean(dim=0), y.mean()
    scale = x.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-9, scale, torch.inf)  # a regressor that stands still tells nothing
    z, about = (x - center) / scale, y - middle
    places = [(fold == k).nonzero()[:, 0] for k in range(N_FOLDS)]
    each = [_Sums.of(z[rows], about[rows]) for rows in places]
    whole = _Sums(*(torch.stack(parts).sum(dim=0) for parts in zip(*each)))
    best, least = None, math.inf
    for share in SHARES_OF_OTHERS if is_core is not None else (1.0,):
        factor = torch.ones_like(center) if is_core is None else torch.where(is_core, 1.0, share).to(center)
        held_out = y.new_empty(len(penalties), len(y))
        for rows, own in zip(places, each):
            rest = _Sums(*(a - b for a, b in zip(whole, own)))
            weight, bias = (rest if float(rest.number) > 1.0 else whole).solve(penalties, factor)
            held_out[:, rows] = weight @ z[rows].T + (bias + middle)[:, None]
        losses = ((held_out - y) ** 2).mean(dim=1)
        k = int(losses.argmin())
        if best is None or float(losses[k]) < least:
            best, least = (factor, penalties[k, None], held_out[k]), float(losses[k])
    assert best is not None
    weight, bias = whole.solve(best[1], best[0])
    weight = weight[0] / scale
    bias = bias[0] + middle - weight @ center
    return _Line(weight, bias, x @ weight + bias, best[2])


class _Sums(NamedTuple):
    """Sums over some rows of what a line is fitted by: 1, z, y, z z' and z y."""

    number: Tensor
    first: Tensor
    target: Tensor
    products: Tensor
    together: Tensor

    @classmethod
    def of(cls, z: Tensor, y: Tensor) -> _Sums:
        return cls(z.new_tensor(float(len(z))), z.sum(dim=0), y.sum(), z.T @ z, z.T @ y)

    def solve(self, penalties: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (l p) and intercepts (l) for each penalty, of regressors times `factor` (p)."""
        mean, middle = self.first / self.number, self.target / self.number
        spread = self.products / self.number - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(factor[:, None] * spread * factor)
        along = vectors.T @ (factor * (self.together / self.number - mean * middle))
        weight = (along / (values.clamp(min=0.0) + penalties[:, None])) @ vectors.T * factor
        return weight, middle - weight @ mean


def _set_quantiles(model: DirectModel, errors: Tensor) -> None:
    """Quantiles of the standardised errors of each channel, drawn towards those of all channels."""
    assert isinstance(model.likelihood, QuantileKnots)
    levels = torch.tensor(model.likelihood.levels, dtype=errors.dtype)
    pooled = errors[~errors.isnan()]
    if not len(pooled):
        return
    every = _quantiles(pooled, levels)
    for channel in range(model.n_channels):
        own = errors[:, channel]
        own = own[~own.isnan()]
        share = len(own) / (len(own) + PRIOR)
        found = _quantiles(own, levels) if len(own) else every
        model.shape[channel] = torch.lerp(every, found, share).to(model.shape)


def _quantiles(x: Tensor, levels: Tensor) -> Tensor:
    """Quantiles at places ``p (n + 1)`` of n ordered values: those that one value more falls below with chance p."""
    ordered = x.sort().values
    place = (levels * (len(x) + 1) - 1.0).clamp(0.0, len(x) - 1.0)
    low = place.floor().long()
    return torch.lerp(ordered[low], ordered[(low + 1).clamp(max=len(x) - 1)], place - low)


def _tie_errors(model: DirectModel, rows: DirectRows, errors: Tensor) -> None:
    """Fit the process of errors, from those of each window in the order of time."""
    position = torch.arange(len(rows.window)) - torch.searchsorted(rows.window, rows.window)
    shape = (int(rows.window.max()) + 1, int(position.max()) + 1)
    seen = ~errors.isnan()
    spread = torch.stack([model.scale(rows.signals, channel) for channel in range(model.n_channels)], dim=1)
    unit = torch.where(seen, errors, 0.0)
    number = seen.sum(dim=0).clamp(min=1)
    middle = unit.sum(dim=0) / number
    variance = ((torch.where(seen, errors - middle, 0.0) ** 2).sum(dim=0) / number).clamp(min=1e-12)

    def padded(x: Tensor, fill: float) -> Tensor:
        table = x.new_full((*shape, *x.shape[1:]), fill)
        table[rows.window, position] = x
        return table

    times = padded(rows.time, math.inf)
    last = rows.time.max()
    mask = padded(seen.double(), 0.0) > 0
    if int(mask.sum()) >= FEWEST:
        error = padded(torch.where(seen, (errors - middle) * spread, 0.0), 0.0)
        model.residuals.fit(times.clamp(max=float(last)), error, padded(variance * spread**2, 1.0), mask)
