"""Forecasts by folding: each series has a sharp period of its own, shared by its channels, and a shape of harmonics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.series import Series
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.base import ForecastModel
from tsode.models.folded.errors import N_ERRORS, fit_errors, mode_weights
from tsode.models.folded.fit import N_MODES, FoldedFit, Mode, find_modes
from tsode.models.folded.harmonics import design
from tsode.models.folded.learning import learn_shape
from tsode.models.folded.observations import Observations
from tsode.models.folded.search import find_frequencies
from tsode.models.folded.shape import Shape
from tsode.models.query_groups import HistoryRanges

__all__ = ["FoldedModel"]

N_CANDIDATES, N_LEARNED = 16, 8  # frequencies looked at in a forecast, and in learning
FEWEST_VALUES = 5  # of a channel, to be folded
FEWEST_TIMES = 12  # of a series
FEWEST_SERIES = 8  # from which a shape is learned
MOST_HELD_OUT = 60  # series that the errors' law is learned from
N_PERIODS = 32
PERIOD_WIDTH = 0.08  # of the density of log periods about each quantile
ANY_PERIOD = 0.05  # that density far from all of them
SHARE_GIVEN = 0.6  # of a series, while the rest is held out
N_COMPONENTS = N_MODES * N_ERRORS
OUT_OF_USE = -60.0  # log weight of a component that there is no mode for


class FoldedModel(ForecastModel):
    """Forecasts of series that repeat exactly, each with a period of its own that no calendar gives.

    The period is found in the events before a query; every channel then follows harmonics of it: a shape of its own,
    or one whose coefficients, over all channels together, are Gaussian over the training series (`pooled`). Periods
    that the events leave open are modes of the forecast, a mixture of normals. Each history costs a search of some
    tenths of a second; queries with the same events behind them share it.

    A channel with fewer than 5 values, and a series with values at fewer than 12 times, is forecast by its mean.

    Parameters
    ----------
    n_channels : int
    n_harmonics : int
        Of each channel.
    pooled : bool
        Whether `learn` pools the shape over the series, of which there must be eight. Which periods are likely is
        learned from them in either case.
    """

    is_learned: Tensor
    shape_mean: Tensor
    shape_covariance: Tensor
    noise: Tensor
    level: Tensor
    spread: Tensor
    log_periods: Tensor
    errors: Tensor
    temper: Tensor
    drift: Tensor

    def __init__(self, n_channels: int, n_harmonics: int = 6, pooled: bool = True) -> None:
        super().__init__()
        self.n_channels, self.n_harmonics, self.pooled = n_channels, n_harmonics, pooled
        d, float64 = 2 * n_harmonics + 1, torch.float64
        log_weight = torch.tensor([0.0] + [OUT_OF_USE] * (N_ERRORS - 1), dtype=float64)
        buffers = {
            "is_learned": torch.zeros(2, dtype=float64),  # whether there are periods, and a shape, of a panel
            "shape_mean": torch.zeros(n_channels, d, dtype=float64),
            "shape_covariance": torch.eye(n_channels * d, dtype=float64),
            "noise": torch.ones(n_channels, dtype=float64),
            "level": torch.zeros(2, n_channels, dtype=float64),  # of the series' means: mean, standard deviation
            "spread": torch.ones(n_channels, dtype=float64),  # standard deviation within a series
            "log_periods": torch.zeros(N_PERIODS, dtype=float64),  # quantiles over the series
            "errors": torch.stack([torch.zeros_like(log_weight), torch.zeros_like(log_weight), log_weight]),
            "drift": torch.zeros((), dtype=float64),  # of the phase, in cycles a span
            "temper": torch.tensor(float(n_channels), dtype=float64),
        }
        buffers["level"][1] = 1.0
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    # -- learning ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(self, series: Sequence[Series]) -> None:
        """Set levels, periods, the pooled shape and the law of the errors, from whole series and parts held out."""
        self._learn_levels(series)
        self.is_learned.zero_()
        self.drift.zero_()
        self.temper.fill_(float(self.n_channels))
        self._learn_shape(series)
        step = max(len(series) // MOST_HELD_OUT, 1)
        self._learn_errors(series[::step][:MOST_HELD_OUT])

    def _learn_levels(self, series: Sequence[Series]) -> None:
        for channel in range(self.n_channels):
            seen = [row.values[np.isfinite(row.values[:, channel]), channel] for row in series]
            means = np.array([values.mean() for values in seen if len(values)])
            apart = np.concatenate([values - values.mean() for values in seen if len(values) > 1] or [np.empty(0)])
            if len(means):
                self.level[0, channel] = means.mean()
            if len(apart):
                self.spread[channel] = apart.std() or 1.0
            self.level[1, channel] = np.hypot(means.std(), self.spread[channel].item()) if len(means) else 1.0

    def _learn_shape(self, series: Sequence[Series]) -> None:
        prepared = [_prepare(row.times, row.values) for row in series]
        usable = [entry for entry in prepared if entry is not None]
        found = [(data, find_frequencies(data, self.n_harmonics, N_LEARNED), span) for data, _, span in usable]
        found = [entry for entry in found if len(entry[1])]
        if len(found) < FEWEST_SERIES:
            return
        best = np.array([frequencies[0] for _, frequencies, _ in found])
        if self.pooled:
            pairs = [(data, frequencies) for data, frequencies, _ in found]
            shape, modes = learn_shape(pairs, self.n_channels, self.n_harmonics)
            best = np.array([mode.frequency for mode in modes])
            self.shape_mean.copy_(torch.from_numpy(shape.mean))
            self.shape_covariance.copy_(torch.from_numpy(shape.covariance.reshape(self.shape_covariance.shape)))
            self.noise.copy_(torch.from_numpy(shape.noise))
        periods = np.log(np.array([span for _, _, span in found]) / best)
        self.log_periods.copy_(torch.from_numpy(np.quantile(periods, (np.arange(N_PERIODS) + 0.5) / N_PERIODS)))
        self.is_learned.copy_(torch.tensor([1.0, float(self.pooled)]))

    def _learn_errors(self, series: Sequence[Series]) -> None:
        parts = []
        for row in series:
            seen = np.flatnonzero(np.isfinite(row.values).any(axis=1))
            n = int(SHARE_GIVEN * len(seen))
            fit = self._fit(row.times[seen[:n]], row.values[seen[:n]])
            if fit is None:
                continue
            values = row.values[seen[n:]][:, fit.data.present]
            rows, channels = np.nonzero(np.isfinite(values))
            found = fit.at(row.times[seen[n:]])
            moments = (_padded(x[rows, :, channels]) for x in (found.mean, found.variance, found.drifted))
            evidence = _padded(np.array([mode.evidence for mode in fit.modes]), -np.inf)
            parts.append((values[rows, channels], *moments, np.broadcast_to(evidence, (len(rows), N_MODES))))
        if sum(len(part[0]) for part in parts) < 10 * N_ERRORS:
            return
        law = fit_errors(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        self.errors.copy_(torch.from_numpy(law.components))
        self.temper.fill_(law.temper)
        self.drift.fill_(law.drift)

    # -- forecasts -----------------------------------------------------------------------------------------------------

    def periods(self, batch: IrregularBatch) -> np.ndarray:
        """Likeliest period of each row from all of its events: array[b]; NaN where there are too few."""
        fits = [self._fit(*_events(batch, row)) for row in range(batch.n_series)]
        return np.array([np.nan if fit is None else fit.period for fit in fits])

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        shape = (*query_times.shape, self.n_channels, 3, N_COMPONENTS)
        params = np.zeros(shape)
        for where, times, values, _, fit in self._histories(batch, query_times, side):
            params[where] = self._params(times, values, fit, query_times[where].numpy())
        given = torch.from_numpy(params.reshape(*shape[:3], -1)).to(batch.values.dtype)
        return Forecast(query_times, given, NormalMixture(N_COMPONENTS), torch.zeros_like(batch.lengths))

    def sample(self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
        forecast = self.forecast(batch, query_times)
        size = (n_samples, *query_times.shape, self.n_channels)
        score = torch.randn(size, generator=generator, dtype=torch.float64)
        common = torch.randn((n_samples, query_times.shape[0], self.n_channels * (2 * self.n_harmonics + 1)),
                             generator=generator, dtype=torch.float64)  # fmt: skip
        for where, _, _, row, fit in self._histories(batch, query_times, "left"):
            if fit is None:
                continue
            # what is not known of the shape is common to all values of a path
            errors = _shape_errors(fit, query_times[where].numpy(), common[:, row].numpy())
            part, share = map(torch.from_numpy, errors)
            at = torch.from_numpy(fit.data.present)
            old = score[:, where[0], where[1]]
            old[..., at] = share.sqrt() * part + (1.0 - share).sqrt() * old[..., at]
            score[:, where[0], where[1]] = old
        level = torch.special.ndtr(score).clamp(1e-12, 1.0 - 1e-12).movedim(0, -1)
        return forecast.quantile(level.to(forecast.params)).movedim(-1, 0)

    def _histories(
        self, batch: IrregularBatch, query_times: Tensor, side: str
    ) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray, int, FoldedFit | None]]:
        """Each distinct history: where its queries stand, its times, its values, its row and its fit."""
        behind = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        behind = torch.minimum(behind, batch.lengths[:, None])
        ranges = HistoryRanges.of(batch, torch.zeros_like(behind), behind)
        group = ranges.group.numpy()
        for k in range(ranges.histories.n_series):
            times, values = _events(ranges.histories, k)
            rows, places = np.nonzero(group == k)
            yield (rows, places), times, values, int(ranges.row[k]), self._fit(times, values)

    def _fit(self, times: np.ndarray, values: np.ndarray) -> FoldedFit | None:
        """Fit of one history, or None if it is too short."""
        prepared = _prepare(times, values)
        if prepared is None:
            return None
        data, origin, span = prepared
        frequencies = find_frequencies(data, self.n_harmonics, N_CANDIDATES)
        if not len(frequencies):
            return None
        log_prior, shape = np.zeros(len(frequencies)), None
        has_periods, has_shape = self.is_learned.tolist()
        if has_periods:
            away = (np.log(span / frequencies)[:, None] - self.log_periods.double().numpy()) / PERIOD_WIDTH
            # in the coin of the evidences, which are divided by the temper
            log_prior = self.temper.item() * np.log(np.exp(-0.5 * away**2).mean(axis=1) + ANY_PERIOD)
        if has_shape:
            d = self.shape_mean.shape
            covariance = self.shape_covariance.double().numpy().reshape(*d, *d)
            shape = Shape(self.shape_mean.double().numpy(), covariance, self.noise.double().numpy()).of(data)
        modes = find_modes(data, shape, frequencies, log_prior, self.n_harmonics)
        return FoldedFit(data, origin, span, modes)

    def _params(self, times: np.ndarray, values: np.ndarray, fit: FoldedFit | None, queries: np.ndarray) -> np.ndarray:
        """Parameters of the mixtures at `queries` (m): array[m c 3 components]."""
        params = np.zeros((len(queries), self.n_channels, 3, N_COMPONENTS))
        seen = np.isfinite(values)
        n = seen.sum(axis=0)
        level, spread = self.level.double().numpy(), self.spread.double().numpy()
        own = np.where(seen, values, 0.0).sum(axis=0) / np.maximum(n, 1)
        params[:, :, 0] = np.where(n > 0, own, level[0])[:, None]
        params[:, :, 1] = np.log(np.where(n > 0, spread * np.sqrt(1.0 + 1.0 / np.maximum(n, 1)), level[1]))[:, None]
        if fit is None:
            return params
        found = fit.at(queries)
        mean = found.mean  # (m modes k)
        scale = np.sqrt(found.variance + self.drift.item() ** 2 * found.drifted)
        evidence = np.array([mode.evidence for mode in fit.modes])
        law = self.errors.double().numpy()
        log_weight = mode_weights(evidence, self.temper.item())[:, None] + law[2]
        parts = [
            mean[..., None] + scale[..., None] * law[0],
            np.log(scale)[..., None] + law[1],
            np.broadcast_to(log_weight[:, None], (*mean.shape, N_ERRORS)),
        ]
        for place, part in enumerate(parts):
            flat = np.moveaxis(part, 1, 2).reshape(len(queries), len(fit.data.present), -1)
            short = N_COMPONENTS - flat.shape[-1]
            fill = np.full((*flat.shape[:2], short), OUT_OF_USE) if place == 2 else np.repeat(flat[..., :1], short, -1)
            params[:, fit.data.present, place] = np.concatenate([flat, fill], axis=-1)
        return params


def _events(batch: IrregularBatch, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and values (n c), NaN = not seen, of the events of a row at which something was seen."""
    n = int(batch.lengths[row])
    mask = batch.mask[row, :n].numpy()
    values = np.where(mask, batch.values[row, :n].double().numpy(), np.nan)
    kept = mask.any(axis=1)
    return batch.times[row, :n].numpy()[kept], values[kept]


