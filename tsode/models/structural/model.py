"""Structural model: a mixture of structures, filtered exactly, as a forecast model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.covariates import Covariates
from tsode.core.forecast import Forecast
from tsode.core.status import Status
from tsode.core.transforms import Transform
from tsode.kernels.paired_filter import Belief
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.likelihoods.transformed_mixture import TransformedMixture
from tsode.models.base import DrawsSignal, ForecastModel
from tsode.models.filter_state import FilterState
from tsode.models.structural.changepoints import change_features
from tsode.models.structural.filtering import standings
from tsode.models.structural.guard import guarded, lead_of
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.paths import draw_paths
from tsode.models.structural.problems import Data, Doubts
from tsode.models.structural.random_effects import History, own_fits
from tsode.models.structural.reweighting import Verdict, judge
from tsode.models.structural.row_groups import of_like_length
from tsode.models.structural.smoothed_sums import smoothed_sums
from tsode.models.structural.spec import decode, encode
from tsode.models.structural.standing import Standing, pack, state_sizes, unpack

__all__ = ["HELD_AT_ONCE", "StructuralModel", "features_at", "rows_at_once"]

MOST_KEPT = 100_000  # fits of single series
HELD_AT_ONCE = 2**22  # numbers of covariances of problems filtered together


class StructuralModel(DrawsSignal, ForecastModel):
    """Structural models of each channel, averaged over structures and over the uncertainty of their parameters.

    Parameters
    ----------
    n_channels : int
    """

    code: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self._read: tuple[Tensor, list[ChannelFit]] | None = None
        self._own: dict[Any, ChannelFit] = {}
        self.register_buffer("code", torch.zeros(0, dtype=torch.uint8))

    @property
    def channels(self) -> list[ChannelFit]:
        """What was fitted of each channel."""
        if self._read is None or self._read[0] is not self.code:
            self._read = self.code, decode(self.code, self.n_channels)
        return self._read[1]

    def set_channels(self, channels: Sequence[ChannelFit]) -> None:
        self.code = encode(list(channels))
        self._read = self.code, list(channels)

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Make room for weights of these sizes: that of the text depends on what was fitted."""
        code = state.get("code", self.code)
        if code.ndim != 1:
            raise ValueError(f"its components are of shape {tuple(code.shape)}")
        self.code = torch.zeros(len(code), dtype=torch.uint8, device=self.code.device)
        self._read = None

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        loaded = super().load_state_dict(*args, **kwargs)
        self._read = self.code, decode(self.code, self.n_channels)
        return loaded

    @property
    def can_resume(self) -> bool:
        # parameters of a series change with its history, and responses go on from events that no state holds
        return all(fit.effects is None and fit.responses is None for fit in self.channels)

    @property
    def state_width(self) -> int:
        return sum(state_sizes(self.channels))

    @torch.no_grad()
    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        """As of every `MarginalModel`."""
        batch = batch if state is None else state.before(batch)
        ends = []
        for c, fit in enumerate(self.channels):
            parts = []
            for rows in torch.arange(batch.n_series).split(rows_at_once(fit)):
                begin = unpack(state, self.channels, c, rows)
                [(_, end)] = deque(self._beliefs(fit, batch, c, rows, batch.n_events, begin), maxlen=1)
                parts.append(end)
            ends.append(Standing(*map(torch.cat, zip(*parts))))
        return pack(batch, ends)

    def forecast(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: FilterState | None = None
    ) -> Forecast:
        """As of every `MarginalModel`."""
        batch = batch if state is None else state.before(batch)
        parts = [self._forecast_channel(batch, c, query_times, side, state) for c in range(self.n_channels)]
        return self._as_forecast(query_times, parts)

    def fit_of(self, batch: IrregularBatch, c: int, row: int) -> ChannelFit:
        """What was fitted of a channel, or of this series of it by itself, from all of its history."""
        own = self._own_fits(batch, c, [(row, int(batch.lengths[row]))])
        return own[0] if own else self.channels[c]

    def _own_fits(self, batch: IrregularBatch, c: int, prefixes: Sequence[tuple[int, int]]) -> list[ChannelFit]:
        """Fits of single series, each from the first events of a row; none where all series share one.

        A history that was seen before is not fitted again.
        """
        fit = self.channels[c]
        if fit.effects is None:
            return []
        features, noise = self._features(fit, batch), fit.given_noise(batch, c)
        histories, keys = [], []
        for row, n in prefixes:
            seen = batch.mask[row, :n, c]
            values = fit.scaled(batch.values[row, :n][seen, c].double())
            parts = batch.times[row, :n][seen], values, features[row, :n][seen], noise[row, :n][seen]
            histories.append(History(*(x.cpu().numpy() for x in parts)))
            keys.append((c, *(x.tobytes() for x in histories[-1])))
        missing = {key: k for k, key in enumerate(keys) if key not in self._own and len(histories[k][0]) > 1}
        if len(self._own) > MOST_KEPT:
            self._own.clear()
        found = own_fits(fit, [histories[k] for k in missing.values()]) if missing else []
        fresh = dict(zip(missing, found))
        self._own |= fresh
        return [fresh.get(key) or self._own.get(key) or replace(fit, effects=None) for key in keys]

    def _features(self, fit: ChannelFit, batch: IrregularBatch) -> Tensor:
        """What the coefficients of a channel multiply at the events: Tensor[b n f]."""
        return torch.cat(
            [self._told(fit, batch, batch.times), change_features(batch.times, fit.changes, fit.span)], dim=2
        )

    def _told(self, fit: ChannelFit, batch: IrregularBatch, times: Tensor) -> Tensor:
        """Covariates and responses to events at times (b m): Tensor[b m f]."""
        parts = [times.new_zeros(*times.shape, 0)]
        if batch.covariates is not None and fit.n_covariates:
            parts.append(features_at(batch.covariates, times))
        if fit.responses is not None:
            parts.append(fit.responses.at(batch, times))
        return torch.cat(parts, dim=2)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_own": {}}  # what was kept can be had again

    def _as_forecast(self, query_times: Tensor, parts: Sequence[Tensor]) -> Forecast:
        """Mixtures of normals of each channel, on the structures' scales (b m 3d), as a forecast of the data."""
        size = max(part.shape[-1] // 3 for part in parts)
        family: NormalMixture | TransformedMixture = NormalMixture(size)
        columns = []
        for fit, part in zip(self.channels, parts):
            location, log_scale, log_weight = _padded(part, size).chunk(3, dim=-1)
            columns.append(torch.cat([fit.shift + fit.spread * location, log_scale + log(fit.spread), log_weight], -1))
        params = torch.stack(columns, dim=2)
        if not all(bool(fit.transform.is_identity) for fit in self.channels):
            every = Transform.stack([fit.transform for fit in self.channels])
            family = TransformedMixture(size)
            params = family.from_normals(
                params, Transform(*(x[:, None] for x in (every.code, every.lam, every.offset)))
            )
        is_finite = params.isfinite().all(dim=-1).all(dim=-1).all(dim=-1)
        status = torch.where(is_finite, int(Status.OK), int(Status.NON_FINITE))
        return Forecast(query_times, params, family, status)

    def _forecast_channel(
        self, batch: IrregularBatch, c: int, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> Tensor:
        """Parameters of a mixture of normals (b m 3d), of scaled values."""
        fit = self.channels[c]
        index = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        n_draws = len(fit.log_weights)
        if fit.effects is not None:
            return self._forecast_own(batch, c, query_times, index)
        out = query_times.new_empty(*query_times.shape, 2, n_draws)
        for rows in of_like_length(index.amax(dim=1), HELD_AT_ONCE // (n_draws * fit.n_states), fit.n_states):
            begin = unpack(state, self.channels, c, rows)
            self._project(fit, batch, c, rows, query_times[rows], index[rows], out, rows, begin)
        out[..., 0, :] += self.explained(fit, batch, query_times)
        log_weight = fit.log_weights.expand(*query_times.shape, n_draws)
        params = torch.cat([out[..., 0, :], out[..., 1, :], log_weight], dim=-1)
        return guarded(fit, params, lead_of(batch.times, query_times, index))

    def _forecast_own(self, batch: IrregularBatch, c: int, query_times: Tensor, index: Tensor) -> Tensor:
        """As `_forecast_channel`, by the parameters of each series from what stands before each query."""
        prefixes = [(row, n) for row in range(len(index)) for n in index[row].unique().tolist()]
        fits = self._own_fits(batch, c, prefixes)
        size = max(len(fit.log_weights) for fit in fits)
        out = query_times.new_empty(*query_times.shape, 3 * size)
        for (row, n), fit in zip(prefixes, fits):
            at = index[row] == n
            alone, asked = batch.select(torch.tensor([row])), query_times[row, at][None]
            one = torch.zeros(1, dtype=torch.int64)
            found = query_times.new_empty(1, asked.shape[1], 2, len(fit.log_weights))
            self._project(fit, alone, c, one, asked, torch.full(asked.shape, n), found, one)
            location = found[..., 0, :] + self.explained(fit, alone, asked)
            params = torch.cat([location, found[..., 1, :], fit.log_weights.expand_as(location)], dim=-1)
            params = guarded(fit, params, lead_of(alone.times, asked, torch.full(asked.shape, n)))
            out[row, at] = _padded(params, size)[0]
        return out

    def explained(self, fit: ChannelFit, batch: IrregularBatch, times: Tensor) -> Tensor:
        """What covariates and changepoints explain at times (b m), by each draw: Tensor[b m d] or zeros for all."""
        return self.regressed(fit, batch, times) + self.changed(fit, times)

    def changed(self, fit: ChannelFit, times: Tensor) -> Tensor:
        """The share of the changepoints in what is `explained`."""
        if not fit.changes:
            return times.new_zeros(1, 1, 1).expand(*times.shape, 1)
        return change_features(times, fit.changes, fit.span) @ fit.coefficients[:, -2 * len(fit.changes) :].T

    def regressed(self, fit: ChannelFit, batch: IrregularBatch, times: Tensor) -> Tensor:
        """The share of the covariates and of events in what is `explained`."""
        features = self._told(fit, batch, times)
        if not features.shape[2]:
            return times.new_zeros(1, 1, 1).expand(*times.shape, 1)
        return features @ fit.coefficients[:, : features.shape[2]].T

    def _project(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, rows: Tensor, queries: Tensor, index: Tensor,
        out: Tensor, places: Tensor, begin: Standing | None = None,
    ) -> None:  # fmt: skip
        """Means and log standard deviations at the queries of some rows, written to `out`."""
        by_event: dict[int, Tensor] = {k: (index == k).nonzero() for k in index.unique().tolist()}
        last = max(by_event)
        times = batch.times[rows]
        start = fit.parts(times.new_zeros(1, 1))
        readout, noise = start.readout, start.noise + fit.noise_ahead
        if 0 in by_event:
            zero = (torch.zeros_like(readout), torch.diag_embed(start.start))
            at = by_event[0]
            self._write(fit, zero, None, readout, noise, at, torch.zeros(len(at)).double(), out, places)
        if not last:
            return
        for k, (mean, cov, _) in self._beliefs(fit, batch, c, rows, last, begin):
            if k + 1 in by_event:
                at = by_event[k + 1]
                gap = queries[at[:, 0], at[:, 1]] - times[at[:, 0], k]
                self._write(fit, (mean, cov), at[:, 0], readout, noise, at, gap, out, places)

    def _beliefs(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, rows: Tensor, n: int, begin: Standing | None = None
    ) -> Iterator[tuple[int, Standing]]:
        """See `standings`: of the first `n` events of some rows."""
        times = batch.times[rows, :n].T
        mask = batch.mask[rows, :n, c].T.double()
        values = torch.where(mask > 0, fit.scaled(batch.values[rows, :n, c].T.double()), 0.0)[..., None]
        values = values - self.explained(fit, batch, batch.times)[rows, :n].transpose(0, 1)

        def judged(part: slice, start: Standing | None) -> Verdict:
            return self.verdict(fit, batch, c, rows, min(part.stop, n), part.start, start)

        yield from standings(
            fit, times, values, mask, begin, judged, HELD_AT_ONCE, fit.given_noise(batch, c)[rows, :n].T
        )

    def verdict(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, rows: Tensor, n: int, first: int = 0,
        begin: Standing | None = None,
    ) -> Verdict:  # fmt: skip
        """Errors of the first `n` events of some rows, by the likeliest member at its mode, and what to doubt.

        With `begin`, of those from the `first` on, at which the filters stand and whose value they know.
        """
        member, part = fit.likeliest, slice(first, n)
        times, mask = batch.times[rows, part].T / fit.span, batch.mask[rows, part, c].T.double()
        values = torch.where(mask > 0, fit.scaled(batch.values[rows, part, c].T.double()), 0.0)
        features = self._features(fit, batch)[rows, part].transpose(0, 1)
        if begin is not None:
            mask = torch.cat([torch.zeros_like(mask[:1]), mask[1:]])
            k, m = fit.place_of_likeliest, member.structure.n_states
            begin = Standing(begin.mean[:, k, :m], begin.cov[:, k, :m, :m], begin.run)
        gap, noise = times.diff(dim=0, prepend=times[:1]), fit.given_noise(batch, c)[rows, part].T
        data = Data(gap, torch.arange(len(gap)), values, mask, noise, torch.zeros_like(noise), features)
        return judge(member.structure, member.z[0], data, float("inf") if fit.limit is None else fit.limit, begin)

    def _write(
        self, fit: ChannelFit, belief: tuple[Tensor, Tensor], of: Tensor | None, readout: Tensor, noise: Tensor,
        at: Tensor, gap: Tensor, out: Tensor, places: Tensor,
    ) -> None:  # fmt: skip
        """Project beliefs a gap (q) ahead onto the series, without a product of matrices."""
        mean, cov = belief
        for part in torch.arange(len(at)).split(max(1, HELD_AT_ONCE // (len(readout) * fit.n_states**2))):
            steps = fit.parts(gap[part, None]).steps
            own, other, variance, covariance = (x[:, 0] for x in steps)
            swapped = (other * readout).unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
            seen = own * readout + swapped
            here = (mean, cov) if of is None else (mean[of[part]], cov[of[part]])
            location = (seen * here[0]).sum(dim=-1)
            pairs = readout[..., 0::2] * readout[..., 1::2]
            total = ((here[1] * seen[..., None, :]).sum(dim=-1) * seen).sum(dim=-1)
            total = total + (variance * readout**2).sum(dim=-1) + 2.0 * (covariance * pairs).sum(dim=-1) + noise
            where = at[part]
            out[places[where[:, 0]], where[:, 1], 0] = location
            out[places[where[:, 0]], where[:, 1], 1] = 0.5 * total.clamp(min=1e-300).log()

    def fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """Given all events, earlier and later."""
        parts = []
        for c in range(self.n_channels):
            fits = [self.fit_of(batch, c, row) for row in range(batch.n_series)]
            fit = fits[0]  # as the others in all but the parameters
            location, spread = query_times.new_empty(2, *query_times.shape, len(fit.log_weights))
            for row, own in enumerate(fits):
                start = own.parts(query_times.new_zeros(1, 1))
                mean, variance = self.smoothed(own, batch, c, row, query_times[row], start.readout[None])
                location[row] = mean[0] + self.explained(own, batch, query_times)[row]
                spread[row] = variance[0] + start.noise + own.noise_ahead
            log_weight = fit.log_weights.expand_as(location)
            parts.append(torch.cat([location, 0.5 * spread.clamp(min=1e-300).log(), log_weight], dim=-1))
        return self._as_forecast(query_times, parts)

    def smoothed(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, row: int, query_times: Tensor, readouts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means and variances (k q d) of sums of states, at times (q), given all of one series.

        Parameters
        ----------
        fit : ChannelFit
            See `fit_of`.
        readouts : Tensor[k d m]
            Weights of the states in each sum.
        """
        seen = batch.mask[row, :, c]
        times, values = batch.times[row, seen], fit.scaled(batch.values[row, seen, c].double())[:, None]
        values = values - self.explained(fit, batch, batch.times)[row, seen]
        doubts = None
        if fit.limit is not None:
            found = self.verdict(fit, batch, c, torch.tensor([row]), batch.times.shape[1]).doubts
            doubts = Doubts(*(x[seen] for x in found))
        start, given = fit.parts(times.new_zeros(1, 1)), fit.given_noise(batch, c)[row, seen][:, None]
        noise = start.noise + given
        return smoothed_sums(fit, times, values, start.readout[None], noise, doubts, query_times, readouts)

    def log_weights_at(self, batch: IrregularBatch, c: int, row: int, query_times: Tensor) -> Tensor:
        """Of the draws of a channel, at times (q) of one series: after its last event those of the forecast (q d)."""
        fit = self.fit_of(batch, c, row)
        log_weights = fit.log_weights.repeat(len(query_times), 1)
        is_ahead = query_times > batch.times[row, -1:].sum()  # the padding repeats the last time
        if len(fit.members) > 1 and is_ahead.any():
            alone = batch.select(torch.tensor([row]))
            params = self._forecast_channel(alone, c, query_times[None, is_ahead], "right")
            log_weights[is_ahead] = params[0].chunk(3, dim=-1)[2]
        return log_weights

    def _sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, *,
        has_noise: bool, state: FilterState | None = None, **known: Any,
    ) -> Tensor:  # fmt: skip
        """Joint paths, see `LinearGaussianModel.sample`."""
        batch = batch if state is None else state.before(batch)
        out = query_times.new_empty(n_samples, *query_times.shape, self.n_channels)
        times, order = query_times.sort(dim=1)
        behind = torch.searchsorted(batch.times.contiguous(), times.contiguous(), right=False)
        for c in range(self.n_channels):
            for row in range(batch.n_series):
                fit = self.fit_of(batch, c, row)
                explained = self.explained(fit, batch, times)[row].expand(-1, len(fit.log_weights))
                begin = unpack(state, self.channels, c, torch.tensor([row]))
                beliefs = self._beliefs_behind(fit, batch, c, row, behind[row], begin)
                weights = self._guarded_weights(fit, batch, row, times[row], behind[row], beliefs, explained)

                start = fit.parts(times.new_zeros(1, 1))
                seen = start.readout[None], has_noise * (start.noise[None] + fit.noise_ahead)
                asked = fit, seen, batch.times[row], times[row], behind[row], beliefs, explained[None]
                (path,), chosen = draw_paths(*asked, fit.log_weights, n_samples, generator)
                if weights is not None:  # paths of members that lose weight go over, one by one, to those that gain
                    before = fit.log_weights.exp()
                    gained = (weights - before).clamp(min=0.0).sum(dim=0)
                    (other,), _ = draw_paths(*asked, gained.log(), n_samples, generator)
                    share = torch.rand(n_samples, 1, generator=generator, dtype=path.dtype)
                    path = torch.where(share < (weights / before)[:, chosen].T, path, other)
                out[:, row, order[row], c] = fit.transform.inverse(fit.shift + fit.spread * path)
        return out

    def _beliefs_behind(
        self, fit: ChannelFit, batch: IrregularBatch, c: int, row: int, behind: Tensor, begin: Standing | None
    ) -> dict[int, Belief]:
        """Of all draws, after so many events of one series (d m), (d m m)."""
        start = fit.parts(batch.times.new_zeros(1, 1))
        beliefs = {0: Belief(torch.zeros_like(start.readout), torch.diag_embed(start.start))}
        wanted = set(behind.tolist())
        rows = torch.tensor([row])
        if max(wanted):
            for k, (mean, cov, _) in self._beliefs(fit, batch, c, rows, max(wanted), begin):
                if k + 1 in wanted:
                    beliefs[k + 1] = Belief(mean[0], cov[0].clone())
        return beliefs

    def _guarded_weights(
        self, fit: ChannelFit, batch: IrregularBatch, row: int, times: Tensor, behind: Tensor,
        beliefs: dict[int, Belief], explained: Tensor,
    ) -> Tensor | None:  # fmt: skip
        """Weights of the draws at times (m) where the guard changes some: Tensor[m d]."""
        start = fit.parts(times.new_zeros(1, 1))
        out = times.new_empty(1, len(times), 2, len(fit.log_weights))
        lead = lead_of(batch.times[row][None], times[None], behind[None])
        for count, (mean, cov) in beliefs.items():
            at = (behind[None] == count).nonzero()
            gap = torch.where(lead.isfinite(), lead, 0.0)[at[:, 0], at[:, 1]]
            if len(at):
                noise = start.noise + fit.noise_ahead
                self._write(fit, (mean, cov), None, start.readout, noise, at, gap, out, torch.zeros(1).long())
        params = torch.cat([out[0, :, 0] + explained, out[0, :, 1], fit.log_weights.expand_as(explained)], dim=-1)
        found = guarded(fit, params, lead[0])
        return None if found is params else found.chunk(3, dim=-1)[2].softmax(dim=-1)


def rows_at_once(fit: ChannelFit) -> int:
    """Series that are filtered together."""
    return max(1, HELD_AT_ONCE // (len(fit.log_weights) * fit.n_states**2))


def features_at(covariates: Covariates, times: Tensor) -> Tensor:
    """Constants and covariates at times (b m), without the averages of their past: Tensor[b m f]."""
    n_features = covariates.static.shape[1] + covariates.values.shape[2]
    return covariates.at(times)[..., :n_features].double()


def _padded(params: Tensor, size: int) -> Tensor:
    """Mixture parameters with components of no weight added."""
    location, log_scale, log_weight = params.chunk(3, dim=-1)
    lack = size - location.shape[-1]
    fill = [
        torch.nn.functional.pad(x, (0, lack), value=v)
        for x, v in ((location, 0.0), (log_scale, 0.0), (log_weight, -1e3))
    ]
    return torch.cat(fill, dim=-1)
