"""Trials of members: each is fitted and asked in every round, cheap ones first, as long as there is time."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from tsode._deadline import Overdue, deadline
from tsode.core.timeline import Timeline
from tsode.errors import DataError, ParameterError, TsodeWarning
from tsode.estimators.auto.members import Member, Shape
from tsode.estimators.auto.rounds import Question, Round
from tsode.frames.write import write_long
from tsode.models.combination import LEVELS

__all__ = ["Asked", "Clock", "Trial", "ask_all", "refit", "run_trials", "tables_of"]

IN_TRAINING = 0.7  # of a fit's time: the rest is calibration and what else follows
SHORTEST = 0.4  # seconds of training below which a network has learned nothing
CHOOSING, MOST_CHOOSING = 2.0, 0.1  # seconds that the choice takes, and of a small budget the share
GROWTH = 1.8  # times as long as a part of the data, that all of them may take
FAVOURITES = 3  # members whose second fit is kept time for
LATER = 5.0  # power of the share of a history, by which later cuts count more
HOPELESS = 1.5  # times the best error after the first of several rounds
MOST_LETTERS = 100  # of a reason
AGAIN = 0.5  # of the time that is left, that a fit may have taken to be done again with more of the series
MOST_AT_ONCE = 0.5  # of the time that is left, that one member may take
MOST_FAILED = 0.01  # share of values without a forecast


class Clock:
    """Time that is left of a budget.

    Parameters
    ----------
    budget : float or None
        Seconds; None = no end.
    """

    def __init__(self, budget: float | None) -> None:
        self.end = math.inf if budget is None else time.perf_counter() + budget
        self.choosing = CHOOSING if budget is None else min(CHOOSING, MOST_CHOOSING * budget)

    def left(self) -> float:
        """Seconds, not negative."""
        return max(self.end - time.perf_counter(), 0.0)


@dataclass(frozen=True, eq=False)
class Asked:
    """All that is asked in all rounds, end to end.

    Parameters
    ----------
    truth : array[n c]
        On the scale of the reader; NaN = not seen.
    lead : array[n]
        Since the last row before, in horizons.
    unit : array[n]
        Number of the series and cut that each row is of.
    round_of : array[n]
    likeness : array[n]
        How much a cut is like the question to come, which has all of a series behind it that was learned from; how much
        of others will be shown nobody knows.
    n_apart : int
        Units whose errors have little to do with each other: series that nothing was learned from, cuts of others.
    """

    truth: np.ndarray
    lead: np.ndarray
    unit: np.ndarray
    round_of: np.ndarray
    likeness: np.ndarray
    n_apart: int


@dataclass(eq=False)
class Trial:
    """What is known of a member.

    Parameters
    ----------
    member : Member
    status : str
        "ok", or why it has no part in the choice.
    knots : array[n c k] or None
        Its quantiles of all that was asked, on the scale of the reader.
    fit_seconds, predict_seconds : float
        Of the longest of its fits, and of its forecasts together.
    fitted : forecaster or None
        The last one fitted.
    warning : str
        The first that a fit gave.
    refusal : Exception or None
        Why it does not apply to the data.
    max_seconds : float
        Of the training in a fit.
    """

    member: Member
    status: str = "ok"
    knots: np.ndarray | None = None
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    fitted: Any = None
    warning: str = ""
    refusal: Exception | None = None
    max_seconds: float = math.inf
    _parts: list[np.ndarray] = field(default_factory=list)


def ask_all(rounds: Sequence[Round], reader: Any, n_targets: int) -> Asked:
    """Truth, leads and units of all that the rounds ask."""
    truth, lead, unit, number, likeness = [], [], [], [], []
    n_units = 0
    apart: set[Any] = set()
    longest: dict[Any, int] = {}
    for of_round in rounds:
        for question in of_round.questions:
            for key, past in zip(question.past.ids, question.past.times):
                longest[key] = max(longest.get(key, 0), len(past))
    for k, of_round in enumerate(rounds):
        learned = set(of_round.train.ids)
        for question in of_round.questions:
            asked = question.past.ids, question.past.times, question.future.times, question.future.values
            for key, past, times, values in zip(*asked):
                truth.append(reader.scaler.transform(values)[:, :n_targets])
                lead.append(_leads(reader.timeline, past, times) / reader.reach)
                unit.append(np.full(len(times), n_units))
                number.append(np.full(len(times), k))
                share = len(past) / longest[key] if key in learned else 1.0
                likeness.append(np.full(len(times), share**LATER))
                apart.add((key, n_units if key in learned else None))
                n_units += 1
    truths, leads, units, numbers, shares = map(np.concatenate, (truth, lead, unit, number, likeness))
    return Asked(truths, leads, units, numbers, shares, len(apart))


def _leads(timeline: Timeline, past: np.ndarray, times: np.ndarray) -> np.ndarray:
    return timeline.to_model(times) - timeline.to_model(past[-1:])


def run_trials(
    members: Sequence[Member],
    rounds: Sequence[Round],
    asked: Asked,
    reader: Any,
    tables: Mapping[str, Any],
    shape: Shape,
    clock: Clock,
    verbose: int,
) -> tuple[list[Trial], bool]:
    """Try members in turn: their trials, and whether the user has stopped it.

    A member that fails, or that there is no time for, has a status that says so.
    """
    trials: list[Trial] = []
    progress = tqdm(total=len(members), disable=not verbose, desc="auto", unit="member")
    try:
        for member in members:
            trial = Trial(member)
            trials.append(trial)
            progress.set_postfix(trying=member.name, best=_leader(trials, asked))
            _try(trial, trials, rounds, asked, reader, tables, shape, clock)
            progress.update()
            if trial.warning.startswith("fit was interrupted"):
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not any(trial.knots is not None for trial in trials):
            raise
        if trials[-1].knots is None:
            trials[-1].status = "interrupted"
        trials += [Trial(member, "not tried: fit was interrupted") for member in members[len(trials) :]]
        return trials, True
    finally:
        progress.close()
    return trials, False


def _leader(trials: Sequence[Trial], asked: Asked) -> str:
    done = [trial for trial in trials if trial.knots is not None]
    return min(done, key=lambda trial: _error(trial, asked)).member.name if done else "-"


def _error(trial: Trial, asked: Asked, rows: np.ndarray | slice = slice(None)) -> float:
    """Mean absolute error of the median: enough to tell who leads."""
    knots = trial.knots if trial.knots is not None else trial._parts[0]
    off = np.abs(asked.truth[rows] - knots[..., LEVELS.index(0.5)])
    return float(np.nanmean(off)) if np.isfinite(off).any() else math.inf


def _try(
    trial: Trial,
    trials: Sequence[Trial],
    rounds: Sequence[Round],
    asked: Asked,
    reader: Any,
    tables: Mapping[str, Any],
    shape: Shape,
    clock: Clock,
) -> None:
    """Fit a member in each round and ask it; set its status where that comes to nothing."""
    member = trial.member
    trial.status = member.unsuited(shape) or trial.status
    if trial.status != "ok":
        return
    done = [other for other in trials if other.knots is not None]
    # what can be told to stop is not fitted again, unless there is time: it is better for learning longer
    favourites = sorted(done, key=lambda other: _error(other, asked))[:FAVOURITES]
    refits = [other.member.share_again * other.fit_seconds for other in favourites if not other.member.can_stop]
    left = max(clock.left() - GROWTH * sum(refits) - clock.choosing, 0.0)
    n_fits = sum(not of_round.learns_longer for of_round in rounds) + (not member.can_stop)
    is_baseline = getattr(member.estimator, "is_baseline", False)
    is_timed = math.isfinite(left) and bool(done)
    most = left if is_timed else math.inf
    if is_timed and not is_baseline:
        learned = [sum(map(len, one.train.times)) for one in rounds if not one.learns_longer]
        fits = [member.expected_seconds(replace(shape, n_rows=n_rows)) for n_rows in learned]
        expected = sum(fits) + member.share_again * member.expected_seconds(shape)
        trial.max_seconds = IN_TRAINING * member.share * left / n_fits if member.can_stop else math.inf
        if member.goes_on:
            trial.max_seconds = MOST_AT_ONCE * left / len(learned)
        if member.can_stop and "events" in tables_of(member.estimator, tables):
            trial.max_seconds *= 0.5  # responses to doses are tried besides
        if expected > left or trial.max_seconds < SHORTEST or not left:
            trial.status = f"no time: {left:.0f} s were left" + (f", and {expected:.0f} needed" if expected else "")
            return
        is_first = all(getattr(other.member.estimator, "is_baseline", False) for other in done)
        most = left if member.can_stop or expected or is_first else MOST_AT_ONCE * left
    try:
        with warnings.catch_warnings(record=True) as told, deadline(most):
            warnings.simplefilter("always", TsodeWarning)
            own, columns = tables_of(member.estimator, tables), (reader.settings.id_col, reader.settings.time_col)
            for k, of_round in enumerate(rounds):
                if not of_round.learns_longer or _is_worth_it(trial, clock):
                    started = time.perf_counter()
                    trial.fitted = member.fresh(trial.max_seconds).fit(write_long(of_round.train, *columns), **own)
                    trial.fit_seconds = max(trial.fit_seconds, time.perf_counter() - started)
                started = time.perf_counter()
                trial._parts += _answers(trial.fitted, of_round.questions, reader, own)
                trial.predict_seconds += time.perf_counter() - started
                if k == 0 and len(rounds) > 1 and not rounds[1].learns_longer and done and not is_baseline:
                    first = asked.round_of == 0
                    parts, trial._parts = trial._parts, [np.concatenate(trial._parts)]
                    mine = _error(trial, asked, first)
                    trial._parts = parts
                    best = min(_error(_head(o, first), asked, first) for o in done)
                    if mine > HOPELESS * best:
                        trial.status = (
                            f"beaten in the first of {len(rounds)} rounds: error {mine / best:.2f} x the best"
                        )
                        return
        knots = np.concatenate(trial._parts)
    except Overdue:
        trial.status = f"no time: stopped after {most:.0f} s"
        return
    except (DataError, ParameterError) as error:
        trial.status, trial.refusal = f"does not apply: {_first_words(error)}", error
        return
    except Exception as error:  # whatever a member does, the others go on
        trial.status = f"failed: {type(error).__name__}: {_first_words(error)}"
        return
    finally:
        trial.warning = next((str(w.message) for w in told), "")
        trial._parts = []
    is_seen = ~np.isnan(asked.truth)
    n_failed = int((is_seen & ~np.isfinite(knots).all(axis=2)).sum())
    if n_failed > MOST_FAILED * is_seen.sum():
        trial.status = f"failed: no forecast of {n_failed} of {int(is_seen.sum())} values"
        return
    trial.knots = knots


def _is_worth_it(trial: Trial, clock: Clock) -> bool:
    """Whether to fit once more with more of the series; what was fitted before reads these as histories otherwise."""
    left = clock.left()
    return math.isinf(left) or (not trial.member.can_stop and trial.fit_seconds <= AGAIN * left)


def _first_words(error: Exception) -> str:
    """The first line of a message, as far as it fits into a table."""
    line = str(error).split("\n")[0]
    return line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS].rsplit(' ', 1)[0]} ..."


def _head(trial: Trial, rows: np.ndarray) -> Trial:
    assert trial.knots is not None
    return Trial(trial.member, knots=trial.knots[rows])


def refit(trial: Trial, data: tuple[Any, Any], tables: Mapping[str, Any], clock: Clock) -> bool:
    """Fit a member on all data, if there is time for it: whether that was done.

    Otherwise the one of the last round stays: histories are run over by it all the same.
    """
    left = clock.left()
    if math.isfinite(left) and trial.member.share_again * trial.fit_seconds > max(left, 1.0):
        return False
    own = tables_of(trial.member.estimator, tables)
    try:
        with warnings.catch_warnings(record=True) as told, deadline(max(left, 1.0)):
            warnings.simplefilter("always", TsodeWarning)
            started = time.perf_counter()
            trial.fitted = trial.member.fit_again(trial.fitted, trial.max_seconds, *data, **own)
            trial.fit_seconds = max(trial.fit_seconds, time.perf_counter() - started)
    except (Exception, Overdue):  # it was fitted on nearly the same before
        return False
    if any(str(warning.message).startswith("fit was interrupted") for warning in told):
        raise KeyboardInterrupt  # which a network takes for the end of its training
    return True


def tables_of(estimator: Any, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the tables that are there, and that a forecaster reads."""
    is_read = {"events": estimator.reads_events, **dict.fromkeys(("static", "known"), estimator.reads_covariates)}
    return {name: table for name, table in tables.items() if table is not None and is_read[name]}


def _answers(fitted: Any, questions: Iterable[Question], reader: Any, tables: Mapping[str, Any]) -> list[np.ndarray]:
    """Quantiles (n c k) of each question, on the scale of the reader."""
    id_col, time_col = reader.settings.id_col, reader.settings.time_col
    answers = []
    for question in questions:
        future, past = (write_long(part, id_col, time_col) for part in (question.future, question.past))
        table = fitted.predict_quantiles(future, context=past, quantiles=LEVELS, **tables)
        columns = [[f"{name}-q-{level:g}" for level in LEVELS] for name in reader.targets]
        values = np.stack([table[of_channel].to_numpy(dtype=np.float64) for of_channel in columns], axis=1)
        shift, scale = (part[: len(columns), None] for part in (reader.scaler.shift, reader.scaler.scale))
        answers.append((values - shift) / scale)
    return answers
