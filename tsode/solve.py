"""Solution of known dynamics through scheduled events: a plain function in, a frame of states out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._registry import Part, as_part, build, lookup
from tsode.core.status import Status
from tsode.errors import DataError, ParameterError, ShapeError, SolverError
from tsode.frames.meeting import check_meeting
from tsode.frames.schedule import Schedule, read_schedule
from tsode.frames.table import ID_COL, TIME_COL
from tsode.numerics import SOLVERS, Switching
from tsode.numerics.base import Solver, VectorField
from tsode.numerics.diagnosis import diagnose
from tsode.numerics.scheduled_events import ScheduledSolution, solve_scheduled
from tsode.numerics.surfaces import Trigger

SIDES = {"before": 0, "after": 2**31}  # as numbers of events

__all__ = ["TIGHT", "find_crossings", "solve", "solve_schedule"]

# Tight enough that what is printed of a state is right; many steps, as an input may go on for years.
TIGHT = Switching(rtol=1e-10, atol=1e-12, max_steps=10_000)


def solve(
    field: VectorField,
    z0: Any,
    times: Any,
    *,
    events: Any = None,
    states: Sequence[Hashable] | None = None,
    t0: Any = None,
    time_unit: Any = None,
    solver: str | Part | Solver = TIGHT,
    side: Any = "before",
    triggers: Sequence[Trigger] = (),
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Solve known dynamics through events at known times, and at those that the state sets off.

    The solver stops at each series' own events exactly, applies them and starts again; an infusion is an input to its
    target's right-hand side from its begin to its end. Series do not see each other. A field that is affine in the
    state and does not read the time is solved exactly, by the matrix exponential, where the solver is the default, a
    `Dopri5` or a `Tsit5`.

    Parameters
    ----------
    field : callable
        Right-hand side ``dz/dt = field(t, z)``: ``t`` (b,), ``z`` (b d) -> (b d), float64 tensors, one row a series in
        the order of `Schedule.ids`. It may hold tensors with one entry a series.
    z0 : number, array, tensor or dict
        States at `t0`, before any event: one vector (d,) for every series, one row a series (b d), a dict of state to
        number, or a dict of id to vector or to such a dict. A number is that of every state.
    times : array of times, dict of id to times, or frame
        When the states are asked for. A frame has a row for each answer and may have other columns, which are not
        read; without the column `id_col` its times are asked of every series, as those of an array are.
    events : DataFrame, polars frame or EventTable, optional
        See `tsode.frames.EventTable`. Targets are names in `states`, or places in the state counted from 0. A reset
        sets all states to zero and ends running infusions, as in NONMEM (EVID 3 and 4). A steady state is found by
        Newton's method on one interval; of a field that reads the time, on the one before the event. A state that no
        slope reads and no dose goes into (an area under the curve) has none, and stays as it is.
    states : sequence of label, optional
        Names of the states; default: the keys of `z0` if it is a dict of states, else "state_0", "state_1", ...
    t0 : time, or dict of id to time, optional
        When `z0` holds; default: the first of a series' own events and asked times. Nothing may be before it.
    time_unit : duration such as "1h", optional
        One unit of the field's time, where times are datetimes or timedeltas: needed there. Numbers are the field's
        time as they are; timedeltas are counted from zero, datetimes from the first time of all (`t0` included).
    solver : Solver, str or Part
        By default one that finds out for each series whether it is stiff, `tsode.numerics.Switching`. By name, as
        "rodas4" or ``part("rk4", max_step=0.1)``, an adaptive one has the tolerances of the default where none are
        given. Of fixed steps give `max_step`: they are laid out anew from every event.
    side : {"before", "after"}, or array[n] of these or of whole numbers
        What is answered at the time of an event: the state before the first event of that time, or after the last; a
        number is after so many of them. An array has one entry a row of the answer, as
        `tsode.frames.observations_from_nonmem` gives them.
    triggers : sequence of tsode.Trigger
        Surfaces at which the state jumps: a floor, a threshold. After a terminal one a series stands still;
        `find_crossings` says when they were met.
    id_col, time_col : label

    Returns
    -------
    DataFrame
        ``id_col``, ``time_col`` and a column a state; one row a time asked for, in the order and with the index of
        `times`. Of an array: series by series. Its ``attrs["solver"]`` has the solver, and for each series its steps
        (``n_steps``) and changes between an explicit and an implicit method (``n_switches``).

    Raises
    ------
    DataError, ParameterError
        If an argument cannot be read; if one time is asked for, other than 0, and nothing says when `z0` holds.
    SolverError
        If a series did not get to its last time, or has no steady state; it is named. A `ZenoError` where triggers are
        met without end. A reset that holds the state on a surface, against a field that drives it through, must also
        set a state (a mode) by which the field knows that it has to rest there.

    See Also
    --------
    solve_schedule : the same as a tensor, through which gradients go.
    tsode.diagnostics.state_sensitivities : derivatives of states by their start and by parameters.
    find_crossings : when triggers were met.

    Examples
    --------
    Two doses into one compartment, eliminated at a rate of 0.1 an hour:

    >>> import pandas as pd
    >>> doses = pd.DataFrame({"ds": [0.0], "target": ["drug"], "amount": [100.0], "every": 12.0, "n_more": 1})
    >>> solve(lambda t, z: -0.1 * z, {"drug": 0.0}, [6.0, 12.0, 24.0], events=doses).round(3)
       unique_id    ds    drug
    0          0   6.0  54.881
    1          0  12.0  30.119
    2          0  24.0  39.191
    """
    names = _name_states(z0) if states is None else states
    schedule = read_schedule(
        times, events, states=names, ids=_ids_of(z0, names), t0=t0, time_unit=time_unit, id_col=id_col,
        time_col=time_col,
    )  # fmt: skip
    with torch.no_grad():
        solution = _solve(field, z0, schedule, solver, _read_side(side, schedule), triggers)
        values = _asked(solution, schedule)
    if t0 is None and events is None:
        _check_has_span(schedule, time_col)
    columns = pd.DataFrame(values.numpy(), schedule.answers.index, pd.Index(schedule.states, tupleize_cols=False))
    answers = pd.concat([schedule.answers, columns], axis=1)
    counts = {"n_steps": solution.n_steps, "n_switches": solution.n_switches}
    told = {name: dict(zip(schedule.ids, count.tolist())) for name, count in counts.items()}
    answers.attrs["solver"] = {"solver": repr(solver), **told}
    return answers


