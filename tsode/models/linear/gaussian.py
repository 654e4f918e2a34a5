"""Linear-Gaussian SDE seen at irregular times: exact filter, smoother, likelihood, forecasts and samples."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.status import Status, worst
from tsode.evolutions.linear_sde import square_root
from tsode.likelihoods.normal import Normal
from tsode.models.base import ForecastModel, HasSignal
from tsode.models.linear.system import Beliefs, FilteredBeliefs, LinearSystem

__all__ = ["LinearGaussianModel", "Smoother", "carry_to", "observe_beliefs", "run_filter"]


@dataclass(frozen=True)
class Smoother:
    """Beliefs at any times given all events of a batch, earlier and later; see `LinearGaussianModel.smooth`.

    The passes over the events are done: a query costs the same however many events there are.

    Parameters
    ----------
    system : LinearSystem
    batch : IrregularBatch
    filtered : FilteredBeliefs
    later : (Tensor[b n+1 d], Tensor[b n+1 d d])
        What each event and all after it say about the state just before it; zeros at the end.
    """

    system: LinearSystem
    batch: IrregularBatch
    filtered: FilteredBeliefs
    later: tuple[Tensor, Tensor]

    def beliefs(self, query_times: Tensor) -> Beliefs:
        """Belief over the state at each query time (b m), in any order."""
        queries = _reachable(self.system, self.batch, query_times)
        now = carry_to(self.system, self.batch, self.filtered, queries, "right")
        index = _events_before(self.batch, queries, "right")
        next_time = torch.cat([self.batch.times, self.batch.times[:, -1:]], dim=1).gather(1, index)
        vector, matrix = (_pick(part, index) for part in self.later)
        vector, matrix = self.system.transitions((next_time - queries).clamp(min=0.0)).pull_back(vector, matrix)
        cov = now.cov - now.cov @ matrix @ now.cov
        return Beliefs(query_times, now.mean - _apply(now.cov, vector), 0.5 * (cov + cov.mT))

    def interpolate(self, query_times: Tensor) -> Forecast:
        """Normal distribution of each channel's observation at each query time (b m)."""
        return observe_beliefs(self.system, self.batch, self.beliefs(query_times), self.filtered.status)


