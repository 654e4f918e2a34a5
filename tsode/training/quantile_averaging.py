"""Quantile averaging: weights of several forecasts, and a factor of their spread, from what was held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

__all__ = ["Held", "average", "by_error", "doubt", "fit_stretch", "fit_weights", "level_weights", "trust"]

N_DRAWS = 16  # bootstrap samples that weights are averaged over
N_STEPS = 8  # members that each sample picks, one after the other and with return
MOST_VALUES = 2000  # from which weights are found
ENOUGH = 20.0  # units that count for as much as all that is known of other channels and leads
STRETCHES = torch.linspace(-0.7, 0.7, 29, dtype=torch.float64)  # logarithms of the factors that are tried
POWER = 8.0  # of what a member's error is above the best, by which weights fall where units are few
LEAST = 0.04  # a share below this is none: its member would have to be asked for nothing


@dataclass(frozen=True)
class Held:
    """Held-out values, and their forecasts by all members.

    Parameters
    ----------
    knots : Tensor[m n k]
        Quantiles of each member, in units in which channels are alike.
    truth : Tensor[n]
    unit : Tensor[n], int64
        What each value belongs to, such as a series from a cutoff: errors within a unit hang together, and units are
        drawn whole.
    levels : sequence of float
        Of the quantiles.
    weight : Tensor[n] or None
        How much each value counts; None = all the same.
    """

    knots: Tensor
    truth: Tensor
    unit: Tensor
    levels: Sequence[float]
    weight: Tensor | None = None

    def of(self, rows: Tensor) -> Held:
        """Some of the values."""
        weight = None if self.weight is None else self.weight[rows]
        return Held(self.knots[:, rows], self.truth[rows], self.unit[rows], self.levels, weight)

    @property
    def shares(self) -> Tensor:
        """How much each value counts: Tensor[n]."""
        return torch.ones_like(self.truth) if self.weight is None else self.weight

    @property
    def n_units(self) -> int:
        return len(self.unit.unique())


def level_weights(levels: Sequence[float]) -> Tensor:
    """Weight of each level in a CRPS by the trapezoidal rule, so that uneven levels count for what lies around them."""
    p = torch.tensor([0.0, *levels, 1.0], dtype=torch.float64)
    return p[2:] - p[:-2]


def fit_weights(held: Held, generator: torch.Generator, n_draws: int = N_DRAWS) -> Tensor:
    """Weights of the members, not negative and of sum 1, from so many bootstrap samples: Tensor[m].

    Each bootstrap sample of the units picks members one by one, with return, each the one with which the average of
    quantiles has the least CRPS (Caruana et al. 2004, with quantiles averaged as in Lichtendahl et al. 2013). The mean
    over samples is near the best member where the data can tell, and near equal weights where they cannot.
    """
    return _bagged(held, generator, _greedy, n_draws)


def by_error(held: Held) -> Tensor:
    """Weights by a power of the CRPS of each member: those near the best share them, the others have next to none."""
    error = _pinball(held.knots, held.truth, held.levels) @ held.shares / held.shares.sum()
    weight = (error.min().clamp(min=1e-300) / error.clamp(min=1e-300)) ** POWER
    return weight / weight.sum()


def fit_stretch(held: Held, generator: torch.Generator) -> Tensor:
    """Logarithm of the factor of the spread about the median with the least CRPS, of one member: Tensor[1]."""
    return _bagged(held, generator, _stretch, N_DRAWS)


def _bagged(held: Held, generator: torch.Generator, fit: Callable[[Held, Tensor], Tensor], n_draws: int) -> Tensor:
    if len(held.truth) > MOST_VALUES:
        held = held.of(torch.randperm(len(held.truth), generator=generator)[:MOST_VALUES])
    _, unit = held.unit.unique(return_inverse=True)
    n_units = int(unit.max()) + 1
    found = []
    for _ in range(n_draws):
        drawn = torch.randint(n_units, (n_units,), generator=generator)
        found.append(fit(held, torch.bincount(drawn, minlength=n_units)[unit] * held.shares))
    return torch.stack(found).mean(dim=0)


def _pinball(knots: Tensor, truth: Tensor, levels: Sequence[float]) -> Tensor:
    """CRPS of each value by its quantiles: (... n k) -> (... n)."""
    p = torch.tensor(list(levels), dtype=torch.float64)
    off = truth[:, None] - knots
    return (torch.maximum(p * off, (p - 1.0) * off) * level_weights(levels)).sum(dim=-1)


def _greedy(held: Held, weight: Tensor) -> Tensor:
    total, picks = torch.zeros_like(held.knots[0]), torch.zeros(len(held.knots), dtype=torch.float64)
    for step in range(1, N_STEPS + 1):
        losses = _pinball((total + held.knots) / step, held.truth, held.levels) @ weight
        best = int(losses.argmin())
        total = total + held.knots[best]
        picks[best] += 1.0 / N_STEPS
    return picks


def _stretch(held: Held, weight: Tensor) -> Tensor:
    knots = held.knots[0]
    middle = knots[:, list(held.levels).index(0.5), None]
    around = knots - middle
    losses = [_pinball(middle + s.exp() * around, held.truth, held.levels) @ weight for s in STRETCHES]
    return STRETCHES[int(torch.stack(losses).argmin()), None]


def average(
    held: Held,
    channel: Tensor,
    group: Tensor,
    n_channels: int,
    n_groups: int,
    n_units: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Weights of each channel and range of leads, and logarithms of the factors of the spread of their averages.

    Those of all values together come first, drawn towards `by_error` as far as there are few units; those of a channel
    and range are drawn towards them likewise.

    Parameters
    ----------
    held : Held
    channel, group : Tensor[n], int64
        Of each value.
    n_units : int
        Series and cuts that there are, whatever is drawn as a unit.

    Returns
    -------
    weights : Tensor[c g m]
    stretch : Tensor[c g]
    """
    pooled = torch.lerp(by_error(held), fit_weights(held, generator), trust(n_units))
    weights = pooled.expand(n_channels, n_groups, -1).clone()
    for c, g, part, share in _parts(held, channel, group, n_channels, n_groups):
        weights[c, g] += share * (fit_weights(part, generator) - pooled)
    kept = weights.mean(dim=(0, 1)) >= LEAST
    kept[weights.mean(dim=(0, 1)).argmax()] = True
    weights = weights * kept
    weights = weights / weights.sum(dim=2, keepdim=True)
    mixed = torch.einsum("nm,mnk->nk", weights[channel, group], held.knots)
    one = Held(mixed[None], held.truth, held.unit, held.levels, held.weight)
    common = fit_stretch(one, generator)[0] + doubt(n_units)
    stretch = common.expand(n_channels, n_groups).clone()
    for c, g, part, share in _parts(one, channel, group, n_channels, n_groups):
        stretch[c, g] += share * (fit_stretch(part, generator)[0] + doubt(n_units) - common)
    return weights, stretch


def trust(n_units: int) -> float:
    """How far what so many units say by themselves is trusted."""
    return n_units / (n_units + ENOUGH)


def doubt(n_units: int) -> float:
    """Logarithm of what a spread that is known from so many units is to be widened by.

    An error whose scale was found from n others has the law of Student with n degrees of freedom: its quantile .9 over
    that of the normal.
    """
    return math.log(stdtrit(n_units, 0.9) / ndtri(0.9))


def _parts(
    held: Held, channel: Tensor, group: Tensor, n_channels: int, n_groups: int
) -> list[tuple[int, int, Held, float]]:
    """Channels and ranges with values, these, and how far what they say by themselves is trusted."""
    parts = []
    for c in range(n_channels if n_channels * n_groups > 1 else 0):
        for g in range(n_groups):
            rows = ((channel == c) & (group == g)).nonzero()[:, 0]
            if len(rows):
                part = held.of(rows)
                parts.append((c, g, part, trust(part.n_units)))
    return parts
