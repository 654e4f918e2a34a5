"""Density of the parameters of a stochastic system, given observed series: prior, and the evidence of a filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.known_motion import KnownMotion
from tsode.assimilation.motion import Draws
from tsode.assimilation.resume import events_from
from tsode.assimilation.rows import Rows
from tsode.assimilation.run import Passed, run
from tsode.assimilation.stops import line_up, line_up_nothing
from tsode.assimilation.system import StochasticSystem
from tsode.core.status import Status
from tsode.inference.dosing import place_doses, repeat_rows
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Evaluation, Predictive
from tsode.inference.known_paths import with_marks
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.noise.log_normal import LogNormalNoise
from tsode.inference.observations import Observations
from tsode.inference.parameters import Parameters
from tsode.inference.priors import Normal
from tsode.inference.streams import key_of
from tsode.numerics.base import Solver
from tsode.numerics.row_jacobian import linearise

__all__ = ["FilteredDensity"]

_AT_ONCE = 2**20  # numbers of the states of a run without a gradient
_N_LOOKED_AT, _N_TIMES = 5, 16  # points and times at which rates of change are looked at
_STEP_SHARE, _MOST_STEPS = 0.5, 4_000  # of the fastest time of the rates; of a whole series
_POINT = 1_000_003  # between the keys of one point and of the next
_SAME = 1e-10  # in parts of the largest rate, by which an affine one may differ from itself


class FilteredDensity(KnownDensity):
    """Log density of the unbounded coordinates of a stochastic system's parameters, by the evidence of a filter.

    States are integrated out by the filter, initial ones too; each value is judged given all before it. A point at
    which a value has no evidence is impossible. All series of all points are rows of one run.

    Parameters
    ----------
    system : StochasticSystem
    data : Observations
    filter : Filter
    step : float, optional
        Longest step of a motion that is not linear, in units of model time; by default a part of the fastest time of
        the rates over the middle of the prior.
    n_problems : int, optional
        As in `KnownDensity`.
    seed : int
        Of filters that draw.

    Attributes
    ----------
    step : Tensor[n]
    in_logs : set of str
        Channels of log-normal noise whose prediction's logarithm is affine in the state, as that of the exponential of
        a state is: there filters are exact.
    is_linear : bool
        Whether the drift is affine and the diffusion constant, by their values at scattered points.
    """

    system: StochasticSystem

    def __init__(
        self,
        system: StochasticSystem,
        data: Observations,
        filter: Filter[Any],
        step: float | None = None,
        n_problems: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(system, data, n_problems)
        self.filter, self.seed, self._is_apart = filter, seed, False
        self.is_linear = self._find_linear()
        self.in_logs = self._find_in_logs()
        self.step = self._find_step() if step is None else torch.full_like(data.start, step)

    def select(self, problems: Tensor) -> FilteredDensity:
        chosen = super().select(problems)
        s = self.space.n_series
        chosen.step = self.step[(problems[:, None] * s + torch.arange(s)).flatten()]  # type: ignore[attr-defined]
        return chosen  # type: ignore[return-value]

    def with_filter(self, filter: Filter[Any]) -> FilteredDensity:
        """The same by another filter."""
        chosen = copy(self)
        chosen.filter = filter
        return chosen

    def with_seed(self, seed: int) -> FilteredDensity:
        """The same with other random numbers of the filter, of which each point has its own."""
        chosen = copy(self)
        chosen.seed, chosen._is_apart = seed, True
        return chosen

    def surrogate(self) -> FilteredDensity:
        """A smooth density that is like it: by the extended Kalman filter, where its own draws."""
        return self.with_filter(ExtendedKalman()) if self.filter.is_random else self

    def with_solver(self, solver: Solver) -> FilteredDensity:
        """The density itself, which has steps of its own."""
        return self

    def hurried(self) -> FilteredDensity:
        return self

    def log_prob(self, u: Tensor) -> Tensor:
        width = max(1, _AT_ONCE // (len(self.data.ids) * len(self.system.states) * self.filter.n_members))
        if u.shape[1] > width and not (torch.is_grad_enabled() and u.requires_grad):
            return torch.cat([self.log_prob(part) for part in u.split(width, dim=1)], dim=1)
        return super().log_prob(u)

    # -- the run -------------------------------------------------------------------------------------------------------

    def rows(self, values: dict[str, Tensor]) -> Rows:
        """Rows of all series at the parameters (g b s)."""
        b, n = next(iter(values.values())).shape[1], len(self.data.ids)
        rows = {name: value.transpose(0, 1).reshape(-1) for name, value in values.items()}
        series, t0 = torch.arange(n).repeat(b), self.data.start.repeat(b)
        p = Parameters(rows)

        def number(given: str | float) -> Tensor:
            return p[given][:, None] if isinstance(given, str) else torch.full_like(t0, given)[:, None]

        events = place_doses(repeat_rows(self._events, b), self._doses, number)
        if self.data.known is not None:
            self.data.known.check_reach(self.data.ids, self.data.times)
        is_row = (~self.data.values.isnan()).any(dim=2).repeat(b, 1)
        stops = line_up(events, self.data.times.repeat(b, 1), is_row, t0, len(self.system.states))
        along = self.known_along(series, p)
        motion = KnownMotion(self.system, rows, along, self.size[series], self.is_linear)
        return Rows(self.system, self.data, rows, series, motion, stops, self.in_logs)

    def draws(self, b: int, seed: int | None = None) -> Draws:
        """Random numbers of the rows of ``b`` points: the same at all points, so that their differences are smooth."""
        seed = self.seed if seed is None else seed
        keys = torch.tensor([key_of(label) for label in self.data.ids], dtype=torch.int64)
        keys = (keys * 31 + seed).repeat(b)
        return Draws(keys + torch.arange(b).repeat_interleave(len(self.data.ids)) * _POINT if self._is_apart else keys)

    def passed(self, rows: Rows, draws: Draws, keep: bool = False, belief: Any = None) -> Passed:
        """Run the filter along the rows, from their start or from a belief there."""
        return run(
            self.filter, rows.motion_to, rows.stops, rows.t0, rows.start(), rows.seen_at, len(self.system.observed),
            self.step[rows.series], draws, keep, belief,
        )  # fmt: skip

    def by_row(self, rows: Rows, evidence: Tensor) -> Tensor:
        """Evidence (r m c) of the values in each row of the data, from that at the stops (r k c)."""
        m = self.data.times.shape[1]
        place = torch.where(rows.stops.row >= 0, rows.stops.row, m)[..., None].expand_as(evidence)
        return evidence.new_zeros(len(evidence), m + 1, evidence.shape[2]).scatter(1, place, evidence)[:, :m]

    def evaluate(self, u: Tensor) -> Evaluation:
        point = self.space.unpack(u)
        b, n = u.shape[1], len(self.data.ids)
        rows = self.rows(point.values)
        evidence = self.passed(rows, self.draws(b)).log_evidence
        by_row = self.by_row(rows, evidence)
        scores, is_bad, predictions = {}, {}, {}
        causes = {"a parameter is out of the range of floating point or of its prior": ~point.is_fine}
        for c, channel in enumerate(self.system.observed):
            cells = self.cells[channel]
            score = by_row.unflatten(0, (b, n))[:, cells.series, cells.column, c]
            is_number = score.detach().isfinite()
            is_bad[channel] = ~is_number & point.is_fine.T[:, cells.series // self.space.n_series]
            scores[channel] = torch.where(is_number, score, 0.0)
            predictions[channel] = torch.full_like(score.detach(), torch.nan)
            failed = self._by_problem(cells, is_bad[channel].double()) > 0
            causes[f"channel {channel!r} has a value that no state of the filter explains"] = failed & point.is_fine
        status = torch.full((b, n), int(Status.OK))
        return Evaluation(point.log_prior, scores, causes, status, predictions, {}, is_bad)

    def resumed(self, size: Tensor, step: Tensor, like: FilteredDensity) -> FilteredDensity:
        """The same from its start on, when what came before is in a belief: with sizes (n d), steps (n,) of before."""
        chosen = copy(self)
        chosen._events = events_from(self._events, self.data.start)
        chosen.size, chosen.step = size, step
        chosen.is_linear, chosen.in_logs = like.is_linear, like.in_logs
        return chosen

    def marked(self, times: Tensor) -> FilteredDensity:
        """The same with stops at ``times`` (n q) too, at which nothing is seen."""
        chosen = copy(self)
        chosen._events = with_marks(self._events, times)
        return chosen

    def predictive(self, u: Tensor, times: Tensor, side: str | Tensor = "before") -> dict[str, Predictive]:
        raise NotImplementedError("forecasts of stochastic systems go on from beliefs, see `assimilation.forecast`")

    # -- the motion ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _find_step(self) -> Tensor:
        """Longest step (n,) of each series: a part of the time in which the fastest rates change by themselves."""
        n, values = len(self.data.ids), self.space.spread(_N_LOOKED_AT)
        chosen = torch.linspace(0, self.data.times.shape[1] - 1, min(_N_TIMES, self.data.times.shape[1])).long()
        way = self.solve(values, self.data.times[:, chosen], "before")
        states = torch.cat([way.start[:, :, None], way.states], dim=2)  # (b n q d)
        times = torch.cat([self.data.start[:, None], self.data.times[:, chosen]], dim=1)
        b, q = len(states), states.shape[2]
        rows = {name: value.transpose(0, 1).reshape(-1) for name, value in values.items()}
        series = torch.arange(n).repeat(b)
        size = self.size[series]
        motion = KnownMotion(self.system, rows, self.known_along(series, Parameters(rows)), size, False)
        fastest = torch.zeros(b, n, q, dtype=torch.float64)
        for k in range(q):
            z = states[:, :, k].flatten(0, 1)
            slope = linearise(lambda t, at: motion.drift(t, at[:, None])[:, 0], times[:, k].repeat(b), z)[1]
            scaled = slope * size[:, None] / size[..., None]
            fastest[..., k] = torch.linalg.matrix_norm(scaled.nan_to_num(0.0, 0.0, 0.0), torch.inf).unflatten(0, (b, n))
        rate = fastest.amax(dim=2).median(dim=0).values
        span = (self.data.times.amax(dim=1) - self.data.start).clamp(min=1e-300)
        return (_STEP_SHARE / rate.clamp(min=1e-300)).clamp(min=span / _MOST_STEPS).clamp(max=span.clamp(min=1e-300))

    @torch.no_grad()
    def _find_linear(self) -> bool:
        """Whether drift and diffusion at scattered states, times and parameters are those of a linear equation."""
        n, values = len(self.data.ids), self.space.spread(3)
        rows = {name: value.transpose(0, 1).reshape(-1) for name, value in values.items()}
        series = torch.arange(n).repeat(3)
        motion = KnownMotion(self.system, rows, self.known_along(series, Parameters(rows)), self.size[series], True)
        generator = torch.Generator().manual_seed(1)
        span = (self.data.times.amax(dim=1) - self.data.start)[series]
        for _ in range(4):
            # two states and times of one stretch between knots of the inputs, and what lies between them
            share = torch.rand(2, generator=generator, dtype=torch.float64).sort().values
            first = self.data.start[series] + share[0] * span
            last = first + share[1] * self._to_next_knot(series, first, span)
            ends = self.size[series][:, None] * torch.randn(len(series), 2, self.size.shape[1], generator=generator,
                                                            dtype=torch.float64) * 2.0  # fmt: skip
            weight = torch.rand((), generator=generator, dtype=torch.float64)
            middle, between = torch.lerp(ends[:, 0], ends[:, 1], weight), torch.lerp(first, last, weight)

            def asked(function: Callable[[Tensor, Tensor], Tensor], t: Tensor, z: Tensor) -> Tensor:
                return function(t, z[:, None])[:, 0]

            left, right, inside = (
                asked(motion.drift, t, z) for t, z in ((first, ends[:, 0]), (last, ends[:, 1]), (between, middle))
            )
            most = torch.maximum(left.abs(), right.abs()).amax(dim=0) + 1e-300
            gap = (inside - torch.lerp(left, right, weight)).abs() / most
            noise = [asked(motion.diffusion, t, z) for t, z in ((first, ends[:, 0]), (last, ends[:, 1]))]
            is_same = bool((noise[0] - noise[1]).abs().amax() <= _SAME * noise[0].abs().amax())
            if not (is_same and bool((gap <= _SAME).all())):
                return False
        return True

    @property
    def is_exact(self) -> bool:
        """Whether Kalman's filter is exact: motion, and every channel on the scale of its noise, linear and normal."""
        is_normal = all(
            isinstance(noise, AdditiveNoise) or name in self.in_logs for name, noise in self.system.observed.items()
        )
        is_uncensored = not any(bool((c.is_below | c.is_above).any()) for c in self.cells.values())
        normal_start = all(type(one) is Normal and one.bounds == (-math.inf, math.inf)
                           for one in self.system.uncertain.values())  # fmt: skip
        additive = [name for name, noise in self.system.observed.items() if isinstance(noise, AdditiveNoise)]
        return (
            self.is_linear and is_normal and is_uncensored and normal_start
            and self._affine(additive, lambda s: s) == frozenset(additive)
        )  # fmt: skip

    def _find_in_logs(self) -> frozenset[str]:
        """Channels of log-normal noise whose prediction has a logarithm that is affine in the state."""
        names = [name for name, noise in self.system.observed.items() if isinstance(noise, LogNormalNoise)]
        return self._affine(names, torch.log)

    @torch.no_grad()
    def _affine(self, names: Sequence[str], scale: Callable[[Tensor], Tensor]) -> frozenset[str]:
        """Channels whose prediction is affine in the state, on a scale."""
        if not names:
            return frozenset()
        n, values = len(self.data.ids), self.space.spread(3)
        rows = {name: value.transpose(0, 1).reshape(-1) for name, value in values.items()}
        series, t = torch.arange(n).repeat(3), self.data.start.repeat(3)
        motion = KnownMotion(self.system, rows, self.known_along(series, Parameters(rows)), self.size[series], True)
        asked = Rows(self.system, self.data, rows, series, motion, line_up_nothing(t))
        generator = torch.Generator().manual_seed(2)
        ends = torch.randn(len(t), 2, self.size.shape[1], generator=generator, dtype=torch.float64)
        ends = torch.cat([ends, torch.lerp(ends[:, :1], ends[:, 1:], 0.3)], dim=1)  # of order one, as logarithms are
        found = []
        for name in names:
            left, right, inside = scale(asked.predict(self.system.observed[name], t, ends)).unbind(1)
            gap = (inside - torch.lerp(left, right, 0.3)).abs()
            if bool((gap <= _SAME * (left.abs() + right.abs() + 1.0)).all()):
                found.append(name)
        return frozenset(found)

    def _to_next_knot(self, series: Tensor, t: Tensor, span: Tensor) -> Tensor:
        """Time from ``t`` (r,) to just before the next knot of the inputs, or the length of the series."""
        if self.data.known is None:
            return span
        knots = self.data.known.times[series]
        later = torch.where(knots > t[:, None], knots, torch.inf).amin(dim=1)
        return torch.minimum(span, 0.99 * (later - t))
