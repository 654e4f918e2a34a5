"""Density of the parameters of a known system, given observed series: prior, solve, and noise."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from tsode.core.scheduled_events import ScheduledEvents
from tsode.core.status import Status
from tsode.inference.along_time import AlongTime, along_time, at_events, check_inputs
from tsode.inference.dosing import merge_events, no_events, place_doses, repeat_rows, split_resets
from tsode.inference.effects.occasions import Occasions
from tsode.inference.known_laws import Evaluation, Predictive, Trajectories
from tsode.inference.known_paths import KnownPaths, with_marks
from tsode.inference.known_system import KnownSystem
from tsode.inference.noise.base import Between, Noise
from tsode.inference.observations import Cells, Observations, select_cells
from tsode.inference.paired_cells import PairedCells, at_cells, both_ways, given_partners, paired_cells
from tsode.inference.parameters import Parameters, Unpacked
from tsode.inference.row_solve import solve_rows, starting_by
from tsode.numerics.adaptive import AdaptiveSolver
from tsode.numerics.base import Solver
from tsode.numerics.dopri5 import Dopri5

__all__ = ["KnownDensity"]

_PILOT_RTOL, _N_PILOT = 1e-3, 9
_MOST_OF_SEEN = 10.0  # times what was seen of a state, its size at most
_STEPS_AT_FIRST = 64  # into how many steps a series is cut at first
_SLACK = 10.0  # errors of a prediction, in tolerances of the solver
_AT_ONCE = 2**14  # rows of a solve without a gradient


class KnownDensity:
    """Log density of the unbounded coordinates of a known system's parameters, given its observed series.

    All series of all points are rows of one solve. A point whose solve fails, whose prediction its noise cannot be
    about, or whose likelihood is no number, is impossible: its log density is -inf, and its gradient 0.

    States are solved in units of their size, which is what the middle of the prior leads to, series by series, or ten
    times what was seen of the state if that is less; the
    first step is a share of the length of the series. So neither the units of states nor that of time matter.

    Parameters
    ----------
    system : KnownSystem
    data : Observations
        Of ``n`` series.
    n_problems : int, optional
        As in `tsode.inference.parameters.ParameterSpace.build`.

    Attributes
    ----------
    space : ParameterSpace
    names : tuple of str
        Of the ``p`` coordinates.
    n_problems : int
        ``g``, of ``s = n / g`` series each.
    cells : dict of str to Cells
        Where each channel was seen.
    pairs : list of PairedCells
        Cells whose errors are correlated.
    unused : tuple of str
        Parameters with a prior that no function reads.
    size : Tensor[n d]
        Of the states of each series.
    first_step : Tensor[n]
    shuns_stiff : bool
        Whether a point is impossible where a solve is stiff.
    """

    def __init__(self, system: KnownSystem, data: Observations, n_problems: int | None = None) -> None:
        if system.population is not None:
            system = replace(system, population=system.population.meeting(data.known))
        self.system, self.data = system, data
        self.space = system.space(data, n_problems)
        self.names, self.n_problems = self.space.names, self.space.n_problems
        self.cells = select_cells(data, system.observed)
        self.pairs = self._paired()
        self._doses = {system.place_of(target, "doses="): dosing for target, dosing in system.doses.items()}
        self._events = split_resets(no_events(len(data.ids)) if data.events is None else data.events, self._doses)
        if data.known is not None:
            check_inputs(data, self._occasions, system.all_parameters())
            bends = data.known.bends()
            self._events = with_marks(self._events, torch.where(bends > data.start[:, None], bends, torch.inf))
        n, d = len(data.ids), len(system.states)
        span = data.times.amax(dim=1) - data.start if data.times.shape[1] else torch.ones_like(data.start)
        self.first_step = torch.where(span > 0, span, 1.0) / _STEPS_AT_FIRST
        self.shuns_stiff = False
        self.unused = self._check_functions()
        self.size = torch.ones(n, d, dtype=torch.float64)
        self.size = self._find_sizes()

    # -- what engines ask ----------------------------------------------------------------------------------------------

    def log_prob(self, u: Tensor) -> Tensor:
        """Log prior, log likelihood and log derivatives of the parameters, (g b), at the coordinates ``u`` (g b p)."""
        width = max(1, _AT_ONCE // len(self.data.ids))
        if u.shape[1] > width and not (torch.is_grad_enabled() and u.requires_grad):
            return torch.cat([self.log_prob(part) for part in u.split(width, dim=1)], dim=1)
        is_fine = torch.zeros(())

        def keep(gradient: Tensor) -> Tensor:
            # what failed may have left numbers that are not finite, and zero times these is no zero
            return torch.where(is_fine[..., None], gradient, 0.0)

        if torch.is_grad_enabled() and u.requires_grad:
            u = u.clone()
            u.register_hook(keep)
        total = self.total(self.evaluate(u))
        is_fine = total.detach().isfinite()
        return total

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of the coordinates from the prior, (g n p)."""
        return self.space.sample_prior(n, generator)

    def select(self, problems: Tensor) -> KnownDensity:
        """The density of some problems, by their places; nothing of them changes."""
        n, s = len(self.data.ids), self.space.n_series
        rows = (problems[:, None] * s + torch.arange(s)).flatten()
        chosen = copy(self)
        chosen.system, chosen.data = self.system.select(rows, n), self.data.select(rows)
        chosen.space, chosen.n_problems = self.space.select(problems), len(problems)
        chosen.cells = select_cells(chosen.data, self.system.observed)
        chosen.pairs = chosen._paired()
        chosen._events = ScheduledEvents(**{name: value[rows] for name, value in vars(self._events).items()})
        chosen.first_step, chosen.size = self.first_step[rows], self.size[rows]
        return chosen

    def hurried(self) -> KnownDensity:
        """The density, impossible where a solve is stiff."""
        chosen = copy(self)
        chosen.shuns_stiff = True
        return chosen

    def told(self, events: ScheduledEvents, known: KnownPaths | None = None) -> KnownDensity:
        """The density whose series have these events (n k) too, after others of their time, and these inputs."""
        chosen = copy(self)
        chosen._events = merge_events([self._events, events])
        if known is not None:
            chosen.data = replace(self.data, known=known)
            is_later = known.times > self.data.start[:, None]
            chosen._events = with_marks(chosen._events, torch.where(is_later, known.times, torch.inf))
        return chosen

    def with_solver(self, solver: Solver) -> KnownDensity:
        """The density by another solver."""
        return KnownDensity(replace(self.system, solver=solver), self.data, self.n_problems)

    def of_values(self) -> KnownDensity:
        """The density whose `pointwise` is of each value given the value that its error is correlated with."""
        chosen = copy(self)
        chosen.pairs = both_ways(self.pairs, self.cells)
        return chosen

    def failures(self, u: Tensor) -> dict[str, Tensor]:
        """Why points ``u`` (g b p) are impossible: each cause, in words, and the points (g b) that it holds for."""
        with torch.no_grad():
            return {cause: points for cause, points in self.evaluate(u).causes.items() if points.any()}

    def pointwise(self, u: Tensor) -> dict[str, Tensor]:
        """Log likelihood (g b k) of each cell of each channel, in the order of `cells`, at ``u`` (g b p).

        Their sum is the log likelihood: of two cells whose errors are correlated one is judged given the other.
        With several problems a cell that is not of the problem has 0. Where a point is impossible stands -inf.
        """
        found = self.evaluate(u)
        is_bad = torch.stack(list(found.causes.values())).any(dim=0)
        owners = torch.arange(self.n_problems)[:, None]
        result = {}
        for channel, score in found.scores.items():
            is_own = (self.cells[channel].series // self.space.n_series == owners)[:, None]
            result[channel] = torch.where(is_own, torch.where(is_bad[..., None], -torch.inf, score), 0.0)
        return result

    # -- what forecasts ask --------------------------------------------------------------------------------------------

    def trajectories(self, u: Tensor, times: Tensor, side: str | Tensor = "before") -> tuple[Tensor, Tensor]:
        """States (g b s q d) and solve status (g b s) of each series at its own `times` (n q), at ``u`` (g b p)."""
        way = self.solve(self.space.unpack(u).values, times, side)
        states = way.states.unflatten(1, (self.n_problems, -1)).transpose(0, 1)
        return states, way.status.unflatten(1, (self.n_problems, -1)).transpose(0, 1)

    def predictive(self, u: Tensor, times: Tensor, side: str | Tensor = "before") -> dict[str, Predictive]:
        """Law of each channel at each series' own `times` (n q), at ``u`` (g b p).

        A `Between` counts from the time before among `times` and those when the channel was seen, else from the start.
        """
        point = self.space.unpack(u)
        n, m = times.shape
        before = {channel: self._times_before(channel, times) for channel, noise in self._between()}
        if isinstance(side, Tensor):
            side = torch.cat([side, *[torch.zeros_like(side)] * len(before)], dim=1)
        way = self.solve(point.values, torch.cat([times, *before.values()], dim=1), side)
        series, column = (x.reshape(-1) for x in torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij"))
        is_solved = (way.status == Status.OK)[:, series] & point.is_fine.T[:, series // self.space.n_series]
        result = {}
        for channel, noise in self.system.observed.items():
            z_before = t_before = None
            if channel in before:
                place = m * (1 + list(before).index(channel))
                z_before, t_before = way.states[:, series, place + column], before[channel][series, column]
            params, is_possible, mean = self._law(
                noise, point.values, series, times[series, column], way.states[:, series, column], t_before, z_before
            )
            shape = (len(params), self.n_problems, self.space.n_series, m)
            result[channel] = Predictive(
                noise.family,
                params.reshape(*shape, -1).transpose(0, 1),
                (is_possible & is_solved).reshape(shape).transpose(0, 1),
                torch.where(is_solved, mean, torch.nan).reshape(shape).transpose(0, 1),
                self.system.errors.given(channel, list(self.system.observed), point.values),
            )
        return result

    def _between(self) -> list[tuple[str, Noise]]:
        return [(name, noise) for name, noise in self.system.observed.items() if isinstance(noise.of, Between)]

    def _times_before(self, channel: str, times: Tensor) -> Tensor:
        cells, data = self.cells[channel], self.data
        seen = torch.full_like(data.times, -torch.inf)
        seen[cells.series, cells.column] = data.times[cells.series, cells.column]
        known = torch.cat([data.start[:, None], seen, times], dim=1)[:, None, :]
        is_before = (known < times[..., None]) | (known == data.start[:, None, None])
        return torch.where(is_before, known, -torch.inf).amax(dim=2)

    # -- the work ------------------------------------------------------------------------------------------------------

    def evaluate(self, u: Tensor) -> Evaluation:
        """All that a log density at ``u`` (g b p) is made of."""
        point = self.space.unpack(u)
        return self.judge(point, self.solve(point.values, self.data.times, self.data.side))

    def total(self, found: Evaluation) -> Tensor:
        """The log density (g b), -inf where it is impossible."""
        total = found.log_prior
        for channel, score in found.scores.items():
            total = total + self._by_problem(self.cells[channel], score)
        is_fine = ~torch.stack(list(found.causes.values())).any(dim=0) & total.detach().isfinite()
        return torch.where(is_fine, total, -torch.inf)

    def judge(self, point: Unpacked, way: Trajectories) -> Evaluation:
        """What points are worth if each series goes the `way` it does at its times."""
        causes = {"a parameter is out of the range of floating point or of its prior": ~point.is_fine}
        status = way.status.unflatten(1, (self.n_problems, -1)).amax(dim=2).T
        for outcome in Status:
            if outcome != Status.OK:
                causes[f"the solve {outcome.meaning}"] = status == outcome
        is_solved = (way.status == Status.OK) & point.is_fine.T.repeat_interleave(self.space.n_series, dim=1)
        path = torch.cat([way.start[:, :, None], way.states], dim=2)
        t_path = torch.cat([self.data.start[:, None], self.data.times], dim=1)
        scores, predictions, laws, is_bad_of, is_possible_of = {}, {}, {}, {}, {}
        for channel, noise in self.system.observed.items():
            cells = self.cells[channel]
            place, before = cells.column + 1, cells.before + 1
            laws[channel], is_possible_of[channel], predictions[channel] = self._law(
                noise, point.values, cells.series, t_path[cells.series, place], path[:, cells.series, place],
                t_path[cells.series, before], path[:, cells.series, before],
            )  # fmt: skip
        judged = given_partners(self.pairs, self.cells, self.system.observed, laws, point.values)
        for channel, noise in self.system.observed.items():
            cells, is_possible = self.cells[channel], is_possible_of[channel]
            score = noise.log_prob(judged[channel], cells.values, cells.is_below, cells.is_above)
            is_number = score.detach().isfinite()
            kind = type(noise).__name__
            reasons = {
                f"channel {channel!r} has a prediction that {kind} cannot be about": ~is_possible,
                f"channel {channel!r} has a value that is impossible by its {kind}": is_possible & ~is_number,
            }
            for cause, is_bad in reasons.items():
                causes[cause] = (self._by_problem(cells, is_bad.double()) > 0) & (status == Status.OK) & point.is_fine
            is_bad_of[channel] = ~(is_possible & is_number) & is_solved[:, cells.series]
            scores[channel] = torch.where(is_possible & is_number, score, 0.0)
        return Evaluation(point.log_prior, scores, causes, way.status, predictions, laws, is_bad_of)

    def _paired(self) -> list[PairedCells]:
        return paired_cells(self.system.errors, self.cells, self.data.ids)

    def _by_problem(self, cells: Cells, score: Tensor) -> Tensor:
        """Sums (g b) of what cells have, (b k)."""
        problem = cells.series // self.space.n_series
        return score.new_zeros(len(score), self.n_problems).index_add(1, problem, score).T

    def _law(
        self, noise: Noise, values: Mapping[str, Tensor], series: Tensor, t: Tensor, z: Tensor,
        t_before: Tensor | None, z_before: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Parameters (b k q) of the noise's family at cells of these `series` (k,), where there are any, and of what.

        Parameters
        ----------
        values : mapping of str to Tensor[g b s]
        t, t_before : Tensor[k]
        z, z_before : Tensor[b k d]
        """
        b, k = z.shape[:2]

        def rows(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.expand(b, k).reshape(-1) if x.dim() == 1 else x.flatten(0, 1)

        t_rows, z_rows = rows(t), rows(z)
        assert t_rows is not None
        assert z_rows is not None
        p = Parameters(values, lambda value: at_cells(value, series).reshape(-1))
        p = p.beside(self.known_along(series.repeat(b), p, is_seen=True)(t_rows))
        mean = self.system.predict(noise, t_rows, z_rows, p, rows(t_before), rows(z_before)).reshape(b, k)
        size = mean.detach().abs().nan_to_num(posinf=0.0)
        rtol = getattr(self.system.solver, "rtol", Dopri5.rtol)
        error = size.new_zeros(b, len(self.data.ids)).scatter_reduce(1, series.expand(b, k), rtol * size, "amax")
        error = error[:, series]
        if not isinstance(noise.of, str):  # a difference of two large states has their error
            with torch.no_grad():
                # by shares that cancel in no sum
                shares = 1.0 + 0.5 * torch.arange(1.0, z.shape[-1] + 1.0, dtype=z.dtype).square().cos()
                beside = z_rows.detach() * (1.0 + rtol * shares)
                moved = self.system.predict(noise, t_rows, beside, p, rows(t_before), rows(z_before)).reshape(b, k)
            error = torch.maximum(error, (moved - mean.detach()).abs().nan_to_num(posinf=0.0))
        tolerance = (_SLACK * error).clamp(min=torch.finfo(size.dtype).tiny)
        is_possible = noise.is_possible(mean.detach(), tolerance)
        held = noise.held(torch.where(is_possible, mean, 1.0), tolerance)
        own = {
            number: p[given].reshape(b, k) if isinstance(given, str) else held.new_tensor(given)
            for number, given in noise.settings().items()
        }
        return noise.params(held, own), is_possible, mean.detach()

    def solve(
        self, values: Mapping[str, Tensor], times: Tensor, side: str | Tensor, forced: ScheduledEvents | None = None,
        solver: Solver | None = None,
    ) -> Trajectories:  # fmt: skip
        """Solve all series of all points, at each series' own `times` (n m).

        Parameters
        ----------
        values : mapping of str to Tensor[g b s]
        times : Tensor[n m]
        side : {"before", "after"} or Tensor[n m]
        forced : ScheduledEvents, optional
            Of all rows (b n), besides the series' own and before those at the same time.
        solver : Solver, optional
            Other than the system's.
        """
        b, n = next(iter(values.values())).shape[1], len(self.data.ids)
        # once, so that a parameter is one tensor however often it is asked for
        rows = {name: value.transpose(0, 1).reshape(-1) for name, value in values.items()}
        p, series = Parameters(rows), torch.arange(n).repeat(b)
        t0 = self.data.start.repeat(b)
        if self.data.known is not None:
            self.data.known.check_reach(self.data.ids, times)

        events = self.events_at(rows)
        if forced is not None:
            events = merge_events([forced, events])
        start = self.system.start(p.beside(self.known_along(series, p)(t0)), series, t0)
        side = side if isinstance(side, str) else side.repeat(b, 1)
        solver = starting_by(solver or self.system.solver, self.first_step[series])
        states, status = solve_rows(
            self.system, rows, start, t0, times.repeat(b, 1), side, events, self.size[series], solver,
            self.shuns_stiff, lambda at: self.known_along(series[at], Parameters(rows, lambda value: value[at])),
        )  # fmt: skip
        return Trajectories(start.unflatten(0, (b, n)), states.unflatten(0, (b, n)), status.unflatten(0, (b, n)))

    def events_at(self, rows: Mapping[str, Tensor]) -> ScheduledEvents:
        """Events (r k) as the parameters of rows (b n) have them: late, and as much of them as arrives."""
        n, size = len(self.data.ids), len(next(iter(rows.values())))
        p, series, t0 = Parameters(rows), torch.arange(n).repeat(size // n), self.data.start.repeat(size // n)
        events = repeat_rows(self._events, size // n)
        when = events.time.where(events.time.isfinite(), t0[:, None])

        def number(given: str | float) -> Tensor:
            if not isinstance(given, str):
                return torch.full_like(t0, given)[:, None]
            if self._occasions is None:
                return p[given][:, None]
            of_events = series.repeat_interleave(when.shape[1])
            return at_events(given, rows, when, lambda each: self.known_along(of_events, each))

        return place_doses(events, self._doses, number)

    def _check_functions(self) -> tuple[str, ...]:
        """Ask every function of the user once; which parameters none of them reads."""
        n_rows = 3 if len(self.system.states) == 2 else 2  # never as many as states: axes could not be told apart
        values = {name: value[0, :, 0].clone() for name, value in self.space.spread(n_rows).items()}
        t = self.data.start[:1].expand(n_rows)
        p = self.parameters_at(values, t)
        self.system.check_functions(p, t)
        return tuple(name for name in self.space.priors if name not in self.system.names_used(p))

    def parameters_at(self, values: Mapping[str, Tensor], t: Tensor) -> Parameters:
        """Parameters (r,) with the inputs of the first series at times (r,): as its functions read them."""
        p = Parameters(values)
        return p.beside(self.known_along(torch.zeros_like(t).long(), p)(t))

    @property
    def _occasions(self) -> Occasions | None:
        return None if self.system.population is None else self.system.population.occasions

    def known_along(self, series: Tensor, values: Mapping[str, Tensor], is_seen: bool = False) -> AlongTime:
        """What changes along time, of rows that belong to the `series` (r,); see `along_time`."""
        return along_time(self.data, self._occasions, series, values, is_seen)

    @torch.no_grad()
    def _find_sizes(self) -> Tensor:
        """Size of each state of each series, (n d): the median over the middle of the prior of its largest value."""
        solver = self.system.solver
        if isinstance(solver, AdaptiveSolver):  # where no size is known yet, tolerances are relative to what a state is
            solver = replace(solver, rtol=max(_PILOT_RTOL, solver.rtol), atol=1e-200)
        # the last time stands for all that comes after the last dose
        way = self.solve(self.space.spread(_N_PILOT), self.data.times, "after", solver=solver)
        path = torch.cat([way.start[:, :, None], way.states], dim=2).abs()
        largest = path.amax(dim=2)
        is_fine = ((way.status == Status.OK)[..., None] & largest.isfinite()).expand(largest.shape)
        size = torch.where(is_fine, largest, torch.nan).nanmedian(dim=0).values
        for channel, noise in self.system.observed.items():
            if isinstance(noise.of, str):  # where half of the rates is left to data, the prior may lead anywhere
                cells, own = self.cells[channel], size[:, self.system.place_of(noise.of, "observed=")]
                seen = torch.zeros_like(own).scatter_reduce(0, cells.series, cells.values.abs(), "amax")
                own.copy_(
                    torch.where(seen > 0, torch.minimum(own.nan_to_num(nan=torch.inf), _MOST_OF_SEEN * seen), own)
                )
        return torch.where((size > 0) & size.isfinite(), size, 1.0)
