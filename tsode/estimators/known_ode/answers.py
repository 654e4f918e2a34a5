"""Answers of a known system: draws for each history that is asked about, and what they predict."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.core.status import Status
from tsode.errors import DataError
from tsode.estimators.forecasters.predictive import Predictive, report_failed
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.known_ode.beside_fit import beside
from tsode.estimators.known_ode.conditioned import Ask, Conditioning
from tsode.estimators.known_ode.driving import path_digest
from tsode.estimators.known_ode.histories import History, constants_digest, digest, histories
from tsode.estimators.known_ode.laws import curves_of, laws_by_draws, mixtures, paths_of, tell_of_blanks
from tsode.estimators.known_ode.posterior import KeptPosterior
from tsode.estimators.known_ode.schedules import event_rows
from tsode.estimators.known_ode.settings import read_starts
from tsode.estimators.signal import Signal
from tsode.frames.panel import Panel
from tsode.frames.schedule import SCHEDULE_COLUMNS
from tsode.frames.times import Query
from tsode.inference.known_density import KnownDensity
from tsode.inference.known_laws import Predictive as Law
from tsode.inference.parameters import ParameterSpace
from tsode.inference.streams import key_of

__all__ = ["AnswersByDraws", "Piece"]

MOST_NUMBERS = 2**23  # of a piece, in draws times query times
MOST_KEPT = 512  # histories whose draws are kept for the next question


@dataclass(frozen=True, eq=False)
class Piece:
    """Times that are asked of a series after the same rows."""

    row: int
    history: History
    times: np.ndarray
    at: np.ndarray


class AnswersByDraws:
    """Part of `KnownODEForecaster` that answers questions."""

    reader_: DataReader
    module_: Any
    _panel: Panel
    _kept: KeptPosterior
    _density_of: Callable[..., KnownDensity]
    _build_density: Callable[..., KnownDensity]
    _n_occasions: Callable[[History], int]
    _on_all_occasions: Callable[[Tensor, History, KnownDensity], Tensor]
    inference: str
    n_draws: int
    max_seconds: float | None
    segments: Any
    initial_time: Any

    _seeds_by_series: ClassVar[bool] = True

    def _event_times(self, panel: Panel, key: Hashable) -> np.ndarray:
        """Starts of events and ends of infusions, in model time."""
        inputs = panel.inputs.get(key)
        if inputs is None:
            return np.empty(0)
        starts = self.reader_.timeline.to_model(inputs.times)
        ends = starts + inputs.values[:, SCHEDULE_COLUMNS.index("duration")]
        return np.concatenate([starts, ends[np.isfinite(ends)]])

    def _forget(self) -> None:
        """Nothing was asked yet."""
        self._found: dict[tuple[Hashable, bytes, bytes, int], Tensor] = {}
        self.__dict__.pop("_fitted_density", None)

    @property
    def _density(self) -> KnownDensity:
        """The density that the posterior is of."""
        if not hasattr(self, "_fitted_density"):
            data = self._kept.data
            self._fitted_density = self._build_density(data.ids, data)
        return self._fitted_density

    # -- what forecasters are asked --------------------------------------------------------------------------------

    def _forecast(
        self,
        query: Query,
        panel: Panel,
        impute: bool = False,
        n_numbers: int = 0,
        must_hold: bool = False,
        report: ReachReport | None = None,
    ) -> Iterator[Predictive]:
        failed: dict[int, int] = {}
        n_answered = 0
        for pieces, laws, is_lost, shared in self._laws(query, panel, "all" if impute else "each"):
            for place, piece in enumerate(pieces):
                if bool(is_lost[place]):
                    failed[piece.row] = int(Status.NON_FINITE)
                n_answered += not bool(is_lost[place])
                yield mixtures(laws, place, len(piece.times), piece.at, bool(is_lost[place]), shared[place])
        if report is not None:
            report.fail(failed)
        report_failed(query, failed, must_hold or not n_answered)

    def _paths(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, report: ReachReport | None = None
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Joint paths: each follows one draw given the rows before its first time."""
        for rows, signals in self._drawn(paths_of, query, panel, n_samples, generator):
            yield rows, [signal.paths for signal in signals]

    def _signals(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, of: str = "signal",
        report: ReachReport | None = None,
    ) -> Iterator[tuple[list[int], list[Signal]]]:  # fmt: skip
        """Solution curves of the draws that `_paths` are about, or these paths themselves."""
        yield from self._drawn(curves_of if of == "signal" else paths_of, query, panel, n_samples, generator)

    def _drawn(
        self, draw: Callable[..., np.ndarray], query: Query, panel: Panel, n_samples: int, generator: torch.Generator
    ) -> Iterator[tuple[list[int], list[Signal]]]:
        """What is drawn of the laws given the rows before the first time of each series."""
        is_smooth = draw is curves_of
        of = "signal" if is_smooth else "observation"
        seed = int(torch.randint(0, 2**31, (), generator=generator))
        failed: dict[int, int] = {}
        asked = set()
        for pieces, laws, is_lost, _ in self._laws(query, panel, "first"):
            drawn = []
            for place, piece in enumerate(pieces):
                own = torch.Generator().manual_seed(seed + key_of(piece.history.key))
                path = draw(laws, place, len(piece.times), n_samples, own)
                if bool(is_lost[place]):
                    failed[piece.row] = int(Status.NON_FINITE)
                    path = np.full_like(path, np.nan)
                drawn.append(Signal(path, None, of, is_smooth))
            asked |= {piece.row for piece in pieces}
            yield [piece.row for piece in pieces], drawn
        n_channels = len(self.reader_.targets)
        rest = [row for row in range(len(query.ids)) if row not in asked]
        if rest:
            yield rest, [Signal(np.empty((n_samples, 0, n_channels)), None, of, is_smooth) for _ in rest]
        report_failed(query, failed, len(failed) == len(query.ids) > 0)

    def _laws(
        self, query: Query, panel: Panel, rows_used: str
    ) -> Iterator[tuple[list[Piece], list[Law], Tensor, Tensor]]:
        """Pieces, their laws, which have none, and the coordinates (n k s) of their draws that all series share."""
        for pieces in self._cut(self._pieces(query, panel, rows_used)):
            with isolated():
                density, u = self._density_and_draws(pieces, panel)
                n_most = max(len(piece.times) for piece in pieces)
                times = np.stack([np.resize(piece.times, n_most) if len(piece.times) == n_most else
                                  np.pad(piece.times, (0, n_most - len(piece.times)), mode="edge")
                                  for piece in pieces])  # fmt: skip
                laws, is_lost, u = laws_by_draws(density, u, torch.from_numpy(times))
                tell_of_blanks(density, laws, is_lost)
                places = [start for name, _, start, _ in density.space._blocks() if name not in density.space.own]
            yield pieces, laws, is_lost, u[..., places]

    def _density_and_draws(self, pieces: Sequence[Piece], panel: Panel) -> tuple[KnownDensity, Tensor]:
        """Density of the series of some pieces, each a problem by itself, and draws (n k p) of its coordinates."""
        draws = self._draws([piece.history for piece in pieces])
        given = [piece.history.as_told(panel) for piece in pieces]
        density = self._density_of(given, len(given))
        return density, torch.stack([
            self._on_all_occasions(one, piece.history, density) for one, piece in zip(draws, pieces)
        ])  # fmt: skip

    def _standing(self, query: Query, panel: Panel) -> tuple[KnownDensity, Tensor, Tensor]:
        """Density and draws (n k p) of the series of a question after all their rows, and the first times (n 1)."""
        pieces = list(self._pieces(query, panel, "all"))
        with isolated():
            density, u = self._density_and_draws(pieces, panel)
        return density, u, torch.from_numpy(np.stack([piece.times[:1] for piece in pieces]))

    def _pieces(self, query: Query, panel: Panel, rows_used: str) -> Iterator[Piece]:
        """Times of each series that are answered from the same rows: those before "each", before the "first", "all"."""
        timeline = self.reader_.timeline
        self.reader_.check_reach(query.ids, query.times, panel)
        of_fit = set(self._panel.ids)
        before = {key: self._panel if key in of_fit else panel for key in query.ids}
        told = replace(
            panel,
            inputs={key: which.inputs[key] for key, which in before.items() if key in which.inputs},
            covariates={key: which.covariates[key] for key, which in before.items() if key in which.covariates},
        )
        fitted = dict(zip(self._kept.data.ids, self._kept.data.start.tolist()))
        starts = {**read_starts(self.initial_time, panel, self.reader_), **fitted}
        end = 0
        for row, history in enumerate(histories(told, query.ids, starts, timeline)):
            times = timeline.to_model(query.times[row])
            at = np.arange(end, end + len(times))
            end += len(times)
            if not len(times):
                continue
            self._check_start(history, panel, times, query.times[row])
            if rows_used == "each":
                n_before = np.searchsorted(history.times, times, side="left")
            elif rows_used == "first":
                n_before = np.full(len(times), np.searchsorted(history.times, times[0], side="left"))
            else:
                n_before = np.full(len(times), len(history.times))
            for n in np.unique(n_before):
                which = n_before == n
                yield Piece(row, history.rows(slice(int(n))), times[which], at[which])

    def _check_start(self, history: History, panel: Panel, times: np.ndarray, native: np.ndarray) -> None:
        if np.isnan(history.start):
            raise DataError(
                f"Nothing says when series {history.key!r} starts, which has no rows and no events: set initial_time=."
            )
        given = panel.inputs.get(history.key)
        first = np.inf if given is None else self.reader_.timeline.to_model(given.times).min(initial=np.inf)
        if times[0] < history.start or first < history.start:
            what = f"is asked for {native[0]}" if times[0] < history.start else "has an event"
            raise DataError(
                f"Series {history.key!r} {what}, before it starts in its initial state (its first row or event): set "
                "initial_time= earlier."
            )

    def _cut(self, pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
        part: list[Piece] = []
        longest = 0
        for piece in pieces:
            longest = max(longest, len(piece.times))
            if part and (len(part) + 1) * longest * self.n_draws > MOST_NUMBERS:
                yield part
                part, longest = [], len(piece.times)
            part.append(piece)
        if part:
            yield part

    # -- draws -----------------------------------------------------------------------------------------------------

    def _draws(self, series: Sequence[History]) -> list[Tensor]:
        """Draws (k p) for each history, of the coordinates that one series has."""
        known = self._known_rows()
        if len(self._found) > MOST_KEPT:
            self._found = {}
        names: list[tuple[Hashable, bytes, bytes, int]] = []
        asks: dict[int, dict[Any, Ask]] = {}
        for one in series:
            rows = known.get(one.key, {})
            is_known = np.array([rows.get(t) == x.tobytes() for t, x in zip(one.times, one.values)], dtype=bool)
            n_occasions = self._n_occasions(one)
            name = (one.key, one.digest(self.reader_), is_known.tobytes(), n_occasions)
            names.append(name)
            if name not in self._found:
                same = self._as_in_fit(one)
                if same is None:
                    asks.setdefault(n_occasions, {})[name] = Ask(one, is_known)
                else:
                    self._found[name] = same
        for of_same in asks.values():  # numbers of coordinates, on which draws depend, are a history's own
            self._found |= dict(zip(of_same, self._conditioning().draws(list(of_same.values()))))
        return [self._found[name] for name in names]

    def _known_rows(self) -> Mapping[Hashable, Mapping[float, bytes]]:
        data = self._kept.data
        return {
            key: {float(t): x.tobytes() for t, x in zip(data.times[row].numpy(), data.values[row].numpy())
                  if not np.isnan(x).all()}
            for row, key in enumerate(data.ids)
        }  # fmt: skip

    def _as_in_fit(self, history: History) -> Tensor | None:
        """Draws of the fit, if it has seen just this history."""
        data = self._kept.data
        if history.key not in data.ids:
            return None
        row = list(data.ids).index(history.key)
        seen = ~data.values[row].isnan().all(dim=1)
        events = (np.empty(0), np.empty((0, 0))) if data.events is None else event_rows(data.events, row)
        times, values = data.times[row][seen].numpy(), data.values[row][seen].numpy()
        fitted = digest(float(data.start[row]), times, values, *events)
        if data.known is not None and len(times):
            fitted += path_digest(data.known, row, times[-1])
        fitted += constants_digest(data.static, row)
        return self._of_series(row) if fitted == history.digest(self.reader_) else None

    def _of_series(self, row: int, draws: Tensor | None = None) -> Tensor:
        """Draws (k p) of the coordinates of one series of the fit, of the draws (g k p) of all."""
        space = self._density.space
        draws = self.module_.draws if draws is None else draws
        if len(draws) > 1 or space.n_series == 1:
            return draws[row if len(draws) > 1 else 0]
        return draws[0][:, [start + (row if width > 1 else 0) for *_, start, width in space._blocks()]]

    def _conditioning(self) -> Conditioning:
        space = self._density.space
        places = [start for name, _, start, _ in space._blocks() if name not in space.own]
        alone = ParameterSpace(space.priors, {}, space.own, 1, 1, tuple(space.priors))
        shared = self.module_.draws[0][:, places]
        return Conditioning(
            lambda series: self._density_of(series, len(series)), self._density_with, alone, shared, self.inference,
            self._kept.seed, self.n_draws, self.max_seconds, self.segments,
        )  # fmt: skip

    def _density_with(self, ask: Ask) -> KnownDensity:
        """The density of what fit has seen and of a history beside it."""
        data = beside(self._kept.data, ask, self.reader_)
        return self._build_density(data.ids, data, 1)
