"""Rate classes: a linear SDE whose rates differ between series, as a mixture that what was seen decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.forecast import Forecast
from tsode.core.status import Status, worst
from tsode.evolutions.linear_sde import Transition, discretise_stationary
from tsode.kernels.linear_filter import log_likelihood as swept_log_likelihood
from tsode.likelihoods.normal_mixture import NormalMixture
from tsode.models.linear.gaussian import LinearGaussianModel, Smoother, carry_to, observe_beliefs, run_filter
from tsode.models.linear.sde import StableLinearSDE
from tsode.models.linear.system import Beliefs, FilteredBeliefs, LinearSystem, with_rates

__all__ = ["AXES", "RateClasses"]

AXES = {"frequency": (1.0, 0.0), "damping": (0.0, 1.0), "speed": (1.0, 1.0)}
"""Powers of a class's factor by which it scales the rotation and the damping of the system."""
FARTHEST = 1.5  # nodes lie evenly between minus and plus this many standard deviations
OWN, COUPLING, RATE = 0.5, 0.15, 1.0  # spreads of priors: of scaled channels whose horizon is about one unit of time
CLOSEST = 0.1  # times their spread, to which classes are brought at once
FIRST_SPREAD = 0.4  # of the logarithm of a rate between series, at the start of training


@dataclass(frozen=True)
class ClassedSystem(LinearSystem):
    """Systems that differ in ``drift`` (k d d) and ``diffusion`` (k d d), for rows that come class by class.

    The stationary covariance of each is the identity, and its mean zero.
    """

    def transitions(self, gaps: Tensor, rates: Tensor | None = None) -> Transition:
        n_classes = len(self.drift)
        one = gaps[: len(gaps) // n_classes]  # the same for all classes
        found = discretise_stationary(self.drift if rates is None else self._with_inputs(), one, self.drift.shape[-1])
        whole = Transition(*(x.flatten(0, 1) for x in (found.phi, found.shift, found.cov)))
        return whole if rates is None else with_rates(whole, rates)

    def variation(self, gaps: Tensor) -> Tensor:
        rates = (self.readout @ self.diffusion).square().sum(dim=-1)  # (k c)
        return gaps[..., None].to(rates) * rates.repeat_interleave(len(gaps) // len(rates), dim=0)[:, None]


class RateClasses(LinearGaussianModel):
    """Mixture of stable linear SDEs that share all parameters but their rates, which are those of a class of series.

    ``A_k = f_k S - g_k G G' / 2`` and ``L_k = sqrt(g_k) G``, see `StableLinearSDE`: the stationary covariance is the
    identity for each class. Along an axis ``log f`` or ``log g`` is a learned spread times nodes of the class; with a
    spread of zero all classes are the one system. A forecast is the mixture of the classes' exact forecasts, each with
    the weight that what was seen before gives it.

    Parameters
    ----------
    n_classes : mapping of axis to int
        Nodes along each axis in `AXES`.
    base : StableLinearSDE
        The system of the class in the middle.
    """

    def __init__(self, n_classes: Mapping[str, int], base: StableLinearSDE) -> None:
        super().__init__()
        self.base = base
        self.n_channels, self.n_state = base.n_channels, base.n_state
        nodes = [torch.linspace(-FARTHEST, FARTHEST, k, dtype=torch.float64) for k in n_classes.values()]
        self.register_buffer("nodes", torch.cartesian_prod(*nodes).reshape(-1, len(nodes)))
        self.register_buffer("powers", torch.tensor([AXES[axis] for axis in n_classes], dtype=torch.float64))
        self.log_spread = nn.Parameter(torch.full((len(nodes),), FIRST_SPREAD, dtype=torch.float64).log())
        self.logits = nn.Parameter(torch.zeros(len(self.nodes), dtype=torch.float64))

    nodes: Tensor
    powers: Tensor

    @property
    def n_classes(self) -> int:
        return len(self.nodes)

    @property
    def event_width(self) -> int:
        return self.n_classes * super().event_width

    def query_width(self, n_between: int = 0) -> int:
        return self.n_classes * super().query_width(n_between)

    def step_width(self, n_events: int, n_queries: int) -> float:
        return self.n_classes * super().step_width(n_events, n_queries)

    def system(self) -> ClassedSystem:
        one = self.base.system()
        logs = (self.nodes * self.log_spread.exp()) @ self.powers  # (k, 2)
        turning, damping = logs.to(one.drift).exp()[:, :, None, None].unbind(dim=1)
        symmetric = -0.5 * one.diffusion @ one.diffusion.mT
        changes = {
            "drift": turning * (one.drift - symmetric) + damping * symmetric,
            "diffusion": damping.sqrt() * one.diffusion,
        }
        return ClassedSystem(**vars(one) | changes)

    def prior(self) -> list[Tensor]:
        """Standard deviations of normal priors around the parameters as they were built, in the order of these.

        That a channel follows a state of its own and states move each by itself is held for likely: what couples them
        is small, unless the data say so.
        """
        base, pairs = self.base, self.base.first_of_pairs
        spreads = {name: torch.full_like(p, OWN, requires_grad=False) for name, p in self.named_parameters()}
        for name in ("diffusion", "rotation", "readout"):
            spreads[f"base.{name}"].fill_(COUPLING)
        spreads["base.diffusion"].diagonal().fill_(OWN)
        spreads["base.rotation"][pairs, pairs + 1] = RATE
        own = torch.arange(base.n_channels)
        spreads["base.readout"][own, own % base.n_state] = OWN
        return list(spreads.values())

    @torch.no_grad()
    def lie(self) -> tuple[Tensor, Tensor]:
        """Mean of the classes' weights along each axis, and their spread, which is 1 for equal weights: Tensor[a]."""
        weight = self.logits.softmax(dim=0)
        mean = weight @ self.nodes
        return mean, (weight @ (self.nodes - mean) ** 2).sqrt() / self.nodes.std(dim=0, correction=0)

    @torch.no_grad()
    def lay_anew(self) -> None:
        """Give all classes equal weight, over rates with the mean and the spread that their weights have now."""
        mean, spread = self.lie()
        turning, damping = ((mean * self.log_spread.exp()) @ self.powers).exp().unbind()
        self.base.rotation.mul_(turning)
        self.base.diffusion.mul_(damping.sqrt())
        self.log_spread.add_(spread.clamp(min=CLOSEST).log())
        self.logits.zero_()

    def _tiled(self, batch: IrregularBatch) -> IrregularBatch:
        return batch.select(torch.arange(batch.n_series, device=batch.times.device).repeat(self.n_classes))

    def _by_class(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.n_classes, -1))

    def _passed(
        self, batch: IrregularBatch, state: Tensor | None = None
    ) -> tuple[ClassedSystem, IrregularBatch, FilteredBeliefs]:
        """The systems, and a pass of each over the batch: rows are (k b), class by class."""
        system = self.system()
        if state is not None:
            mean, cov, _ = self._unpacked(state)
            system = replace(system, initial_mean=mean.flatten(0, 1), initial_cov=cov.flatten(0, 1))
        tiled = system.residual_batch(self._tiled(batch))
        return system, tiled, run_filter(system, tiled)

    def advance(self, batch: IrregularBatch, state: Tensor | None = None) -> Tensor:
        """Beliefs of all classes after the last event of each row and their log weights, packed: Tensor[b e].

        Parameters
        ----------
        batch : IrregularBatch
        state : Tensor[b e] or None
            From an earlier batch; each row of this one then begins with an empty event at the time of the state.
        """
        _, _, passed = self._passed(batch, state)
        parts = passed.updated.mean[:, -1], passed.updated.cov[:, -1], self._log_weights(passed, state)[:, :, -1:]
        by_class = (self._by_class(parts[0]), self._by_class(parts[1]).flatten(2), parts[2])
        return torch.cat([part.transpose(0, 1).flatten(1) for part in by_class], dim=1)

    def _unpacked(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means (k b d), covariances (k b d d) and log weights (k b) of what `advance` has packed."""
        k, d = self.n_classes, self.n_state
        mean, cov, log_weights = state.split([k * d, k * d * d, k], dim=1)
        return mean.unflatten(1, (k, d)).transpose(0, 1), cov.unflatten(1, (k, d, d)).transpose(0, 1), log_weights.mT

    def scored(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        system = self.system()
        tiled = system.residual_batch(self._tiled(batch))
        if system.noise.dtype == torch.float64 and system.noise.device.type == "cpu":
            log_likelihood = _swept(system, tiled)
            status = torch.where(log_likelihood.isfinite(), int(Status.OK), int(Status.NON_FINITE))
        else:
            filtered = run_filter(system, tiled)
            log_likelihood, status = filtered.log_likelihood, filtered.status
        each = self._by_class(log_likelihood) + self.logits.log_softmax(dim=0)[:, None]
        return each.logsumexp(dim=0), worst(*self._by_class(status))

    def filter(self, batch: IrregularBatch) -> FilteredBeliefs:
        """The classes' beliefs put together: mean and covariance of their mixture."""
        _, tiled, passed = self._passed(batch)
        log_weights = self._log_weights(passed)
        predicted = self._together(passed.predicted, log_weights[:, :, : tiled.n_events])
        updated = self._together(passed.updated, log_weights[:, :, 1:])
        densities = (self._by_class(passed.log_densities) + log_weights[:, :, :-1]).logsumexp(dim=0)
        return FilteredBeliefs(
            predicted, updated, densities.sum(dim=1), worst(*self._by_class(passed.status)), densities
        )

    def _log_weights(self, passed: FilteredBeliefs, state: Tensor | None = None) -> Tensor:
        """Of each class before the first event and after each: Tensor[k b n+1]."""
        reached = nn.functional.pad(self._by_class(passed.log_densities).cumsum(dim=2), (1, 0))
        begin = self.logits.log_softmax(dim=0)[:, None] if state is None else self._unpacked(state)[2]
        return (reached + begin[..., None]).log_softmax(dim=0)

    def _together(self, belief: Beliefs, log_weights: Tensor) -> Beliefs:
        """Mean and covariance of the mixture of beliefs (k b m ...)."""
        weight = log_weights.exp()[..., None]
        mean, cov = self._by_class(belief.mean), self._by_class(belief.cov)
        middle = (weight * mean).sum(dim=0)
        apart = mean - middle
        spread = cov + apart[..., None] * apart[..., None, :]
        return Beliefs(belief.times[: len(middle)], middle, (weight[..., None] * spread).sum(dim=0))

    def _mixture(self, forecast: Forecast, log_weights: Tensor) -> Forecast:
        """Normal distributions of each class (k b), as one mixture with these weights (k b m)."""
        params = self._by_class(forecast.params)
        location, log_scale = params.unbind(dim=-1)
        parts = (location, log_scale, log_weights[..., None].expand_as(location))
        family, status = NormalMixture(self.n_classes), worst(*self._by_class(forecast.status))
        joined = torch.cat([part.movedim(0, -1) for part in parts], dim=-1)
        return Forecast(forecast.query_times[: len(joined)], joined, family, status)

    def _weights_at(
        self,
        tiled: IrregularBatch,
        passed: FilteredBeliefs,
        query_times: Tensor,
        side: str,
        state: Tensor | None = None,
    ) -> Tensor:
        """Log weights of the classes given the events before each query (b m): Tensor[k b m]."""
        times = tiled.times[: len(query_times)].contiguous()
        index = torch.searchsorted(times, query_times.contiguous(), right=side == "right")
        return self._log_weights(passed, state).gather(2, index.expand(self.n_classes, -1, -1))

    def forecast(
        self, batch: IrregularBatch, query_times: Tensor, side: str = "left", state: Tensor | None = None
    ) -> Forecast:
        """Mixture over the classes of normal distributions; see `ForecastModel`, and `advance` for `state`."""
        system, tiled, passed = self._passed(batch, state)
        belief = carry_to(system, tiled, passed, query_times.repeat(self.n_classes, 1), side)
        each = observe_beliefs(system, tiled, belief, passed.status)
        return self._mixture(each, self._weights_at(tiled, passed, query_times, side, state))

    def forecast_state(self, batch: IrregularBatch, query_times: Tensor, side: str = "left") -> Beliefs:
        """Mean and covariance of the state at each query time, from the events before it; see `forecast`."""
        system, tiled, passed = self._passed(batch)
        belief = carry_to(system, tiled, passed, query_times.repeat(self.n_classes, 1), side)
        return self._together(belief, self._weights_at(tiled, passed, query_times, side))

    def interpolate(self, batch: IrregularBatch, query_times: Tensor) -> Forecast:
        """Mixture over the classes, given all events, earlier and later."""
        smoother = self.smoother(batch)
        log_weights = self._log_weights(smoother.filtered)[:, :, -1:].expand(-1, -1, query_times.shape[1])
        return self._mixture(smoother.interpolate(query_times.repeat(self.n_classes, 1)), log_weights)

    def smoother(self, batch: IrregularBatch) -> Smoother:
        """Of each class, class by class: rows are (k b)."""
        return super().smoother(self._tiled(batch))

    def smooth(self, batch: IrregularBatch, query_times: Tensor | None = None) -> Beliefs:
        """Mean and covariance of the state given all events, see `LinearGaussianModel.smooth`."""
        smoother = self.smoother(batch)
        times = smoother.batch.times if query_times is None else query_times.repeat(self.n_classes, 1)
        log_weights = self._log_weights(smoother.filtered)[:, :, -1:]
        return self._together(smoother.beliefs(times), log_weights.expand(-1, -1, times.shape[1]))

    def encode(self, batch: IrregularBatch) -> Tensor:
        return self.filter(batch).updated.mean[:, -1]

    @torch.no_grad()
    def sample(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> Tensor:
        """Draw joint paths, see `LinearGaussianModel.sample`; each is of one class as long as no observation comes."""
        _, tiled, passed = self._passed(batch)
        log_weights = self._weights_at(tiled, passed, query_times, "left")
        queries = query_times.repeat(self.n_classes, 1)
        return self._choose(super().sample(self._tiled(batch), queries, n_samples, generator), log_weights, generator)

    @torch.no_grad()
    def sample_signal(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator, **known: Any
    ) -> tuple[Tensor, Tensor]:
        _, tiled, passed = self._passed(batch)
        log_weights = self._weights_at(tiled, passed, query_times, "left")
        queries = query_times.repeat(self.n_classes, 1)
        paths, variation = super().sample_signal(self._tiled(batch), queries, n_samples, generator)
        # each path with the variation that its class has
        both = torch.cat([paths, torch.nn.functional.pad(variation, (0, 0, 1, 0))], dim=-1)
        paths, variation = self._choose(both, log_weights, generator).chunk(2, dim=-1)
        return paths, variation[:, :, 1:]

    @torch.no_grad()
    def sample_smoothed(
        self, batch: IrregularBatch, query_times: Tensor, n_samples: int, generator: torch.Generator
    ) -> Tensor:
        """Draw joint paths given all events, see `LinearGaussianModel.sample_smoothed`."""
        _, _, passed = self._passed(batch)
        log_weights = self._log_weights(passed)[:, :, -1:].expand(-1, -1, query_times.shape[1])
        queries = query_times.repeat(self.n_classes, 1)
        paths = super().sample_smoothed(self._tiled(batch), queries, n_samples, generator)
        return self._choose(paths, log_weights, generator)

    def _choose(self, paths: Tensor, log_weights: Tensor, generator: torch.Generator) -> Tensor:
        """Of the paths of all classes (s k b m c) one of each draw, by one number a path and series."""
        share = torch.rand(len(paths), log_weights.shape[1], generator=generator, dtype=torch.float64)
        below = log_weights.exp().cumsum(dim=0)[:-1]  # (k-1 b m)
        chosen = (share.to(below)[:, None, :, None] > below).sum(dim=1)  # (s b m)
        each = paths.unflatten(1, (self.n_classes, -1))
        return each.gather(1, chosen[:, None, ..., None].expand(-1, 1, -1, -1, paths.shape[-1])).squeeze(1)


def _swept(system: LinearSystem, batch: IrregularBatch) -> Tensor:
    """Log density of each row of a batch, by a sweep that is several times faster than the plain pass."""
    rates = system.rates(batch)
    gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1])
    steps = system.transitions(gaps, None if rates is None else rates[:, :-1])
    start = system.initial_cov.expand(batch.n_series, -1, -1)
    moves = system.input_jumps(batch)
    moves = torch.zeros_like(steps.shift) if moves is None else moves
    values = batch.values - system.readout_offset
    if rates is not None:  # in a linear system what inputs do is known, and the rest is as if there were none
        values = values - _responses(steps, moves) @ system.readout.mT
        moves = torch.zeros_like(moves)
    return swept_log_likelihood(steps.phi, steps.cov, start, system.readout, system.noise**2, values, batch.mask, moves)


def _responses(steps: Transition, moves: Tensor) -> Tensor:
    """States just before each event (b n d) of a system that starts at zero and that only inputs move."""
    state, states = torch.zeros_like(moves[:, 0]), []
    for k, step in enumerate(steps.unbind()):
        state = (step.phi @ state[..., None]).squeeze(-1) + step.shift
        states.append(state)
        state = state + moves[:, k]
    return torch.stack(states, dim=1)
