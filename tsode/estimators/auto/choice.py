"""Choice from trials: weights of members by channel and lead, or the best naive forecast where nothing beats it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.estimators.auto.trials import Asked, Trial
from tsode.likelihoods.quantile_knots import QuantileKnots
from tsode.models.combination import LEVELS, Combination, stretched
from tsode.training.quantile_averaging import Held, average, by_error, fit_stretch, fit_weights, trust

__all__ = ["N_LEADS", "Choice", "choose"]

N_LEADS = 3  # ranges of leads
FEWEST_UNITS = 12  # below, what is asked from one cut is several units, by lead
N_FOLDS, N_DRAWS = 5, 4  # to tell whether anything beats the naive forecasts
FEW_UNITS = 8  # below, one left out says too little: what is gained on all must be more than what weights make of noise
NOTED = 0.02


@dataclass(frozen=True, eq=False)
class Choice:
    """What the trials come to.

    Parameters
    ----------
    trials : list of Trial
        Those with a weight.
    module : Combination
        Of these.
    is_naive : bool
        Whether nothing beats the best naive forecast, so that it is the answer.
    scores : array[t c g]
        CRPS of every trial that was asked, in standard deviations of the channel.
    combined : array[c g]
        The same of the combination; on the values that its weights are from.
    holds : array[t], float
        Share of the values in the 80 % interval of each trial.
    combined_holds : array[g]
        Of the combination, by range of leads.
    edges : array[g]
        End of each range, in horizons.
    counts : array[c g]
        Values.
    """

    trials: list[Trial]
    module: Combination
    is_naive: bool
    scores: np.ndarray
    combined: np.ndarray
    holds: np.ndarray
    combined_holds: np.ndarray
    edges: np.ndarray
    counts: np.ndarray


def choose(done: Sequence[Trial], asked: Asked, generator: torch.Generator) -> Choice:
    """Choose from trials that have answered."""
    row, channel = (torch.from_numpy(part) for part in np.nonzero(~np.isnan(asked.truth)))
    truth = torch.from_numpy(asked.truth)[row, channel]
    knots = torch.stack([torch.from_numpy(trial.knots)[row, channel] for trial in done])  # type: ignore[arg-type]
    knots = torch.where(knots.isfinite().all(dim=2, keepdim=True), knots, knots[0])
    lead, n_channels = torch.from_numpy(asked.lead)[row], asked.truth.shape[1]
    held = Held(knots, truth, _units(asked)[row], LEVELS, torch.from_numpy(asked.likeness)[row])
    edges = lead.quantile(torch.linspace(0.0, 1.0, N_LEADS + 1, dtype=torch.float64)).unique()[1:]
    edges = edges if len(edges) else lead[:1]
    group = torch.searchsorted(edges, lead).clamp(max=len(edges) - 1)
    of_all = _Scores(held, channel, group, n_channels, len(edges))
    scores = np.stack([of_all.crps(of_one) for of_one in knots])
    naive = [k for k, trial in enumerate(done) if getattr(trial.member.estimator, "is_baseline", False)]
    sizes = n_channels, len(edges), len(np.unique(asked.unit)), asked.n_apart
    weight, stretch = average(held, channel, group, *sizes, generator)
    middle = torch.stack([lead[group == g].median() for g in range(len(edges))])
    module = _combination(weight, stretch, middle, done)
    means = of_all.mean(knots)
    best = min(naive, key=lambda k: float(means[k])) if naive else None
    combined = torch.einsum("nm,mnk->nk", weight[channel, group], knots)
    combined = stretched(combined, stretch[channel, group])
    others = [k for k in range(len(done)) if k not in naive]
    by_unit = torch.from_numpy(asked.unit)[row]
    is_naive = best is not None and (
        not bool(weight[..., others].any()) or _loses(held, of_all, combined, best, by_unit)
    )
    if is_naive:
        assert best is not None
        weight = torch.zeros_like(weight)
        weight[..., best] = 1.0
        stretch = fit_stretch(knots[best], held, channel, group, *sizes[:2], asked.n_apart)
        module = _combination(weight, stretch, middle, done)
        combined = stretched(knots[best], stretch[channel, group])
    kept = [k for k in range(len(done)) if bool(weight[..., k].any())]
    small = Combination(len(kept), n_channels, len(edges))
    small.load_state_dict(
        {**module.state_dict(), "weight": module.weight[..., kept], "is_bounded": module.is_bounded[kept]}
    )
    inside = (truth >= knots[..., LEVELS.index(0.1)]) & (truth <= knots[..., LEVELS.index(0.9)])
    within = ((truth >= combined[:, LEVELS.index(0.1)]) & (truth <= combined[:, LEVELS.index(0.9)])).double()
    return Choice(
        [done[k] for k in kept],
        small,
        is_naive,
        scores,
        of_all.crps(combined),
        inside.double().mean(dim=1).numpy(),
        np.array([float(within[group == g].mean()) for g in range(len(edges))]),
        edges.numpy(),
        of_all.counts.numpy(),
    )


def _combination(weight: Tensor, stretch: Tensor, lead: Tensor, done: Sequence[Trial]) -> Combination:
    module = Combination(weight.shape[2], *weight.shape[:2])
    module.weight.copy_(weight)
    module.stretch.copy_(stretch)
    module.lead.copy_(lead)
    module.is_bounded.copy_(torch.tensor([float(trial.fitted.is_bounded) for trial in done]))
    return module


def _units(asked: Asked) -> Tensor:
    """Unit of each row; of few units, parts of each by lead."""
    units, counts = np.unique(asked.unit, return_counts=True)
    n_parts = -(-FEWEST_UNITS // len(units))
    place = np.zeros(len(asked.unit), dtype=np.int64)
    for unit, count in zip(units, counts):
        rows = np.flatnonzero(asked.unit == unit)
        place[rows[np.argsort(asked.lead[rows], kind="stable")]] = np.arange(count) * n_parts // count
    return torch.from_numpy(asked.unit * n_parts + place)


class _Scores:
    """CRPS of values, and means of it in which each channel counts the same."""

    def __init__(self, held: Held, channel: Tensor, group: Tensor, n_channels: int, n_groups: int) -> None:
        self.held, self.channel = held, channel
        self.cell, self.shape = channel * n_groups + group, (n_channels, n_groups)
        self.counts = torch.bincount(self.cell, minlength=n_channels * n_groups).reshape(self.shape)
        per_channel = torch.bincount(channel, minlength=n_channels).double()
        self.weight = 1.0 / (per_channel[channel] * (per_channel > 0).sum())
        self.law = QuantileKnots(LEVELS)

    def of(self, knots: Tensor) -> Tensor:
        """CRPS (... n) of knots (... n k)."""
        return self.law.crps(self.law.from_quantiles(knots), self.held.truth)

    def mean(self, knots: Tensor) -> Tensor:
        return (self.of(knots) * self.weight).sum(dim=-1)

    def crps(self, knots: Tensor) -> np.ndarray:
        """Mean of each channel and range of leads: array[c g]."""
        total = torch.zeros(self.counts.numel(), dtype=torch.float64).index_add_(0, self.cell, self.of(knots))
        return np.asarray((total.reshape(self.shape) / self.counts).numpy())


def _loses(held: Held, scores: _Scores, combined: Tensor, best: int, unit: Tensor) -> bool:
    """Whether a combination is no better than the best naive forecast on series and cuts that its weights are not from.

    Of few cuts it is by the scores that the weights are from.
    """
    naive = scores.of(held.knots[best])
    order = unit.unique(return_inverse=True)[1]
    if int(order.max()) + 1 < FEW_UNITS:
        gain = ((naive - scores.of(combined)) * scores.weight).sum()
        return bool(gain <= NOTED * (naive * scores.weight).sum())
    order = order % N_FOLDS
    own = torch.Generator().manual_seed(0)
    gained = torch.zeros((), dtype=torch.float64)
    for fold in order.unique():
        inside, outside = (order == fold).nonzero()[:, 0], (order != fold).nonzero()[:, 0]
        rest = held.of(outside)
        n_units = len(unit[outside].unique())
        weight = torch.lerp(by_error(rest), fit_weights(rest, own, N_DRAWS), trust(n_units))
        mixed = torch.einsum("m,mnk->nk", weight, held.knots[:, inside])
        off = scores.law.crps(scores.law.from_quantiles(mixed), held.truth[inside])
        gained = gained + ((naive[inside] - off) * scores.weight[inside]).sum()
    return bool(gained <= 0.0)
