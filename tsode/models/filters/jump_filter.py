"""Jump filter: a state flows between observations, jumps at them, and flows on into the future."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.core.observation import Observation
from tsode.core.path import PaddedPath, Path
from tsode.core.status import worst
from tsode.errors import ParameterError
from tsode.evolutions.base import DrivenEvolution, Evolution, Evolved, Solved
from tsode.jumps.base import JumpMap
from tsode.likelihoods.base import Likelihood
from tsode.models.filter_state import FilterState
from tsode.models.filters.availability import Availability
from tsode.models.filters.base import MarginalModel
from tsode.models.filters.filtered import Filtered
from tsode.models.filters.kernels import evolve_to, join_inputs, run_fused
from tsode.models.filters.observation_times import ObservationIntensity
from tsode.models.held_rates import HeldRates, held_rates
from tsode.models.query_groups import HistoryRanges, QueryGroups
from tsode.readouts import Readout

__all__ = ["Filtered", "JumpFilter", "advance_filters", "predict_params_of", "run_filters"]


class JumpFilter(MarginalModel):
    """Composition of an evolution, a jump, a readout and a likelihood.

    The forecast is the same flow and the same readout run on past the last observation: there is no separate decoder.

    Parameters
    ----------
    evolution : Evolution
        How the state moves between events.
    jump : JumpMap
        How it changes at an observation.
    readout : Readout
        From the state to the parameters of `likelihood`.
    likelihood : Likelihood
    n_passes : int
        Times the events are run over. Each further pass starts from where the last one ended, so that early events are
        read with knowledge of the later ones; the start moves by a linear map of that state, which is zero before
        training. A query between events is answered from passes over its own past, at the cost of a row for each
        number of events that a query has behind it; one-step predictions come from the first pass.
    n_inputs : int
        Width of the inputs at known times that act at once. Their effect on the state is linear (`input_map`) and, for
        a jump that reads inputs, whatever that makes of it.
    n_rates : int
        Columns of inputs after those, which are changes of a rate that is held until the next: an infusion flows into
        the state as long as it runs (`rate_map`), and nothing jumps at its ends.
    bioavailability : bool
        Whether inputs and rates are multiplied by factors of the constants among the covariates, log-linear.
    intensity : ObservationIntensity or None
        Rate at which observations come; None where their timing is not modelled.
    n_features : int
        Width of the covariates (`tsode.core.covariates.Covariates`): the jump and the readout read them at the time of
        an event or query. Averages of covariates are states that observations do not move.

    Attributes
    ----------
    use_fused : bool
        Whether a fused kernel runs the events when there is one for these parts (`tsode.models.filters.kernels`). It
        agrees with the plain loop up to rounding; set it to False for double backward.
    """

    use_fused: bool = True

    def __init__(
        self,
        evolution: Evolution,
        jump: JumpMap,
        readout: Readout,
        likelihood: Likelihood,
        n_passes: int = 1,
        n_inputs: int = 0,
        intensity: ObservationIntensity | None = None,
        n_features: int = 0,
        n_rates: int = 0,
        bioavailability: bool = False,
    ) -> None:
        super().__init__(readout.n_channels, likelihood)
        self.evolution = evolution
        self.jump = jump
        self.readout = readout
        self.n_passes = n_passes
        self.z_start = nn.Parameter(torch.zeros(evolution.n_state))
        self.n_inputs = n_inputs
        self.n_features = n_features
        self.intensity = intensity
        self.input_map = nn.Linear(n_inputs, evolution.n_state, bias=False) if n_inputs else None
        self.n_rates = n_rates
        self.rate_map = nn.Linear(n_rates, evolution.n_state, bias=False) if n_rates else None
        if n_rates and not isinstance(evolution, DrivenEvolution):
            raise ParameterError(
                f"The events have durations, but {type(evolution).__name__} takes no constant input between events: "
                "let it be a DrivenEvolution, use another evolution, or give the events without a duration."
            )
        self.availability = Availability(n_features, n_inputs, n_rates) if bioavailability else None
        if n_passes > 1:
            self.restart = nn.Parameter(torch.zeros(evolution.n_state, evolution.n_state))

    @property
    def members(self) -> list[JumpFilter]:
        return [self]

    @property
    def can_resume(self) -> bool:
        # a further pass starts from what the last one made of all events
        return self.n_passes == 1

    @property
    def event_width(self) -> int:
        return 2 * self.evolution.n_state + 12 * self.n_channels

    def query_width(self, n_between: int = 0) -> int:
        # a closed form holds the state and what the readout makes of it, a solver some states beside
        n_states = 8 if isinstance(self.evolution, Solved) else 2
        width = n_states * self.evolution.n_state + self.readout.scale_hidden.out_features
        again = n_between * self.event_width if self.n_passes > 1 else 0
        return width + 6 * self.n_channels + 3 * self.n_params + again

    def step_width(self, n_events: int, n_queries: int) -> float:
        # forecast, backcast and one step: each event is predicted twice, each time after them once
        n_predicted = 2 * n_events + n_queries
        return n_predicted * (9 * self.n_channels + 4 * self.n_params + 33 * self.evolution.n_state)

    def filter(self, batch: IrregularBatch) -> Filtered:
        """Run over the events of a batch, each row by its own clock; empty events are left out."""
        return run_filters([self], batch)[0]

    def encode(self, batch: IrregularBatch) -> Tensor:
        """State after the last event of each row: Tensor[b d]."""
        return self.filter(batch).path.z_end

    def start_after(self, path: Path) -> Tensor:
        """Where the pass after this one starts: Tensor[b d]."""
        return self._without_response(torch.addmm(self.z_start, path.z_end, self.restart))

    def _loop(
        self,
        batch: IrregularBatch,
        last: Tensor,
        seen: Tensor,
        features: Tensor | None = None,
        start: Tensor | None = None,
        held: HeldRates | None = None,
    ) -> Path:
        """The plain loop: any parts, ordinary autograd. The fused kernels are tested against it.

        With `start` (b d), each row begins at a state of its own.
        """
        mask = batch.mask.to(batch.values.dtype)
        z = self._without_response(self.z_start).expand(batch.n_series, -1) if start is None else start
        start, status = z, torch.zeros_like(batch.lengths)
        left, right = [], []
        if self.availability is not None:
            batch = self.availability.scale_inputs(batch)
        drives = self.drive(held, slice(None))
        for k in range(batch.n_events):
            evolved, z = self.step(z, k, batch, mask, last, seen, features, held, drives)
            status = worst(status, evolved.status)
            left.append(evolved.z)
            right.append(z)
        empty = start[:, None][:, :0]
        z_minus = torch.stack(left, dim=1) if left else empty
        z_plus = torch.stack(right, dim=1) if right else empty
        return PaddedPath(batch.times, start, z_minus, z_plus, status)

    def step(
        self, z: Tensor, k: int, batch: IrregularBatch, mask: Tensor, last: Tensor, seen: Tensor,
        features: Tensor | None, held: HeldRates | None, drives: list[Tensor],
    ) -> tuple[Evolved, Tensor]:  # fmt: skip
        """From the right limit of one event (b d) to both limits of the next, number `k`."""
        drive = [each[:, k] for each in drives]
        evolved = self.evolution.evolve(z, batch.times[:, max(k - 1, 0)], batch.times[:, k], *drive)
        here = None if features is None else features[:, k]
        predicted = self.readout.location(evolved.z, last[:, k], seen[:, k], here)[..., None]
        if self.jump.needs_scale:
            since = batch.times[:, max(k - 1, 0)] if held is None else held.acted_at[:, k]
            lead = (batch.times[:, k] - since).to(z.dtype)
            params = self._params(evolved.z, lead, last[:, k], seen[:, k], here)
            log_scale = 0.5 * self.likelihood.variance(params).log()
            predicted = torch.stack([self.likelihood.mean(params), log_scale], dim=-1)
        inputs = None if batch.inputs is None else batch.inputs[:, k, : self.n_inputs]
        joined = inputs if here is None else join_inputs(inputs, here, self.n_inputs + self.n_features)
        z = self.jump(evolved.z, Observation(batch.values[:, k], mask[:, k], predicted, joined))
        if self.input_map is not None and inputs is not None:
            added = self.input_map(inputs)
            z = z + (added - self._without_response(added) if self.jump.n_response else added)
        return evolved, z

    def _without_response(self, z: Tensor) -> Tensor:
        """States in which nothing has answered to an input yet."""
        n = self.jump.n_response
        return functional.pad(z[..., n:], (n, 0)) if n else z

    def drive(self, held: HeldRates | None, at: slice | Tensor) -> list[Tensor]:
        """Drive of the state at the flattened places `at`, or everywhere (b n+1 d), as arguments of an evolution."""
        if self.rate_map is None or held is None:
            return []
        rates = held.rates.to(self.z_start.dtype)
        if self.availability is not None:
            rates = self.availability.scale_rates(rates, held.constants)
        return [self.rate_map(rates if isinstance(at, slice) else rates.flatten(0, 1)[at])]

    def _params(
        self,
        z: Tensor,
        lead: Tensor,
        last: Tensor,
        seen: Tensor,
        features: Tensor | None = None,
        location: Tensor | None = None,
    ) -> Tensor:
        """Parameters of the likelihood: Tensor[... c p]; with `location`, that is not computed again."""
        if location is None:
            location = self.readout.location(z, last, seen, features)
        spread = self.readout.spread(z, lead, last, seen, features)
        return self.likelihood.compose(location, spread[..., 0], spread[..., 1:])

    def one_step(self, filtered: Filtered, at: Tensor | None = None) -> Tensor:
        """Parameters predicted for ``filtered.events``, or for those at `at`, from all before each: Tensor[q c p]."""
        times, (index, z, location) = filtered.batch.times, filtered.events
        if at is not None:
            index, z, location = index[at], z[at], None if location is None else location[at]
        lead = (times - filtered.acted_at[:, :-1]).flatten()[index]
        last, seen = (t[:, :-1].flatten(0, 1).index_select(0, index) for t in (filtered.last, filtered.seen))
        features = None if filtered.features is None else filtered.features.flatten(0, 1).index_select(0, index)
        return self._params(z, lead.to(last.dtype), last, seen, features, location)

    def predict_after_last(
        self, filtered: Filtered, query_times: Tensor, with_last: bool | Tensor = True, at: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Parameters at times after (or, where the evolution runs backward, before) the last event, from one flow.

        Parameters
        ----------
        filtered : Filtered
        query_times : Tensor[b m], float64
        with_last : bool or Tensor[b m]
            Whether the readout reads the last values; in a backcast it does not.
        at : Tensor[q] or None
            Indices of the flattened queries to predict; None = all.

        Returns
        -------
        params : Tensor[b m c p], or Tensor[q c p] with `at`
        status : Tensor[b]
        """
        path, z, features = filtered.path, filtered.path.z_end, self.features_at(filtered.batch, query_times)
        t, has_events = query_times[:, 0], filtered.batch.lengths > 0
        if path.times.shape[1]:
            t = torch.where(has_events, path.times[:, -1], t)
        # a row without events: the start state holds at any time
        query_times = torch.where(has_events[:, None], query_times, t[:, None])
        drive = [each[:, -1] for each in self.drive(filtered.held, slice(None))]
        if self.use_fused:
            evolved = evolve_to(self.evolution, z, t, query_times, *drive)
        else:
            evolved = self.evolution.evolve_to(z, t, query_times, *drive)
        acted_at = torch.where(has_events, filtered.acted_at[:, -1], t)
        lead = (query_times - acted_at[:, None]).to(z.dtype)
        shape = (-1, query_times.shape[1], -1)
        last, seen = filtered.last[:, -1:].expand(*shape), filtered.seen[:, -1:].expand(*shape)
        if with_last is not True:
            with_last = torch.as_tensor(with_last, dtype=last.dtype, device=last.device).expand(query_times.shape)
            last, seen = last * with_last[..., None], seen * with_last[..., None]
        read: tuple[Tensor, ...] = (evolved.z, lead, last, seen, *(() if features is None else (features,)))
        if at is not None:
            read = tuple(tensor.flatten(0, 1).index_select(0, at) for tensor in read)
        return self._params(*read), worst(path.status, evolved.status)

    def predict_params(
        self, batch: IrregularBatch, query_times: Tensor, side: str, state: FilterState | None = None
    ) -> tuple[Tensor, Tensor]:
        return predict_params_of([self], batch, query_times, side, state)[0]

    def advance(self, batch: IrregularBatch, state: FilterState | None = None) -> FilterState:
        batch = self.reach.plausible(batch, state)
        return self.with_expert(advance_filters([self], batch, state), batch, state)

    def predict_at(self, filtered: Filtered, query_times: Tensor, side: str) -> tuple[Tensor, Tensor]:
        """Parameters at any times (b m c p), and each row's status."""
        path = filtered.path
        lengths = filtered.batch.lengths[:, None]
        index = torch.minimum(path.index_before(query_times, side), lengths)
        if bool(((index == lengths) & (index > 0)).all()):
            # all queries after all events: one flow a series serves them
            return self.predict_after_last(filtered, query_times)
        return self.predict_after(filtered, query_times, index)

    def predict_after(
        self,
        filtered: Filtered,
        query_times: Tensor,
        index: Tensor,
        with_last: bool | Tensor = True,
        at: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Parameters at times that have ``index`` (b m) events behind them, each flow from the last of these.

        See `predict_after_last` for the other arguments, and for what is returned.
        """
        b, m = query_times.shape
        query = torch.arange(b * m, device=index.device) if at is None else at
        z, t, times, start = self._resume_points(filtered, query_times, index, at)
        evolved = self._evolve_each(z, t, times, start, filtered.held)
        last, seen, acted_at = (part.flatten(0, 1)[start] for part in (filtered.last, filtered.seen, filtered.acted_at))
        if with_last is not True:
            with_last = torch.as_tensor(with_last, dtype=last.dtype, device=last.device).expand(b, m).flatten()[query]
            last, seen = last * with_last[:, None], seen * with_last[:, None]
        features = self.features_at(filtered.batch, query_times)
        if features is not None:
            features = features.flatten(0, 1)[query]
        params = self._params(evolved.z, (times - acted_at).to(z.dtype), last, seen, features)
        row = query.div(m, rounding_mode="floor") if m else query
        status = filtered.path.status.scatter_reduce(0, row, evolved.status, "amax")
        return (params.unflatten(0, (b, m)) if at is None else params), status

    def features_at(self, batch: IrregularBatch, times: Tensor) -> Tensor | None:
        """Covariates of each row at `times` (b m): Tensor[b m f], or None."""
        return batch.covariates.at(times) if self.n_features and batch.covariates is not None else None

    def rate(self, batch: IrregularBatch, query_times: Tensor) -> Tensor:
        """Rate at which observations come at each query time, given the events strictly before it: Tensor[b m].

        In events per unit of model time; of no meaning before the first event, which the model takes as given.
        """
        assert self.intensity is not None
        filtered = self.filter(batch)
        index = torch.minimum(filtered.path.index_before(query_times), filtered.batch.lengths[:, None])
        z, t, times, start = self._resume_points(filtered, query_times, index)
        states = self._evolve_each(z, t, times, start, filtered.held).z
        lead = times - filtered.acted_at.flatten()[start]
        return self.intensity(states, lead.to(states.dtype)).view_as(query_times)

    def _resume_points(
        self, filtered: Filtered, query_times: Tensor, index: Tensor, at: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """State (q d) from which each query in `at` is reached, its time, the query's time and the start's index."""
        width = filtered.batch.n_events + 1
        start = (index + width * torch.arange(len(index), device=index.device)[:, None]).flatten()
        times = query_times.flatten()
        if at is not None:
            start, times = start[at], times[at]
        z, t = (part.flatten(0, 1)[start] for part in filtered.path.starts)
        # where nothing has happened yet, the start state holds at any time
        return z, t, torch.where(start % width > 0, times, t), start

    def _evolve_each(
        self, z: Tensor, t: Tensor, times: Tensor, start: Tensor, held: HeldRates | None = None
    ) -> Evolved:
        """Carry ``z`` (q d) from ``t`` to ``times`` (q,); a solver takes its steps once for all of one ``start``."""
        if not isinstance(self.evolution, Solved) or not len(start):
            return self.evolution.evolve(z, t, times, *self.drive(held, start))
        groups = QueryGroups.of(start)
        z, t = z[groups.first_member], t[groups.first_member]
        where = z, t, groups.gather(times, t), *self.drive(held, start[groups.first_member])
        evolved = evolve_to(self.evolution, *where) if self.use_fused else self.evolution.evolve_to(*where)
        group, position = groups.group, groups.position
        return Evolved(evolved.z[group, position], evolved.cost[group, position], evolved.status[group])


def run_filters(
    models: Sequence[JumpFilter], batch: IrregularBatch, state: FilterState | None = None
) -> list[Filtered]:
    """Run several filters over the same events: by kernels where they serve, else by the plain loop.

    With `state`, over events that come after it: each row then begins with an empty event at which it has that state.
    """
    batch = batch.compact().bounded()
    if state is not None:
        batch = state.before(batch)
    last, seen = batch.last_seen()
    seen = seen.to(batch.values.dtype)
    features = models[0].features_at(batch, batch.times)
    if features is not None:  # where nothing happens, nothing is read; nor where a rate changes, which is no jump
        acts = batch.mask.any(dim=2)
        if batch.inputs is not None:
            acts = acts | (batch.inputs[..., : models[0].n_inputs] != 0).any(dim=2)
        features = features * acts[..., None]
    if state is not None:
        last, seen = state.carry(last, seen)
    held = held_rates(batch, models[0].n_inputs, state) if models[0].n_rates and batch.inputs is not None else None

    def run(starts: Sequence[Tensor] | None) -> list[Path]:
        fused = run_fused(models, batch, last, seen, features, starts, held)
        each: Sequence[Tensor | None] = starts or [None] * len(models)
        return [
            model._loop(batch, last, seen, features, start, held) if path is None else path
            for model, path, start in zip(models, fused, each)
        ]

    paths = first = run(None if state is None else state.z.unbind(dim=1))
    for _ in range(1, models[0].n_passes):
        paths = run([model.start_after(path) for model, path in zip(models, paths)])
    return [Filtered(batch, *both, last, seen, features, held) for both in zip(paths, first)]


def advance_filters(
    models: Sequence[JumpFilter], batch: IrregularBatch, state: FilterState | None = None
) -> FilterState:
    """What `MarginalModel.advance` promises, of several filters over the same events."""
    filtered = run_filters(models, batch, state)
    first, ends = filtered[0], torch.stack([each.path.z_end for each in filtered], dim=1)
    batch = first.batch
    seen_at = batch.times.where(batch.mask.any(dim=2), -torch.inf).amax(dim=1)
    before = torch.full_like(seen_at, torch.nan) if state is None else state.seen_at
    seen_at = torch.where(seen_at.isfinite(), seen_at, before)
    rates = batch.times.new_zeros(batch.n_series, 0) if first.held is None else first.held.rates[:, -1]
    nothing = ends.new_zeros(batch.n_series, 0)
    return FilterState(
        batch.times[:, -1], seen_at, ends, first.last[:, -1], first.seen[:, -1], rates, first.acted_at[:, -1], nothing
    )


def predict_params_of(
    models: Sequence[JumpFilter],
    batch: IrregularBatch,
    query_times: Tensor,
    side: str,
    state: FilterState | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """What `MarginalModel.predict_params` promises, of several filters over the same events."""
    if models[0].n_passes > 1:
        batch = batch.compact()
        index = torch.searchsorted(batch.times.contiguous(), query_times.contiguous(), right=side == "right")
        index = torch.minimum(index, batch.lengths[:, None])
        if bool((index < batch.lengths[:, None]).any()):
            ranges = HistoryRanges.of(batch, torch.zeros_like(index), index)
            histories = ranges.histories
            rest = histories.times[:, -1] if histories.n_events else query_times.new_zeros(len(ranges.row))
            times = ranges.gather(query_times, rest)
            runs = zip(models, run_filters(models, histories))
            each = [model.predict_after_last(filtered, times) for model, filtered in runs]
            return [(params[ranges.group, ranges.position], ranges.worst(status)) for params, status in each]
    runs = zip(models, run_filters(models, batch, state))
    return [model.predict_at(filtered, query_times, side) for model, filtered in runs]