def _prepare(times: np.ndarray, values: np.ndarray) -> tuple[Observations, float, float] | None:
    """Observations of the channels with values enough, first time and span; None where there are too few."""
    kept = np.isfinite(values).sum(axis=0) >= FEWEST_VALUES
    values = np.where(kept, values, np.nan)
    seen = np.isfinite(values).any(axis=1)
    times = times[seen]
    if len(np.unique(times)) < FEWEST_TIMES:
        return None
    span = float(times[-1] - times[0])
    return Observations.of((times - times[0]) / span, values[seen]), float(times[0]), span


def _padded(x: np.ndarray, fill: float = 1.0) -> np.ndarray:
    """As many modes as there can be, on the last axis."""
    return np.concatenate([x, np.full((*x.shape[:-1], N_MODES - x.shape[-1]), fill)], axis=-1)


def _shape_errors(fit: FoldedFit, times: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised errors of the shape in each path (s m k), from its own normal numbers, and their share (m k)."""
    mode: Mode = fit.modes[0]
    k, d = mode.coefficients.shape[1:]
    columns = design((times - fit.origin) / fit.span * mode.frequency, d // 2)
    root = np.linalg.cholesky(mode.covariance.reshape(k * d, k * d)).reshape(k, d, k * d)
    paths = np.einsum("md,kde,se->smk", columns, root, common[:, : k * d])
    own = np.einsum("md,kde->mke", columns, root)
    smooth = (own**2).sum(axis=-1)
    return paths / np.sqrt(smooth), smooth / (smooth + mode.noise**2)
