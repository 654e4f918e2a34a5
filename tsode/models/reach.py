"""Reach of a learned model: what training has shown, and what forecasts are beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tsode.core.batch import FARTHEST, IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.base import Likelihood

__all__ = ["LONG", "SLACK", "STILL", "Reach", "Standing", "Survey"]

ENDLESS = 1e30  # a horizon before training has shown one
SLACK = 1.25  # times the horizon: training sees leads from a cut, and the last observation lies before that
DRIFT = 0.25  # ranges beyond an end, from which on the last value has left the range
LONG = 2.0  # gaps or horizons of training, from which on a gap is unlike them
STILL = 10.0  # horizons after the last event, from which on the state stands still
SLOWEST, FASTEST = 0.25, 1.0  # powers of the lead time by which a spread grows


class Standing(Protocol):
    """What a resumed filter knows of the events before a batch."""

    @property
    def times(self) -> Tensor: ...
    @property
    def last(self) -> Tensor: ...
    @property
    def seen(self) -> Tensor: ...
    def since_last(self, batch: IrregularBatch, query_times: Tensor, side: str) -> Tensor: ...


class Survey(NamedTuple):
    """What histories and questions have that training has not.

    Parameters
    ----------
    implausible, drifted : Tensor[b c]
        The implausible value of a channel that is farthest out; its last value, where that has left the range and got
        there step by step. NaN where there is none.
    gap : Tensor[b]
        Longest gap of a history, as a share of the longest that is like those of training.
    lead : Tensor[b m]
        Of each query since the last observation, in horizons.
    longest : float
        Lead that training has shown: the horizon, and the wait from an observation to the cut that it is counted from.
    """

    implausible: Tensor
    drifted: Tensor
    gap: Tensor
    lead: Tensor
    longest: float


class Reach(nn.Module):
    """Range of the values, changes and lead times that a model has been trained on.

    Three promises, none of which touches a forecast inside the reach:

    - A value in a context that is farther out than training has shown, and farther from the last value than any two
      neighbours were, is taken for the end of the range; it is not copied, and the mean stays in the range.
    - Beyond the horizon the spread grows with a power of the lead time, the one found in its second half but at least
      1/4, up to that of the channel; it never shrinks. As it grows, the mean returns to that of the channel.
    - Ten horizons after the last event the state stands still, so that no lead is too long for a solver.

    Parameters
    ----------
    n_channels : int

    Attributes
    ----------
    low, high, change, middle, size : Tensor[c]
        Ends of the range, largest change between neighbours, mean and standard deviation of each channel.
    horizon, gap : Tensor[]
        Longest lead, and longest gap between observations, in model time.
    """

    low: Tensor
    high: Tensor
    change: Tensor
    middle: Tensor
    size: Tensor
    horizon: Tensor
    gap: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        for name in ("high", "change", "size"):
            self.register_buffer(name, torch.full((n_channels,), FARTHEST))
        self.register_buffer("low", torch.full((n_channels,), -FARTHEST))
        self.register_buffer("middle", torch.zeros(n_channels))
        self.register_buffer("horizon", torch.tensor(ENDLESS))
        self.register_buffer("gap", torch.tensor(ENDLESS))

    def reset(self) -> None:
        """Forget what training has shown: all is within reach."""
        for name, tensor in Reach(len(self.low)).named_buffers():
            getattr(self, name).copy_(tensor)

    def plausible(self, batch: IrregularBatch, state: Standing | None = None) -> IrregularBatch:
        """The batch with the end of the range in place of values that training makes implausible; see the class.

        Parameters
        ----------
        batch : IrregularBatch
        state : FilterState or None
            Of the events before those of the batch.
        """
        outside = batch.mask & ((batch.values < self.low) | (batch.values > self.high))
        if not bool(outside.any()):
            return batch
        first = torch.zeros_like(batch.values[:, 0]), torch.zeros_like(batch.mask[:, 0])
        last, seen = first if state is None else (state.last, state.seen > 0)
        steps = torch.arange(1, batch.n_events + 1, device=batch.mask.device)[:, None]
        latest = nn.functional.pad((batch.mask * steps).cummax(dim=1).values, (0, 0, 1, 0))  # 0 = before the batch
        values = torch.cat([last[:, None], batch.values], dim=1)
        for k in outside.any(dim=2).any(dim=0).nonzero()[:, 0].tolist():
            last, is_new = values.gather(1, latest[:, k, None])[:, 0], seen | (latest[:, k] > 0)
            low, high = (torch.where(is_new, op(end, last), end) for op, end in self._ends())
            x = values[:, k + 1].clone()  # what is written below is not what a gradient reads
            is_taken = (x >= low - self.change) & (x <= high + self.change)
            ended = torch.minimum(torch.maximum(x, self.low), self.high)
            values[:, k + 1] = torch.where(is_taken | ~batch.mask[:, k], x, ended)
        return batch.replace(values=values[:, 1:])

    def _ends(self) -> tuple[tuple[Callable[[Tensor, Tensor], Tensor], Tensor], ...]:
        """Either end of the range, and what takes it farther out to a value that was plausible."""
        return (torch.minimum, self.low), (torch.maximum, self.high)

    def survey(self, batch: IrregularBatch, query_times: Tensor, state: Standing | None = None) -> Survey:
        """What these histories and questions have that training has not; arguments as of `answer`."""
        nothing = torch.full_like(self.low.expand(batch.n_series, -1), torch.nan)
        implausible, drifted, gap = nothing, nothing, torch.zeros_like(query_times[:, 0])
        batch = batch.compact()
        if state is not None:
            lead, before = state.since_last(batch, query_times, "left"), state.times
        else:
            lead, before = batch.since_last(query_times), batch.times[:, 0] if batch.n_events else gap
        if batch.n_events:
            gaps = batch.times.diff(dim=1, prepend=torch.minimum(before, batch.times[:, 0])[:, None])
            gap = gaps.amax(dim=1) / (LONG * torch.maximum(self.gap, self.horizon).to(gap))
            taken = self.plausible(batch, state).values
            size, width = 0.5 * (self.high - self.low), self.high - self.low
            away = ((batch.values - self.low - size).abs() * (taken != batch.values)).max(dim=1)
            farthest = batch.values.gather(1, away.indices[:, None])[:, 0]
            implausible = torch.where(away.values > 0, farthest, nothing)
            last, seen = (x[:, -1] for x in batch.replace(values=taken).last_seen())
            is_out = seen & ((last > self.high + DRIFT * width) | (last < self.low - DRIFT * width))
            drifted = torch.where(is_out, last, nothing)
        wait = min(float(self.gap / self.horizon), 1.0)
        return Survey(implausible, drifted, gap, lead / self.horizon.to(lead), 1.0 + wait)

    def latest(self, batch: IrregularBatch, query_times: Tensor, side: str, state: Standing | None = None) -> Tensor:
        """Value last seen of each channel before each query, NaN where there is none or it is implausible: (b m c)."""
        last, seen = self.plausible(batch, state).last_seen()
        if state is not None:
            last, seen = torch.where(seen, last, state.last[:, None]), seen | (state.seen > 0)[:, None]
        is_known = seen & (last != self.low) & (last != self.high)
        behind = self._behind(batch, query_times, side)[..., None].expand(-1, -1, batch.n_channels)
        return torch.where(is_known, last, torch.nan).gather(1, behind)

    def is_far(self, lead: Tensor) -> Tensor:
        """Whether lead times since the last observation are beyond what training has shown."""
        return lead > SLACK * self.horizon

    def shown(self, query_times: Tensor, lead: Tensor) -> tuple[Tensor, Tensor]:
        """Query times and leads (b m), each no farther than the longest lead that training has shown."""
        limit = (SLACK * self.horizon.to(lead)).expand_as(lead)
        is_far = self.is_far(lead)
        return torch.where(is_far, query_times - lead + limit, query_times), torch.where(is_far, limit, lead)

    def still(self, batch: IrregularBatch, query_times: Tensor, lead: Tensor, side: str) -> Tensor:
        """The times (b m) to ask a model for in place of those queries: no later than when its state stands still."""
        latest = query_times - lead
        if batch.n_events:  # an input may come after the last observation
            behind = self._behind(batch, query_times, side)
            latest = torch.maximum(latest, batch.times.gather(1, (behind - 1).clamp(min=0)).where(behind > 0, latest))
        end = latest + STILL * SLACK * self.horizon.to(lead)
        return torch.where(self.is_far(lead), torch.minimum(query_times, end), query_times)

    @staticmethod
    def _behind(batch: IrregularBatch, query_times: Tensor, side: str) -> Tensor:
        """Number of events behind each query."""
        behind = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        return torch.minimum(behind, batch.lengths[:, None])

    def answer(
        self,
        ask: Callable[[Tensor], Forecast],
        batch: IrregularBatch,
        query_times: Tensor,
        lead: Tensor,
        side: str,
        state: Standing | None = None,
    ) -> Forecast:
        """A model's forecast at each query, held to the promises of the class.

        Parameters
        ----------
        ask : callable
            Query times (b m) -> the model's own forecast, from `batch`.
        batch : IrregularBatch
            Histories, by `plausible`.
        query_times, lead : Tensor[b m]
            `lead` is since the last observation.
        side : {"left", "right"}
        state : FilterState or None
            Of the events before those of the batch.
        """
        if bool(self.is_far(lead).any()):
            forecast = self._beyond(ask, batch, query_times, lead, side)
        else:
            forecast = ask(query_times)
        is_held = self._at_an_end(batch, query_times, side, state)
        if is_held is None:
            return forecast
        mean = forecast.mean
        return _moved(forecast, torch.where(is_held, torch.minimum(torch.maximum(mean, self.low), self.high), mean))

    def _beyond(
        self,
        ask: Callable[[Tensor], Forecast],
        batch: IrregularBatch,
        query_times: Tensor,
        lead: Tensor,
        side: str,
    ) -> Forecast:
        """The forecast with the laws of the class where a lead is beyond the horizon."""
        is_far, limit = self.is_far(lead), SLACK * self.horizon.to(lead)
        seen_at = query_times - lead
        shares = (1.0, 1.0 / SLACK, 0.5)
        at = [torch.where(is_far, seen_at + share * limit, query_times) for share in shares]
        at.insert(0, self.still(batch, query_times, lead, side))
        asked = ask(torch.cat(at, dim=1))  # at once: the histories are read once
        here, there, full, half = (
            replace(asked, query_times=times, params=params) for times, params in zip(at, asked.params.chunk(4, dim=1))
        )
        far, family, now = is_far[..., None], here.family, there.variance.sqrt()
        spread, early = torch.maximum(now, full.variance.sqrt()), half.variance.sqrt()
        power = ((spread / early).log2()).nan_to_num(SLOWEST).clamp(SLOWEST, FASTEST)
        most = torch.maximum(self.size.to(spread), spread)
        wanted = torch.minimum(spread * (lead / limit)[..., None].to(spread).clamp(min=1.0) ** power, most)
        params = family.rescale(there.params, torch.where(far, wanted / now, 1.0))
        low, high = (op(end.to(spread), there.mean) for op, end in self._ends())
        mean = torch.minimum(torch.maximum(here.mean, low), high)
        # what is left to know of a stationary process: variance and squared mean add up
        whole = most**2 - spread**2
        share = torch.where(whole > 0.0, (most**2 - wanted**2) / torch.where(whole > 0.0, whole, 1.0), 1.0)
        # no gradient of a root at 0, nor of 0 / 0
        left = torch.where(share > 0.0, share.where(share > 0.0, 1.0).clamp(max=1.0).sqrt(), 0.0)
        mean = torch.lerp(self.middle.to(mean).expand_as(mean), mean, left)
        moved = _moved(replace(there, params=params), torch.where(far, mean, there.mean))
        kept = torch.where(far[..., None], moved.params, here.params)
        return replace(here, query_times=query_times, params=kept)

    def _at_an_end(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: Standing | None
    ) -> Tensor | None:
        """Whether the last value of a channel before a query is an end of the range: implausible ones are no other."""
        is_end = batch.mask & ((batch.values == self.low) | (batch.values == self.high))
        before = None
        if state is not None:
            before = (state.seen > 0) & ((state.last == self.low) | (state.last == self.high))
        if not bool(is_end.any()) and (before is None or not bool(before.any())):
            return None
        last, seen = batch.last_seen()
        at_end = (seen > 0) & ((last == self.low) | (last == self.high))
        if before is not None:
            at_end = torch.where(seen > 0, at_end, before[:, None])
        behind = self._behind(batch, query_times, side)
        return at_end.gather(1, behind[..., None].expand(-1, -1, batch.n_channels))


def _moved(forecast: Forecast, mean: Tensor) -> Forecast:
    """The forecast with another mean."""
    family, now = forecast.family, forecast.mean
    assert isinstance(family, Likelihood)
    params = family.affine(forecast.params, torch.where(mean == now, 0.0, mean - now), torch.ones_like(now))
    return replace(forecast, params=params)