def find_crossings(
    field: VectorField,
    z0: Any,
    until: Any,
    triggers: Sequence[Trigger],
    *,
    events: Any = None,
    states: Sequence[Hashable] | None = None,
    t0: Any = None,
    time_unit: Any = None,
    solver: str | Part | Solver = TIGHT,
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Find the times at which the state of known dynamics meets surfaces, and how it jumps there.

    Parameters
    ----------
    field, z0, events, states, t0, time_unit, solver, id_col, time_col
        As in `solve`.
    until : time, or dict of id to time
        To when it is solved.
    triggers : sequence of tsode.Trigger

    Returns
    -------
    DataFrame
        A row for each crossing, by series and time: ``id_col``, ``time_col``, ``trigger`` (its place in `triggers`),
        the states before and after as ``name-before``, ``name-after``, and ``is_grazing``, see
        `tsode.numerics.crossings.Crossings`.

    Raises
    ------
    ZenoError
        If crossings accumulate; the error names the series and the time.
    SolverError
        As in `solve`.

    Warns
    -----
    TsodeWarning
        If a surface swings so fast that crossings may have been missed. Its pulses that last less than a twentieth of a
        step are not seen: give the solver a `max_step` for them.

    Examples
    --------
    >>> import torch
    >>> from tsode import Trigger
    >>> fall = lambda t, z: torch.stack([z[:, 1], torch.full_like(z[:, 1], -9.81)], dim=1)
    >>> bounce = Trigger(lambda t, z: z[:, 0], direction=-1, reset=lambda t, z: z * torch.tensor([0.0, -0.8]))
    >>> met = find_crossings(fall, {"height": 1.0, "speed": 0.0}, 2.0, [bounce], t0=0.0)
    >>> met["ds"].round(6).tolist()
    [0.451524, 1.173961, 1.751912]
    """
    names = _name_states(z0) if states is None else states
    schedule = read_schedule(
        until, events, states=names, ids=_ids_of(z0, names), t0=t0, time_unit=time_unit, id_col=id_col,
        time_col=time_col,
    )  # fmt: skip
    with torch.no_grad():
        solution = _solve(field, z0, schedule, solver, "after", triggers)
    rows: list[tuple[Tensor, ...]] = []
    for met in solution.crossings:
        row, place = met.event_times.isfinite().nonzero(as_tuple=True)
        columns = (met.event_times, met.event_index, met.is_grazing, met.z_minus, met.z_plus)
        rows.append((row, *(column[row, place] for column in columns)))
    row, t, index, is_grazing, before, after = (torch.cat(part) for part in zip(*rows))
    order = np.lexsort((t.numpy(), row.numpy()))
    row, t, index, is_grazing, before, after = (part[order] for part in (row, t, index, is_grazing, before, after))
    table = {
        id_col: pd.Index(schedule.ids, tupleize_cols=False)[row.numpy()],
        time_col: schedule.to_native(t.numpy()),
        "trigger": index.numpy(),
    }
    for k, name in enumerate(schedule.states):
        table |= {f"{name}-before": before[:, k].numpy(), f"{name}-after": after[:, k].numpy()}
    return pd.DataFrame({**table, "is_grazing": is_grazing.numpy()})


def solve_schedule(
    field: VectorField,
    z0: Any,
    schedule: Schedule,
    *,
    solver: str | Part | Solver = TIGHT,
    side: Any = "before",
    triggers: Sequence[Trigger] = (),
) -> Tensor:
    """States at the times asked for, as a tensor that gradients go through.

    Differentiable by `z0`, by ``schedule.events.amount`` and by whatever `field` and `triggers` hold; through a steady
    state, and the times at which triggers are met, by the implicit function theorem.

    Parameters
    ----------
    field, z0, solver, side, triggers
        As in `solve`.
    schedule : Schedule
        From `tsode.frames.read_schedule`.

    Returns
    -------
    Tensor[n d], float64
        In the order of ``schedule.answers``.

    Raises
    ------
    SolverError
        As in `solve`.
    """
    return _asked(_solve(field, z0, schedule, solver, _read_side(side, schedule), triggers), schedule)


def _asked(solution: ScheduledSolution, schedule: Schedule) -> Tensor:
    """States (n d) in the order of the answers."""
    return solution.z[schedule.row, schedule.column]


def _read_solver(spec: str | Part | Solver) -> Solver:
    """The solver meant; of one that is named what is not said of its tolerances is that of `TIGHT`."""
    if isinstance(spec, Solver):
        return spec
    named = as_part(spec)
    settings = {setting.name for setting in fields(lookup(SOLVERS, named.name, "solver"))}  # type: ignore[arg-type]
    usual = {name: getattr(TIGHT, name) for name in ("rtol", "atol", "max_steps") if {"rtol", name} <= settings}
    return build(SOLVERS, Part(named.name, (*usual.items(), *named.settings)), "solver")


def _solve(
    field: VectorField, z0: Any, schedule: Schedule, solver: str | Part | Solver, side: str | Tensor,
    triggers: Sequence[Trigger],
) -> ScheduledSolution:  # fmt: skip
    """Solve, and raise one named error for all series that failed."""
    start = _read_states(z0, schedule.ids, schedule.states)
    _check_field(field, schedule.t0, start)
    made = _read_solver(solver)
    solution = solve_scheduled(
        field, start, schedule.t0, schedule.times, schedule.events, made, side, triggers=triggers
    )
    for met in solution.crossings:
        replace(met, status=torch.where(met.status >= Status.ZENO, met.status, 0)).checked(schedule.ids)
    _check_status(solution, field, made, schedule)
    return solution


def _read_side(side: Any, schedule: Schedule) -> str | Tensor:
    """A word for all answers, or for each time (b m) the number of events that it comes after."""
    if isinstance(side, str) and side in SIDES:
        return side
    entries = [side] if np.ndim(side) == 0 else [SIDES.get(x, x) if isinstance(x, str) else x for x in side]
    unknown = [x for x in entries if isinstance(x, bool) or not (isinstance(x, int | np.integer) and x >= 0)]
    if unknown or np.ndim(side) == 0:
        raise ParameterError(
            f"side={(unknown or entries)[0]!r} is not known: it is 'before' or 'after' the events of a time, or an "
            "array that has for each answer one of these, or how many events it comes after."
        )
    if len(entries) != len(schedule.row):
        raise ParameterError(f"side has {len(entries)} entries, but there are {len(schedule.row)} answers: one each.")
    if len(set(entries)) == 1 and entries[0] in SIDES.values():
        return next(word for word, count in SIDES.items() if count == entries[0])
    counts = torch.zeros(schedule.times.shape, dtype=torch.int64)
    counts[schedule.row, schedule.column] = torch.tensor([int(x) for x in entries])
    return counts


def _is_by_state(z0: Any, states: Sequence[Hashable] | None = None) -> bool:
    """Whether a dict is of states, not of ids: its values are numbers, and where the states are known it names one."""
    return (
        isinstance(z0, Mapping)
        and all(np.ndim(value) == 0 and not isinstance(value, Mapping) for value in z0.values())
        and (states is None or not set(z0).isdisjoint(states))
    )


def _name_states(z0: Any) -> list[Hashable]:
    if _is_by_state(z0):
        return list(z0)
    if isinstance(z0, Mapping) and z0:
        return _name_states(next(iter(z0.values())))
    width = 1 if np.ndim(z0) == 0 else np.shape(z0)[-1]
    return [f"state_{k}" for k in range(width)]


def _ids_of(z0: Any, states: Sequence[Hashable]) -> list[Hashable] | None:
    """The series that the initial states tell of."""
    if isinstance(z0, Mapping):
        return None if _is_by_state(z0, states) else list(z0)
    return list(range(np.shape(z0)[0])) if np.ndim(z0) == 2 and np.shape(z0)[0] > 1 else None


def _read_states(z0: Any, ids: list[Hashable], states: Sequence[Hashable]) -> Tensor:
    """Initial states, (b d) float64."""
    if isinstance(z0, Mapping) and not _is_by_state(z0, states):
        check_meeting(ids, z0, "z0= has nothing for series {}", of="z0=")
        return torch.cat([_read_states(z0[label], [label], states) for label in ids])
    if isinstance(z0, Mapping):
        for name in [*z0, *states]:
            if name not in z0 or name not in states:
                raise DataError(f"z0= and states= must name the same states, but only one of them has {name!r}.")
        values = [torch.as_tensor(z0[name], dtype=torch.float64) for name in states]
        return torch.stack([value.expand(len(ids)) for value in values], dim=1)
    z = z0.double() if isinstance(z0, Tensor) else torch.from_numpy(np.array(z0, dtype=np.float64))
    if z.dim() > 2 or (z.dim() and z.shape[-1] != len(states)) or (z.dim() == 2 and z.shape[0] not in (1, len(ids))):
        raise ShapeError(
            f"z0 has shape {tuple(z.shape)}, but there are {len(ids)} series of {len(states)} states {list(states)}: "
            f"give ({len(states)},) for all, or ({len(ids)}, {len(states)})."
        )
    if not z.detach().isfinite().all():
        raise DataError("z0 holds NaN or infinity: the state must be known where it starts.")
    return z.expand(len(ids), len(states))


def _check_field(field: VectorField, t: Tensor, z: Tensor) -> None:
    """Ask the field once: what it gives must have the shape of the state."""
    with torch.no_grad():
        slope = field(t, z)
    if not isinstance(slope, Tensor) or slope.shape != z.shape:
        came = f"shape {tuple(slope.shape)}" if isinstance(slope, Tensor) else f"a {type(slope).__name__}"
        raise ShapeError(
            f"field(t, z) must give a tensor of the shape of z, {tuple(z.shape)}, but gives {came}: with "
            "`a, b = z.unbind(-1)` for instance `torch.stack([-a, a - b], dim=-1)`."
        )


def _check_status(solution: ScheduledSolution, field: VectorField, solver: Solver, schedule: Schedule) -> None:
    """Raise one error for all series that failed, which says of the worst one what, when, and what helps."""
    first = solution.failure.status
    status = torch.where(first == Status.OK, solution.status, first)
    failed = status.nonzero()[:, 0].tolist()
    if not failed:
        return
    row = int(status.argmax())
    when = schedule.to_native(solution.failure.t.numpy())[row]
    said = diagnose(
        field, row, Status(int(status[row])), solution.failure, schedule.times[row].max(), int(solution.n_steps[row]),
        solver, schedule.states, f"{when:.6g}" if isinstance(when, float) else str(when),
    )  # fmt: skip
    others = [repr(schedule.ids[other]) for other in failed if other != row]
    listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    raise SolverError(
        f"The solution of series {schedule.ids[row]!r} {said}."
        + f" Nor did series {listed} reach the end." * bool(others)
    )


def _check_has_span(schedule: Schedule, time_col: Hashable) -> None:
    """Raise a `ParameterError` if every series is asked for its start alone, unless that is time 0."""
    asked = schedule.answers[time_col]
    if len(asked) and bool((schedule.times == schedule.t0[:, None]).all()) and not (asked == 0).all():
        raise ParameterError(
            f"One time is asked for ({asked.iloc[0]}), and nothing says when z0 holds, so the answer would be z0: "
            "say since when it holds, such as t0=0.0."
        )
