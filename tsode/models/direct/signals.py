"""Signals of a direct regression: what it reads of the past, the lead, the covariates and the clock of a query."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.models.direct.logs import N_RESIDENCE, log_covariates, log_doses
from tsode.models.direct.past import Past, decayed_sums
from tsode.models.direct.scales import Scales

__all__ = ["N_GROWTH", "N_SPREAD", "SHARES", "Signals", "arises", "n_regressors", "n_splits", "tiers"]

SHARES = (1.0 / 16.0, 0.25, 1.0, 4.0)  # time scales, as shares of the horizon
N_SCALES = len(SHARES)
N_OWN = 3 + 2 * N_SCALES - 1  # last, one before, level; averages; slopes between them
N_SPREAD = N_SCALES + 3
N_GROWTH = 2 + N_SCALES
STEEPEST = 8.0  # slope in standard deviations a horizon: two values in quick succession are no trend
FLOOR = 1e-4  # of a mean square of changes, below which all are alike
MOST_CROSSED, MOST_SPLIT = 48, 8  # channels up to which a line, and trees, read those of every other one
OTHERS = 1  # place in `SHARES` of the average that is read of the other channels


@dataclass(frozen=True)
class Signals:
    """What a regression reads of queries, with r for all axes before the channels.

    Parameters
    ----------
    last : Tensor[r c]
        Last value of each channel: what a forecast is a difference from; 0 where there is none.
    own : Tensor[r c s]
        The last value, and how far others lie from it: the one before, averages, the level; slopes.
    decay : Tensor[r c k]
        ``exp(-age / scale)`` of the time since the last value.
    noise : Tensor[r c v]
        What the spread goes by beside the lead: logarithms of the mean square changes, and how much was seen.
    now : Tensor[r f]
        Covariates and cycles of the calendar at the query.
    then : Tensor[r c f]
        The same when the last value was seen.
    begun : Tensor[r k]
        ``1 - exp(-age / scale)`` of the time since the first event of the series.
    doses : Tensor[r q]
        Sums of all inputs before the query, each worth ``exp(-age / scale)``, for each scale.
    given : Tensor[r c q]
        What of these came after the last value.
    lead, age : Tensor[r], Tensor[r c]
        Time since the last event, and since the last value of a channel, in horizons.
    is_seen : Tensor[r c]
        1 where a channel was seen, else 0.
    fade : Tensor[r c]
        ``1 - exp(-age / quick)``: 0 at the last value, 1 soon after it, and where there is none.
    at_once : Tensor[r c]
        The same, where the unit is a gap of the data.
    logs : Tensor[r c l]
        What the logarithm of something positive may be a sum of; 0 for a channel that is none.
    """

    last: Tensor
    own: Tensor
    decay: Tensor
    noise: Tensor
    now: Tensor
    then: Tensor
    begun: Tensor
    doses: Tensor
    given: Tensor
    lead: Tensor
    age: Tensor
    is_seen: Tensor
    fade: Tensor
    at_once: Tensor
    logs: Tensor

    @classmethod
    def of(cls, batch: IrregularBatch, query_times: Tensor, side: str, read: Scales) -> Signals:
        """Signals of queries (b m), with axes b and m in place of r."""
        horizon = read.horizon
        scales = horizon.double() * query_times.new_tensor(SHARES)
        past = Past.of(batch, query_times, side, scales)
        is_seen = (past.count > 0).double()
        age = torch.where(past.count > 0, query_times[..., None] - past.time, 0.0).clamp(min=0.0)
        decay = torch.exp(-age[..., None] / scales)
        apart = past.averages - past.last[..., None]
        older = past.ages.diff(dim=-1) / horizon.double()
        slopes = -past.averages.diff(dim=-1) / older.where(older > 1e-6, torch.inf)
        own = torch.cat(
            [
                torch.stack([past.last, past.before - past.last, past.level - past.last], dim=-1),
                apart,
                slopes.clamp(-STEEPEST, STEEPEST),
            ],
            dim=-1,
        )
        changes = 0.5 * (past.changes + FLOOR).log()
        counted = past.count.double().log1p()[..., None]
        noise = torch.cat(
            [
                changes,
                counted / (1.0 + counted),
                (apart[..., OTHERS, None].abs() + 0.05).log(),
                is_seen[..., None],
            ],
            dim=-1,
        )
        b, m, c = age.shape
        now, then = query_times.new_zeros(b, m, 0), query_times.new_zeros(b, m, c, 0)
        if batch.covariates is not None:
            now = batch.covariates.at(query_times).double()
            times = torch.where(past.count > 0, past.time, query_times[..., None])
            then = batch.covariates.at(times.flatten(1)).double().view(b, m, c, -1)
        lead = batch.since_last(query_times, side) / horizon.double()
        first = batch.times[:, :1] if batch.n_events else query_times[:, :1]
        begun = -torch.expm1(-(query_times - first).clamp(min=0.0)[..., None] / scales)
        doses, given = _doses(batch, query_times, side, scales)
        fade, at_once = (torch.where(past.count > 0, -torch.expm1(-age / t), 1.0) for t in (read.quick, read.gap))
        logs = torch.cat(
            [log_doses(batch, query_times, side, read), log_covariates(now, read)[:, :, None].expand(-1, -1, c, -1)],
            dim=-1,
        )
        logs = torch.where(read.is_log[:, None], logs, 0.0)
        age = age / horizon.double()
        return cls(
            past.last, own, decay, noise, now, then, begun, doses, given, lead, age, is_seen, fade, at_once, logs
        )

    def at(self, *places: Tensor) -> Signals:
        """Those at some places of the first axes, which become one."""
        return Signals(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def join(cls, parts: list[Signals]) -> Signals:
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def n_channels(self) -> int:
        return self.last.shape[-1]

    def regressors(self, channel: int) -> Tensor:
        """What the difference of a channel from its last value is linear in: Tensor[r p].

        Every signal comes by itself and times each decay, so that what the last value tells may fade with the lead.
        """
        decay = self.decay[..., channel, :]
        faded = torch.cat([torch.ones_like(decay[..., :1]), decay], dim=-1)
        parts = [_times(self.own[..., channel, :], faded), decay, self.is_seen[..., channel, None]]
        if 1 < self.n_channels <= MOST_CROSSED:
            others = torch.cat([self.last, self.own[..., 3 + OTHERS]], dim=-1)
            parts.append(_times(others, faded[..., [0, 1 + OTHERS]]))
        then = self.then[..., channel, :]
        parts += [self.begun, self.now, _times(then, decay), self.doses, self.given[..., channel, :]]
        parts.append(self.logs[..., channel, :])
        return torch.cat(parts, dim=-1)

    def growth(self, channel: int) -> Tensor:
        """What the variance of a channel is a sum of parts of, none of them negative: Tensor[r g]."""
        at_once = self.at_once[..., channel, None]
        decay = torch.where(self.is_seen[..., channel, None] > 0, self.decay[..., channel, :], 0.0)
        return torch.cat([torch.ones_like(at_once), at_once, 1.0 - decay], dim=-1)

    def splits(self, channel: int) -> Tensor:
        """What trees split by: Tensor[r q], NaN where nothing was seen of the channel, and its number."""
        seen = self.is_seen[..., channel, None] > 0
        own = [self.own[..., channel, :], self.noise[..., channel, :-1], self.age[..., channel, None]]
        parts = [torch.where(seen, part, torch.nan) for part in own]
        parts += [self.lead[..., None], torch.full_like(self.lead, float(channel))[..., None], self.now]
        parts += [self.begun[..., -2:-1], self.doses, self.given[..., channel, :]]
        if 1 < self.n_channels <= MOST_SPLIT:
            parts.append(torch.where(self.is_seen > 0, self.last, torch.nan))
        return torch.cat(parts, dim=-1)


def n_regressors(n_channels: int, n_features: int, n_inputs: int) -> int:
    """Width of `Signals.regressors`."""
    return len(tiers(n_channels, n_features, n_inputs))


def arises(n_channels: int, n_features: int, n_inputs: int) -> Tensor:
    """Which of `Signals.regressors` are zero at the last value, and come from doses since: bool, (p,)."""
    found = torch.zeros(n_regressors(n_channels, n_features, n_inputs), dtype=torch.bool)
    logs = len(found) - n_features - 3 * N_RESIDENCE * n_inputs
    found[logs - n_inputs * N_SCALES : logs] = True
    found[logs + N_RESIDENCE * n_inputs : logs + 2 * N_RESIDENCE * n_inputs] = True
    return found


def n_others(n_channels: int) -> int:
    """How many of these tell of other channels."""
    return 4 * n_channels if 1 < n_channels <= MOST_CROSSED else 0


def tiers(n_channels: int, n_features: int, n_inputs: int) -> Tensor:
    """How near to hand each of `Signals.regressors` is: int64, (p,).

    0: the last value and the level, the lead, when the series began, and logarithms. 1: how the former fade with the
    lead, and what else is told. 2: the value before, averages, slopes and other channels.
    """
    faded, n_logs = 1 + N_SCALES, 3 * N_RESIDENCE * n_inputs + n_features
    own = torch.full((N_OWN, faded), 2)
    own[[0, 2]] = 1
    own[[0, 2], 0] = 0
    lead, begun = torch.zeros(N_SCALES + 1, dtype=torch.int64), torch.zeros(N_SCALES, dtype=torch.int64)
    others = torch.full((n_others(n_channels),), 2)
    told = torch.ones(n_features * faded + 2 * n_inputs * N_SCALES, dtype=torch.int64)
    return torch.cat([own.flatten(), lead, others, begun, told, torch.zeros(n_logs, dtype=torch.int64)])


def n_splits(n_channels: int, n_features: int, n_inputs: int) -> int:
    """Width of `Signals.splits`."""
    others = n_channels if 1 < n_channels <= MOST_SPLIT else 0
    return N_OWN + N_SPREAD - 1 + 4 + n_features + 2 * n_inputs * N_SCALES + others


def _doses(batch: IrregularBatch, query_times: Tensor, side: str, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Decayed sums of inputs before queries (b m q), and of those after the last value of each channel (b m c q)."""
    (b, m), c = query_times.shape, batch.values.shape[2]
    if batch.inputs is None or not batch.n_events:
        return query_times.new_zeros(b, m, 0), query_times.new_zeros(b, m, c, 0)
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).clamp(min=0.0)
    sums = decayed_sums(gaps, batch.inputs.double(), scales)
    # what an observation sees is what came before it: a dose at its time comes after
    count = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
    place = torch.arange(batch.n_events, device=sums.device)[:, None].expand(-1, c) + 1
    latest = nn.functional.pad((batch.mask * place).cummax(dim=1).values, (0, 0, 1, 0))
    at_last = latest.gather(1, count[..., None].expand(-1, -1, c))

    def total(places: Tensor, times: Tensor) -> Tensor:
        index = (places - 1).clamp(min=0)
        own = (
            sums.flatten(2).gather(1, index[..., None].expand(-1, -1, sums[0, 0].numel())).unflatten(2, sums.shape[2:])
        )
        decay = torch.exp(-(times - batch.times.gather(1, index)).clamp(min=0.0)[..., None, None] / scales)
        return torch.where((places > 0)[..., None, None], own * decay, 0.0)

    every = total(count, query_times)
    before = [total(at_last[..., j], query_times) for j in range(c)]
    given = torch.stack([every - own for own in before], dim=2)
    return every.flatten(2), given.flatten(3)


def _times(signals: Tensor, weights: Tensor) -> Tensor:
    """Products of every signal with every weight: (... s), (... w) -> (... s*w)."""
    return (signals[..., None] * weights[..., None, :]).flatten(-2)
