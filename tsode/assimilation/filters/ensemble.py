"""Ensembles of states: how they start, flow and are moved by values, whichever way their filter updates them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.failed_members import good_members, replaced
from tsode.assimilation.filters.base import Ahead, Filter, where_rows
from tsode.assimilation.inflation import AdaptiveInflation, Inflation, Innovation, spread_out
from tsode.assimilation.localisation import Localisation
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.assimilation.noisy_step import NoisyStep
from tsode.assimilation.scalar_analysis import Analysis, analyse
from tsode.errors import ParameterError
from tsode.jumps.ensemble_updates import sample_moments

__all__ = ["Ensemble", "EnsembleFilter"]


class Ensemble(NamedTuple):
    """Equally likely states of each row, and what a filter keeps beside them.

    Parameters
    ----------
    members : Tensor[r m d]
        NaN in a row that has failed.
    inflation : Tensor[r d]
        Factors of the variance that the data so far ask for.
    inflated_at : Tensor[r], float64
        Time with data at which they last acted.
    n_seen : Tensor[r], int64
        Values so far.
    n_failed : Tensor[r], int64
        Members so far whose simulation failed, and that were replaced.
    told : Tensor[r 4]
        Of the last value: mean and standard deviation of its prediction, before it and after.
    """

    members: Tensor
    inflation: Tensor
    inflated_at: Tensor
    n_seen: Tensor
    n_failed: Tensor
    told: Tensor


@dataclass(frozen=True)
class EnsembleFilter(Filter[Ensemble]):
    """Family of filters whose belief is an ensemble of states, moved along straight lines by each value.

    Steps are those of `NoisyStep`; linear motion takes one exact step. No matrix of states by states is made, except by
    linear motion itself.

    A member that is not finite, or is about to leave the range of numbers, is replaced by a copy of a good one with
    fresh noise, and counted. A row with fewer than two good members has failed: it is NaN, and its evidence -inf.

    Parameters
    ----------
    n_members : int
        ``m``. Without localisation the ensemble must have more members than there are directions in which errors grow.
    inflation : Inflation
        Adaptive by default. ``Inflation()`` is none.
    localisation : Localisation, optional
        For more states than members.
    """

    is_random: ClassVar[bool] = True

    n_members: int = 100
    inflation: Inflation = field(default_factory=AdaptiveInflation)
    localisation: Localisation | None = None

    def __post_init__(self) -> None:
        if self.n_members < 2:
            raise ParameterError(f"An ensemble has at least 2 members, but n_members is {self.n_members!r}.")

    @abstractmethod
    def _first(self, start: Start, normals: Tensor) -> Tensor:
        """Members (r m d) before any data, from standard normals (r m d)."""

    @abstractmethod
    def _noise(self, members: Tensor, normals: Tensor) -> Tensor:
        """Noise (r m k) of a step for these members, from standard normals."""

    @abstractmethod
    def _updated(
        self, members: Tensor, predicted: Tensor, found: Analysis, taper: Tensor | None, t: Tensor, draws: Draws
    ) -> Tensor:
        """Members after a value, given their predictions (r m) and what became of these."""

    def start(self, start: Start, motion: Motion, t: Tensor, draws: Draws) -> Ensemble:
        n_rows, d = start.mean.shape
        return Ensemble(
            self._first(start, draws.normal(_START, t, self.n_members, d)),
            torch.ones_like(start.mean),
            torch.full_like(t, -torch.inf, dtype=torch.float64),
            torch.zeros(n_rows, dtype=torch.int64),
            torch.zeros(n_rows, dtype=torch.int64),
            start.mean.new_zeros(n_rows, 4),
        )

    def flow(
        self, belief: Ensemble, motion: Motion, t: Tensor, h: Tensor, draws: Draws, ahead: Ahead | None = None
    ) -> Ensemble:
        z = belief.members
        if motion.n_noise == 0 and not motion.is_linear:
            moved = motion.moved(t, z, h)
        else:
            step = NoisyStep.of(motion, t, z, h)
            # a member that has failed on the way must not take the others with it
            noise = self._noise(
                step.mean.nan_to_num(0.0, 0.0, 0.0), draws.normal(_NOISE, t, z.shape[1], step.n_normals)
            )
            moved = step.finish(step.noisy(noise))
        moved, failed = _whole(moved, z, belief.n_failed, t, draws)
        return where_rows(h != 0, belief._replace(members=moved, n_failed=failed), belief)

    def change(self, belief: Ensemble, factor: Tensor, shift: Tensor) -> Ensemble:
        return belief._replace(members=factor[:, None] * belief.members + shift[:, None])

    def observe(self, belief: Ensemble, seen: Seen, t: Tensor, draws: Draws) -> tuple[Ensemble, Tensor]:
        own = Draws(draws.keys + belief.n_seen * _APART)  # values at one time have noise of their own
        is_new = seen.is_seen & (t > belief.inflated_at)
        z, factor = belief.members, belief.inflation
        if is_new.any():
            factor = torch.where(is_new[:, None], self.inflation.renewed(factor), factor)
            z = spread_out(z, torch.where(is_new[:, None], factor, 1.0).sqrt())
        z, predicted, failed = _predicted(z, seen, belief.n_failed, t, own)
        mean, var = sample_moments(predicted)
        found = analyse(seen, mean, var)
        taper = None if self.localisation is None or seen.place is None else self.localisation.taper(seen.place)
        after = self.inflation.relaxed(z, self._updated(z, predicted, found, taper, t, own))
        if self.inflation.is_adaptive:
            factor = self.inflation.learned(factor, _innovation(z, predicted, mean, var, found, taper))
        told = torch.stack([mean, var.sqrt(), found.mean, found.var.sqrt()], dim=1).detach()
        seen_at = torch.where(is_new, t.double(), belief.inflated_at)
        moved = Ensemble(after, factor, seen_at, belief.n_seen + 1, failed, told)
        return where_rows(seen.is_seen, moved, belief), found.log_evidence

    def members(self, belief: Ensemble, n: int, t: Tensor, draws: Draws) -> Tensor:
        m = self.n_members
        return belief.members if n == m else belief.members[:, torch.arange(n) * m // n]


def _whole(members: Tensor, before: Tensor, n_failed: Tensor, t: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Members after a step with those that failed replaced, and how many that were, added to those before."""
    is_good = good_members(members, before)
    if is_good is None:
        return members, n_failed
    whole = replaced(members, is_good, draws.uniform(_COPIES, t, members.shape[1], 3))
    return whole, n_failed + (~is_good & before.isfinite().all(dim=2)).sum(dim=1)


