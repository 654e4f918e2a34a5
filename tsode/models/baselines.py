"""Baseline forecasts without dynamics: constant, last value, drift. Every skill is measured against such."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.likelihoods.normal import Normal
from tsode.models.base import ForecastModel

__all__ = ["BaselineModel", "ConstantModel", "DriftModel", "LastValueModel", "PastSummary"]

N_LEADS = 12


class BaselineModel(ForecastModel):
    """A location rule with normal errors whose variance depends on the channel and the time since its last value.

    A subclass gives the rule in `locate`. The variance is a table over lead times, read by linear interpolation; beyond
    its end it goes to the largest there is within as much time again, for what falls at a season does not stay low.
    Channels not seen before the query get the overall mean and variance. Sampled errors of one path are Brownian in the
    table's own clock: they share all of the variance of the shorter lead. A rule that reads more of the past, or whose
    errors grow with something else than the lead, says so in `summarise`, `applies` and `clock`.

    Parameters
    ----------
    n_channels : int
    """

    leads: Tensor
    variances: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.register_buffer("leads", torch.linspace(0.0, 1.0, N_LEADS, dtype=torch.float64))
        self.register_buffer("variances", torch.ones(N_LEADS, n_channels, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(n_channels, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(n_channels, dtype=torch.float64))

    @abstractmethod
    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        """Location for channels that were seen, at ``lead`` (b m c) after the last value: Tensor[b m c]."""

    def summarise(self, batch: IrregularBatch, query_times: Tensor, side: str) -> PastSummary:
        """What the rule reads of the past of each query."""
        return _summarise(batch, query_times, side)

    def applies(self, summary: PastSummary) -> Tensor:
        """Where the past holds what the rule asks for: Tensor[b m c]. Elsewhere the variance is the overall one."""
        return summary.count > 0

    def clock(self, summary: PastSummary, lead: Tensor) -> Tensor:
        """What the variance is a table over: Tensor[b m c]."""
        return lead

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        summary = self.summarise(batch, query_times, side)
        lead = query_times[..., None] - summary.time
        location = torch.where(summary.count > 0, self.locate(summary, lead), self.mean)
        variance = torch.where(self.applies(summary), self._variance_at(self.clock(summary, lead)), self.variance)
        family = Normal()
        params = family.from_moments(location, variance.clamp(min=1e-10).sqrt()).to(batch.values.dtype)
        return Forecast(query_times, params, family, torch.zeros_like(batch.lengths))

    def sample(self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        order = query_times.argsort(dim=1)
        forecast = self.forecast(batch, query_times.gather(1, order))
        variance = forecast.variance.double()
        growth = variance.diff(dim=1, prepend=torch.zeros_like(variance[:, :1]))
        error, errors = torch.zeros(n_samples, *variance[:, 0].shape, dtype=torch.float64), []
        for k in range(variance.shape[1]):
            shock = torch.randn(error.shape, generator=generator, dtype=torch.float64)
            if k:  # a variance that falls keeps its share of the error
                error = error * (variance[:, k] / variance[:, k - 1]).clamp(max=1.0).sqrt()
            error = error + growth[:, k].clamp(min=0.0).sqrt() * shock
            errors.append(error)
        paths = forecast.mean + torch.stack(errors, dim=2).to(forecast.params)
        return paths.gather(2, order.argsort(dim=1)[None, ..., None].expand_as(paths))

    def _variance_at(self, lead: Tensor) -> Tensor:
        leads, variances = self.leads.double(), self.variances.double()  # whatever dtype the module was moved to
        position = torch.searchsorted(leads, lead.contiguous()).clamp(1, len(leads) - 1)
        left, right = leads[position - 1], leads[position]
        share = ((lead - left) / (right - left).clamp(min=1e-12)).clamp(0.0, 1.0)
        channel = torch.arange(self.n_channels, device=lead.device)
        variance = torch.lerp(variances[position - 1, channel], variances[position, channel], share)
        beyond = ((lead - leads[-1]) / leads[-1].clamp(min=1e-12)).clamp(0.0, 1.0)
        return torch.lerp(variance, variances.amax(dim=0).expand_as(variance), beyond)

    @torch.no_grad()
    def fit(self, batches: Sequence[IrregularBatch], windows: Sequence[tuple[IrregularBatch, IrregularBatch]]) -> None:
        """Set means from all values, and variances from errors on windows of (context, targets)."""
        values = torch.cat([batch.values.double().flatten(0, 1) for batch in batches])
        seen = torch.cat([batch.mask.flatten(0, 1) for batch in batches])
        count = seen.sum(dim=0)
        self.mean.copy_((values * seen).sum(dim=0) / count.clamp(min=1))
        squared = (torch.where(seen, values - self.mean, 0.0) ** 2).sum(dim=0) / count.clamp(min=1)
        self.variance.copy_(torch.where(count > 1, squared, 1.0))
        self.variances.copy_(self.variance.expand_as(self.variances))
        leads, errors, channels = [], [], []
        for context, targets in windows:
            summary = self.summarise(context, targets.times, "left")
            lead = targets.times[..., None] - summary.time
            usable = targets.mask & self.applies(summary)
            error = targets.values - self.locate(summary, lead)
            leads.append(self.clock(summary, lead)[usable])
            errors.append(error[usable].double() ** 2)
            channels.append(usable.nonzero()[:, 2])
        if sum(map(len, leads)) < 2 * N_LEADS:
            return
        lead, error, channel = torch.cat(leads), torch.cat(errors), torch.cat(channels)
        # bins between quantiles of the leads, so that each holds about as many errors; a knot is its bin's mean lead
        edges = lead.sort().values[(len(lead) * torch.arange(1, N_LEADS)) // N_LEADS]
        bins = torch.searchsorted(edges, lead)
        shape = (N_LEADS, self.n_channels)
        number, total = (_sum_by(bins * self.n_channels + channel, x, shape) for x in (torch.ones_like(error), error))
        filled = number.sum(dim=1) > 0
        knots = _sum_by(bins, lead, (N_LEADS,))[filled] / number.sum(dim=1)[filled]
        # ten pseudo-observations steady a channel's bin: all channels' profile over leads, at the channel's own level
        profile = total.sum(dim=1) / number.sum(dim=1).clamp(min=1)
        level = (total.sum(dim=0) + 10.0 * profile.mean()) / (number.T @ profile + 10.0 * profile.mean()).clamp(
            min=1e-12
        )
        table = (total + 10.0 * profile[:, None] * level) / (number + 10.0)
        # bins may be empty where leads repeat: then the last knot stands several times
        place = torch.arange(N_LEADS).clamp(max=int(filled.sum()) - 1)
        self.leads.copy_(knots[place])
        self.variances.copy_(table[filled][place])


def _sum_by(index: Tensor, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums of `x` over equal `index`, as float64 in the shape given."""
    total = x.new_zeros(shape, dtype=torch.float64).flatten()
    return total.index_add_(0, index, x.double()).reshape(shape)


