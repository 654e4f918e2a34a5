"""Forecasts of stochastic systems: from the last stop before each time, paths, and states given all data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tsode.assimilation.density import FilteredDensity
from tsode.assimilation.filters.base import where_rows
from tsode.assimilation.filters.gaussian import GaussianFilter
from tsode.assimilation.known_motion import KnownMotion
from tsode.assimilation.motion import Draws
from tsode.assimilation.paths import PathsAhead
from tsode.assimilation.rows import Rows
from tsode.assimilation.run import Passed, carry, n_steps
from tsode.assimilation.smoothing import evenly, paths_at_stops, smoothed_at_stops, smoothed_before
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.parameters import Parameters
from tsode.likelihoods.base import Likelihood

__all__ = ["Branches", "Law", "draw_data", "smoothed_paths"]

_VALUE = 13  # purposes of random numbers


@dataclass(frozen=True)
class Law:
    """Law of a channel at some times: a mixture whose members weigh the same.

    Parameters
    ----------
    family : Likelihood
    params : Tensor[r q m p]
        NaN where noise cannot be about any state.
    """

    family: Likelihood
    params: Tensor


@dataclass(frozen=True, eq=False)
class Branches:
    """What leaves a run of a filter at times between its stops.

    Parameters
    ----------
    density : FilteredDensity
    rows : Rows
    passed : Passed
        With all beliefs.
    draws : Draws
    n_members : int
        States that a belief is asked for by.
    """

    density: FilteredDensity
    rows: Rows
    passed: Passed
    draws: Draws
    n_members: int = 32

    # -- forecasts -----------------------------------------------------------------------------------------------------

    def laws(self, times: Tensor, by_all: bool = False, with_noise: bool = True) -> list[Law]:
        """Law of each channel at ``times`` (r q), by what was seen strictly before, or by all data.

        Without noise it is that of what noise is about, for densities whose filter is exact.
        """
        q = times.shape[1]
        branch, t = self._rows_at(times), times.flatten()
        beliefs = self._smoothed_at(times) if by_all else self._beliefs_at(times)
        filter = self.density.filter
        z = None
        laws = []
        for c, (channel, noise) in enumerate(self.density.system.observed.items()):
            is_normal = isinstance(noise, AdditiveNoise) or channel in self.density.in_logs
            if isinstance(filter, GaussianFilter) and is_normal:
                seen = branch.seen(c, t, torch.ones_like(t), torch.ones_like(t, dtype=torch.bool))
                mean, slope, beside = filter.regressed(beliefs, seen)
                assert seen.variance is not None
                sd = (slope.square().sum(dim=1) + beside + (seen.variance if with_noise else 0.0)).sqrt()
                params = torch.stack([mean, sd.log()], dim=-1)[:, None]
            else:
                z = filter.members(beliefs, self.n_members, t, self._draws_of(branch)) if z is None else z
                params, is_possible = branch.law(noise, t, branch.predict(noise, t, z))
                params = torch.where(is_possible[..., None], params, torch.nan)
            laws.append(Law(noise.family, params.unflatten(0, (-1, q))))
        return laws

    def _rows_at(self, times: Tensor) -> Rows:
        """The rows, each as often as there are times (r q)."""
        return self._rows_of(torch.arange(len(times)).repeat_interleave(times.shape[1]))

    def _rows_of(self, chosen: Tensor) -> Rows:
        """The rows at these places (n,)."""
        values, series = {name: value[chosen] for name, value in self.rows.values.items()}, self.rows.series[chosen]
        along = self.density.known_along(series, Parameters(values))
        motion = KnownMotion(self.density.system, values, along, self.density.size[series], self.density.is_linear)
        return replace(self.rows, values=values, series=series, motion=motion)

    def _draws_of(self, branch: Rows) -> Draws:
        return Draws(self.draws.keys.repeat_interleave(len(branch.series) // len(self.draws.keys)))

    def _from_stop(self, times: Tensor) -> Tensor:
        """Place of the last stop before each time (r q), counted from 1; 0 is the start."""
        return (self.rows.stops.time[:, None] < times[..., None]).sum(dim=2)

    def _inputs(self, rows: Tensor, place: Tensor) -> Tensor | None:
        """What goes into the states (n d) after the stops at `place` (n,) of these rows (n,)."""
        if self.rows.stops.inputs[0] is None:
            return None
        stacked = torch.stack([one for one in self.rows.stops.inputs if one is not None], dim=1)
        return stacked[rows, place]

    def _beliefs_at(self, times: Tensor) -> Any:
        """Beliefs (r q,) just before the times (r q).

        From each stop one belief goes on in whole steps, and what is left to each time leaves it from there.
        """
        filter, keys, stops = self.density.filter, self.draws.keys, self.rows.stops
        row, place = torch.arange(len(times)).repeat_interleave(times.shape[1]), self._from_stop(times).flatten()
        t, begun = times.flatten(), torch.cat([self.rows.t0[:, None], stops.time], dim=1)
        step = self.density.step[self.rows.series]
        n_places = begun.shape[1]
        trunks, trunk_of = torch.unique(row * n_places + place, return_inverse=True)
        own, at = trunks // n_places, trunks % n_places
        n_whole = (n_steps(t - begun[row, place], step[row]) - 1).clamp(min=0)
        n_whole = torch.zeros_like(n_whole) if self.density.is_linear else n_whole
        n_needed = torch.zeros_like(trunks).scatter_reduce(0, trunk_of, n_whole, "amax")
        belief = _picked(self.passed.after, own, at)
        following = torch.nn.functional.pad(stops.time, (0, 1), value=torch.inf)[own, at]
        motion = self._rows_of(own).motion.to(following, self._inputs(own, at))
        parts, order = [], []
        for i in range(int(n_whole.max()) + 1 if len(t) else 0):
            (here,) = (n_whole == i).nonzero(as_tuple=True)
            if len(here):
                begin = begun[row[here], place[here]] + i * step[row[here]]
                leaving = self._rows_of(row[here]).motion.to(t[here], self._inputs(row[here], place[here]))
                at_node = type(belief)(*(part[trunk_of[here]] for part in belief))
                parts.append(filter.flow(at_node, leaving, begin, t[here] - begin, Draws(keys[row[here]])))
                order.append(here)
            h = torch.where(n_needed > i, step[own], 0.0)
            belief = filter.flow(belief, motion, begun[own, at] + i * step[own], h, Draws(keys[own]))
        if not parts:
            return belief
        back = torch.cat(order).argsort()
        return type(belief)(*(torch.cat(pieces)[back] for pieces in zip(*parts)))

    def values(self, times: Tensor, n: int) -> Tensor:
        """Joint paths (r n q c) of the channels at increasing ``times`` (r q), with noise."""
        z = self.paths(times, n).transpose(1, 2).flatten(0, 1)  # (rq n d)
        branch, t = self._rows_at(times), times.flatten()
        draws = self._draws_of(branch)
        columns = []
        for c, noise in enumerate(self.density.system.observed.values()):
            params, is_possible = branch.law(noise, t, branch.predict(noise, t, z))
            value = noise.family.quantile(params, draws.uniform(_VALUE + c, t, n))
            columns.append(torch.where(is_possible, value, torch.nan).unflatten(0, times.shape).transpose(1, 2))
        return torch.stack(columns, dim=-1)

    def signals(self, times: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """What the channels are about (r n q c) along the paths of `values`, and its variation (r n q-1 c) between.

        The variation is the rate at both ends, in the mean, times what lies between.
        """
        z = self.paths(times, n).transpose(1, 2).flatten(0, 1)  # (rq n d)
        branch, t = self._rows_at(times), times.flatten()
        root = branch.motion.diffusion(t, z)  # (rq n d k)
        columns, rates = [], []
        for noise in self.density.system.observed.values():
            with torch.enable_grad():
                at = z.detach().requires_grad_()
                value = branch.predict(noise, t, at)
                (slope,) = torch.autograd.grad(value.sum(), at, allow_unused=True, materialize_grads=True)
            columns.append(value.detach())
            rates.append((slope[..., None] * root).sum(dim=-2).square().sum(dim=-1))
        paths, rate = (torch.stack(x, dim=-1).unflatten(0, times.shape).transpose(1, 2) for x in (columns, rates))
        return paths, 0.5 * (rate[:, :, 1:] + rate[:, :, :-1]) * times.diff(dim=1)[:, None, :, None]

    # -- given all data ------------------------------------------------------------------------------------------------

    def _smoothed_at(self, times: Tensor) -> Any:
        """Beliefs (r q,) at the times (r q), by all data: from what later data say of the next stop."""
        filter = self.density.filter
        branch, place, t = self._rows_at(times), self._from_stop(times), times.flatten()
        known, draws = filter.mark(self._beliefs_at(times)), self._draws_of(branch)
        stops = self.rows.stops
        n = stops.time.shape[1]
        if not n:
            return known
        known, next_stop = evenly(filter, known, t, draws), place.clamp(max=n - 1)
        is_past = (place == n).flatten()
        until = torch.where(is_past, t, stops.time.gather(1, next_stop).flatten())
        row = torch.arange(len(times)).repeat_interleave(times.shape[1])
        motion = branch.motion.to(until, self._inputs(row, place.flatten()))
        ahead = carry(filter, known, motion, t, until, self.density.step[branch.series], draws)
        later = smoothed_at_stops(self.density, self.rows, self.passed, self.draws)
        there = [_gathered(part, next_stop) for part in later]
        return where_rows(~is_past, smoothed_before(filter, known, ahead, there, until == t), known)

    # -- paths ---------------------------------------------------------------------------------------------------------

    def paths(self, times: Tensor, n: int) -> Tensor:
        """Joint paths (r n q d) of states at increasing ``times`` (r q), after the last row that lies before the first.

        What is seen later is not read.
        """
        stops = self.rows.stops
        is_row = (stops.row >= 0) & (stops.time < times[:, :1])
        count = torch.arange(1, stops.time.shape[1] + 1)
        place = (
            torch.where(is_row, count, 0).amax(dim=1, keepdim=True) if len(count) else torch.zeros_like(times[:, :1])
        )
        place = place.long()
        clock = torch.cat([self.rows.t0[:, None], stops.time], dim=1).gather(1, place)[:, 0]
        z = self.density.filter.members(
            _picked(self.passed.after, torch.arange(len(place)), place[:, 0]), n, clock, self.draws
        )
        ahead = PathsAhead(self.rows, self.density.step[self.rows.series], self.draws)
        return ahead.states(z, place[:, 0], clock, times)


def smoothed_paths(density: FilteredDensity, u: Tensor, times: Tensor, seed: int) -> Tensor:
    """Joint draws (n k q d) of the states of each series at increasing ``times`` (n q), given all data.

    Parameters
    ----------
    density : FilteredDensity
        Of series that are problems of their own.
    u : Tensor[n k p]
        A path is drawn for each.
    """
    marked, (n, k) = density.marked(times), u.shape[:2]
    rows = marked.rows(density.space.unpack(u).values)
    draws = Draws(density.draws(k, seed).keys + torch.arange(k).repeat_interleave(n) * 1_000_003)
    path = paths_at_stops(marked, rows, marked.passed(rows, draws, keep=True), draws)
    place = torch.searchsorted(rows.stops.time.contiguous(), times.repeat(k, 1).contiguous())
    found = path.gather(1, place[..., None].expand(-1, -1, path.shape[2]))
    return found.unflatten(0, (k, n)).transpose(0, 1)


def draw_data(density: FilteredDensity, u: Tensor, generator: torch.Generator) -> Tensor:
    """Data (g b s m c) at the times of a density, from paths with noise at ``u`` (g b p); NaN where there is no law.

    Its data are without values.
    """
    point, b = density.space.unpack(u), u.shape[1]
    rows = density.rows(point.values)
    draws = Draws(torch.randint(2**62, (len(rows.series),), generator=generator))
    branches = Branches(density, rows, density.passed(rows, draws, keep=True), draws)
    values = branches.values(density.data.times.repeat(b, 1), 1)[:, 0]
    is_fine = point.is_fine.T.repeat_interleave(density.space.n_series, dim=1).reshape(-1, 1, 1)
    values = torch.where(is_fine, values, torch.nan)
    return values.unflatten(0, (b, density.n_problems, -1)).transpose(0, 1)


def _gathered(stacked: Tensor, place: Tensor) -> Tensor:
    """Of (r k ...), those at places (r q): (r q ...) flattened."""
    rows = torch.arange(len(place))[:, None]
    return stacked[rows, place].flatten(0, 1)


def _picked(beliefs: list[Any], rows: Tensor, place: Tensor) -> Any:
    """Of beliefs at each of the places, those of these rows (n,) at `place` (n,)."""
    return type(beliefs[0])(*(torch.stack(parts, dim=1)[rows, place] for parts in zip(*beliefs)))
