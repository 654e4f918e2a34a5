"""Question about crossings: the grids on which series are followed, their paths, and what these say."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tsode.errors import DataError, SolverError, TsodeWarning, UnapproachedLevelError
from tsode.estimators.crossings.found import Found, find_crossings
from tsode.estimators.crossings.grid import Grid, lay_grid
from tsode.estimators.crossings.levels import Levels
from tsode.estimators.signal import Signal
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.inference.streams import key_of
from tsode.numerics.curve_crossings import Brackets, bracket_crossings, crossing_roots, find_humps

__all__ = ["CrossingQuestion"]

N_STEPS = 64
_MOST_STEPS = 200  # at the series' own gaps
_NUMBERS_AT_ONCE = 2**22
_FAR = 3.0  # ranges of data and paths beyond which a level is taken for a mistake


@dataclass(frozen=True, eq=False)
class CrossingQuestion:
    """What is asked of a forecaster, see `PredictsCrossings.predict_crossing`.

    Parameters
    ----------
    forecaster : PredictsCrossings
    query : Query
        Series, and the times by which a crossing is asked about.
    panel : Panel
        Histories.
    channel : int
    levels : Levels
    quantiles : array[q]
    n_samples : int
    of : str
    seed : int
    """

    forecaster: Any
    query: Query
    panel: Panel
    channel: int
    levels: Levels
    quantiles: np.ndarray
    n_samples: int
    of: str
    seed: int

    @property
    def knows_signal(self) -> bool:
        """Whether paths come without the noise of observations."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TsodeWarning)
            for key, times in zip(self.query.ids, self.query.times):
                one = replace(self.query, ids=[key], times=[times])
                try:
                    drawn = self.forecaster._signals(one, self.panel, 1, torch.Generator().manual_seed(0))
                    return next(iter(drawn))[1][0].of == "signal"
                except SolverError:  # said again when all are asked
                    continue
        return True

    @cached_property
    def _places(self) -> list[int]:
        """Of the series asked about, among the histories."""
        place_of = {key: place for place, key in enumerate(self.panel.ids)}
        return [place_of[key] for key in self.query.ids]

    def grids(self, n_steps: int | None, kind: str) -> list[Grid]:
        """A grid for each series, of paths of that kind: "signal" or "observation"."""
        lasts = self.panel.last_times
        return [self._grid(row, place, lasts[place], n_steps, kind) for row, place in enumerate(self._places)]

    def _grid(self, row: int, place: int, last: Any, n_steps: int | None, kind: str) -> Grid:
        key, times = self.query.ids[row], self.query.times[row]
        timeline, panel = self.forecaster.reader_.timeline, self.panel
        events = self.forecaster._event_times(panel, key)
        if last is None and not len(events):
            raise DataError(f"Series {key!r} has no rows and no events from which to look ahead: give its history.")
        origin = float(events.min()) if last is None else float(timeline.to_model(np.atleast_1d(last))[0])
        if timeline.to_model(times[:1])[0] <= origin:
            what = "first event" if last is None else "last observation"
            raise DataError(
                f"before= has {times[0]} for series {key!r}, which does not come after its {what}: ask for later "
                "times, or give the history until then as context=."
            )
        if n_steps is None and kind == "observation":
            n_steps = 1
            if self.of == "signal":
                seen = timeline.to_model(panel.times[place])
                gap = np.median(np.diff(seen)) if len(seen) > 1 else np.inf
                n_steps = int(np.clip(np.rint((timeline.to_model(times[-1:])[0] - origin) / gap), 1, _MOST_STEPS))
        return lay_grid(timeline, origin, last is not None, times, events, n_steps or N_STEPS)

    def answer(self, grids: Sequence[Grid], report: Any) -> list[Found]:
        """What the paths of each series say, on their grids."""
        n_levels, n_quantiles = self.levels.values.shape[1], len(self.quantiles)
        found = [Found.nothing(n_levels, len(grid.at), n_quantiles) for grid in grids]
        failed: list[int] = []
        for rows in self._parts(grids):
            own = self.forecaster._new_report()
            try:
                signals = self._draw(rows, [grids[row].native for row in rows], own)
                crossed = self._roots(grids, rows, signals)
            except SolverError as error:
                if len(rows) > 1 or len(failed) + 1 == len(grids):
                    raise
                failed.append(rows[0])
                lost = error
                continue
            finally:
                report.take(own, rows)
            for row, signal in signals.items():
                paths = signal.paths[..., self.channel]
                if signal.of == "observation":
                    paths = self._from_last(row, paths)
                variation = None if signal.variation is None else signal.variation[..., self.channel]
                generator = torch.Generator().manual_seed(self.seed + key_of(self.query.ids[row]) + 1)
                found[row] = find_crossings(
                    grids[row], paths, variation, self.levels.values[row], self.levels.directions, self.quantiles,
                    generator, crossed.get(row),
                )  # fmt: skip
        if failed:
            names = ", ".join(repr(self.query.ids[row]) for row in failed[:5]) + (", ..." if len(failed) > 5 else "")
            message = f"There is no crossing forecast of series {names}, whose solve failed: {lost}"
            warnings.warn(message, TsodeWarning, stacklevel=4)
        return found

    def _parts(self, grids: Sequence[Grid]) -> Iterator[list[int]]:
        """Series that are asked about together: one by one where paths would depend on the others."""
        part: list[int] = []
        size = 0
        for row, grid in enumerate(grids):
            size += len(grid.times) * self.n_samples * len(self.forecaster.channels_)
            if part and (size > _NUMBERS_AT_ONCE or not self.forecaster._seeds_by_series):
                yield part
                part, size = [], len(grid.times) * self.n_samples * len(self.forecaster.channels_)
            part.append(row)
        yield part

    def _draw(self, rows: Sequence[int], times: Sequence[np.ndarray], report: Any = None) -> dict[int, Signal]:
        """Signals of some series at their own times, the same curves at every call."""
        query = replace(self.query, ids=[self.query.ids[row] for row in rows], times=list(times))
        seed = self.seed if self.forecaster._seeds_by_series else self.seed + key_of(query.ids[0])
        generator = torch.Generator().manual_seed(seed)
        drawn = self.forecaster._signals(query, self.panel, self.n_samples, generator, self.of, report=report)
        return {rows[place]: signal for places, signals in drawn for place, signal in zip(places, signals)}

    def _from_last(self, row: int, paths: np.ndarray) -> np.ndarray:
        """Paths of observations (s m) that begin with the last one of the channel, if there is any."""
        values = self.panel.values[self._places[row]][:, self.channel]
        seen = values[~np.isnan(values)]
        if not len(seen):
            return paths
        return np.concatenate([np.where(np.isnan(paths[:, :1]), np.nan, seen[-1]), paths[:, 1:]], axis=1)

    def _roots(self, grids: Sequence[Grid], rows: Sequence[int], signals: dict[int, Signal]) -> dict[int, np.ndarray]:
        """First times (l s) of the series whose paths are curves, by their roots."""
        places = [(row, k) for row in rows if signals[row].is_smooth for k in range(self.levels.values.shape[1])]
        if not places:
            return {}
        timeline = self.forecaster.reader_.timeline

        def evaluate(place: np.ndarray, curve: np.ndarray, times: np.ndarray) -> np.ndarray:
            of_row, level = (np.array(x)[place] for x in zip(*places))
            value = np.empty(len(place))
            asked_rows = np.unique(of_row)
            wanted = [np.unique(times[of_row == row], return_inverse=True) for row in asked_rows]
            native = [timeline.to_native(unique) for unique, _ in wanted]
            for row, signal in self._draw(asked_rows.tolist(), native).items():
                here = of_row == row
                at = wanted[int(np.searchsorted(asked_rows, row))][1]
                value[here] = signal.paths[curve[here], at, self.channel] - self.levels.values[row, level[here]]
            return value

        known = []
        for row, k in places:
            gap = signals[row].paths[..., self.channel] - self.levels.values[row, k]
            known.append((grids[row].times, gap, grids[row].is_jump, self.levels.directions[k]))
        humps = [find_humps(*one) for one in known]
        lengths = [len(hump.curve) for hump in humps]
        beyond = np.empty(0)
        if sum(lengths):
            curve, _, peak = (np.concatenate(column) for column in zip(*humps))
            beyond = evaluate(np.repeat(np.arange(len(places)), lengths), curve, peak)
        each = np.split(beyond, np.cumsum(lengths)[:-1])
        brackets = [bracket_crossings(*one, hump, top) for one, hump, top in zip(known, humps, each)]
        place = np.repeat(np.arange(len(places)), [len(one.curve) for one in brackets])
        joined = Brackets(*(np.concatenate(column) for column in zip(*brackets)))
        roots = crossing_roots(joined, lambda at, times: evaluate(place[at], joined.curve[at], times))
        found = {row: np.full((self.levels.values.shape[1], self.n_samples), np.inf) for row, _ in places}
        for p, (row, k) in enumerate(places):
            found[row][k, joined.curve[place == p]] = roots[place == p]
        return found

    def check_approached(self, found: Sequence[Found]) -> None:
        """Refuse a level that no path comes near, which is most often one in other units."""
        channel = self.forecaster.channels_[self.channel]
        seen = np.concatenate([values[:, self.channel] for values in self.panel.values])
        seen = seen[np.isfinite(seen)]
        spans = np.array([*(one.span for one in found if one.n_paths), *np.stack([seen, seen], axis=1)]).reshape(-1, 2)
        if not any(one.n_paths for one in found):
            return
        low, high = spans[:, 0].min(), spans[:, 1].max()
        nearest = np.nanmin([one.nearest for one in found], axis=0)
        for k, name in enumerate(self.levels.names):
            if nearest[k] <= _FAR * (high - low):
                continue
            ends = self.levels.values[:, k].min(), self.levels.values[:, k].max()
            said = " to ".join(f"{value:g}" for value in dict.fromkeys(ends))
            raise UnapproachedLevelError(
                f"No path of {channel!r} comes near the level {name!r} ({said}): data and paths range from {low:.4g} "
                f"to {high:.4g}, and the nearest is {nearest[k]:.4g} away. Give the level in the units of the data; "
                "if it is, the probability of crossing it is 0 for all that these paths tell."
            )
