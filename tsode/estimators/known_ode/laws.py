"""Laws that the draws of a posterior predict: mixtures over them, channel by channel, and joint paths."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.errors import TsodeWarning
from tsode.estimators.forecasters.predictive import Predictive
from tsode.inference.correlated_errors import correlated_columns
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Predictive as Law
from tsode.likelihoods.ensemble_mixture import EnsembleMixture

__all__ = [
    "MixedPredictive",
    "curves_of",
    "laws_by_draws",
    "laws_of",
    "mixtures",
    "paths_of",
    "tell_of_blanks",
    "variance_explained",
]


@dataclass(frozen=True)
class MixedPredictive(Predictive):
    """Predictive distribution whose channels have families of their own.

    Parameters
    ----------
    channels : sequence of Predictive
        Of one channel each; `family` and `params` are those of the first.
    shared : Tensor[k s], optional
        Of the members' draws, the coordinates that all series of a population share.
    """

    channels: Sequence[Predictive] = ()
    shared: Tensor | None = None

    @classmethod
    def of(cls, channels: Sequence[Predictive], shared: Tensor | None = None) -> MixedPredictive:
        """The channels side by side; each has one."""
        return cls(channels[0].family, channels[0].params, channels[0].at, channels, shared)

    @property
    def mean(self) -> np.ndarray:
        return np.concatenate([one.mean for one in self.channels], axis=1)

    @property
    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        total, epistemic = zip(*(one.variances for one in self.channels))
        return np.concatenate(total, axis=1), np.concatenate(epistemic, axis=1)

    @property
    def shared_variance(self) -> np.ndarray:
        """Part (n c) of the epistemic variance that is of what series share."""
        assert self.shared is not None
        columns = []
        for one in self.channels:
            assert isinstance(one.family, EnsembleMixture)
            means = one.family.member.mean(one.family.members(one.params[:, 0]))
            columns.append(variance_explained(means.T, self.shared))
        return torch.stack(columns, dim=1).numpy()

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        return np.concatenate([one.quantiles(levels) for one in self.channels], axis=1)

    def error(self, x: np.ndarray, metric: str) -> np.ndarray:
        columns = [one.error(x[:, c : c + 1], metric) for c, one in enumerate(self.channels)]
        return np.concatenate(columns, axis=1)

    def normal_scores(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        columns = [one.normal_scores(x[:, c : c + 1], u[:, c : c + 1]) for c, one in enumerate(self.channels)]
        return np.concatenate(columns, axis=1)


def laws_of(density: KnownDensity, u: Tensor, times: Tensor) -> tuple[list[Law], Tensor]:
    """`laws_by_draws` without the draws."""
    return laws_by_draws(density, u, times)[:2]


def laws_by_draws(density: KnownDensity, u: Tensor, times: Tensor) -> tuple[list[Law], Tensor, Tensor]:
    """Laws of each channel, whose parameters are (n k q r), the series (n,) none of whose draws has any, and draws.

    Draws that predict nothing, because their solve fails or noise cannot be about it, give way to others of the same
    series, and a warning says how many. At times at which no draw predicts anything parameters are NaN.

    Parameters
    ----------
    density : KnownDensity
        Of ``n`` series that are problems of their own.
    u : Tensor[n k p]
    times : Tensor[n q]
    """
    with torch.no_grad():
        laws = list(density.predictive(u, times).values())
    every = torch.stack([law.is_fine[:, :, 0] for law in laws])  # (c n k q)
    # a time at which no draw has a law, as noise in proportion has none before a dose, says nothing of the draws
    is_blank = ~every.any(dim=2)
    is_fine = (every | is_blank[:, :, None]).all(dim=3).all(dim=0)  # (n k)
    is_lost = is_blank.all(dim=2).any(dim=0)
    is_kept = ~is_blank | is_lost[:, None]
    laws = [
        law._replace(params=law.params.where(kept[:, None, None, :, None], torch.nan))
        for law, kept in zip(laws, is_kept)
    ]
    if bool(is_fine.all()) and not bool(is_lost.any()):
        return [_picked(law, lambda x: x) for law in laws], torch.zeros(len(u), dtype=torch.bool), u
    is_fine = is_fine & ~is_lost[:, None]
    is_lost = ~is_fine.any(dim=1)
    share = 1.0 - is_fine.double().mean(dim=1)
    row = int(torch.where(is_lost, 0.0, share).argmax())
    if float(share[row]) > 0.0 and not bool(is_lost[row]):
        warnings.warn(
            f"{float(share[row]):.2g} of the draws of series {density.data.ids[row]!r} predict nothing at the times "
            "that are asked for, because their solve fails or their noise cannot be about it: the forecast is made "
            "from the others.",
            TsodeWarning,
            stacklevel=2,
        )
    # those that are fine, in their order, over and over
    order = (~is_fine).long().argsort(dim=1, stable=True)
    count = is_fine.sum(dim=1, keepdim=True).clamp(min=1)
    place = torch.arange(u.shape[1]).expand_as(order)
    chosen = torch.where(is_fine, place, order.gather(1, place % count))
    rows = torch.arange(len(u))[:, None]
    return [_picked(law, lambda x: x[rows, chosen]) for law in laws], is_lost, u[rows, chosen]


def _picked(law: Law, pick: Callable[[Tensor], Tensor]) -> Law:
    """Law of series that are problems of their own, for some of the draws."""
    given = law.given and law.given._replace(rho=pick(law.given.rho[:, :, 0]))
    return law._replace(params=pick(law.params[:, :, 0]), mean=pick(law.mean[:, :, 0]), given=given)


def tell_of_blanks(density: KnownDensity, laws: Sequence[Law], is_lost: Tensor) -> None:
    """A warning where laws of `laws_by_draws` have times at which no draw says anything."""
    is_blank = torch.stack([law.params.isnan().flatten(1).any(dim=1) for law in laws]).any(dim=0) & ~is_lost
    if bool(is_blank.any()):
        warnings.warn(
            f"Series {density.data.ids[int(is_blank.long().argmax())]!r} is asked for times at which its noise cannot "
            "be about what is predicted (noise in proportion before a dose, or at the time of one, which is just "
            "before it): there is no forecast of these.",
            TsodeWarning,
            stacklevel=2,
        )


def mixtures(
    laws: Sequence[Law], row: int, n_times: int, at: np.ndarray, is_lost: bool, shared: Tensor | None = None
) -> MixedPredictive:
    """Mixtures over the draws at the first so many times of a series, whose coordinates are `shared` (k s) by all."""
    channels = []
    for law in laws:
        params = law.params[row, :, :n_times].transpose(0, 1)  # (q k r)
        family = EnsembleMixture(params.shape[1], law.family)
        joined = params.flatten(1)[:, None]
        channels.append(Predictive(family, torch.full_like(joined, torch.nan) if is_lost else joined, at))
    return MixedPredictive.of(channels, shared)


def variance_explained(y: Tensor, x: Tensor) -> Tensor:
    """Variance (q) of ``y`` (k q) that is that of a linear function of ``x`` (k s), less what chance explains."""
    y, x = y - y.mean(dim=0), x - x.mean(dim=0)
    moves = x.abs().amax(dim=0) > 0.0
    if not bool(moves.any()):
        return torch.zeros_like(y[0])
    left, size, _ = torch.linalg.svd(x[:, moves] / x[:, moves].std(dim=0), full_matrices=False)
    left = left[:, size > 1e-10 * size[0]]
    rest = len(y) - 1 - left.shape[1]
    if rest < 1:
        return torch.full_like(y[0], torch.nan)
    total, explained = y.square().sum(dim=0), (left.mT @ y).square().sum(dim=0)
    chance = left.shape[1] * (total - explained) / rest
    return ((explained - chance) / len(y)).clamp(min=0.0)


def paths_of(laws: Sequence[Law], row: int, n_times: int, n_samples: int, generator: torch.Generator) -> np.ndarray:
    """Joint paths (s m c): each from one draw, with noise of its own at every time; fewer are the first of more.

    Noise of channels whose errors are correlated is so at each time.
    """
    own, chosen = _chosen_draws(laws, n_samples, generator)
    p = torch.rand(n_samples, n_times, len(laws), generator=own, dtype=torch.float64).clamp(1e-15, 1.0 - 1e-15)
    given = [law.given and law.given._replace(rho=law.given.rho[row, chosen][:, None]) for law in laws]
    p = correlated_columns(p, given)
    with torch.no_grad():
        columns = [law.family.quantile(law.params[row, chosen, :n_times], p[..., c]) for c, law in enumerate(laws)]
    return torch.stack(columns, dim=-1).numpy()


def curves_of(laws: Sequence[Law], row: int, n_times: int, n_samples: int, generator: torch.Generator) -> np.ndarray:
    """What the noise of `paths_of` is about (s m c), of the same draws; a draw returns where more are asked for."""
    _, chosen = _chosen_draws(laws, n_samples, generator)
    return torch.stack([law.mean[row, chosen, :n_times] for law in laws], dim=-1).numpy()


def _chosen_draws(
    laws: Sequence[Law], n_samples: int, generator: torch.Generator
) -> tuple[torch.Generator, torch.Tensor]:
    """A generator of noise, and the draws that paths follow: each once, before any twice."""
    own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
    n_draws = laws[0].params.shape[1]
    rounds = -(-n_samples // n_draws)
    return own, torch.cat([torch.randperm(n_draws, generator=generator) for _ in range(rounds)])[:n_samples]
