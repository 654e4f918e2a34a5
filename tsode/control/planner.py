"""Planner: amounts and times of future events, and values of inputs, through the posterior of a forecaster."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode._isolation import isolated
from tsode._random import new_generator
from tsode.control.actions import Doses, Input
from tsode.control.asked import Asked, Tables, read_asked
from tsode.control.chosen_slots import choose_slots, is_choice_free
from tsode.control.linear_search import descend_by_differences, linearised_at
from tsode.control.objective import Kept, Objective, Requirement
from tsode.control.plan_result import Plan
from tsode.control.problem import Candidate, Problem
from tsode.control.response import Response, check_read, superposed
from tsode.control.rounding import rounded
from tsode.control.scene import find_name
from tsode.control.search import best_starts, descend, gradients_at, merit, polished
from tsode.control.signal_response import SignalResponse
from tsode.control.system_response import SystemResponse, steered_columns
from tsode.errors import DataError, InfeasiblePlanError, ParameterError
from tsode.estimators.forecasters.linear_sde import LinearSDEForecaster
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.estimators.known_sde.forecaster import KnownSDEForecaster
from tsode.frames.index import restore_times

__all__ = ["plan", "replan"]

_OBSERVATIONAL = (
    "The effect of the actions was learned from observed treatment, which is not the effect of causing them unless "
    "treatment was given at random, or for reasons that the model sees."
)
_LEVELS = (50.0, 90.0)
_NEAR = 0.1  # of the scale of an amount: how far the last steps trust a linearisation


def plan(
    forecaster: Any,
    objective: Objective,
    *,
    actions: Any,
    constraints: Requirement | Sequence[Requirement] = (),
    X: Any = None,
    context: Any = None,
    events: Any = None,
    static: Any = None,
    known: Any = None,
    horizon: Any = None,
    times: Any = None,
    series: Hashable = None,
    n_draws: int = 200,
    random_state: Any = None,
    acknowledge_observational: bool = False,
    if_infeasible: str = "raise",
) -> Plan:
    """Find amounts and times of future events, or values of an input, that are best through the posterior.

    All candidates are judged by the same draws: of parameters and individual effects for known systems, given the rows
    of the series; of whole paths with the same random numbers for other forecasters. The search goes by gradients from
    several starts: through the solve of a known system, where its costate is found by automatic differentiation (the
    conditions that it ends in are those of the maximum principle, E, Han & Li 2018, eqs. 2-4, for the mean over the
    draws), or by superposition of the effects of single doses where paths are found to be affine in the amounts. Then
    amounts are rounded to available ones by a search on the draws themselves.

    Parameters
    ----------
    forecaster : fitted forecaster
        `KnownODEForecaster`, with populations too, `KnownSDEForecaster` and `LinearSDEForecaster` with its components;
        others with `acknowledge_observational`.
    objective : TargetRange, Tracking, ExpectedCost or Objective
        What is made small.
    actions : Doses, Input or list of these
        What may be done.
    constraints : ChanceLimit, TargetRange or list of these
        What has to be kept.
    X, context, static, known
        As in `predict`. A `context` is the history of the series, with the rows of fit unless it is new.
    events : DataFrame or EventTable
        Events given so far, those of fit too.
    horizon, times
        How far the plan looks, from the last row of the series on: a length, or one time; or the times themselves at
        which paths are looked at, in place of 96 even ones and those just before and after doses.
    series : label, optional
        Which series the plan is for, where there are several.
    n_draws : int
        Draws; a probability of ``p`` is known to ``sqrt(p (1 - p) / n_draws)``.
    random_state : int, generator or None
    acknowledge_observational : bool
        Plan with a forecaster whose effects of events were learned: what it says of doses is how series differ in which
        they were given, not what giving them does.
    if_infeasible : {"raise", "closest"}
        Whether an InfeasiblePlanError is raised where no plan keeps what was asked, whose ``closest`` is the plan that
        comes nearest, or that one is returned.

    Returns
    -------
    Plan

    Raises
    ------
    InfeasiblePlanError
        If no plan that was found keeps what was asked.
    UnreadActionError
        If an action is nothing that the model reads.
    ParameterError, DataError
        If the question cannot be read.

    References
    ----------
    W. E, J. Han and Q. Li, A mean-field optimal control formulation of deep learning, arXiv:1807.01083 (2018).
    L. S. Pontryagin et al., The mathematical theory of optimal processes, Interscience (1962).

    Examples
    --------
    >>> import pandas as pd
    >>> from tsode import KnownODEForecaster
    >>> from tsode.control import Doses, TargetRange, plan
    >>> from tsode.systems import one_compartment_iv
    >>> levels = pd.DataFrame({"ds": [2.0, 8.0], "concentration": [7.5, 4.0]})
    >>> given = pd.DataFrame({"ds": [0.0], "target": ["central"], "amount": [90.0]})
    >>> body = one_compartment_iv(clearance=1.0, volume=10.0, spread=0.3).with_(parameters={"sd": 0.2, "cv": 0.1})
    >>> model = KnownODEForecaster(system=body, random_state=0).fit(levels, events=given)
    >>> doses = Doses([8.0, 16.0, 24.0], "central", high=100.0, available=10.0)
    >>> found = plan(model, TargetRange("concentration", 3.0, 9.0, 0.5), actions=doses, events=given, times=32.0,
    ...              random_state=0)
    >>> found.status, len(found.doses)
    ('kept', 3)
    """
    asks = [constraints] if isinstance(constraints, Requirement) else list(constraints)
    _check(forecaster, objective, asks, n_draws, if_infeasible, acknowledge_observational)
    tables = Tables(context, events, static, known)
    asked = read_asked(forecaster, actions, X, times, horizon, tables, series)
    return _plan(asked, objective, asks, actions, n_draws, new_generator(random_state), if_infeasible)


def replan(
    old: Plan, X: Any = None, *, given: Any = None, actions: Any = None, times: Any = None, horizon: Any = None,
    random_state: Any = None,
) -> Plan:  # fmt: skip
    """Plan the rest anew after new rows of the series: those seen so far stay, and so do doses already given.

    Parameters
    ----------
    old : Plan
    X : container of rows, optional
        New rows of the series, after those that the plan knew.
    given : DataFrame or EventTable, optional
        Events as they really were, in place of those that were planned up to the last new row.
    actions : Doses, Input or list of these, optional
        What may be done from now on; by default what was allowed, as far as it lies ahead.
    times, horizon
        As in `plan`; by default the plan ends when the old one does.
    random_state : int, generator or None

    Returns
    -------
    Plan

    Examples
    --------
    A level comes in, and ``old.replan(level)`` or ``replan(old, level)`` gives the doses from there on.
    """
    return old.replan(X, given=given, actions=actions, times=times, horizon=horizon, random_state=random_state)


def _check(
    forecaster: Any, objective: Any, asks: Sequence[Any], n_draws: int, if_infeasible: str, acknowledged: bool
) -> None:
    if not hasattr(forecaster, "_signals"):
        raise ParameterError(f"plan needs a forecaster with joint paths, but got {type(forecaster).__name__}.")
    forecaster._check_fitted()
    if not isinstance(objective, Objective):
        raise ParameterError(
            f"objective={objective!r} is no objective: give TargetRange(...), Tracking(...) or ExpectedCost(...)."
        )
    for one in asks:
        if not isinstance(one, Requirement):
            raise ParameterError(f"constraints= has {one!r}: give ChanceLimit(...) or TargetRange(...).")
    if if_infeasible not in ("raise", "closest"):
        raise ParameterError(f"if_infeasible={if_infeasible!r} must be 'raise' or 'closest'.")
    if isinstance(n_draws, bool) or not n_draws >= 2:
        raise ParameterError(f"n_draws={n_draws!r} must be 2 or more.")
    if not _is_causal(forecaster) and not acknowledged:
        raise ParameterError(
            f"{type(forecaster).__name__} has learned what events do from series in which they were given. "
            f"{_OBSERVATIONAL} Pass acknowledge_observational=True to plan with it all the same, or use a known system."
        )


def _is_causal(forecaster: Any) -> bool:
    return isinstance(forecaster, KnownODEForecaster | KnownSDEForecaster | LinearSDEForecaster)


def _respond(asked: Asked, n_draws: int, generator: torch.Generator) -> Response:
    """The response of the forecaster."""
    forecaster, slots = asked.forecaster, asked.slots
    steered = steered_columns(slots, forecaster.reader_.covariates)
    inputs = asked.inputs()
    at = np.clip(np.zeros(len(slots)), slots.low, slots.high)
    if isinstance(forecaster, KnownODEForecaster):
        panel = asked.panel_under(None, asked.known(at) if steered else None)
        density, u, _ = forecaster._standing(asked.query, panel)
        chosen = torch.randperm(u.shape[1], generator=generator)[:n_draws]
        return SystemResponse(density, u[:, chosen], slots, inputs, asked.clock, steered)
    if slots.shift.any():
        raise ParameterError(
            f"shift= needs paths with gradients by times, which {type(forecaster).__name__} does not have: name the "
            "times that are allowed in times=, with n_most= or apart=."
        )
    seed = int(torch.randint(0, 2**62, (), generator=generator))

    def draw(amounts: np.ndarray, shifts: np.ndarray | None) -> np.ndarray:
        panel = asked.panel_under(asked.events(amounts, shifts), asked.known(amounts) if steered else None)
        drawn = forecaster._signals(asked.query, panel, n_draws, new_generator(seed))
        return np.concatenate([signal.paths for _, signals in drawn for signal in signals])

    return SignalResponse(draw, forecaster.channels_, asked.clock, n_draws)


def _plan(
    asked: Asked, objective: Objective, asks: list[Requirement], actions: Any, n_draws: int,
    generator: torch.Generator, if_infeasible: str,
) -> Plan:  # fmt: skip
    with isolated():
        response = _respond(asked, n_draws, generator)
        problem = Problem(response, objective, asks, asked.slots, np.zeros(len(asks)))
        for name in objective.names():
            find_name(name, response.names)
        looked_at = [*asked.forecaster.channels_, *objective.names()]
        found, residual = _nothing(asked), 0.0
        if len(asked.slots):
            found, residual = _search(problem, list(dict.fromkeys(looked_at)), generator)
        kept = problem.kept(found)
        result = _result(asked, problem, found, kept, residual)
    result = replace(result, _again=partial(_again, asked, objective, asks, actions, n_draws, if_infeasible, found))
    if result.status != "kept" and if_infeasible == "raise":
        missed = "; ".join(
            f"{one.what}: {one.planned:.3g}, asked {'at most' if one.is_most else 'at least'} {one.stated:.3g}"
            for one in kept
            if not one.is_kept
        )
        raise InfeasiblePlanError(
            f"No plan that was found keeps what was asked ({missed or 'a limit on what is given'}). The closest is in "
            "this error's `closest` (or pass if_infeasible='closest'); widen the target, the bounds or the times of "
            "the actions, or state another probability.",
            result,
        )
    return result


def _nothing(asked: Asked) -> Candidate:
    k = len(asked.slots)
    at = np.clip(np.zeros(k), asked.slots.low, asked.slots.high)
    return Candidate(at, np.zeros(k), np.ones(k, dtype=bool))


def _search(problem: Problem, names: Sequence[Hashable], generator: torch.Generator) -> tuple[Candidate, float]:
    """The best candidate from all starts, of available amounts, and the residual before these were rounded."""
    slots = problem.slots
    affine, is_affine = superposed(problem.response, slots, generator)
    check_read(affine, slots, names)
    still = replace(problem, slots=replace(slots, shift=np.zeros(len(slots))))
    fast = still.by(affine) if is_affine else still
    go = partial(descend if is_affine else descend_by_differences, fast)
    guide = fast if problem.response.is_differentiable else still.by(affine)  # sampled paths are not for the asking
    starts = best_starts(guide, np.ones(len(slots), dtype=bool), generator)
    if not is_affine:
        starts = starts[:2]  # each step of theirs asks for paths anew
    largest = max(float(np.linalg.norm(gradients_at(still.by(affine), start).score)) for start in starts)
    best = go(starts)
    if not is_choice_free(slots):
        best = choose_slots(fast, best, go)
    # the last steps by superposition, and then by gradients of paths where there are any, of times too
    is_done = is_affine and not slots.shift.any()
    near = fast if is_affine else linearised_at(still, best, _NEAR)
    last, residual, margins = polished(near, best)
    if problem.response.is_differentiable and not is_done:
        last, residual, _ = polished(problem, min((last, best), key=partial(merit, problem)), margins)
    judge = fast if is_done else problem  # what a linearisation promised may not hold
    none = np.clip(np.zeros(len(slots)), slots.low, slots.high)
    nothing = replace(best, amounts=none, shifts=np.zeros(len(slots)))
    best = min((last, best, nothing), key=partial(merit, judge))
    best = rounded(fast if not slots.shift.any() else problem, best)
    return best, residual / largest if largest > 0.0 else residual


def _result(asked: Asked, problem: Problem, found: Candidate, kept: list[Kept], residual: float) -> Plan:
    slots = asked.slots
    shifts = found.shifts if slots.shift.any() else None
    nothing = _nothing(asked)
    before = problem.kept(nothing)
    rows = [
        {"what": one.what, "stated": one.stated, "planned": one.planned, "without": other.planned,
         "is_kept": one.is_kept}
        for one, other in zip(kept, before)
    ]  # fmt: skip
    columns = ["what", "stated", "planned", "without", "is_kept"]
    worth, worth_without = problem.worth(found), problem.worth(nothing)
    is_kept = all(one.is_kept for one in kept) and worth.excess <= 1e-6
    notes = [] if _is_causal(asked.forecaster) else [_OBSERVATIONAL]
    lost = getattr(problem.response, "n_lost", 0)
    if lost:
        notes.append(f"{lost} draws could not be solved under the largest doses and were left out.")
    with torch.no_grad():
        both = problem.response.paths(
            torch.from_numpy(np.stack([found.amounts, nothing.amounts])),
            None if shifts is None else torch.from_numpy(np.stack([shifts, np.zeros_like(shifts)])),
        ).numpy()
    return Plan(
        asked.series, asked.events(found.amounts, shifts), asked.known(found.amounts),
        asked.planned(found.amounts, shifts),
        slots.known(found.amounts, asked.series, asked.id_col, asked.time_col),
        _bands(asked, both[0]), _bands(asked, both[1]), pd.DataFrame(rows, columns=columns), worth.score,
        worth_without.score, residual, "kept" if is_kept else "closest", problem.response.n_draws, notes,
        _problem=problem, _candidate=found,
    )  # fmt: skip


def _bands(asked: Asked, paths: np.ndarray) -> pd.DataFrame:
    """Mean and bands of paths (s m c) of the observed channels."""
    table: dict[Hashable, Any] = {}
    if asked.id_col is not None:
        table[asked.id_col] = [asked.series] * paths.shape[1]
    table[asked.time_col] = restore_times(asked.native_times(), asked.panel.layout.time_dtype)
    for place, name in enumerate(asked.forecaster.channels_):
        table[name] = np.nanmean(paths[..., place], axis=0)
        for level in _LEVELS:
            ends = np.nanquantile(paths[..., place], [0.5 - level / 200.0, 0.5 + level / 200.0], axis=0)
            table[f"{name}-lo-{level:g}"], table[f"{name}-hi-{level:g}"] = ends
    return pd.DataFrame(table)


def _again(
    asked: Asked, objective: Objective, asks: list[Requirement], actions: Any, n_draws: int, if_infeasible: str,
    found: Candidate, X: Any, *, given: Any, actions_: Any, times: Any, horizon: Any, random_state: Any,
) -> Plan:  # fmt: skip
    """Plan the rest of a plan."""
    context, now = _with_rows(asked, X)
    slots = asked.slots
    shifts = found.shifts if slots.shift.any() else None
    when = slots.times + found.shifts
    is_done = slots.is_dose & (when < now)
    done = np.where(is_done | ~slots.is_dose, found.amounts, 0.0)
    events = asked.events(done, shifts) if given is None else given
    tables = Tables(context, events, asked.tables.static, asked.known(found.amounts))
    if actions_ is None:
        actions_ = _left(asked, is_done & (np.abs(found.amounts) > 1e-9 * slots.scale()), actions)
    if times is None and horizon is None:
        times = asked.slots.timeline.to_native(np.array([asked.until]))
        times = {asked.series: times} if asked.id_col is not None else times
    forecaster = _given_to(asked, events)
    later = read_asked(forecaster, actions_, None, times, horizon, tables, asked.series, drop_past=True)
    return _plan(later, objective, asks, actions_, n_draws, new_generator(random_state), if_infeasible)


def _given_to(asked: Asked, events: Any) -> Any:
    """The forecaster, that knows of all events of the series: by those of fit it would explain what came after them."""
    forecaster = asked.forecaster
    history = forecaster._panel
    if events is None or asked.series not in history.ids:
        return forecaster
    told = forecaster.reader_.encode_events(events, asked.panel, history).get(asked.series)
    inputs = {key: one for key, one in history.inputs.items() if key != asked.series}
    other = copy(forecaster)
    other._keep_histories(replace(history, inputs=inputs if told is None else {**inputs, asked.series: told}))
    return other


def _left(asked: Asked, is_given: np.ndarray, actions: Any) -> list[Doses | Input]:
    """Actions with as many doses as are left of those they allow."""
    left: list[Doses | Input] = []
    for place, action in enumerate([actions] if isinstance(actions, Doses | Input) else actions):
        if isinstance(action, Doses) and action.n_most is not None:
            n = action.n_most - int((is_given & (asked.slots.of == place)).sum())
            if n < 1:
                continue
            action = replace(action, n_most=n)
        left.append(action)
    return left


def _with_rows(asked: Asked, X: Any) -> tuple[pd.DataFrame, float]:
    """All rows of the series, the new ones too, as a table, and the last of their times in model time."""
    reader, panel = asked.forecaster.reader_, asked.panel
    row = panel.ids.index(asked.series)
    times, values = panel.times[row], panel.values[row]
    if X is not None:
        new = reader.read(X, beside=asked.forecaster._panel, name="X")
        if asked.id_col is not None and asked.series not in new.ids:
            raise DataError(f"X has no row of series {asked.series!r}, which the plan is for.")
        own = new.ids.index(asked.series) if asked.id_col is not None else 0
        times = np.concatenate([times, new.times[own]])
        values = np.concatenate([values, new.values[own]])
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    table: dict[Hashable, Any] = {} if asked.id_col is None else {asked.id_col: [asked.series] * len(times)}
    table[asked.time_col] = restore_times(times, panel.layout.time_dtype)
    frame = pd.DataFrame(table | {name: values[:, place] for place, name in enumerate(panel.channels)})
    seen = reader.timeline.to_model(times[~np.isnan(values).all(axis=1)])
    return frame, float(seen[-1]) if len(seen) else asked.now