@dataclass(frozen=True)
class PastSummary:
    """Summary of the past of each channel at each query.

    Parameters
    ----------
    last, time : Tensor[b m c]
        Last value seen before the query, and its time.
    first, start : Tensor[b m c]
        First value seen, and its time.
    average : Tensor[b m c]
        Mean of all values seen before the query.
    count : Tensor[b m c], int64
        Number of these; where it is 0, the others hold nothing and are not used.
    """

    last: Tensor
    time: Tensor
    first: Tensor
    start: Tensor
    average: Tensor
    count: Tensor


def _summarise(batch: IrregularBatch, query_times: Tensor, side: str) -> PastSummary:
    """Running summaries at the events, read off at each query."""
    b, n, c = batch.mask.shape
    events = torch.arange(1, n + 1, device=batch.mask.device)[None, :, None]
    zero = torch.zeros(b, 1, c, dtype=torch.int64, device=batch.mask.device)
    # number of the last and of the first event that saw the channel; 0 = none yet
    latest = torch.cat([zero, torch.where(batch.mask, events, 0).cummax(dim=1).values if n else zero[:, :0]], dim=1)
    first_seen = torch.where(batch.mask, events, n + 1).amin(dim=1, keepdim=True) if n else zero + 1
    total = torch.cat([zero.double(), (batch.values.double() * batch.mask).cumsum(dim=1)], dim=1)
    count = torch.cat([zero, batch.mask.long().cumsum(dim=1)], dim=1)
    index = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
    pick = index[..., None].expand(-1, -1, c)
    values = torch.cat([zero.double(), batch.values.double()], dim=1)
    times = torch.cat([zero[..., 0].double(), batch.times], dim=1)[..., None].expand(-1, -1, c)
    at_last = latest.gather(1, pick)
    at_first = torch.where(count.gather(1, pick) > 0, first_seen, 0)
    number = count.gather(1, pick)
    return PastSummary(
        last=values.gather(1, at_last),
        time=times.gather(1, at_last),
        first=values.gather(1, at_first),
        start=times.gather(1, at_first),
        average=total.gather(1, pick) / number.clamp(min=1),
        count=number,
    )


class ConstantModel(BaselineModel):
    """Mean of the series' values so far."""

    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        return summary.average


class LastValueModel(BaselineModel):
    """Value last seen of the channel (a random walk without drift)."""

    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        return summary.last


class DriftModel(BaselineModel):
    """Straight line through the first and the last value seen of the channel."""

    def locate(self, summary: PastSummary, lead: Tensor) -> Tensor:
        span = summary.time - summary.start
        slope = torch.where(span > 0, (summary.last - summary.first) / span.clamp(min=1e-12), 0.0)
        return summary.last + slope * lead
