"""Ridge regression of a direct model: location, spread, quantiles of errors, and how errors hang together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.models.direct.model import DirectModel
from tsode.models.direct.signals import SHARES, Signals, tiers
from tsode.training.direct_windows import N_FOLDS, DirectRows

__all__ = ["fit_ridge"]

PENALTIES = torch.logspace(-6, 1, 15, dtype=torch.float64)  # times the number of rows, of standardised regressors
SIZES = ((1.0, 1.0, 1.0), (1.0, 1.0, 0.1), (1.0, 1.0, 0.01))  # of regressors by their tier; penalties are the same
LEAN_SIZES = (*SIZES, (1.0, 0.1, 0.1), (1.0, 0.1, 0.01), (1.0, 0.01, 0.01))  # tried too where there are logarithms
# As of weights with a standard deviation of a half: the logarithm of a normal error's size has a variance of pi^2 / 8.
SPREAD_PENALTY = math.pi**2 / 8.0 / 0.5**2  # likewise, of the spread, by the number of observations
SHARES_OF_GAP = (1.0, 0.25, 0.0625)  # times in which forecasts leave the last value, the slowest first
CLOSE = 1.0  # standard errors within which a loss is as good as the least, so that the smallest weights are taken
LEAST_ERROR = 1e-3  # in standard deviations of the channel: that a value was met exactly says little about the spread
FEWEST = 20  # observations of a channel, to learn anything from: with fewer it is its last value
MOST_GROUPS, PASSES = 100, 300
PRIOR = 200.0  # errors that those of all channels count for in the quantiles of one


class _Line(NamedTuple):
    """A linear fit.

    Weights (p), intercept, what it gives (r), what it gives for rows that it has not seen (r), and the squared error
    there of each part of the data (k).
    """

    weight: Tensor
    bias: Tensor
    fitted: Tensor
    held_out: Tensor
    losses: Tensor


@torch.no_grad()
def fit_ridge(model: DirectModel, rows: DirectRows) -> Tensor:
    """Fit location, spread and quantiles of errors in place.

    The penalty of each channel, and how much less regressors of higher `tiers` are let in, are those with the least
    squared error on parts of the data that were left out: the errors that spread and quantiles are made of are those
    on such parts.

    Returns
    -------
    Tensor[r c]
        Standardised errors, each from a location that was fitted without its part of the data; NaN = not seen.
    """
    assert isinstance(model.likelihood, QuantileKnots)
    signals, errors = rows.signals, torch.full_like(rows.values, torch.nan)
    n_inputs = signals.doses.shape[-1] // len(SHARES)
    tier = tiers(model.n_channels, signals.now.shape[-1], n_inputs)
    for channel in range(model.n_channels):
        seen = rows.mask[:, channel]
        if len(rows.event[seen].unique()) < FEWEST:
            continue
        own, fold = signals.at(seen), rows.fold[seen]
        target = rows.values[seen, channel] - own.last[:, channel]
        x, number = own.regressors(channel), len(rows.event[seen].unique())
        calming = torch.tensor([SPREAD_PENALTY / number], dtype=torch.float64)
        fade = _fade(model, own, channel, x, target, fold, tier)
        sizes = LEAN_SIZES if own.logs[:, channel].any() else SIZES
        line = _ridge(x, target, fold, PENALTIES, tier, sizes, fade, model.arises)
        steps = line.fitted.min().clamp(max=0.0), line.fitted.max().clamp(min=0.0)
        model.lowest[channel], model.highest[channel] = (end.to(model.bias) for end in steps)
        error = target - line.held_out.clamp(*steps)
        growth, noise, size = own.growth(channel), own.noise[:, channel], error.abs().clamp(min=LEAST_ERROR).log()
        # what makes some times more certain than others must not be taken for the lead's doing: more of it is no surer
        beside = noise @ _ridge(noise, size, fold, calming).weight
        calm = error / (beside - beside.mean()).exp()
        model.growth[channel] = _growth(growth, own.age[:, channel], calm).to(model.growth)
        grown = (growth @ model.growth[channel].double()).sqrt()
        spread = _ridge(noise, size - grown.log(), fold, calming)
        fitted = noise @ spread.weight + spread.bias
        model.weight[channel], model.bias[channel] = line.weight.to(model.weight), line.bias.to(model.bias)
        model.spread_weight[channel] = spread.weight.to(model.weight)
        model.spread_bias[channel] = spread.bias.to(model.bias)
        ends = fitted.min(), fitted.max()
        model.narrowest[channel], model.widest[channel] = (end.to(model.bias) for end in ends)
        errors[seen, channel] = error / (grown * spread.held_out.clamp(*ends).exp())
    _set_quantiles(model, errors)
    _tie_errors(model, rows, errors)
    return errors


def _fade(
    model: DirectModel, own: Signals, channel: int, x: Tensor, target: Tensor, fold: Tensor, tier: Tensor
) -> Tensor:
    """How soon a channel leaves its last value (r): as slowly as is about as good as the best."""
    seen, age = own.is_seen[:, channel] > 0, own.age[:, channel] * float(model.span)
    tried = [torch.where(seen, -torch.expm1(-age / (share * model.gap)), 1.0) for share in SHARES_OF_GAP]
    losses = [_ridge(x, target, fold, PENALTIES, tier, SIZES[:1], fade, model.arises).losses for fade in tried]
    k = _choose(torch.stack(losses, dim=1), torch.arange(len(tried))[:, None].to(x))
    model.quick[channel] = SHARES_OF_GAP[k] * model.gap
    return tried[k]


def _ridge(
    x: Tensor,
    y: Tensor,
    fold: Tensor,
    penalties: Tensor,
    tier: Tensor | None = None,
    sizes: Sequence[tuple[float, ...]] = ((1.0,),),
    fade: Tensor | None = None,
    arises: Tensor | None = None,
) -> _Line:
    """Ridge regression of `y` (r) on `x` (r p), with the penalty of the least error on folds that were left out.

    Of penalties that are about as good, that of the smallest weights is taken: where folds are few, one that fits them
    by chance may be far off beyond. Regressors of a `tier` (p) are multiplied by the size of it, and which of several
    `sizes` is chosen likewise. The intercept, and regressors other than of `arises` (p), are multiplied by `fade` (r).
    """
    fade = torch.ones_like(y) if fade is None else fade
    arises = torch.zeros(x.shape[1], dtype=torch.bool) if arises is None else arises
    lift = torch.where(arises, 1.0, fade[:, None])
    tier = torch.zeros(x.shape[1], dtype=torch.int64) if tier is None else tier
    total = (fade @ fade).clamp(min=1e-30)
    center = torch.where(arises, 0.0, (fade**2 / total) @ x)
    middle = (fade @ y) / total
    scale = (lift * (x - center)).square().sum(dim=0).div(torch.where(arises, float(len(y)), total)).sqrt()
    kept = (scale > 1e-9).nonzero()[:, 0]  # a regressor that stands still tells nothing
    z, about = (lift * (x - center) / scale)[:, kept], y - fade * middle
    places = [rows for k in range(N_FOLDS) if len(rows := (fold == k).nonzero()[:, 0])]
    each = [_Sums.of(fade[rows], z[rows], about[rows]) for rows in places]
    whole = _Sums(*(torch.stack(parts).sum(dim=0) for parts in zip(*each)))
    guesses, lines = [], []
    for size in sizes:
        factor = torch.tensor(size).to(x)[tier[kept]]
        guess = y.new_empty(len(penalties), len(y))
        for rows, own in zip(places, each):
            rest = _Sums(*(a - b for a, b in zip(whole, own)))
            weight, bias = (rest if float(rest.number) > 1.0 else whole).solve(penalties, factor)
            guess[:, rows] = weight @ z[rows].T + fade[rows] * (bias + middle)[:, None]
        guesses.append(guess)
        lines.append(whole.solve(penalties, factor))
    guess, weight, bias = torch.cat(guesses), *(torch.cat(parts) for parts in zip(*lines))
    losses = torch.stack([((guess[:, rows] - y[rows]) ** 2).sum(dim=1) for rows in places])
    k = _choose(losses, weight)
    found = torch.zeros_like(center).index_copy(0, kept, weight[k] / scale[kept])
    offset = bias[k] + middle - found @ center
    return _Line(found, offset, (lift * x) @ found + fade * offset, guess[k], losses[:, k])


def _choose(losses: Tensor, weight: Tensor) -> int:
    """Which of several weights (l p) is the smallest of those with about the least loss on parts of the data (k l)."""
    worse = losses - losses[:, losses.sum(dim=0).argmin(), None]
    error = len(worse) ** 0.5 * worse.std(dim=0, correction=len(worse) > 1)
    is_close = worse.sum(dim=0) <= CLOSE * error
    return int(torch.where(is_close, (weight**2).sum(dim=1), torch.inf).argmin())


class _Sums(NamedTuple):
    """Sums over some rows of what a line is fitted by: f f, f z, f y, z z' and z y."""

    number: Tensor
    first: Tensor
    target: Tensor
    products: Tensor
    together: Tensor

    @classmethod
    def of(cls, fade: Tensor, z: Tensor, y: Tensor) -> _Sums:
        return cls(fade @ fade, fade @ z, fade @ y, z.T @ z, z.T @ y)

    def solve(self, penalties: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (l p) and intercepts (l) for each penalty, of regressors times `factor` (p)."""
        mean, middle = self.first / self.number, self.target / self.number
        spread = self.products / self.number - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(factor[:, None] * spread * factor)
        along = vectors.T @ (factor * (self.together / self.number - mean * middle))
        weight = (along / (values.clamp(min=0.0) + penalties[:, None])) @ vectors.T * factor
        return weight, middle - weight @ mean


def _growth(parts: Tensor, age: Tensor, error: Tensor) -> Tensor:
    """Weights (g), none negative, of the parts (r g) that the squares of normal errors (r) are likeliest a sum of.

    Parts go by the age alone, so that rows of about the same age count together. Each pass raises the likelihood: it is
    the multiplicative rule of Itakura and Saito's divergence (Fevotte, Bertin and Durrieu 2009, eq. 2.8), whose
    exponent of a half makes it monotone.
    """
    groups = age.argsort(stable=True).chunk(MOST_GROUPS)
    x = torch.stack([parts[rows].mean(dim=0) for rows in groups])
    square = torch.stack([(error[rows] ** 2).mean() for rows in groups]).clamp(min=LEAST_ERROR**2)
    weight = square.mean() / x.mean(dim=0).clamp(min=1e-3) / x.shape[1]
    for _ in range(PASSES):
        variance = x @ weight
        weight = weight * ((x.T @ (square / variance**2)) / (x.T @ (1.0 / variance)).clamp(min=1e-30)).sqrt()
    return weight


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
