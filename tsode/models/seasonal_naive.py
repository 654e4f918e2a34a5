"""Seasonal naive model: what was seen a whole number of periods ago, at irregular times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.models.baselines import BaselineModel, PastSummary

__all__ = ["SeasonalNaiveModel", "SeasonalSummary"]

# share of a period by which a time may miss a whole number of periods: the rounding of times, and no more
ROUNDING = 1e-6


@dataclass(frozen=True)
class SeasonalSummary(PastSummary):
    """Past of each channel at each query, with what was seen in the same season.

    Parameters
    ----------
    ago : Tensor[b m c]
        Value a whole number of periods before the query.
    back : Tensor[b m c]
        Time from there to the query.
    is_reached : Tensor[b m c], bool
        Whether the channel was seen at that time or before.
    """

    ago: Tensor
    back: Tensor
    is_reached: Tensor


class SeasonalNaiveModel(BaselineModel):
    """Value a whole number of periods earlier: the least number that leads to a time seen before the query.

    Each channel has its own values, with straight lines between them; before its first one, the first one. Where the
    past does not reach a whole number of periods back, the variance is the overall one. All other errors have the
    variance of those that lie as many periods back.

    Parameters
    ----------
    n_channels : int
    """

    parts: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.candidates: tuple[float, ...] = ()
        """Periods of which the next `fit` chooses one; none: it keeps the one there is."""
        # in two parts, whose sum is the period to the last bits also where the module is moved to float32
        self.register_buffer("parts", torch.tensor([1.0, 0.0], dtype=torch.float64))

    @property
    def period(self) -> Tensor:
        """The period in model time: Tensor[], float64."""
        return self.parts.double().sum()

    def set_period(self, period: float) -> None:
        """Set the period, in model time."""
        whole = torch.tensor(period, dtype=torch.float64)
        rough = whole.float().double()
        self.parts.copy_(torch.stack([rough, whole - rough]))

    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        assert isinstance(summary, SeasonalSummary)
        return summary.ago

    def applies(self, summary: PastSummary) -> Tensor:
        assert isinstance(summary, SeasonalSummary)
        return summary.is_reached

    def clock(self, summary: PastSummary, lead: Tensor) -> Tensor:
        assert isinstance(summary, SeasonalSummary)
        return summary.back

    def summarise(self, batch: IrregularBatch, query_times: Tensor, side: str) -> SeasonalSummary:
        past = super().summarise(batch, query_times, side)
        period = self.period
        turns = ((query_times[..., None] - past.time) / period - ROUNDING).ceil().clamp(min=1.0)
        back = turns * period
        source = torch.minimum(query_times[..., None] - back, past.time)
        return SeasonalSummary(
            **vars(past),
            ago=_interpolate(batch, source, past.time),
            back=back,
            is_reached=(past.count > 0) & (source >= past.start - ROUNDING * period),
        )

    @torch.no_grad()
    def fit(self, batches: Sequence[IrregularBatch], windows: Sequence[tuple[IrregularBatch, IrregularBatch]]) -> None:
        """Choose the period among the candidates, then set means and variances as every baseline does.

        The one is chosen whose absolute errors are least, over the targets that the past of which reaches back a whole
        number of each candidate; the shortest of those that are as good.
        """
        if self.candidates:
            periods = sorted(self.candidates)
            best = int(self._mean_errors(periods, windows).argmin()) if len(periods) > 1 else 0
            self.set_period(periods[best])
            self.candidates = ()
        super().fit(batches, windows)

    def _mean_errors(
        self, periods: Sequence[float], windows: Sequence[tuple[IrregularBatch, IrregularBatch]]
    ) -> Tensor:
        """Mean absolute error of each period, over the targets that all of them reach: Tensor[len(periods)]."""
        total, count = torch.zeros(len(periods), dtype=torch.float64), 0
        for context, targets in windows:
            reached, errors = targets.mask, []
            for period in periods:
                self.set_period(period)
                summary = self.summarise(context, targets.times, "left")
                reached = reached & summary.is_reached
                errors.append((targets.values - summary.ago).abs().double())
            total += torch.stack([error[reached].sum() for error in errors]).cpu()
            count += int(reached.sum())
        return total / max(count, 1)


def _interpolate(batch: IrregularBatch, source: Tensor, last: Tensor) -> Tensor:
    """Values of each channel at ``source`` (b m c), none of them later than ``last``, on lines between what was seen.

    Before the first value it is that one. Zero in channels that were never seen.
    """
    b, n, c = batch.mask.shape
    events = torch.arange(1, n + 1, device=batch.mask.device)[None, :, None]
    none = torch.zeros(b, 1, c, dtype=torch.int64, device=batch.mask.device)
    # number of the last event up to, and of the first event after, so many events that saw the channel; 0 = none
    seen = torch.where(batch.mask, events, 0)
    before = torch.cat([none, seen.cummax(dim=1).values if n else seen], dim=1)
    following = torch.where(batch.mask, events, n + 1).flip(1)
    after = torch.cat([following.cummin(dim=1).values.flip(1) if n else following, none + n + 1], dim=1) % (n + 1)
    index = torch.searchsorted(batch.times.contiguous(), source.reshape(b, -1), right=True).reshape(source.shape)
    left = before.gather(1, index)
    right = torch.where(source < last, after.gather(1, index), left)  # what comes after the last one is not known
    left = torch.where(left > 0, left, right)
    values = torch.cat([none.double(), batch.values.double()], dim=1)
    times = torch.cat([none[..., 0].double(), batch.times], dim=1)[..., None].expand(-1, -1, c)
    start, gap = times.gather(1, left), times.gather(1, right) - times.gather(1, left)
    share = ((source - start) / torch.where(gap > 0, gap, 1.0)).clamp(0.0, 1.0)
    return torch.lerp(values.gather(1, left), values.gather(1, right), share)
