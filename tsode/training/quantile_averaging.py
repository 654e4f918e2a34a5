"""Quantile averaging: weights of several forecasts, and a factor of their spread, from what was held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Held", "average", "by_error", "find_stretch", "fit_stretch", "fit_weights", "level_weights", "trust"]

N_DRAWS = 16  # bootstrap samples that weights are averaged over
N_STEPS = 8  # members that each sample picks, one after the other and with return
MOST_VALUES = 2000  # from which weights are found
ENOUGH = 20.0  # units that count for as much as all that is known of other channels and leads
HOLDS = 0.8  # share of the values that the interval between the quantiles .1 and .9 is to hold
MOST_STRETCH = 4.0
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
    if len(held.truth) > MOST_VALUES:
        held = held.of(torch.randperm(len(held.truth), generator=generator)[:MOST_VALUES])
    _, unit = held.unit.unique(return_inverse=True)
    n_units = int(unit.max()) + 1
    found = []
    for _ in range(n_draws):
        drawn = torch.randint(n_units, (n_units,), generator=generator)
        found.append(_greedy(held, torch.bincount(drawn, minlength=n_units)[unit] * held.shares))
    return torch.stack(found).mean(dim=0)


def by_error(held: Held) -> Tensor:
    """Weights by a power of the CRPS of each member: those near the best share them, the others have next to none."""
    error = _pinball(held.knots, held.truth, held.levels) @ held.shares / held.shares.sum()
    weight = (error.min().clamp(min=1e-300) / error.clamp(min=1e-300)) ** POWER
    return weight / weight.sum()


def find_stretch(knots: Tensor, held: Held) -> float:
    """Logarithm of the factor of the spread about the median with which 80 % intervals hold 80 % of the values.

    By the quantile of errors in half widths (Lei et al. 2018, section 5.2), which asks all values alike: the factor
    with the least CRPS would be that of the widest forecasts alone.

    Parameters
    ----------
    knots : Tensor[n k]
        Of the forecasts whose spread is asked for.
    held : Held
        Its levels hold .1, .5 and .9.
    """
    low, middle, high = (knots[:, list(held.levels).index(level)] for level in (0.1, 0.5, 0.9))
    off = held.truth - middle
    ratio = off.abs() / torch.where(off > 0.0, high - middle, middle - low).clamp(min=1e-300)
    order = ratio.argsort()
    reached = held.shares[order].cumsum(0) >= HOLDS * held.shares.sum()
    factor = ratio[order[int(reached.nonzero()[0])]].clamp(1.0 / MOST_STRETCH, MOST_STRETCH)
    return float(factor.log())


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


def average(
    held: Held,
    channel: Tensor,
    group: Tensor,
    n_channels: int,
    n_groups: int,
    n_units: int,
    n_apart: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Weights of each channel and range of leads, and logarithms of the factors of the spread of their averages.

    Those of all values together come first, drawn towards `by_error` as far as there are few units; those of a channel
    and range are drawn towards them likewise. Factors are those of `fit_stretch`.

    Parameters
    ----------
    held : Held
    channel, group : Tensor[n], int64
        Of each value.
    n_units : int
        Series and cuts that there are, whatever is drawn as a unit.
    n_apart : int
        Units whose errors have little to do with each other.

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
    return weights, fit_stretch(mixed, held, channel, group, n_channels, n_groups, n_apart)


def fit_stretch(
    knots: Tensor, held: Held, channel: Tensor, group: Tensor, n_channels: int, n_groups: int, n_apart: int
) -> Tensor:
    """Logarithms of the factors of the spread of forecasts (n k), by channel and range of leads: Tensor[c g].

    Few units can widen the spread, and only many can narrow it. See `average`.
    """
    common = _believed(find_stretch(knots, held), n_apart)
    stretch = torch.full((n_channels, n_groups), common, dtype=torch.float64)
    for c, g, part, share in _parts(held, channel, group, n_channels, n_groups):
        own = knots[(channel == c) & (group == g)]
        stretch[c, g] += share * (_believed(find_stretch(own, part), n_apart) - common)
    return stretch


def _believed(stretch: float, n_apart: int) -> float:
    return stretch if stretch > 0.0 else trust(n_apart) * stretch


def trust(n_units: int) -> float:
    """How far what so many units say by themselves is trusted."""
    return n_units / (n_units + ENOUGH)


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
