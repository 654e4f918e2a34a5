"""Segments of known systems: series cut into pieces that start in states of their own, with gaps between them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.inference.dosing import no_events
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Trajectories
from tsode.inference.noise.base import Noise
from tsode.inference.observations import Cells
from tsode.inference.parameters import Parameters, Unpacked
from tsode.inference.row_solve import solve_rows, starting_by
from tsode.numerics.base import Solver
from tsode.numerics.dopri5 import Dopri5

__all__ = ["Cuts", "Relaxed", "SegmentedDensity"]

MOST_SEGMENTS = 32
MOST_ROWS = 2**14  # of a solve
ROUGH_RTOL, FEW_STEPS = 1e-3, 40
MANY_STEPS = 100  # of a segment that is solved closely
LEAST_RANGE = 0.1  # of a state, on its scale


class Relaxed(NamedTuple):
    """What is known of points of a system in segments.

    Parameters
    ----------
    log_prob : Tensor[g b]
        Log density of parameters and data, whatever the gaps.
    gaps : Tensor[g b s q d]
        How much farther on the scale of each state a segment ends than the next one starts; 0 where there is no cut.
    """

    log_prob: Tensor
    gaps: Tensor


@dataclass(frozen=True, eq=False)
class Cuts:
    """Where series are cut, and the scale of states there.

    A state is ``floor * sinh(width * x)``: by ratios far above the floor, by differences below it. The floor is the
    least that was seen of a state whose noise is of positive numbers, and its size for others.

    Parameters
    ----------
    times : Tensor[n q]
        Infinite where a series has fewer cuts.
    floor, width : Tensor[n d]
    seen : Tensor[n q d]
        What was seen of states near by, as x; NaN of states that are not observed by themselves.
    """

    times: Tensor
    floor: Tensor
    width: Tensor
    seen: Tensor

    @property
    def is_cut(self) -> Tensor:
        """Which cuts there are, (n q)."""
        return self.times.isfinite()

    def scaled(self, z: Tensor) -> Tensor:
        """States (b n q d) as x."""
        return torch.asinh(z / self.floor[:, None]) / self.width[:, None]

    def state(self, x: Tensor) -> Tensor:
        """Undo `scaled`."""
        return self.floor[:, None] * torch.sinh(self.width[:, None] * x)

    @classmethod
    def of(cls, density: KnownDensity, n_segments: int | str) -> Cuts:
        """Cuts into as many segments, or as suit the data, with about as many observed times in each."""
        n, d = density.size.shape
        data, system = density.data, density.system
        visits = [_visits(density, row) for row in range(n)]
        n_cells = torch.stack([torch.bincount(cells.series, minlength=n) for cells in density.cells.values()]).sum(0)
        counts = []
        for seen, cells in zip(visits, n_cells.tolist()):
            # by default, a third as many unknown states as values
            wanted = min(MOST_SEGMENTS, cells // (3 * d)) if isinstance(n_segments, str) else n_segments
            counts.append(max(1, min(wanted, len(seen))))
        times = torch.full((n, max(counts) - 1), torch.inf, dtype=torch.float64)
        for row, (seen, count) in enumerate(zip(visits, counts)):
            place = (torch.arange(1, count) * len(seen)) // count
            times[row, : count - 1] = 0.5 * (seen[place - 1] + seen[place])
        floor, width = density.size.clone(), torch.full((n, d), float(torch.asinh(torch.ones(()))), dtype=torch.float64)
        seen = torch.full((*times.shape, d), torch.nan, dtype=torch.float64)
        for channel, noise in system.observed.items():
            if not isinstance(noise.of, str):
                continue
            k = system.place_of(noise.of, "observed=")
            for row in range(n):
                when, values = _series_of(density.cells[channel], data.times, row)
                if not len(values):
                    continue
                floor[row, k] = _floor(noise, values)
                x = torch.asinh(values / floor[row, k])
                width[row, k] = (x.max() - x.min()).clamp(min=LEAST_RANGE)
                seen[row, :, k] = _between(when, x / width[row, k], times[row])
        return cls(times, floor, width, seen)


def _visits(density: KnownDensity, row: int) -> Tensor:
    """Times at which anything was seen of a series, sorted, each once."""
    times = [_series_of(cells, density.data.times, row)[0] for cells in density.cells.values()]
    return torch.cat(times).unique()


def _series_of(cells: Cells, times: Tensor, row: int) -> tuple[Tensor, Tensor]:
    own = cells.series == row
    return times[row, cells.column[own]], cells.values[own]


def _floor(noise: Noise, values: Tensor) -> Tensor:
    size = values.abs()
    if bool(noise.is_supported(-values.new_ones(1))[0]):
        return size.max().where(size.max() > 0, 1.0)
    return size[size > 0].min() if bool((size > 0).any()) else size.new_ones(())


def _between(when: Tensor, x: Tensor, times: Tensor) -> Tensor:
    """Values at `times` on straight lines between those of `when`, which may repeat; beyond them the last."""
    right = torch.searchsorted(when, times.contiguous()).clamp(1, max(1, len(when) - 1)).clamp(max=len(when) - 1)
    left = (right - 1).clamp(min=0)
    length = when[right] - when[left]
    share = ((times - when[left]) / torch.where(length > 0, length, 1.0)).clamp(0.0, 1.0)
    return x[left] + share * (x[right] - x[left])


class SegmentedDensity:
    """Log density of parameters and of the states in which segments start, relaxed: segments may end elsewhere.

    Where a system has neither events nor triggers nor inputs along time each segment is a row of one solve. Otherwise a
    series stays one row, whose state is set at each cut, so that doses, inputs and steady states act as ever.

    Parameters
    ----------
    density : KnownDensity
        Of ``g`` problems of ``s`` series with ``d`` states.
    n_segments : int or "auto"
        Of each series; or as many as suit the data.
    """

    def __init__(self, density: KnownDensity, n_segments: int | str) -> None:
        self.density, self.cuts = density, Cuts.of(density, n_segments)
        data = density.data
        q = self.cuts.times.shape[1]
        self._asked = torch.where(self.cuts.is_cut, self.cuts.times, data.start[:, None])
        self._times = torch.cat([data.times, self._asked], dim=1)
        side = data.side
        if side == "after":
            side = torch.full_like(data.times, 2**31, dtype=torch.long)
        self._side = side if isinstance(side, str) else torch.cat([side, side.new_zeros(len(side), q)], dim=1)
        is_plain = data.events is None or not bool(data.events.time.isfinite().any())
        self._is_in_rows = is_plain and data.known is None and not density.system.triggers
        self._rows = _in_pieces(data.start, data.times, self.cuts.times)

    @property
    def n_cuts(self) -> int:
        """Cuts of the series with most."""
        return self.cuts.times.shape[1]

    @torch.no_grad()
    def nudged(self, u: Tensor) -> tuple[Relaxed, Tensor]:
        """Points ``u`` (g b p) with states put at each cut to what was seen near by, where it was; and these states.

        What is not observed goes on as it is, and often comes near to what it should be (Pecora and Carroll 1990). It
        is for a choice among many points: they are solved roughly.
        """
        width = max(1, MOST_ROWS // self._rows[0].numel())
        if u.shape[1] > width:
            parts = [self.nudged(part) for part in u.split(width, dim=1)]
            log_prob = torch.cat([found.log_prob for found, _ in parts], dim=1)
            gaps = torch.cat([found.gaps for found, _ in parts], dim=1)
            return Relaxed(log_prob, gaps), torch.cat([x for _, x in parts], dim=1)
        rough = copy(self)
        rough.density = copy(self.density)
        rough.density.system = replace(self.density.system, solver=_rough(self.density.system.solver, self.n_cuts + 1))
        point = self.density.space.unpack(u)
        is_seen = ~self.cuts.seen.isnan() | ~self.cuts.is_cut[..., None]
        seen = self.cuts.seen.nan_to_num().expand(u.shape[1], -1, -1, -1)
        if self._is_in_rows and bool(is_seen.all()):
            x = self._by_series(seen)
            return rough.relaxed(u, x), x
        kind = torch.where(is_seen, int(EventKind.SET), int(EventKind.MARK))
        found, ends = rough._judged(point, rough._in_one_go(point, seen, kind))
        x = torch.where(is_seen, seen, ends.nan_to_num())
        gaps = torch.where(self.cuts.is_cut[..., None], ends - x, 0.0)
        return Relaxed(found, self._by_series(gaps)), self._by_series(x)

    def relaxed(self, u: Tensor, x: Tensor) -> Relaxed:
        """Points ``u`` (g b p) with segments that start in the states ``x`` (g b s q d), on the scale of `cuts`."""
        point = self.density.space.unpack(u)
        start = x.transpose(0, 1).flatten(1, 2)
        if self._is_in_rows:
            way = self._in_rows(point, start)
        else:
            way = self._in_one_go(point, start, torch.full_like(start[0], int(EventKind.SET), dtype=torch.long))
        found, ends = self._judged(point, way)
        gaps = torch.where(self.cuts.is_cut[..., None], ends - start, 0.0)
        return Relaxed(found, self._by_series(gaps))

    def hurried(self) -> SegmentedDensity:
        """The density, impossible where a segment is stiff or takes very many steps."""
        chosen = copy(self)
        chosen.density = self.density.hurried()
        solver = self.density.system.solver
        if isinstance(solver, Dopri5):
            most = min(solver.max_steps, max(MANY_STEPS, solver.max_steps // (self.n_cuts + 1)))
            chosen.density.system = replace(self.density.system, solver=replace(solver, max_steps=most))
        return chosen

    def _by_series(self, x: Tensor) -> Tensor:
        """(b n q d) -> (g b s q d)."""
        return x.unflatten(1, (self.density.n_problems, -1)).transpose(0, 1)

    def _judged(self, point: Unpacked, way: Trajectories) -> tuple[Tensor, Tensor]:
        """Log densities (g b), and where segments end, as x (b n q d)."""
        m = self.density.data.times.shape[1]
        observed = way._replace(states=way.states[:, :, :m])
        total = self.density.total(self.density.judge(point, observed))
        return total, self.cuts.scaled(way.states[:, :, m:])

    def _in_one_go(self, point: Unpacked, x: Tensor, kind: Tensor) -> Trajectories:
        b, n, q, d = x.shape
        z = self.cuts.state(x)
        time = self.cuts.times.repeat_interleave(d, dim=1).repeat(b, 1)
        none, whole = torch.zeros_like(time), torch.zeros_like(time, dtype=torch.long)
        events = ScheduledEvents(
            time, kind.reshape(n, q * d).repeat(b, 1), whole + torch.arange(d).repeat(q), z.reshape(b * n, q * d),
            none, none, whole, none, whole.bool(),
        )  # fmt: skip
        return self.density.solve(point.values, self._times, self._side, events)

    def _in_rows(self, point: Unpacked, x: Tensor) -> Trajectories:
        density, (t0, times, place) = self.density, self._rows
        b, (n, k, w) = len(x), times.shape
        values = {name: value.transpose(0, 1).reshape(-1) for name, value in point.values.items()}
        series = torch.arange(n).repeat(b)
        start = density.system.start(Parameters(values), series, density.data.start.repeat(b)).unflatten(0, (b, n))
        starts = torch.cat([start[:, :, None], self.cuts.state(x)], dim=2)
        series = series.repeat_interleave(k)
        solver = starting_by(density.system.solver, density.first_step[series] / k)
        states, status = solve_rows(
            density.system, {name: value.repeat_interleave(k) for name, value in values.items()},
            starts.flatten(0, 2), t0.flatten().repeat(b), times.flatten(0, 1).repeat(b, 1), "before",
            no_events(b * n * k), density.size[series], solver, density.shuns_stiff,
        )  # fmt: skip
        states = states.reshape(b, n, k * w, -1)
        states = states.gather(2, place[None, ..., None].expand(b, -1, -1, states.shape[-1]))
        return Trajectories(start, states, status.reshape(b, n, k).amax(dim=2))


def _rough(solver: Solver, n_segments: int) -> Solver:
    """A solver that gives up where a segment takes many steps: far out in the prior some are stiff, and all wait."""
    if not isinstance(solver, Dopri5):
        return solver
    return replace(
        solver,
        rtol=max(ROUGH_RTOL, solver.rtol),
        max_steps=min(solver.max_steps, max(FEW_STEPS, solver.max_steps // n_segments)),
    )


def _in_pieces(start: Tensor, times: Tensor, cuts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Starts (n k) of segments, times (n k w) asked in each, and where those of series (n m), then cuts, stand there.

    A segment that a series does not have starts with it and goes nowhere.
    """
    n, q = cuts.shape
    is_cut = cuts.isfinite()
    t0 = torch.cat([start[:, None], cuts.where(is_cut, start[:, None])], dim=1)
    number = torch.searchsorted(cuts.contiguous(), times.contiguous())  # of the segment of each time
    is_here = number[..., None] == torch.arange(q + 1)
    rank = (is_here.long().cumsum(dim=1) - 1).gather(2, number[..., None]).squeeze(2)
    w = int(rank.max()) + 2 if rank.numel() else 1
    asked = t0[..., None].expand(n, q + 1, w).clone()
    asked[torch.arange(n)[:, None].expand_as(number), number, rank] = times
    ends = cuts.where(is_cut, t0[:, :-1])
    asked[:, :-1, -1] = ends
    of_cuts = (torch.arange(q) * w + w - 1).expand(n, q)
    return t0, asked, torch.cat([number * w + rank, of_cuts], dim=1)