class LinearGaussianModel(HasSignal, ForecastModel):
    """Exact inference for a linear-Gaussian SDE seen at irregular times through noise, any channel missing.

    A member says what the system is; everything else is the Kalman filter with exact transitions (Särkkä & Solin
    2019, chapter 10). The transitions of all gaps are computed at once before the loop, for they do not depend on
    the data. All answers are differentiable in the system's matrices, samples excepted.
    """

    n_state: int

    @property
    def event_width(self) -> int:
        return 8 * self.n_state**2 + 8 * self.n_channels

    def query_width(self, n_between: int = 0) -> int:
        return 14 * self.n_state**2 + 8 * self.n_channels

    def step_width(self, n_events: int, n_queries: int) -> float:
        return (n_events + n_queries) * (33 * self.n_state**2 + 2 * self.n_channels**2)

    @abstractmethod
    def system(self) -> LinearSystem:
        """The system under the current parameters."""

    def filter(self, batch: IrregularBatch) -> FilteredBeliefs:
        """Run over the events of a batch, each row by its own clock."""
        system = self.system()
        return run_filter(system, system.residual_batch(batch) if batch.n_events else batch)

    def scored(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Log density of all seen values of each series, in nats, and its status: Tensor[b], Tensor[b]."""
        filtered = self.filter(batch)
        return filtered.log_likelihood, filtered.status

    def encode(self, batch: IrregularBatch) -> Tensor:
        """Filtered mean of the state after the last event of each row: Tensor[b d]."""
        system = self.system()
        return run_filter(system, system.residual_batch(batch)).updated.mean[:, -1]

    def log_likelihood(self, batch: IrregularBatch) -> Tensor:
        """Log density of all seen values of each series, in nats: Tensor[b]; 0 without observations."""
        return self.scored(batch)[0]

    def loss(self, batch: IrregularBatch) -> Tensor:
        """Negative log-likelihood of each series, in nats: Tensor[b]."""
        return -self.log_likelihood(batch)

    def forecast_state(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Beliefs:
        """Belief over the state at each query time, from the events before it; see `forecast`."""
        system = self.system()
        batch = system.residual_batch(batch)
        return carry_to(system, batch, run_filter(system, batch), query_times, side)

    def forecast(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Forecast:
        """Normal predictive distribution of each channel's observation, noise included; see `ForecastModel`."""
        system = self.system()
        batch = system.residual_batch(batch)
        filtered = run_filter(system, batch)
        return observe_beliefs(system, batch, carry_to(system, batch, filtered, query_times, side), filtered.status)

    def interpolate(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """Normal distribution of each channel's observation given all events, earlier and later; see `smooth`."""
        return self.smoother(batch).interpolate(query_times)

    def fill(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        return self.interpolate(batch, query_times)

    def smoother(self, batch: IrregularBatch) -> Smoother:
        """The passes over the events of a batch, from which any times are smoothed."""
        system = self.system()
        batch = system.residual_batch(batch)
        filtered = run_filter(system, batch)
        return Smoother(system, batch, filtered, _later_evidence(system, batch, filtered))

    def smooth(self, batch: IrregularBatch, query_times: Tensor | None = None) -> Beliefs:
        """Belief over the state at any times given all events, earlier and later.

        Modified Bryson-Frazier smoother (Bierman 1973): the beliefs of Rauch, Tung & Striebel 1965 without the
        inverse of a covariance, so that singular noise and a known start are no special case.

        Parameters
        ----------
        batch : IrregularBatch
        query_times : Tensor[b m], float64, optional
            In any order; before, between or after the events. By default the events' times.
        """
        smoother = self.smoother(batch)
        return smoother.beliefs(smoother.batch.times if query_times is None else query_times)

    @torch.no_grad()
    def sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> Tensor:
        """Draw joint paths of the observations at the query times: Tensor[s b m c].

        Each value has the forecast's own distribution, given the events strictly before its time. Queries with the
        same observations behind them, as all after the last one have, are one exact path: the first is drawn from its
        belief, the departure of each next one from the mean by the transition density. Where an observation comes
        between, the path starts anew; paths given the whole history, earlier and later, are those of `sample_smoothed`.
        """
        states, order, system, batch = self._states(batch, query_times, n_samples, generator)
        paths = self._observe(system, states, order.argsort(dim=1), generator)
        return paths + system.covariate_mean(batch, query_times)

    @torch.no_grad()
    def sample_signal(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> tuple[Tensor, Tensor]:
        """Draw joint paths of what is seen, see `sample`, and their variations, of what noise moves at once."""
        states, order, system, batch = self._states(batch, query_times, n_samples, generator)
        in_order = system.observed_mean(states)
        paths = in_order.gather(2, order.argsort(dim=1)[None, :, :, None].expand_as(in_order))
        variation = system.variation(query_times.diff(dim=1))
        return paths + system.covariate_mean(batch, query_times), variation.expand(n_samples, *variation.shape)

    def _states(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, LinearSystem, IrregularBatch]:
        """Joint paths of the states (s b m d) in the order of time, that order, the system, and the batch it reads."""
        system = self.system()
        batch = system.residual_batch(batch)
        times, order = query_times.sort(dim=1)
        times = _reachable(system, batch, times)
        belief = carry_to(system, batch, run_filter(system, batch), times, "left")
        n_behind = batch.n_seen(times)
        is_new = n_behind.diff(dim=1, prepend=n_behind[:, :1] - 1) > 0
        step = system.transitions(times.diff(dim=1, prepend=times[:, :1]))
        draws = _normal(belief.mean, n_samples, generator)
        departure = _apply(square_root(belief.cov), draws)
        noise = _apply(square_root(step.cov), draws)
        for k in range(1, times.shape[1]):
            onward = _apply(step.phi[:, k], departure[:, :, k - 1]) + noise[:, :, k]
            departure[:, :, k] = departure[:, :, k].where(is_new[:, k, None], onward)
        return belief.mean + departure, order, system, batch

    @torch.no_grad()
    def sample_smoothed(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator
    ) -> Tensor:
        """Draw joint paths of the observations at any times given all events, earlier and later: Tensor[s b m c].

        Forward filter, backward simulation (Carter & Kohn 1994) with the queries as empty events; each
        backward step conditions a draw of (state, next state) on the next state already drawn (Matheron's rule),
        which allows for singular noise.
        """
        system = self.system()
        batch = system.residual_batch(batch)
        merged, place = _merge(batch, _reachable(system, batch, query_times))
        belief = run_filter(system, merged).updated
        first = int(place.min()) if place.numel() else merged.n_events - 1  # nothing earlier is needed
        rates = system.rates(merged)
        step = system.transitions(
            belief.times[:, first:].diff(dim=1), None if rates is None else rates[:, first + 1 : -1]
        )
        mean, cov = belief.mean[:, first:], belief.cov[:, first:]
        path = mean + _apply(square_root(cov), _normal(mean, n_samples, generator))
        noise = _apply(square_root(step.cov), _normal(step.shift, n_samples, generator))
        next_state = _apply(step.phi, path[:, :, :-1]) + step.shift + noise
        input_jumps = system.input_jumps(merged)
        if input_jumps is not None:
            next_state = next_state + input_jumps[:, first + 1 :]
        gain = step.backward_gain(cov[:, :-1])
        for k in reversed(range(gain.shape[1])):
            path[:, :, k] += _apply(gain[:, k], path[:, :, k + 1] - next_state[:, :, k])
        return self._observe(system, path, place - first, generator) + system.covariate_mean(batch, query_times)

    def _observe(self, system: LinearSystem, path: Tensor, place: Tensor, generator: torch.Generator) -> Tensor:
        """Observations with noise (s b m c) of the states of `path` (s b k d) at `place` (b m)."""
        states = path.gather(2, place[None, :, :, None].expand(len(path), -1, -1, path.shape[-1]))
        observed = system.observed_mean(states)
        return observed + system.noise * _normal(observed[0], len(path), generator)


def run_filter(system: LinearSystem, batch: IrregularBatch) -> FilteredBeliefs:
    """Run over the events of a batch, less what covariates explain."""
    mean = system.initial_mean.expand(batch.n_series, -1)
    cov = system.initial_cov.expand(batch.n_series, -1, -1)
    rates = system.rates(batch)
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1])
    steps = system.transitions(gaps, None if rates is None else rates[:, :-1]).unbind()
    log_likelihood, status = torch.zeros_like(mean[:, 0]), torch.zeros_like(batch.lengths)
    log_densities: list[Tensor] = []
    input_jumps = system.input_jumps(batch)
    means: tuple[list[Tensor], list[Tensor]] = ([], [])
    covs: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k, step in enumerate(steps):
        mean, cov = step.carry(mean, cov)
        after = system.condition(mean, cov, batch.values[:, k], batch.mask[:, k])
        means[0].append(mean)
        covs[0].append(cov)
        mean, cov = after.mean, after.cov
        if input_jumps is not None:
            mean = mean + input_jumps[:, k]
        means[1].append(mean)
        covs[1].append(cov)
        log_likelihood = log_likelihood + after.log_prob
        log_densities.append(after.log_prob)
        status = worst(status, after.status)
    predicted, updated = (
        Beliefs(batch.times, torch.stack(m, dim=1), torch.stack(c, dim=1))
        if steps
        else Beliefs(batch.times, mean[:, None][:, :0], cov[:, None][:, :0])
        for m, c in zip(means, covs)
    )
    is_finite = mean.isfinite().all(-1) & cov.isfinite().flatten(1).all(-1) & log_likelihood.isfinite()
    each = torch.stack(log_densities, dim=1) if log_densities else mean.new_zeros(batch.n_series, 0)
    return FilteredBeliefs(predicted, updated, log_likelihood, worst(status, _status(is_finite)), each)


def carry_to(
    system: LinearSystem, batch: IrregularBatch, filtered: FilteredBeliefs, query_times: Tensor, side: str
) -> Beliefs:
    """Belief at each query time from the events before it; the initial one where there is none."""
    index = _events_before(batch, query_times, side)
    start = torch.cat([batch.times[:, :1], batch.times], dim=1).gather(1, index)
    initial = (system.initial_mean.expand(batch.n_series, -1), system.initial_cov.expand(batch.n_series, -1, -1))
    mean = _pick(torch.cat([initial[0][:, None], filtered.updated.mean], dim=1), index)
    cov = _pick(torch.cat([initial[1][:, None], filtered.updated.cov], dim=1), index)
    rates = system.rates(batch)
    gaps = (query_times - start).clamp(min=0.0)
    step = system.transitions(gaps, None if rates is None else _pick(rates, index))
    return Beliefs(query_times, *step.carry(mean, cov))


def _later_evidence(system: LinearSystem, batch: IrregularBatch, filtered: FilteredBeliefs) -> tuple[Tensor, Tensor]:
    """What each event and all after it say about the state just before it: (b n+1 d), (b n+1 d d); zeros at the end."""
    before = filtered.predicted
    events = system.condition(before.mean, before.cov, batch.values, batch.mask).unbind()
    steps = system.transitions(batch.times.diff(dim=1, prepend=batch.times[:, :1])).unbind()
    vector, matrix = torch.zeros_like(before.mean[:, 0]), torch.zeros_like(before.cov[:, 0])
    vectors, matrices = [vector], [matrix]
    for event, step in zip(reversed(events), reversed(steps)):
        vector, matrix = event.pull_back(vector, matrix)
        vectors.append(vector)
        matrices.append(matrix)
        vector, matrix = step.pull_back(vector, matrix)
    return torch.stack(vectors[::-1], dim=1), torch.stack(matrices[::-1], dim=1)


def observe_beliefs(system: LinearSystem, batch: IrregularBatch, belief: Beliefs, status: Tensor) -> Forecast:
    """Distribution of the observations under beliefs over the state."""
    family = Normal()
    mean = system.observed_mean(belief.mean) + system.covariate_mean(batch, belief.times)
    params = family.from_moments(mean, system.observed_variance(belief.cov).sqrt())
    return Forecast(belief.times, params, family, worst(status, _status(params.isfinite().flatten(1).all(dim=1))))


def _merge(batch: IrregularBatch, query_times: Tensor) -> tuple[IrregularBatch, Tensor]:
    """The batch with its queries as empty events, and the index of each of these (b m)."""
    m = query_times.shape[1]
    times, order = torch.cat([batch.times, query_times], dim=1).sort(dim=1, stable=True)
    spread = order[..., None].expand(-1, -1, batch.n_channels)
    values = nn.functional.pad(batch.values, (0, 0, 0, m)).gather(1, spread)
    mask = nn.functional.pad(batch.mask, (0, 0, 0, m)).gather(1, spread)
    inputs = batch.inputs
    if inputs is not None:
        inputs = nn.functional.pad(inputs, (0, 0, 0, m)).gather(1, order[..., None].expand(-1, -1, inputs.shape[2]))
    lengths = torch.full_like(batch.lengths, times.shape[1])
    merged = IrregularBatch(times, values, mask, lengths, inputs)
    return merged, order.argsort(dim=1)[:, batch.n_events :]


def _reachable(system: LinearSystem, batch: IrregularBatch, query_times: Tensor) -> Tensor:
    """Query times, moved to the first event if they lie before it and the state stands still there."""
    return query_times if system.is_stationary else torch.maximum(query_times, batch.times[:, :1])


def _events_before(batch: IrregularBatch, query_times: Tensor, side: str) -> Tensor:
    return torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")


def _status(is_finite: Tensor) -> Tensor:
    return torch.where(is_finite, int(Status.OK), int(Status.NON_FINITE))


def _pick(along: Tensor, index: Tensor) -> Tensor:
    """Entries of (b n ...) at `index` (b m)."""
    return along[torch.arange(len(index), device=index.device)[:, None], index]


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)


def _normal(like: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers (s ...), drawn where the generator is."""
    shape = (n_samples, *like.shape)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)
