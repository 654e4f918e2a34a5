"""Rounds of a backtest inside fit: what to learn from, and what to ask then, as it will be asked later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tsode.core.timeline import Timeline
from tsode.errors import DataError
from tsode.frames.panel import Panel

__all__ = ["Question", "Round", "asks_others", "make_rounds", "questions_about"]

MANY_SERIES = 40  # from here on whole series are held out: there are enough to learn from others
FEWEST_SERIES, SHORT = 3, 50  # fewer, but so many of so few rows too: half of one tells little
LONG = 1500  # rows, from which on a part of the series is held out once, and not each in its turn
N_FOLDS = 3
SHARE, MOST_SERIES = 0.25, 100  # held out at once
MOST_CUTS = 8  # of each series where its later blocks are forecast
LATE = (0.6, 0.7, 0.8)  # shares of the span that they are cut at where the horizon is long
MOST_SHORT = 5  # cuts of a short series that nothing was learned from
CUTS_ALONG = (3, 12)  # fewest and most of each where whole series are held out
MOST_ROWS = 300  # asked of one series from one cut
MOST_ASKED = 6000  # asked in all
SNAP = 1e-9  # of a span: rounding does not choose cuts


@dataclass(frozen=True, eq=False)
class Question:
    """Some series, each cut once.

    Parameters
    ----------
    past : Panel
        Up to the cuts.
    future : Panel
        What is asked: of the same series, in the same order.
    """

    past: Panel
    future: Panel


@dataclass(frozen=True, eq=False)
class Round:
    """What members learn from, and questions about what they have not seen.

    Parameters
    ----------
    train : Panel
    questions : list of Question
    learns_longer : bool
        Whether it learns from more of the series than the round before: what one says of a member is not what the
        other will say.
    """

    train: Panel
    questions: list[Question]
    learns_longer: bool = False


def asks_others(panel: Panel) -> bool:
    """Whether members are judged on other series than they learned from, and not on later blocks of the same."""
    lengths = [n for seen in panel.rows_seen if (n := int(seen.sum())) > 1]
    return len(lengths) >= MANY_SERIES or (len(lengths) >= FEWEST_SERIES and float(np.median(lengths)) < SHORT)


def make_rounds(panel: Panel, timeline: Timeline, horizon: float, generator: torch.Generator) -> list[Round]:
    """Rounds that match how forecasts will be asked.

    With many series, or some short ones, others are forecast than were learned from, from cuts all along short ones
    and beyond the first third of others; with fewer the later blocks of each, from cuts of its last third, or
    somewhat before where the horizon is long.

    Parameters
    ----------
    panel : Panel
    timeline : Timeline
    horizon : float
        In model time.
    generator : torch.Generator

    Raises
    ------
    DataError
        If no series has two observed times.
    """
    # in an order of their ids, so that theirs in the data changes nothing
    panel = panel.select(
        sorted(range(len(panel)), key=lambda row: (type(panel.ids[row]).__name__, str(panel.ids[row])))
    )
    times = [timeline.to_model(t[seen]) for t, seen in zip(panel.times, panel.rows_seen)]
    usable = [row for row, t in enumerate(times) if len(t) > 1]
    if not usable:
        raise DataError(
            "No series has two observation times, so nothing can be learned about change in time. Give longer series, "
            "or use LastValueForecaster or ConstantForecaster."
        )
    panel = panel.part(range(len(panel)), panel.rows_seen)
    if not asks_others(panel):
        cuts = {row: _late_cuts(times[row], horizon) for row in usable}
        return _later_blocks(panel, times, cuts, horizon)
    order = [usable[k] for k in torch.randperm(len(usable), generator=generator).tolist()]
    if sum(map(len, times)) > LONG:
        held_out = [order[: min(MOST_SERIES, max(1, int(SHARE * len(order))))]]
    else:
        held_out = [order[k::N_FOLDS] for k in range(N_FOLDS)]  # each has one at least
    rounds = []
    for rows in held_out:
        others = sorted(set(range(len(panel))) - set(rows))
        cuts = {row: _cuts_along(times[row], horizon) for row in sorted(rows)}
        rounds.append(Round(panel.select(others), _asked_along(panel, times, cuts, horizon)))
    return rounds


def questions_about(panel: Panel, held_out: Panel, timeline: Timeline, horizon: float) -> list[Round]:
    """One round that learns from the one panel and asks about the other."""
    held_out = held_out.part(range(len(held_out)), held_out.rows_seen)
    times = [timeline.to_model(t) for t in held_out.times]
    cuts = {row: _cuts_along(t, horizon) for row, t in enumerate(times) if len(t) > 1}
    if not cuts:
        raise DataError("validation= has no series with two observation times: give longer series, or none.")
    return [Round(panel, _asked_along(held_out, times, cuts, horizon))]


def _later_blocks(panel: Panel, times: list[np.ndarray], cuts: dict[int, list[int]], horizon: float) -> list[Round]:
    """A round that learns from what is before the first cuts, and where the horizon is long one before the last.

    Some gain more than others by learning longer, and the last is most like what will be asked.
    """
    ends = _ends(times, cuts, horizon)
    asked = _without_gaps(cuts, ends)
    last = {row: [of_series[-1]] for row, of_series in asked.items() if _is_far(times[row], horizon) and of_series[1:]}
    first = {row: [cut for cut in of_series if cut not in last.get(row, [])] for row, of_series in asked.items()}
    rounds = []
    for of_round in (first, last) if last else (first,):
        known = {row: (of_round.get(row) or cuts[row])[0] for row in cuts}
        train = panel.part(range(len(panel)), [slice(0, known.get(row)) for row in range(len(panel))])
        rounds.append(Round(train, _questions(panel, of_round, ends), learns_longer=of_round is last))
    return rounds


def _is_far(t: np.ndarray, horizon: float) -> bool:
    """Whether the horizon is long beside a series: its last third has no room for it thrice."""
    return bool((t[-1] - t[0]) / 3.0 < 3.0 * horizon)


def _late_cuts(t: np.ndarray, horizon: float) -> list[int]:
    """Numbers of rows before each cut of a series whose later blocks are forecast."""
    first, span = t[0], t[-1] - t[0]
    if _is_far(t, horizon):  # with as much to learn from as there is, for it to be like what is learned from all
        return _rows_at(t, first + span * np.array(LATE))
    begin, end = first + 2.0 * span / 3.0, t[-1] - horizon
    return _rows_at(t, np.linspace(begin, end, int(np.clip(1 + (end - begin) // horizon, 3, MOST_CUTS))))


def _cuts_along(t: np.ndarray, horizon: float) -> list[int]:
    """Numbers of rows before each cut of a series that nothing was learned from."""
    if len(t) < SHORT:  # often dense where they begin, and asked from there
        return np.unique(np.linspace(1, len(t) - 1, min(len(t) - 1, MOST_SHORT)).round().astype(int)).tolist()
    begin = t[0] + (t[-1] - t[0]) / 3.0
    end = max(t[-1] - horizon, begin)
    n = int(np.clip((end - begin) / (2.0 * horizon), *CUTS_ALONG))
    return _rows_at(t, begin + (end - begin) * (np.arange(n) + 0.5) / n)


def _asked_along(panel: Panel, times: list[np.ndarray], cuts: dict[int, list[int]], horizon: float) -> list[Question]:
    ends = _ends(times, cuts, horizon)
    return _questions(panel, _without_gaps(cuts, ends), ends)


def _rows_at(t: np.ndarray, cuts: np.ndarray) -> list[int]:
    rows = np.searchsorted(t, cuts + SNAP * (t[-1] - t[0]), side="right")
    return np.unique(rows.clip(1, len(t) - 1)).tolist()


def _ends(times: list[np.ndarray], cuts: dict[int, list[int]], horizon: float) -> dict[int, np.ndarray]:
    """For each row of the series, how many rows there are up to a horizon later."""
    return {row: np.searchsorted(times[row], times[row] + horizon * (1.0 + SNAP), side="right") for row in cuts}


def _without_gaps(cuts: dict[int, list[int]], ends: dict[int, np.ndarray]) -> dict[int, list[int]]:
    """Those cuts that rows follow within the horizon, if there are any."""
    kept = {row: [cut for cut in of_series if ends[row][cut - 1] > cut] for row, of_series in cuts.items()}
    return kept if any(kept.values()) else cuts


def _questions(panel: Panel, cuts: dict[int, list[int]], ends: dict[int, np.ndarray]) -> list[Question]:
    """One question for the first cuts of all series, one for the second, ..."""
    most = int(np.clip(MOST_ASKED / sum(map(len, cuts.values())), 4, MOST_ROWS))
    questions = []
    for k in range(max(map(len, cuts.values()))):
        rows = [row for row, of_series in cuts.items() if k < len(of_series)]
        futures = [_spread(cuts[row][k], max(int(ends[row][cuts[row][k] - 1]), cuts[row][k] + 1), most) for row in rows]
        past = panel.part(rows, [slice(0, cuts[row][k]) for row in rows])
        questions.append(Question(past, panel.part(rows, futures)))
    return questions


def _spread(begin: int, end: int, most: int) -> np.ndarray:
    """At most so many rows between two, evenly."""
    return np.unique(np.linspace(begin, end - 1, min(most, end - begin)).round().astype(int))
