"""Joint structural model: channels that share their states, so that what one shows tells about the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.kernels.paired_filter import PairedSteps, PairedSystem, filter_rows
from tsode.models.filter_state import FilterState
from tsode.models.structural.guard import guarded, lead_of
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.model import HELD_AT_ONCE, StructuralModel, rows_at_once
from tsode.models.structural.paths import draw_paths
from tsode.models.structural.row_groups import of_like_length
from tsode.models.structural.smoothed_sums import smoothed_sums
from tsode.models.structural.standing import Standing, pack, state_sizes, unpack

__all__ = ["JointStructuralModel"]


class JointStructuralModel(StructuralModel):
    """One structural model of all channels, see `tsode.models.structural.joint.JointStructure`.

    An event is a row of the filter for each channel; those of one time follow each other by a step of no length.

    Parameters
    ----------
    n_channels : int
    """

    @property
    def _head(self) -> ChannelFit:
        """The first channel, whose states are those of all."""
        return self.channels[0]

    @property
    def state_width(self) -> int:
        return sum(state_sizes([self._head]))

    def _seen_by_each(self) -> tuple[Tensor, Tensor]:
        """What each channel sees of the states (c d m), and the variance of its noise (c d)."""
        here = [fit.parts(torch.zeros(1, 1, dtype=torch.float64)) for fit in self.channels]
        return torch.stack([part.readout for part in here]), torch.stack([part.noise for part in here])

    def _residuals(self, batch: IrregularBatch, rows: Tensor, n: int) -> Tensor:
        """Scaled values of the first `n` events of some rows, less what covariates explain: Tensor[n c r d]."""
        each = []
        for c, fit in enumerate(self.channels):
            is_seen = batch.mask[rows, :n, c]
            values = torch.where(is_seen, fit.scaled(batch.values[rows, :n, c].double()), 0.0)[..., None]
            explained = self.explained(fit, batch, batch.times)[rows, :n].expand(-1, -1, len(fit.log_weights))
            each.append((values - explained).transpose(0, 1))
        return torch.stack(each, dim=1)

    @torch.no_grad()
    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        """As of every `MarginalModel`."""
        batch = batch if state is None else state.before(batch)
        ends = []
        for rows in torch.arange(batch.n_series).split(rows_at_once(self._head)):
            begin = unpack(state, [self._head], 0, rows)
            [(_, end)] = deque(self._beliefs(self._head, batch, 0, rows, batch.n_events, begin), maxlen=1)
            ends.append(end)
        return pack(batch, [Standing(*map(torch.cat, zip(*ends)))])

    def forecast(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: FilterState | None = None
    ) -> Forecast:
        """As of every `MarginalModel`."""
        batch = batch if state is None else state.before(batch)
        return self._as_forecast(query_times, self._forecast_each(batch, query_times, side, state))

    def _forecast_channel(
        self, batch: IrregularBatch, c: int, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> Tensor:
        return self._forecast_each(batch, query_times, side, state)[c]

    def _forecast_each(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None
    ) -> list[Tensor]:
        """Parameters of a mixture of normals of each channel (b m 3d), of scaled values."""
        fit = self._head
        index = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        n_draws = len(fit.log_weights)
        out = query_times.new_empty(self.n_channels, *query_times.shape, 2, n_draws)
        most = HELD_AT_ONCE // (n_draws * fit.n_states * self.n_channels)
        for rows in of_like_length(index.amax(dim=1), most, fit.n_states):
            begin = unpack(state, [fit], 0, rows)
            self._project_each(batch, rows, query_times[rows], index[rows], out, begin)
        log_weight, lead = fit.log_weights.expand(*query_times.shape, n_draws), lead_of(batch.times, query_times, index)
        each = []
        for own, found in zip(self.channels, out):
            location = found[..., 0, :] + self.explained(own, batch, query_times)
            each.append(guarded(own, torch.cat([location, found[..., 1, :], log_weight], dim=-1), lead))
        return each

    def _project_each(
        self, batch: IrregularBatch, rows: Tensor, queries: Tensor, index: Tensor, out: Tensor, begin: Standing | None
    ) -> None:
        """Means and log standard deviations of all channels at the queries of some rows, written to `out`."""
        fit, seen = self._head, self._seen_by_each()
        by_event: dict[int, Tensor] = {k: (index == k).nonzero() for k in index.unique().tolist()}
        if 0 in by_event:
            start = fit.parts(queries.new_zeros(1, 1))
            zero, at = (torch.zeros_like(start.readout), torch.diag_embed(start.start)), by_event[0]
            for found, readout, noise in zip(out, *seen):
                self._write(fit, zero, None, readout, noise, at, torch.zeros(len(at)).double(), found, rows)
        last = max(by_event)
        if not last:
            return
        for k, (mean, cov, _) in self._beliefs(fit, batch, 0, rows, last, begin):
            if k + 1 in by_event:
                at = by_event[k + 1]
                gap = queries[at[:, 0], at[:, 1]] - batch.times[rows][at[:, 0], k]
                for found, readout, noise in zip(out, *seen):
                    self._write(fit, (mean, cov), at[:, 0], readout, noise, at, gap, found, rows)

    def _beliefs(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, rows: Tensor, n: int, begin: Standing | None = None
    ) -> Iterator[tuple[int, Standing]]:
        """After each of the first `n` events of some rows, whatever the channel: those of all are seen."""
        c, r = self.n_channels, len(rows)
        n_draws, times = len(fit.log_weights), batch.times[rows, :n].T
        values, mask = self._residuals(batch, rows, n), batch.mask[rows, :n, :c].permute(1, 2, 0).double()
        readout, noise = (x.repeat(1, r, *[1] * (x.ndim - 2)) for x in self._seen_by_each())
        size = max(1, HELD_AT_ONCE // (r * n_draws * fit.n_states * c))
        for first in range(0, n, size):  # what leads to each event takes memory
            part = slice(max(first - 1, 0), first + size)
            gap = times[part].diff(dim=0, prepend=times[part][:1])
            which = torch.arange(len(gap))
            if r == 1:
                distinct, which = gap[:, 0].unique(return_inverse=True)
                gap = distinct[:, None]
            still = torch.full((c - 1, len(which)), len(gap))
            which, gap = torch.cat([which[None], still]).T.flatten(), torch.cat([gap, torch.zeros_like(gap[:1])])
            parts = fit.parts(gap)
            steps = PairedSteps(*(x.flatten(1, 2) for x in parts.steps))
            seen, mean, cov = mask[part], None, torch.diag_embed(parts.start).repeat(r, 1, 1)
            if begin is not None:
                mean, cov = begin.mean.flatten(0, 1), begin.cov.flatten(0, 1)
                seen = torch.cat([torch.zeros_like(seen[:1]), seen[1:]])
            turns = len(seen)
            system = PairedSystem(steps, which, cov, readout.repeat(turns, 1, 1), noise.repeat(turns, 1))
            given = values[part].flatten(2).flatten(0, 1), seen.flatten(0, 1).repeat_interleave(n_draws, dim=1)
            for row, (_, after, _) in enumerate(filter_rows(system, *given, mean=mean)):
                if row % c < c - 1:
                    continue
                begin = Standing(
                    after.mean.unflatten(0, (r, n_draws)), after.cov.unflatten(0, (r, n_draws)), times.new_zeros(r)
                )
                if part.start + row // c >= first:
                    yield part.start + row // c, begin

    def smoothed(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, row: int, query_times: Tensor, readouts: Tensor
    ) -> tuple[Tensor, Tensor]:
        at, channel = batch.mask[row, :, : self.n_channels].nonzero(as_tuple=True)  # by time, and then by channel
        values = self._residuals(batch, torch.tensor([row]), batch.n_events)[at, channel, 0]
        readout, noise = self._seen_by_each()
        seen = readout[channel], noise[channel]
        return smoothed_sums(self._head, batch.times[row, at], values, *seen, None, query_times, readouts)

    def _sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, *,
        has_noise: bool, state: FilterState | None = None, **known: Any,
    ) -> Tensor:  # fmt: skip
        """Joint paths of all channels together."""
        batch = batch if state is None else state.before(batch)
        fit, (readout, noise) = self._head, self._seen_by_each()
        seen = readout, noise if has_noise else torch.zeros_like(noise)
        out = query_times.new_empty(n_samples, *query_times.shape, self.n_channels)
        times, order = query_times.sort(dim=1)
        behind = torch.searchsorted(batch.times.contiguous(), times.contiguous(), right=False)
        explained = [self.explained(own, batch, times).expand(-1, -1, len(fit.log_weights)) for own in self.channels]
        for row in range(batch.n_series):
            begin = unpack(state, [fit], 0, torch.tensor([row]))
            beliefs = self._beliefs_behind(fit, batch, 0, row, behind[row], begin)
            own = torch.stack([each[row] for each in explained])
            asked = fit, seen, batch.times[row], times[row], behind[row], beliefs, own
            paths, _ = draw_paths(*asked, fit.log_weights, n_samples, generator)
            for c, (channel, path) in enumerate(zip(self.channels, paths)):
                out[:, row, order[row], c] = channel.transform.inverse(channel.shift + channel.spread * path)
        return out
