"""Answers of a stochastic system: a filter for each draw of the parameters, and what leaves it at other times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.assimilation.filters.gaussian import GaussianFilter
from tsode.assimilation.forecast import Branches
from tsode.assimilation.motion import Draws
from tsode.assimilation.resume import can_resume as can_resume_events
from tsode.assimilation.run import Passed
from tsode.core.status import Status
from tsode.estimators.forecasters.predictive import Predictive, report_failed
from tsode.estimators.forecasters.reach_report import ReachReport
from tsode.estimators.known_ode.answers import AnswersByDraws, Piece
from tsode.estimators.known_ode.histories import History
from tsode.estimators.known_sde.laws import mixture_over_draws
from tsode.estimators.known_sde.standing import Standing, Standings, mark_of
from tsode.estimators.known_sde.weights import chosen_draws, tell_of_few
from tsode.estimators.signal import Signal
from tsode.frames.panel import Panel
from tsode.frames.times import Query
from tsode.inference.streams import key_of

__all__ = ["AnswersByFilter"]

FEWEST, N_FILTERED = 16, 64  # draws of the parameters that have a filter of their own
N_STATES = 4096  # of all these filters together, where beliefs are states
MOST_NUMBERS = 2**22  # of the states of a run


@dataclass(frozen=True, eq=False)
class _Run:
    """Times of a series that one run of the filter answers.

    Parameters
    ----------
    row : int
    history : History
        All rows that any of the times may use.
    times : array[q]
    at : array[q]
    n_used : array[q], int
        Rows that each time may use.
    """

    row: int
    history: History
    times: np.ndarray
    at: np.ndarray
    n_used: np.ndarray

    @property
    def is_of_last(self) -> bool:
        """Whether all of its times use all rows."""
        return bool((self.n_used == len(self.history.times)).all())


def _run(pieces: Sequence[Piece]) -> _Run:
    """One run for pieces of one series, whose histories begin alike."""
    longest = max(pieces, key=lambda piece: len(piece.history.times)).history
    n_used = [np.full(len(piece.times), len(piece.history.times)) for piece in pieces]
    times, at = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("times", "at"))
    return _Run(pieces[0].row, longest, times, at, np.concatenate(n_used))


def _side_by_side(runs: Sequence[_Run]) -> Tensor:
    """Times (s q) of all runs; the last of each fills up."""
    n_most = max(len(run.times) for run in runs)
    return torch.from_numpy(np.stack([np.pad(run.times, (0, n_most - len(run.times)), mode="edge") for run in runs]))


def _apart(part: list[tuple[_Run, Standing | None]]) -> tuple[list[_Run], list[Standing] | None]:
    """Runs, and where they stand, which all of them do or none."""
    standings = [found for _, found in part if found is not None]
    return [run for run, _ in part], standings or None


def _joined(beliefs: Sequence[Any]) -> Any:
    """Beliefs of several series at the same draws, the series of the first draw first."""
    return type(beliefs[0])(*(torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*beliefs)))


class AnswersByFilter(AnswersByDraws):
    """Part of `KnownSDEForecaster` that answers questions."""

    _build_density: Callable[..., Any]
    _standings: Standings

    def _forget(self) -> None:
        super()._forget()
        self._standings = Standings()

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
        for runs, standings in self._cut_runs(self._runs(query, panel, "all" if impute else "each"), not impute):
            with isolated(), torch.no_grad():
                branches, chosen = self._branches(runs, panel, 0, standings)
                k = len(branches.rows.series) // len(runs)
                laws = branches.laws(_side_by_side(runs).repeat(k, 1), by_all=impute)
            for place, run in enumerate(runs):
                rows = place + len(runs) * torch.arange(k)
                answer = mixture_over_draws(laws, rows, chosen[place], len(run.times), run.at)
                is_lost = not np.isfinite(answer.mean).any()
                if is_lost:
                    failed[run.row] = int(Status.NON_FINITE)
                n_answered += not is_lost
                yield answer
        if report is not None:
            report.fail(failed)
        report_failed(query, failed, must_hold or not n_answered)

    def _paths(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, report: ReachReport | None = None
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Joint paths: each goes on from a state and a draw of the parameters, by the rows before its first time."""

        def draw(branches: Branches, times: Tensor, n: int) -> tuple[Tensor, None]:
            return branches.values(times, n), None

        for rows, signals in self._drawn_by(draw, "observation", query, panel, n_samples, generator):
            yield rows, [signal.paths for signal in signals]

    def _signals(
        self, query: Query, panel: Panel, n_samples: int, generator: torch.Generator, of: str = "signal",
        report: ReachReport | None = None,
    ) -> Iterator[tuple[list[int], list[Signal]]]:  # fmt: skip
        """What the channels are about along the paths of `_paths`, or these paths themselves."""
        if of == "signal":
            yield from self._drawn_by(Branches.signals, of, query, panel, n_samples, generator)
            return
        for rows, paths in self._paths(query, panel, n_samples, generator, report):
            yield rows, [Signal(path, None, "observation") for path in paths]

    def _drawn_by(
        self, draw: Callable[[Branches, Tensor, int], tuple[Tensor, Tensor | None]], of: str, query: Query,
        panel: Panel, n_samples: int, generator: torch.Generator,
    ) -> Iterator[tuple[list[int], list[Signal]]]:  # fmt: skip
        """What is drawn from the branches of the filters at all times (r n q c), and the variation between them."""
        seed = int(torch.randint(0, 2**31, (), generator=generator))
        failed: dict[int, int] = {}
        asked = set()
        density: Any = self._density
        can_resume = not density.filter.is_random  # whose states would come from forecasts
        for runs, standings in self._cut_runs(self._runs(query, panel, "first"), can_resume):
            with isolated(), torch.no_grad():
                branches, chosen = self._branches(runs, panel, seed, standings)
                k = len(branches.rows.series) // len(runs)
                n = -(-n_samples // k)
                values, between = draw(branches, _side_by_side(runs).repeat(k, 1), n)
                paths = []
                for place, run in enumerate(runs):
                    rows, picks, m = place + len(runs) * torch.arange(k), chosen[place][0], len(run.times)

                    def of_run(x: Tensor, until: int, rows: Tensor = rows, picks: Tensor = picks) -> np.ndarray:
                        return x[rows][picks].transpose(0, 1).flatten(0, 1)[:n_samples, :until].numpy()

                    path = of_run(values, m)
                    if not np.isfinite(path).any():
                        failed[run.row] = int(Status.NON_FINITE)
                    paths.append(Signal(path, None if between is None else of_run(between, max(m - 1, 0)), of))
                asked |= {run.row for run in runs}
            yield [run.row for run in runs], paths
        rest = [row for row in range(len(query.ids)) if row not in asked]
        if rest:
            yield rest, [Signal(np.empty((n_samples, 0, len(self.reader_.targets))), None, of) for _ in rest]
        report_failed(query, failed, len(failed) == len(query.ids) > 0)

    def _exact_laws(self, query: Query, panel: Panel, of: str) -> Iterator[tuple[int, Predictive]]:
        """Laws of each series' paths or signals at its times, as `_signals` draws them; none where they are not exact.

        They are exact where Kalman's filter is, and then mixtures over the draws that paths go on from.
        """
        density: Any = self._density
        if not (density.is_exact and isinstance(density.filter, GaussianFilter)):
            return
        for runs, standings in self._cut_runs(self._runs(query, panel, "first"), can_resume=True):
            with isolated(), torch.no_grad():
                branches, chosen = self._branches(runs, panel, 0, standings)
                k = len(branches.rows.series) // len(runs)
                laws = branches.laws(_side_by_side(runs).repeat(k, 1), with_noise=of != "signal")
            for place, run in enumerate(runs):
                m = len(run.times)
                draws = chosen[place][:1].expand(m, -1)
                rows = place + len(runs) * torch.arange(k)
                yield run.row, mixture_over_draws(laws, rows, draws, m, run.at)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _runs(self, query: Query, panel: Panel, rows_used: str) -> Iterator[_Run]:
        """Times that one run of a filter answers: those of a series, unless it has parameters of its own.

        These are inferred from the rows that a time may use, so that each such set of rows has a run.
        """
        pieces = self._pieces(query, panel, rows_used)
        if self._density.space.own:
            for piece in pieces:
                yield _run([piece])
            return
        waiting: list[Piece] = []
        for piece in pieces:
            if waiting and waiting[0].row != piece.row:
                yield _run(waiting)
                waiting = []
            waiting.append(piece)
        if waiting:
            yield _run(waiting)

    def _cut_runs(self, runs: Iterator[_Run], can_resume: bool) -> Iterator[tuple[list[_Run], list[Standing] | None]]:
        """Runs side by side, as many as fit; those that go on from where their filters stand apart, with that."""
        density: Any = self._density
        width = N_FILTERED * len(density.system.states) * max(density.filter.n_members, 32)
        can_resume = can_resume and can_resume_events(density.system)
        parts: dict[bool, list[tuple[_Run, Standing | None]]] = {False: [], True: []}
        longest = {False: 0, True: 0}
        for run in runs:
            found = self._standings.find(run.history, self.reader_) if can_resume and run.is_of_last else None
            is_resumed = found is not None
            length = len(run.times) + len(run.history.times) - (found.n_rows if found else 0)
            part = parts[is_resumed]
            longest[is_resumed] = max(longest[is_resumed], length)
            if part and (len(part) + 1) * longest[is_resumed] * width > MOST_NUMBERS:
                yield _apart(part)
                part, longest[is_resumed] = [], length
            part.append((run, found))
            parts[is_resumed] = part
        for part in parts.values():
            if part:
                yield _apart(part)

    def _branches(
        self, runs: Sequence[_Run], panel: Panel, seed: int, standings: Sequence[Standing] | None
    ) -> tuple[Branches, list[Tensor]]:
        """What leaves the runs of the filter, and of each run and time the draws (q k) that weigh the same."""
        given = [run.history.as_told(panel) for run in runs]
        n_behind = [0] * len(runs)
        if standings is not None:
            n_behind = [one.n_rows for one in standings]
            given = [replace(h.rows(slice(one.n_rows, None)), start=one.time) for h, one in zip(given, standings)]
        density: Any = self._density_of(given, len(given))
        if standings is not None:
            size, step = torch.stack([one.size for one in standings]), torch.tensor([one.step for one in standings])
            density = density.resumed(size, step.double(), self._density)
        n_filtered = min(N_FILTERED, max(FEWEST, N_STATES // density.filter.n_members)) if density.names else 1
        u = torch.stack([draws[:n_filtered] for draws in self._draws_of(runs)])
        k = u.shape[1]
        rows = density.rows(density.space.unpack(u).values)
        # each draw has noise of its own
        keys = density.draws(k).keys + torch.arange(k).repeat_interleave(len(runs)) * 1_000_003 + seed
        draws = Draws(keys)
        belief = None if standings is None else _joined([one.belief for one in standings])
        passed = density.passed(rows, draws, keep=True, belief=belief)
        evidence = density.by_row(rows, passed.log_evidence).sum(dim=2).unflatten(0, (k, len(runs)))  # (k s m)
        chosen = []
        for place, run in enumerate(runs):
            is_new = torch.from_numpy(self._is_new(run.history.rows(slice(n_behind[place], None))))
            gain = torch.where(is_new, evidence[:, place, : len(is_new)], 0.0)
            total = torch.nn.functional.pad(gain.cumsum(dim=1), (1, 0))  # after so many rows
            if standings is not None:
                total = total + standings[place].gain[:, None]
            of_times, own_seed = (
                total[:, torch.from_numpy(run.n_used) - n_behind[place]].mT,
                self._kept.seed + key_of(run.history.key),
            )
            picks, n_effective = chosen_draws(of_times, own_seed)
            tell_of_few(run.history.key, n_effective, k)
            chosen.append(picks)
            self._stand(run, density, rows, passed, total[:, -1], place, len(runs), seed)
        return Branches(density, rows, passed, draws), chosen

    def _stand(
        self, run: _Run, density: Any, rows: Any, passed: Passed, gain: Tensor, place: int, n_runs: int, seed: int
    ) -> None:
        """Keep where the filters of a run stand after all rows of its series, for later questions."""
        n = len(run.history.times)
        is_usual = seed == 0 or not density.filter.is_random
        if not (n and run.is_of_last and is_usual and passed.seen) or self._density.space.own:
            return
        own = place + n_runs * torch.arange(len(gain))
        is_row = rows.stops.row[place] >= 0
        if not bool(is_row.any()):
            return
        last = int(is_row.nonzero()[-1])
        belief = type(passed.seen[last])(*(part[own] for part in passed.seen[last]))
        mark, time = mark_of(run.history, n, self.reader_), float(run.history.times[-1])
        step = float(density.step[place])
        self._standings.keep(run.history.key, Standing(n, mark, time, belief, gain, density.size[place], step))

    def _draws_of(self, runs: Sequence[_Run]) -> list[Tensor]:
        """Draws (k p) of the coordinates that one series has."""
        if self._density.space.own:
            return self._draws([run.history for run in runs])
        return [self.module_.draws[0]] * len(runs)

    def _is_new(self, history: History) -> np.ndarray:
        """Rows (m,) that draws of the parameters do not know."""
        if self._density.space.own:
            return np.zeros(len(history.times), dtype=bool)
        if self._standings.known_rows is None:
            self._standings.known_rows = dict(self._known_rows())
        rows = self._standings.known_rows.get(history.key, {})
        return np.array([rows.get(t) != x.tobytes() for t, x in zip(history.times, history.values)], dtype=bool)
