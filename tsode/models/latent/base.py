"""Latent models: a path is drawn from an amortised posterior given the events, read out and scored."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.status import worst
from tsode.encoders.base import Encoded, Encoder
from tsode.likelihoods.base import Likelihood
from tsode.likelihoods.normal import Normal
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.base import DrawsSignal, ForecastModel
from tsode.models.query_groups import HistoryRanges, cut
from tsode.models.reach import Reach
from tsode.models.spread_calibration import SpreadCalibration
from tsode.nn.perceptron import perceptron
from tsode.readouts import Emission

__all__ = ["Draws", "Inference", "LatentModel", "LatentPaths"]

N_EFFECT = 32  # hidden units between covariates and their part in the observations
STATES_AT_ONCE = 2**23  # numbers in the states of one block of samples: bounds memory, changes no number
SCALE_RANGE = (-7.0, 2.0)  # of the log scale of the posterior; the prior's is 0


@dataclass(frozen=True)
class Draws:
    """Random numbers behind latent paths.

    Parameters
    ----------
    start : Tensor[s b d] or Tensor[s 1 d]
        Standard normal, one vector a start state; with 1 in place of b, the same for all rows.
    generator : torch.Generator
        For noise along the path, where a model has any.
    rows : Tensor[b] or None, int64
        Which series each row is of; rows of one series share that noise, at whatever times they are asked for. None:
        each is of its own and asked once.
    is_common : bool
        Whether these are the numbers behind all forecasts, rather than independent draws.
    """

    start: Tensor
    generator: torch.Generator
    rows: Tensor | None = None
    is_common: bool = False


@dataclass(frozen=True)
class Inference:
    """Posterior of the start of each row's latent path: independent normal coordinates.

    Parameters
    ----------
    mean, log_scale : Tensor[b d]
    start : Tensor[b], float64
        Time at which it holds: the row's first event.
    batch : IrregularBatch
        The events it was drawn from.
    encoded : Encoded
    status : Tensor[b], int64
    """

    mean: Tensor
    log_scale: Tensor
    start: Tensor
    batch: IrregularBatch
    encoded: Encoded
    status: Tensor

    def state(self, noise: Tensor) -> Tensor:
        """Start states for standard normal `noise` (s b d) or (s 1 d): Tensor[s b d]."""
        return torch.addcmul(self.mean, self.log_scale.exp(), noise)

    def kl(self) -> Tensor:
        """Divergence from the standard normal prior of each coordinate, in nats: Tensor[b d]."""
        return 0.5 * (self.mean**2 + (2.0 * self.log_scale).exp() - 1.0) - self.log_scale

    def log_ratio(self, noise: Tensor) -> Tensor:
        """``log p(z) - log q(z)`` of the states for `noise`, in nats: Tensor[s b]."""
        return (0.5 * (noise**2 - self.state(noise) ** 2) + self.log_scale).sum(dim=-1)


@dataclass(frozen=True)
class LatentPaths:
    """States of sampled paths.

    Parameters
    ----------
    z : Tensor[s b m d]
    cost : Tensor[s b]
        Divergence of the posterior path from the prior's along the way, in nats; zeros where paths have no noise.
    status : Tensor[b], int64
    """

    z: Tensor
    cost: Tensor
    status: Tensor


class LatentModel(DrawsSignal, ForecastModel):
    """Family of latent models: encoder, posterior, path, emission.

    ``z ~ N(0, I)`` stands at the first event of a context; a member says in `paths` how it goes on from there, and
    the emission gives the distribution of the observations. The posterior of ``z`` given the events is normal with
    independent coordinates, whose mean and scale are linear in the encoder's summary; of nothing, it is the prior.
    Some coordinates of the state may stand still: parameters of the series, inferred with the rest.

    Forecasts are equal mixtures over `n_samples` paths. These are drawn with the same numbers for all rows, kept
    from the making of the model on, so that no forecast depends on its batch.

    Parameters
    ----------
    encoder : Encoder
    emission : Emission
    n_latent : int
        Width of ``z``.
    n_samples : int
        Paths of a forecast.
    max_context : int
        Events that the encoder is shown at most: the last ones for a forecast, those around for an interpolation.
    n_features : int
        Width of the covariates. A small network of them is added to the observations; the latent path explains the
        residual.
    """

    draws: Tensor
    seed: Tensor

    def __init__(
        self,
        encoder: Encoder,
        emission: Emission,
        n_latent: int,
        n_samples: int = 16,
        max_context: int = 128,
        n_features: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.emission = emission
        self.n_latent = n_latent
        self.n_channels = emission.n_channels
        self.max_context = max_context
        self.likelihood: Likelihood = NormalMixture(n_samples)
        self.effect = _from_nothing(perceptron(n_features, N_EFFECT, self.n_channels)) if n_features else None
        self.posterior = nn.Linear(encoder.n_hidden, 2 * n_latent)
        with torch.no_grad():  # a posterior that is informative from the start is not given up for the prior
            self.posterior.weight[:n_latent].mul_(3.0)
            self.posterior.bias[n_latent:].sub_(1.0)
        self.register_buffer("draws", _stratified(n_samples, n_latent))
        self.register_buffer("seed", torch.randint(0, 2**62, ()))
        self.spread = SpreadCalibration(self.n_channels)  # set on validation data after training
        self.reach = Reach(self.n_channels)

    @property
    def event_width(self) -> int:
        return 4 * self.encoder.n_hidden + 12 * self.n_channels

    def query_width(self, n_between: int = 0) -> int:
        n_samples = len(self.draws)
        each = 4 * self.emission.n_state + 2 * self.encoder.n_hidden + 13 * self.n_channels
        return n_samples * each + min(n_between, self.max_context) * self.event_width

    def step_width(self, n_events: int, n_queries: int) -> float:
        # of each path; `n_train_samples` are drawn. What a solver holds of its steps is not known beforehand.
        read = n_events * (14 * self.n_channels + 64 * self.encoder.n_hidden)
        return read + (n_events + n_queries) * (12 * self.n_channels + 30 * self.emission.n_state)

    @abstractmethod
    def paths(self, inference: Inference, times: Tensor, draws: Draws) -> LatentPaths:
        """Latent paths under the posterior, at each row's own `times` (b m), at or after its start."""

    def infer(self, batch: IrregularBatch) -> Inference:
        """Posterior of each row's start state given its last `max_context` events."""
        batch = batch.compact().bounded()
        batch = cut(batch, (batch.lengths - self.max_context).clamp(min=0), batch.lengths)
        residual = self.residual_batch(batch)
        values = residual.values if batch.values.requires_grad else residual.values.detach()
        batch = batch.replace(values=values)  # a kernel gives data no gradient: what is not asked for is left out
        start = batch.times[:, 0] if batch.n_events else batch.times.new_zeros(batch.n_series)
        encoded = self.encoder(batch, start)
        mean, log_scale = self.posterior(encoded.summary).chunk(2, dim=1)
        has_events = (batch.lengths > 0)[:, None]
        mean, log_scale = mean.where(has_events, 0.0), log_scale.clamp(*SCALE_RANGE).where(has_events, 0.0)
        return Inference(mean, log_scale, start, batch, encoded, encoded.status)

    def covariate_mean(self, batch: IrregularBatch, times: Tensor) -> Tensor | float:
        """Part of the observations at `times` (b m) that covariates explain: Tensor[b m c], or 0."""
        if self.effect is None or batch.covariates is None:
            return 0.0
        return self.effect(batch.covariates.at(times))

    def residual_batch(self, batch: IrregularBatch) -> IrregularBatch:
        """The batch less what covariates explain."""
        if self.effect is None or batch.covariates is None:
            return batch
        return batch.replace(values=batch.values - self.covariate_mean(batch, batch.times))

    def encode(self, batch: IrregularBatch) -> Tensor:
        """Posterior mean of each row's start state, and of what stands still, given all events: Tensor[b d]."""
        return self.infer(batch).mean

    def path_kl(self, inference: Inference) -> Tensor:
        """Divergence of the path from the prior's from its start to the last event, in nats: Tensor[b]."""
        return inference.mean.new_zeros(len(inference.mean))

    def amortised(self) -> list[nn.Parameter]:
        """Weights of the posterior, those of prior and emission left out."""
        return [*self.encoder.parameters(), *self.posterior.parameters()]

    def emit(self, paths: LatentPaths) -> Tensor:
        """Parameters of the normal observations along paths: Tensor[s b m c 2]."""
        location, log_scale = self.emission(paths.z)
        return Normal().compose(location, log_scale, location.new_zeros(*location.shape, 0))

    def common_draws(self) -> Draws:
        """The numbers behind every forecast."""
        return Draws(self.draws[:, None], torch.Generator().manual_seed(int(self.seed)), is_common=True)

    def fresh_draws(self, n_samples: int, n_series: int, generator: torch.Generator) -> Draws:
        """Independent numbers for each row."""
        shape = (n_samples, n_series, self.n_latent)
        start = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return Draws(start.to(self.draws), generator)

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        batch = self.reach.plausible(batch.compact())

        def ask(times: Tensor) -> Forecast:
            index = torch.searchsorted(batch.times.contiguous(), times.contiguous(), right=side == "right")
            index = torch.minimum(index, batch.lengths[:, None])
            first = (index - self.max_context).clamp(min=0)
            return self._mixture(batch, times, first, index, batch.since_last(times, side))

        return self.reach.answer(ask, batch, query_times, batch.since_last(query_times, side), side)

    def interpolate(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """Distribution of each channel's observation given the events before and after it.

        Of a series with more than `max_context` events, those around a query are used.
        """
        batch = self.reach.plausible(batch.compact())
        first, until = self._around(batch, query_times)
        return self._mixture(batch, query_times, first, until, batch.since_last(query_times, "right"))

    def fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        return self.interpolate(batch, query_times)

    def _around(self, batch: IrregularBatch, query_times: Tensor) -> tuple[Tensor, Tensor]:
        """Range of events around each query (b m); ranges start at few places, so that many queries share one."""
        n, width = batch.lengths[:, None], self.max_context
        index = torch.searchsorted(batch.times.contiguous(), query_times.contiguous())
        stride = max(1, width // 4)
        first = (index - width // 2).div(stride, rounding_mode="floor") * stride
        first = torch.minimum(first, n - width).clamp(min=0)
        return first, torch.minimum(first + width, n).expand_as(first)

    def _mixture(
        self, batch: IrregularBatch, query_times: Tensor, first: Tensor, until: Tensor, lead: Tensor
    ) -> Forecast:
        params, status = self._params(batch, query_times, first, until, self.common_draws())
        merged = NormalMixture.merge(params)
        params = self.likelihood.rescale(merged, self.spread(lead).to(merged))
        return Forecast(query_times, params, self.likelihood, status)

    def _params(
        self, batch: IrregularBatch, query_times: Tensor, first: Tensor, until: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Parameters (s b m c 2) at each query given the events ``first .. until - 1`` (b m) of its row, and status.

        Each distinct range of events is a row of its own, encoded once.
        """
        ranges = HistoryRanges.of(batch, first, until)
        inference = self.infer(ranges.histories)
        # without observations the prior holds at any time, and where a range begins after its query, from there on
        begin = inference.start[:, None]
        times = torch.where(ranges.histories.lengths[:, None] > 0, ranges.gather(query_times, inference.start), begin)
        start, rows = (draws.start, None) if draws.is_common else (draws.start[:, ranges.row], ranges.row)
        paths = self.paths(inference, torch.maximum(times, begin), replace(draws, start=start, rows=rows))
        params = self.emit(paths)[:, ranges.group, ranges.position]
        if self.effect is not None:
            location = params[..., 0] + self.covariate_mean(batch, query_times)
            params = torch.cat([location[..., None], params[..., 1:]], dim=-1)
        return params, ranges.worst(worst(inference.status, paths.status))

    def _sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, *,
        has_noise: bool, **known: Any,
    ) -> Tensor:  # fmt: skip
        """Joint paths: one latent path a sample, read out with independent noise."""
        batch, lead = self.reach.plausible(batch.compact()), batch.since_last(query_times)
        until = torch.searchsorted(batch.times.contiguous(), query_times.contiguous())
        until = torch.minimum(until, batch.lengths[:, None])
        first, asked = (until - self.max_context).clamp(min=0), query_times
        is_far = self.reach.is_far(lead)
        if bool(is_far.any()):
            query_times = self.reach.still(batch, query_times, lead, "left")
        common = NormalMixture.merge(self._params(batch, query_times, first, until, self.common_draws())[0])
        mean = self.likelihood.mean(common)
        block = max(1, STATES_AT_ONCE // max(1, query_times.numel() * self.n_latent))
        drawn = []
        for begin in range(0, n_samples, block):
            draws = self.fresh_draws(min(block, n_samples - begin), batch.n_series, generator)
            params, _ = self._params(batch, query_times, first, until, draws)
            drawn.append(params[..., 0])
            if has_noise:
                shape = params.shape[:-1]
                noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
                drawn[-1] = drawn[-1] + params[..., 1].exp() * noise.to(params)
        middle, factor = mean, self.spread(lead).to(mean)
        if bool(is_far.any()):  # beyond the horizon, paths have the mean and the spread of forecasts
            law, far = self.forecast(batch, asked), is_far[..., None]
            middle = torch.where(far, law.mean, mean)
            factor = torch.where(far, (law.variance / self.likelihood.variance(common)).sqrt(), factor)
        return middle + factor * (torch.cat(drawn) - mean)


def log_likelihood(params: Tensor, batch: IrregularBatch) -> Tensor:
    """Log density of the observations of each row along each path, in nats: (s b m c 2) -> (s b)."""
    return (Normal().log_prob(params, batch.values) * batch.mask).sum(dim=(-2, -1))


def _from_nothing(network: nn.Module) -> nn.Module:
    """The network with a last layer of zeros: training begins without an effect."""
    for parameter in list(network.parameters())[-2:]:
        nn.init.zeros_(parameter)
    return network


def _stratified(n_samples: int, n_latent: int) -> Tensor:
    """Normal numbers (s d) that fill each coordinate evenly (a Latin hypercube), of mean 0 and variance 1."""
    rank = torch.rand(n_samples, n_latent).argsort(dim=0)
    draws = torch.special.ndtri((rank.double() + 0.5) / n_samples)
    return (draws / draws.square().mean(dim=0).sqrt().clamp(min=1e-12)).float()
