"""Continuation of fixed points and limit cycles along a parameter, with what happens on the way."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError, SolverError
from tsode.numerics.base import Solver
from tsode.stability.arclength import NEUTRAL, Curve, Point, correct, point_at
from tsode.stability.branches import Branches
from tsode.stability.cycle import SOLVER as CYCLE_SOLVER
from tsode.stability.cycle import limit_cycle
from tsode.stability.cycle_curve import born_cycle, cycle_start
from tsode.stability.family import Family, Scaling, as_family
from tsode.stability.fitted_branches import fitted_branches
from tsode.stability.fitted_points import around
from tsode.stability.fixed_points import fixed_points
from tsode.stability.flow import as_flow, read_states
from tsode.stability.forecasters import as_fitted
from tsode.stability.normal_form import normal_form
from tsode.stability.points import polish
from tsode.stability.rest_curve import RestCurve

__all__ = ["continuation"]

GOLDEN = (math.sqrt(5) - 1) / 2  # where in its part of the range a value is looked at: away from the round numbers
CRITICAL = 1e-6  # of the largest eigenvalue: no more than this beside the border of stability is neither


@torch.no_grad()
def continuation(
    system: Any, start: Any = None, bounds: tuple[float, float] = (0.0, 1.0), *, at: float | None = None,
    name: str = "p", of: str | None = None, box: Sequence[tuple[float, float]] | None = None, n_values: int = 5,
    period: float | None = None, names: Sequence[str] | None = None, scale: Sequence[float] | None = None,
    t: float = 0.0, max_step: float = 0.05, max_points: int = 500, switch: bool = True, n_intervals: int = 40,
    solver: Solver | None = None, random_state: Any = 0, series: Hashable = None,
) -> pd.DataFrame:  # fmt: skip
    """Branches of fixed points or of limit cycles along a parameter, with what happens on the way.

    A branch is followed by its arclength, both ways, until it leaves the range or closes, so that it goes round folds.
    Where the number of unstable directions, the way along the parameter or the side of a crossing branch changes, the
    place is refined by the test that vanishes there and verified by its eigenvalues.

    Parameters
    ----------
    system : callable or Map
        ``f(t, z, p)`` of ``t`` (b,), ``z`` (b d) and the parameter ``p`` (b,), by rows like the time: write
        ``p * z[:, 0]``, or ``p[:, None] * z``. A `Map` of ``step(z, p)``. Or a fitted `KnownODEForecaster`, whose
        parameter or input ``name`` it is: the branches of the median of its posterior.
    start : array[d], array[b d], dict or frame, optional
        States near fixed points; a frame of `fixed_points`, also with a column of the parameter. Of cycles: a frame of
        `limit_cycle`, a state near one, or the row of a Hopf point in a frame of this function.
    bounds : (low, high)
        Range of the parameter.
    at : float, optional
        The parameter at the start; by default the low end, or what the start's own column says.
    name : str
        Of the parameter.
    of : {"fixed points", "cycles"}, optional
        What is followed. The default is "cycles" where `start` is a frame of `limit_cycle` or a `period` is given.
    box : sequence of (low, high), optional
        One pair a coordinate: all fixed points in it, at `n_values` values of the parameter, are starts too. Each
        branch is followed once, so that those are found which no other leads to.
    period : float, optional
        A guess of a cycle's.
    names : sequence of str, optional
        Of the coordinates.
    scale : sequence of float, optional
        Sizes of the coordinates, by which a step is measured; by default those of the starts.
    t : float
        Time at which a field that reads it is looked at.
    max_step : float
        Longest step, where the range and the scales are 1. What happens and is undone within one is missed.
    max_points : int
        Of a branch, to each side of its start.
    switch : bool
        Whether branches that cross at branch points are followed too.
    n_intervals : int
        Pieces of a cycle at its start, a polynomial of degree 4 each, which move to where it is steep. There are more,
        up to ten times as many, where the multiplier along the cycle, 1, would be off by more than 1e-6.
    solver : Solver, optional
        By which a cycle is found at the start.
    random_state : int or Generator
        Of the starts in `box`.
    series : label, optional
        Of a forecaster, where series have fields of their own.

    Returns
    -------
    DataFrame
        A row a point, along each ``branch`` in its order: the parameter, the states (of a cycle its state at phase
        0), ``is_stable``, ``n_unstable`` (eigenvalues, or multipliers, beyond the border), ``max_real`` (largest real
        part, per unit of time; of maps and cycles ``max_modulus``), ``event``, ``arclength`` (of scaled unknowns).
        Of cycles also ``period``, ``min_`` and ``max_`` of each coordinate, ``multiplier_1``, ... (without the one
        along the cycle, which is 1) and ``trivial_error`` (of that one as computed; others smaller than it are only
        known to be small); of fixed points of a flow
        ``first_lyapunov_coefficient`` at Hopf points, as `normal_form` has it, NaN elsewhere.

        Events: "fold", "branch point" (transcritical or pitchfork: another branch crosses), "hopf", "neutral saddle"
        (two opposite real eigenvalues: no bifurcation, though the sum of a pair vanishes as at a Hopf point), and of
        maps and cycles "period doubling" and "torus"; "unresolved: ..." with the candidates where they could not be
        told apart. ``attrs["ends"]`` has a dict a branch: why it ends at its first and last row: "range", "closed",
        "branch" (at a branch point), "end" (at a cycle of no size, a Hopf point), "far" (ten thousand times the
        scales), "points" or "step" (Newton's method came no further, or a cycle grew too steep, as it does near a
        homoclinic orbit). Of draws from a posterior ``attrs["events"]`` has the events of the median with ``_q05`` and
        ``_q95`` of the parameter there, and ``share_of_draws`` with such.

    Raises
    ------
    ParameterError
        If a start is no root, nor leads to one; its residual and the nearest root that was found are told.
    SolverError
        If solutions are not isolated.

    References
    ----------
    Keller, "Numerical solution of bifurcation and nonlinear eigenvalue problems", 1977. Kuznetsov, "Elements of Applied
    Bifurcation Theory", 3rd edition, 2004, chapter 10. Doedel, Keller, Kernevez, "Numerical analysis and control of
    bifurcation problems (II)", International Journal of Bifurcation and Chaos 1, 1991.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import continuation
    >>> cubic = lambda t, z, p: p[:, None] + z - z**3
    >>> branch = continuation(cubic, [-1.3], (-1.0, 1.0))
    >>> folds = branch[branch["event"] == "fold"]
    >>> folds["p"].round(6).tolist(), folds["z1"].round(6).tolist()
    ([0.3849, -0.3849], [-0.57735, 0.57735])
    """
    fitted = as_fitted(system, solver)
    if fitted is not None:
        alike: Any = {"of": of, "n_values": n_values, "period": period, "scale": scale, "t": t, "max_step": max_step,
                      "max_points": max_points, "switch": switch, "n_intervals": n_intervals, "solver": solver,
                      "random_state": random_state}  # fmt: skip
        box = around(fitted.starts) if start is None is box else box
        alike |= {"at": at, "name": name, "box": box, "names": fitted.flow.names}
        return fitted_branches(fitted, name, series, lambda field: continuation(field, start, bounds, **alike))
    low, high = float(bounds[0]), float(bounds[1])
    if not low < high:
        raise ParameterError(f"bounds must be (low, high) with low < high, but are {bounds}.")
    kind = of or ("cycles" if period is not None or "multipliers" in getattr(start, "attrs", {}) else "fixed points")
    if kind not in ("fixed points", "cycles"):
        raise ParameterError(f"of={of!r} is neither 'fixed points' nor 'cycles'.")
    if start is None and (box is None or kind == "cycles"):
        raise ParameterError("Where to begin is not known: give a start, or box=[(low, high), ...], a pair a state.")
    given = [] if start is None else read_starts(start, low if at is None else float(at), name, names)
    first = Start(np.asarray(box, dtype=float).mean(axis=1), low, None, False) if start is None else given[0]
    labels = first.names if names is None else names
    family = as_family(system, torch.from_numpy(first.z[None]), first.parameter, labels, solver)
    if box is not None:
        given += _in_box(family, box, low, high, n_values, t, random_state)
    for one in given:
        if not low <= one.parameter <= high:
            raise ParameterError(
                f"The start's {name} = {one.parameter:.6g} is not in the range {low:.6g} to {high:.6g}."
            )
    branches = Branches(max_step, max_points)
    scaling = Scaling(_scales(family, given, box, scale, high - low, t), low, high - low)
    curve = RestCurve(family, scaling, t)
    for one in given:
        if kind == "cycles":
            _follow_cycle(
                branches, family, scaling, one, getattr(start, "attrs", {}).get("period", period), n_intervals, t
            )
        else:
            x = _rest(curve, family, one, name)
            if not branches.has(curve, x):
                branches.follow(curve, _on_curve(curve, x))
        if switch:
            branches.switch_all()
    return _table(branches, family, name, kind, t)


@dataclass(frozen=True, eq=False)
class Start:
    """A state near a solution, and where the parameter is."""

    z: np.ndarray
    parameter: float
    names: list[str] | None
    is_hopf: bool


def read_starts(start: Any, at: float, name: str, names: Sequence[str] | None) -> list[Start]:
    """Starts of what a user gives: states, or a frame that may have a column of the parameter."""
    if isinstance(start, pd.Series):
        start = start.to_frame().T
    if not isinstance(start, pd.DataFrame):
        labels = list(names) if names is not None else list(start) if isinstance(start, dict) else None
        return [Start(z, at, labels, False) for z in read_states(start).numpy()]
    columns = list(start.columns)
    stop = next((columns.index(mark) for mark in ("is_stable", "kind") if mark in columns), len(columns))
    labels = list(names) if names is not None else [c for c in columns[:stop] if c not in ("branch", "time", name)]
    values = start[name].astype(float) if name in columns else [at] * len(start)
    states = read_states(start[labels].to_numpy(dtype=float).copy()).numpy()
    if "multipliers" in start.attrs:  # a cycle, from its first row on
        return [Start(states[0], at, labels, False)]
    events = start["event"] if "event" in columns else [""] * len(start)
    return [Start(z, float(p), labels, event == "hopf") for z, p, event in zip(states, values, events)]


def _in_box(family: Family, box: Any, low: float, high: float, n_values: int, t: float, random_state: Any
            ) -> list[Start]:  # fmt: skip
    """All fixed points in a box at several values of the parameter."""
    found, last = [], None
    for i in range(n_values):
        value = low + (high - low) * (i + GOLDEN) / n_values
        try:
            points = fixed_points(family.at(value), box=box, t=t, random_state=random_state)
        except ParameterError as error:
            last = error
            continue
        found += [Start(z, value, None, False) for z in points[list(family.names)].to_numpy(dtype=float)]
    if not found:
        raise ParameterError(
            f"There is no fixed point in the box at any of {n_values} values of the parameter."
        ) from last
    return found


def _scales(family: Family, starts: list[Start], box: Any, scale: Any, width: float, t: float) -> np.ndarray:
    """Size of each coordinate: that of the starts, of the box, or of the way that it takes along the range."""
    if scale is not None:
        return np.asarray(scale, dtype=float)
    states = np.stack([one.z for one in starts])
    size = np.abs(states).max(axis=0)
    if box is not None:
        size = np.maximum(size, np.ptp(np.asarray(box, dtype=float), axis=1) / 2)
    if (size < 1e-12).any():
        p = torch.tensor([one.parameter for one in starts], dtype=torch.float64)
        _, by_state, by_parameter = family.linearise(t, torch.from_numpy(states), p)
        ways = [np.abs(np.linalg.lstsq(a, b, rcond=None)[0]) * width / 2 for a, b in zip(by_state, by_parameter)]
        size = np.where(size < 1e-12, np.max(ways, axis=0), size)
    return np.where(size < 1e-12, 1.0, size)


def _rest(curve: RestCurve, family: Family, one: Start, name: str) -> np.ndarray:
    """The fixed point that a start leads to."""
    scaled, q = curve.family.at(curve.scaling.share(one.parameter)), curve.scaling.share(one.parameter)
    u = torch.from_numpy(one.z / curve.scaling.scale)[None]
    time = torch.full((1,), curve.t, dtype=torch.float64)
    found, is_root = polish(scaled, time, u)
    if not is_root.all():
        residual = float(family.at(one.parameter).slope(time, torch.from_numpy(one.z)[None]).abs().max())
        where = f"The start ({', '.join(f'{x:.6g}' for x in one.z)}) at {name} = {one.parameter:.6g}"
        raise ParameterError(
            f"{where} is no root: its residual is {residual:.3g}, and Newton's method does not come to one from "
            f"there. {_nearest(curve, u, q)}"
        )
    return np.append(found[0].numpy(), q)


def _nearest(curve: RestCurve, u: Tensor, share: float) -> str:
    """The root near a start where the parameter may move too: least-squares steps go the shortest way."""

    def slope(t: Tensor, y: Tensor) -> Tensor:
        value = curve.family.field(t, y[:, :-1], y[:, -1])
        value = value - y[:, :-1] if curve.family.is_map else value
        return torch.cat([value, torch.zeros_like(y[:, -1:])], dim=1)

    flow = as_flow(slope, u.shape[1] + 1)
    y = torch.cat([u, torch.full((1, 1), share, dtype=torch.float64)], dim=1)
    found, is_root = polish(flow, torch.full((1,), curve.t, dtype=torch.float64), y)
    if not is_root.all():
        return "Nor does it come to one if the parameter may move too: start elsewhere, or give a box=."
    at = ", ".join(f"{x:.6g}" for x in found[0, :-1].numpy() * curve.scaling.scale)
    return f"The nearest root found is ({at}) at {curve.scaling.parameter(float(found[0, -1])):.6g}."


def _follow_cycle(branches: Branches, family: Family, scaling: Scaling, one: Start, period: float | None, n: int,
                  t: float) -> None:  # fmt: skip
    """The branch of the cycle that a start leads to, or of those that are born at it."""
    q = scaling.share(one.parameter)
    if one.is_hopf:
        curve, x, tangent = born_cycle(family, scaling, one.z / scaling.scale, q, n, t)
        branches.leave(curve, x, tangent)
        return
    cycle = limit_cycle(family.rate(one.parameter), one.z, period=period, names=family.names, solver=family.solver)
    flow = family.at(one.parameter, family.solver or CYCLE_SOLVER)
    z, length = torch.from_numpy(cycle[list(family.names)].to_numpy(dtype=float)[:1].copy()), cycle.attrs["period"]

    def states(shares: np.ndarray) -> np.ndarray:
        return flow.path(z, torch.from_numpy(length * shares))[0].numpy()

    sized = Scaling(np.maximum(cycle[list(family.names)].abs().max().to_numpy(), 1e-12), scaling.low, scaling.width)
    found = cycle_start(family, sized, states, length, q, n, t)
    if found is None:
        raise SolverError(
            f"The cycle of period {length:.6g} is not met by {n} pieces of a polynomial: give more, n_intervals=."
        )
    branches.follow(found[0], _on_curve(*found))


def _on_curve(curve: Curve, x: np.ndarray) -> Point:
    """Point of a curve at a fixed parameter, with the tangent along which the parameter rises."""
    up = np.append(np.zeros(len(x) - 1), 1.0)
    found = correct(curve, x, up)
    x = x if found is None else found[0]
    _, jacobian = curve.linearise(x)
    along = np.linalg.svd(jacobian)[2][-1]  # also at a fold, where the parameter does not move
    return point_at(curve, x, along if along[-1] >= 0 else -along)


def _table(branches: Branches, family: Family, name: str, kind: str, t: float) -> pd.DataFrame:
    """A row a point, in the units of the data."""
    rows = []
    for number, branch in enumerate(branches.found):
        origin = branch.visits[0][1]
        for visit, arclength in branch.visits:
            point, event = visit.point, visit.event
            level = point.levels
            described = visit.curve.describe(point)
            row = {"branch": number, name: described.pop("parameter")}
            row |= {label: described.pop(label) for label in family.names}
            largest = float(level[0]) if len(level) else -math.inf
            border = CRITICAL * event.size if event else NEUTRAL * point.size
            row["is_stable"], row["n_unstable"] = largest < -border, int((level > border).sum())
            modulus = point.has_multipliers
            row["max_modulus" if modulus else "max_real"] = largest + 1 if modulus else largest
            row |= {"event": event.name if event else "", "arclength": arclength - origin, **described}
            if not modulus:
                row["first_lyapunov_coefficient"] = _coefficient(family, row, name, t)
            rows.append(row)
    table = pd.DataFrame(rows)
    ends = [{"branch": i, "first": one.first, "last": one.last} for i, one in enumerate(branches.found)]
    table.attrs = {"parameter": name, "names": list(family.names), "of": kind, "ends": ends}
    return table


def _coefficient(family: Family, row: dict[str, Any], name: str, t: float) -> float:
    if row["event"] != "hopf":
        return math.nan
    try:
        form = normal_form(family.at(row[name]), [row[label] for label in family.names], t=t)
    except ParameterError:  # another eigenvalue is as good as zero beside the largest
        return math.nan
    return float(form["first_lyapunov_coefficient"])
