"""Spread calibration: how far a trained model's spread is widened or narrowed, by lead time and channel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tsode.likelihoods.base import Likelihood

__all__ = ["SpreadCalibration"]

N_KNOTS = 6
FEWEST = 20  # held-out values from which a tail can be estimated; with fewer the trained spread stands
MOST = 2**20  # held-out values that are looked at
PRIOR = 100.0  # held-out values that a factor of 1 counts for, at each knot and for each channel
LARGEST = 5.0
N_HALVINGS = 20
VALUES_AT_ONCE = 2**17  # held-out values whose share inside is counted together: bounds memory, changes no number
TIED = 0.1  # share of one value in a channel from which on it counts as tied


class SpreadCalibration(nn.Module):
    """Factor on the spread of a forecast: piecewise linear in the lead time, times one of the channel.

    Trained spreads are those of training data; on held-out data they are too narrow, and far ahead more so than near.
    The factor makes a central interval hold its share of held-out values: one factor for all, then one at each of a
    few lead times, then one for each channel, the latter two drawn towards 1 where few values were held out. In a
    channel in which one value comes again and again (no rain), any interval holds too much: its factor is that with the
    best CRPS.

    Parameters
    ----------
    n_channels : int
    """

    lead: Tensor
    log_factor: Tensor
    log_channel: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("lead", torch.arange(float(N_KNOTS)))
        self.register_buffer("log_factor", torch.zeros(N_KNOTS))
        self.register_buffer("log_channel", torch.zeros(n_channels))

    def forward(self, lead: Tensor) -> Tensor:
        """Factor at each lead time (...): Tensor[... c]; before the first knot and after the last it is constant."""
        return (self._curve(lead)[..., None] + self.log_channel).exp()

    def _of_each(self, lead: Tensor, channel: Tensor) -> Tensor:
        """Factor of values at lead times, one channel each: Tensor[k], without a table of all channels at all leads."""
        return (self._curve(lead) + self.log_channel[channel]).exp()

    def _curve(self, lead: Tensor) -> Tensor:
        lead = lead.to(self.lead).contiguous()
        right = torch.searchsorted(self.lead, lead).clamp(1, N_KNOTS - 1)
        before, after = self.lead[right - 1], self.lead[right]
        share = ((lead - before) / (after - before)).clamp(0.0, 1.0)
        return torch.lerp(self.log_factor[right - 1], self.log_factor[right], share)

    @torch.no_grad()
    def reset(self) -> None:
        """Leave spreads as they were trained."""
        self.log_factor.zero_()
        self.log_channel.zero_()

    @torch.no_grad()
    def fit(
        self, likelihood: Likelihood, params: Tensor, lead: Tensor, channel: Tensor, x: Tensor, level: float = 0.9
    ) -> None:
        """Set the curve from held-out values.

        Parameters
        ----------
        likelihood : Likelihood
        params : Tensor[k p]
            Of the forecasts as trained.
        lead : Tensor[k]
        channel : Tensor[k], int64
        x : Tensor[k]
            Held-out values.
        level : float
            Share that a central interval should hold.
        """
        self.reset()
        if len(x) < FEWEST:
            return
        if len(x) > MOST:  # of wide panels: a part of them, drawn at random, tells as much
            drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MOST].to(x.device)
            params, lead, channel, x = params[drawn], lead[drawn], channel[drawn], x[drawn]
        n_channels = len(self.log_channel)
        tied = torch.zeros(n_channels, dtype=torch.bool, device=x.device)
        rows_of = channel.argsort(stable=True).split(torch.bincount(channel, minlength=n_channels).tolist())
        for k, rows in enumerate(rows_of):
            values = x[rows]
            tied[k] = len(values) > 0 and bool((values == values.mode().values).double().mean() > TIED)

        free = ~tied[channel]
        if int(free.sum()) >= FEWEST:
            p, t, c, y = params[free], lead[free].double(), channel[free], x[free]
            # knots in the middle of groups of equal size; where leads are the same, one comes close after the other
            edges = t.quantile(torch.linspace(0.0, 1.0, N_KNOTS + 1, dtype=t.dtype, device=t.device))
            middle = 0.5 * (edges[1:] + edges[:-1])
            order = torch.arange(N_KNOTS, device=t.device)
            self.lead.copy_(middle + 1e-4 * (1.0 + middle.abs().amax()) * order)
            group = torch.searchsorted(edges[1:-1].contiguous(), t.contiguous())
            log_base = self._coverage_factor(likelihood, p, y, torch.zeros_like(y), torch.zeros_like(c), 1, level, 0.0)
            self.log_factor += log_base.to(self.log_factor)
            now = self._of_each(t, c).log().to(y)
            self.log_factor += self._coverage_factor(likelihood, p, y, now, group, N_KNOTS, level).to(self.log_factor)
            now = self._of_each(t, c).log().to(y)
            self.log_channel += self._coverage_factor(likelihood, p, y, now, c, n_channels, level).to(self.log_factor)
        for k in tied.nonzero()[:, 0].tolist():
            rows = rows_of[k]
            now = self._of_each(lead[rows], channel[rows]).log().to(x)
            self.log_channel[k] = self._crps_factor(likelihood, params[rows], x[rows], now)

    @staticmethod
    def _coverage_factor(
        likelihood: Likelihood,
        params: Tensor,
        x: Tensor,
        now: Tensor,
        group: Tensor,
        n_groups: int,
        level: float,
        prior: float = PRIOR,
    ) -> Tensor:
        """Log factor (g) that each group needs beyond its log factor `now` (k), by halving; 0 for an empty group."""
        count = torch.bincount(group, minlength=n_groups).float()
        low = x.new_full((n_groups,), -math.log(LARGEST))
        high = -low
        for _ in range(N_HALVINGS):
            middle = 0.5 * (low + high)
            held = x.new_zeros(n_groups, dtype=torch.float64)
            for p, y, before, g in zip(*(part.split(VALUES_AT_ONCE) for part in (params, x, now, group))):
                scaled = likelihood.rescale(p, (before + middle[g]).exp())
                inside = (likelihood.cdf(scaled, y) - 0.5).abs() <= 0.5 * level
                held += torch.bincount(g, inside.double(), minlength=n_groups)
            is_narrow = held < level * (count + 1)  # one more value then falls inside with the chance of the level
            low, high = torch.where(is_narrow, middle, low), torch.where(is_narrow, high, middle)
        return 0.5 * (low + high) * count / (count + prior).clamp(min=1.0)

    @staticmethod
    def _crps_factor(likelihood: Likelihood, params: Tensor, x: Tensor, now: Tensor) -> Tensor:
        """Log factor with the best CRPS, drawn towards 0 where there are few values."""
        logs = torch.linspace(-math.log(LARGEST), math.log(LARGEST), 41, dtype=x.dtype, device=x.device)
        scores = [
            likelihood.crps(likelihood.rescale(params.expand(len(some), *params.shape), (now + some[:, None]).exp()), x)
            for some in logs.split(max(1, VALUES_AT_ONCE // len(x)))  # one call where values are few
        ]
        return logs[torch.cat([score.mean(dim=-1) for score in scores]).argmin()] * len(x) / (len(x) + PRIOR)