def _predicted(members: Tensor, seen: Seen, n_failed: Tensor, t: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Members and their predictions; a member without one gives way to a copy of one that has it."""
    predicted = torch.where(seen.is_seen[:, None], seen.predict(members), 0.0)
    is_good = predicted.isfinite()
    if is_good.all():
        return members, predicted, n_failed
    both = torch.cat([members, predicted[..., None]], dim=2)
    both = replaced(both, is_good, draws.uniform(_COPIES, t, members.shape[1], 3), jitter=0.0)
    return both[..., :-1], both[..., -1], n_failed + (~is_good & members.isfinite().all(dim=2)).sum(dim=1)


def _innovation(
    members: Tensor, predicted: Tensor, mean: Tensor, var: Tensor, found: Analysis, taper: Tensor | None
) -> Innovation:
    """What a value said, in terms of the normal noise that would have led to the same moments."""
    is_told = (var > 0.0) & (found.var < var)
    gain = torch.where(is_told, 1.0 - found.var / torch.where(is_told, var, 1.0), 1.0)
    off = predicted - mean[:, None]
    anomalies = members - members.mean(dim=1, keepdim=True)
    square = anomalies.square().sum(dim=1) * off.square().sum(dim=1, keepdim=True)
    correlation = (off[:, None] @ anomalies).squeeze(1) / torch.where(square > 0.0, square, torch.inf).sqrt()
    return Innovation(
        var,
        torch.where(is_told, (found.mean - mean) / gain, 0.0),
        torch.where(is_told, found.var / gain, torch.inf),
        correlation if taper is None else taper * correlation,
    )


_START, _NOISE, _COPIES = 1, 2, 3
_APART = 6_148_914_691_236_517_205  # odd: keys of one value and of the next are far apart
