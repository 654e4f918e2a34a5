"""Lyapunov exponents of flows and maps, with errors, and what follows from them: horizon, dimension, entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError, UnsettledError
from tsode.numerics.affine_field import find_affine
from tsode.numerics.base import Solver
from tsode.stability.flow import GROWTH, FieldFlow, Flow, MapFlow, check_arrived
from tsode.stability.points import eigenvalues, polish
from tsode.stability.standing import stand

__all__ = ["crossing_time", "lyapunov_spectrum", "predictability_horizon"]

WIDTH = 6144  # numbers of all states and tangents together, up to which more orbits cost little
N_BLOCKS = 32  # at the least, over all orbits together
N_PHASES, PHASE = 16, 2.0  # orbits begin by up to so many steps of so many crossings one after another
LENGTH = 360.0  # of an orbit by default, in times that its fastest coordinate takes to cross its range
SETTLED = 4.0  # standard errors that the two halves of the orbits may lie apart
AT_REST = 1e-6  # of what the coordinates are: an orbit slower than this, near a fixed point, has come to it


def lyapunov_spectrum(
    system: Any, starts: Any = None, *, k: int | None = None, duration: float | None = None,
    transient: float | None = None, interval: float | None = None, n_starts: int | None = None, t0: float = 0.0,
    names: Sequence[str] | None = None, solver: Solver | None = None, random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """Lyapunov exponents by the growth of orthonormal tangents along many orbits at once.

    Tangents are solved for beside the state, in its error norm, and made orthonormal again by QR every `interval`
    (Benettin et al. 1980). What is in closed form is answered so: the eigenvalues' real parts of an affine field, and
    of the fixed point that all orbits have come to.

    Parameters
    ----------
    system : callable, Dynamics, Solved, Map, or fitted forecaster
        ``f(t, z)``. One that reads the time (a driven one) has ``d`` exponents; its clock would have one more, zero,
        which is left out. Of a forecaster the field that its state follows between events, fed with nothing; see
        `fitted_system`.
    starts : array[d] or array[s d], dict or frame
        A start, around which `n_starts` are laid at distances of a hundredth of it, or several. Those of a forecaster
        are where its series stand.
    k : int, optional
        Exponents from the largest on; all by default. The sum is compared with the divergence where there are all.
    duration : float, optional
        Of every orbit after its `transient`, in the time of the system (steps of a map). By default 360 times as long
        as the coordinates take to cross their range.
    transient : float, optional
        As long as the duration by default.
    interval : float, optional
        Between orthonormalisations; by default in which no tangent grows by more than about exp(5).
    n_starts : int, optional
        By default 64 to 512, more of a small state: up to some width a solve costs nearly the same.
    t0 : float
        When orbits start.
    solver : Solver, optional
        By default one that sees stiffness, at a relative tolerance of 1e-7.

    Returns
    -------
    DataFrame
        A row an exponent, sorted downwards: ``exponent_per_unit`` (natural logarithm; ``_per_step`` of a map) and
        ``standard_error``, from blocks of the orbits. ``attrs`` have ``sum``, ``divergence`` (its mean along the
        orbits, which the sum should equal; None where not all exponents were asked for), ``trace_error``, the
        ``kaplan_yorke_dimension``, ``duration`` (of all orbits together), ``transient``, ``interval``, and ``running``
        (mean of the exponents after each tenth of the duration). ``method`` is "orbits" or "closed form";
        ``is_clock_left_out`` says of a field that it reads the time, whose exponent is zero and not among these. Of a
        forecaster the column names its unit of time (``exponent_per_hour``); where its series have fields of their own
        (rates that their states set) there are rows for each, and with draws from a posterior mean, ``sd``, ``q05`` and
        ``q95`` of what they give, ``standard_error`` of that mean, and all of them in ``attrs["draws"]``.

    Raises
    ------
    UnsettledError
        If exponents in the two halves of the duration differ by more than 4 standard errors of that; with both.
    SolverError
        If an orbit does not stay finite.

    References
    ----------
    Benettin, Galgani, Giorgilli, Strelcyn, "Lyapunov characteristic exponents for smooth dynamical systems and for
    Hamiltonian systems", Meccanica 15, 1980. Kaplan, Yorke, "Chaotic behavior of multidimensional difference
    equations", 1979.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import lyapunov_spectrum
    >>> matrix = torch.tensor([[-1.0, 2.0], [0.0, -3.0]], dtype=torch.float64)
    >>> table = lyapunov_spectrum(lambda t, z: z @ matrix.T, [1.0, 1.0])
    >>> table["exponent_per_unit"].tolist()
    [-1.0, -3.0]
    """
    where = stand(system, starts, t0, names, solver)
    flow, d = where.flow, where.flow.n_state
    k = d if k is None else k
    if not 1 <= k <= d:
        raise ParameterError(f"k={k} must be between 1 and the {d} states.")
    firsts = where.first_of_fields()
    alone = flow.at(firsts)
    if isinstance(alone, FieldFlow) and (
        alone.is_affine
        or (where.fitted is not None and find_affine(alone.rate, where.t[firsts], where.z[firsts]) is not None)
    ):
        return where.tell([_closed_form(flow.at(row[None]), where.z[row][None], where.t[row], k) for row in firsts])
    if isinstance(flow, MapFlow) and find_affine(flow.slope, where.t[:1], where.z[:1]) is not None:
        return _closed_form(flow, where.z[:1], where.t[0], k)
    n_starts = min(max(WIDTH // (d * (k + 1)), 64), 512) if n_starts is None else n_starts
    where = where.spread(n_starts, random_state)
    flow = where.flow
    with torch.no_grad():
        plan = _plan(flow, where.z, where.t, duration, transient, interval)
        rests = [_resting(flow.at(rows), plan.z[rows], plan.t[rows]) for rows in where.rows_of_fields()]
        if all(rest is not None for rest in rests):
            return where.tell([
                _closed_form(flow.at(rows[:1]), rest, where.t[rows[0]], k)
                for rows, rest in zip(where.rows_of_fields(), rests) if rest is not None
            ])  # fmt: skip
        growth, divergence = _grow(flow, plan, k)
        divergence = divergence if k == d else None
    return where.tell([
        _table(flow, plan, growth[:, rows], None if divergence is None else divergence[:, rows], d)
        for rows in where.rows_of_fields()
    ])  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Plan:
    """Orbits: where they stand after their transient, and how they are cut."""

    z: Tensor
    t: Tensor
    transient: float
    interval: float
    n_intervals: int


def _plan(
    flow: Flow, z: Tensor, t: Tensor, duration: float | None, transient: float | None, interval: float | None
) -> _Plan:
    if flow.is_map:
        duration = flow.n_steps if duration is None else duration
        transient = round(duration) if transient is None else round(transient)
        z, t = _apart(flow, flow.arrive(z, t, t + transient), t + transient)
        return _Plan(z, t, transient, interval or 1, max(round(duration / (interval or 1)), 1))
    crossing, z, t, spent = crossing_time(flow, z, t, transient)
    duration = LENGTH * crossing if duration is None else duration
    if not duration > 0:
        raise ParameterError(f"duration must be positive, but is {duration}.")
    transient = duration if transient is None else transient
    if transient > spent:
        t1 = t + flow.whole(transient - spent)
        z, t = flow.arrive(z, t, t1), t1
    z, t = _apart(flow, z, t, flow.whole(PHASE * crossing))
    slopes = flow.linearise(t, z)[1]
    size = float(torch.linalg.matrix_norm(slopes, ord=2).mean())
    length = GROWTH / size if interval is None and size > 0 else (interval or duration / 100)
    n = max(math.ceil(duration / length), 20)
    interval = flow.whole(duration / n)
    return _Plan(z, t, max(transient, spent), interval, max(math.ceil(duration / interval - 1e-9), 20))


def _apart(flow: Flow, z: Tensor, t: Tensor, step: float = 1.0) -> tuple[Tensor, Tensor]:
    """Orbits at several times: those that turn together, as on a cycle, would all be cut at the same phase."""
    place = torch.arange(len(z)) % N_PHASES
    if not flow.is_map:
        return flow.arrive(z, t, t + step * place), t + step * place
    states = flow.path(z, torch.arange(min(len(z), N_PHASES), dtype=torch.float64))
    return states[torch.arange(len(z)), place], t


def crossing_time(flow: Flow, z: Tensor, t: Tensor, transient: float | None) -> tuple[float, Tensor, Tensor, float]:
    """Time in which the fastest coordinate crosses its range, met on the way, and where that has led."""
    begin = t.clone()
    longest = math.inf if transient is None else transient
    seen = [z]
    slope, jacobian = flow.linearise(t, z)
    is_finite = slope.isfinite().all(dim=1) & jacobian.isfinite().flatten(1).all(dim=1)
    if not is_finite.all():
        at = ", ".join(f"{x:.6g}" for x in z[int(is_finite.logical_not().nonzero()[0, 0])].tolist())
        raise ParameterError(f"The field, or its derivatives, are not finite at the start ({at}): start elsewhere.")
    # no longer than the state takes to change by a tenth, nor than its steepest direction takes to turn
    steepest = torch.linalg.matrix_norm(jacobian, ord=2).amax().clamp(min=1e-12)
    moving = slope.abs().amax(dim=0) / (z.abs().amax(dim=0) + z.abs().amax() + 1e-6)
    step = 0.1 / float(torch.maximum(steepest, moving.amax()))
    for n in range(1, 257):
        if float(t[0] - begin[0]) + step > longest:
            break
        z, t = flow.arrive(z, t, t + step), t + step
        seen.append(z)
        if n in (16, 32, 64, 128):  # a step too short to see anything grows
            crossing = _crossing(flow, seen, t)
            step = max(step, 0.2 * crossing)
    return _crossing(flow, seen, t), z, t, float(t[0] - begin[0])


def _crossing(flow: Flow, seen: list[Tensor], t: Tensor) -> float:
    late = torch.stack(seen[len(seen) // 2 :])
    spread = late.flatten(0, 1).std(dim=0) if late.shape[0] * late.shape[1] > 1 else late[0, 0].abs()
    speed = torch.stack([flow.slope(t, z) for z in late]).flatten(0, 1).square().mean(dim=0).sqrt()
    times = (spread / speed.clamp(min=1e-300))[(speed > 0) & (spread > 0)]
    return float(times.amin()) if len(times) else 1.0


def _resting(flow: Flow, z: Tensor, t: Tensor) -> Tensor | None:
    """The fixed point that all orbits stand at, or None."""
    if flow.reads_time(t, z):
        return None
    slope, jacobian = flow.linearise(t, z)
    rate = torch.linalg.matrix_norm(jacobian, ord=2)[:, None]
    if bool((slope.abs() > AT_REST * rate * (1 + z.abs())).any()):
        return None
    point, is_root = polish(flow, t, z, AT_REST if flow.is_solved else 1e-10)
    near = (point - z).abs().amax() <= 1e3 * AT_REST * (1 + z.abs().amax())
    same = (point - point[:1]).abs().amax() <= AT_REST * (1 + point.abs().amax())
    return point[:1] if bool(is_root.all() & near & same) else None


def _grow(flow: Flow, plan: _Plan, k: int) -> tuple[Tensor, Tensor | None]:
    """Logarithmic growth of tangents (n s k) in every interval, and the integrated divergence (n s)."""
    z, t = plan.z, plan.t
    s, d = z.shape
    generator = torch.Generator().manual_seed(0)
    tangents = torch.linalg.qr(torch.randn(s, d, k, dtype=z.dtype, generator=generator)).Q
    growth, divergence = [], []
    # tangents find their directions before they are counted
    n_before = max(plan.n_intervals // 4, 1)
    for n in range(n_before + plan.n_intervals):
        t1 = t + plan.interval
        start = z
        z, tangents, turned, status = flow.carry(z, tangents, t, t1)
        check_arrived(status, start, t1)
        tangents, upper = torch.linalg.qr(tangents)
        if n >= n_before:
            growth.append(upper.diagonal(dim1=1, dim2=2).abs().log())
            if turned is not None:
                divergence.append(turned)
        t = t1
    return torch.stack(growth), torch.stack(divergence) if divergence else None


def _closed_form(flow: Flow, z: Tensor, t0: Tensor, k: int) -> pd.DataFrame:
    values = eigenvalues(flow, float(t0), z)[0]
    exponents = (values.abs().log() if flow.is_map else values.real)[:k].numpy()
    table = pd.DataFrame(
        {f"exponent_per_{flow.unit}": exponents, "standard_error": 0.0}, pd.RangeIndex(1, k + 1, name="exponent")
    )
    total = float(exponents.sum()) if k == flow.n_state else None
    table.attrs = {
        "method": "closed form", "sum": float(exponents.sum()), "divergence": total,
        "trace_error": None if total is None else 0.0, "kaplan_yorke_dimension": _dimension(exponents),
        "duration": math.inf, "transient": 0.0, "interval": math.inf, "running": [],
        "is_clock_left_out": False,
    }  # fmt: skip
    return table


def _table(flow: Flow, plan: _Plan, growth: Tensor, divergence: Tensor | None, d: int) -> pd.DataFrame:
    n, s, k = growth.shape
    rates = growth.numpy() / plan.interval
    exponents = rates.mean(axis=(0, 1))
    error = _standard_error(rates)
    halves = [half.mean(axis=(0, 1)) for half in np.array_split(rates, 2)]
    # what bounds the growth, as the turns of tangents do, is of the opposite sign in both halves of an orbit
    gap = _standard_error(rates[: n // 2] - rates[n - n // 2 :])
    size = float(np.abs(exponents).max())
    if (np.abs(halves[0] - halves[1]) > SETTLED * gap + 1e-6 * size).any():
        worst = int(np.argmax(np.abs(halves[0] - halves[1]) / (gap + 1e-6 * size + 1e-300)))
        raise UnsettledError(
            f"Exponent {worst + 1} has not settled: {halves[0][worst]:.6g} per {flow.unit} in the first half of "
            f"{n * plan.interval:.6g}, {halves[1][worst]:.6g} in the second, with a standard error of "
            f"{error[worst]:.2g}. Give a longer duration= or transient= (now {plan.transient:.6g})."
        )
    order = np.argsort(-exponents, kind="stable")
    table = pd.DataFrame(
        {f"exponent_per_{flow.unit}": exponents[order], "standard_error": error[order]},
        pd.RangeIndex(1, k + 1, name="exponent"),
    )
    mean = None if divergence is None else float(divergence.mean()) / plan.interval
    running = [rates[: max(n * i // 10, 1)].mean(axis=(0, 1))[order].tolist() for i in range(1, 11)]
    total = float(exponents.sum())
    table.attrs = {
        "method": "orbits", "sum": total, "divergence": mean,
        "trace_error": None if mean is None else abs(total - mean),
        "kaplan_yorke_dimension": _dimension(exponents[order]) if k == d else None,
        "duration": n * s * plan.interval, "transient": plan.transient, "interval": plan.interval, "running": running,
        "is_clock_left_out": flow.reads_time(plan.t, plan.z),
    }  # fmt: skip
    return table


def _standard_error(rates: np.ndarray) -> np.ndarray:
    """Of the mean (k,) of rates (n s k): from whole orbits, or blocks of them where orbits are few."""
    n_parts = min(math.ceil(N_BLOCKS / rates.shape[1]), len(rates))
    blocks = np.concatenate([part.mean(axis=0) for part in np.array_split(rates, n_parts)])
    error: np.ndarray = blocks.std(axis=0, ddof=1) / math.sqrt(len(blocks))
    return error


def _dimension(exponents: np.ndarray) -> float:
    """Kaplan and Yorke's dimension of sorted exponents."""
    total = np.cumsum(exponents)
    if total[0] < 0:
        return 0.0
    last = int(np.flatnonzero(total >= 0)[-1])
    if last + 1 == len(exponents):
        return float(len(exponents))
    return float(last + 1 + total[last] / abs(exponents[last + 1]))


def predictability_horizon(exponent: Any, error: float, tolerance: float) -> Any:
    """Time in which an error grows to a tolerance: ``log(tolerance / error) / exponent``.

    Parameters
    ----------
    exponent : float or frame of `lyapunov_spectrum`
        The largest one, per the unit in which the answer is.
    error, tolerance : float
        Of the state, in the same unit.

    Returns
    -------
    float, or Series
        0 where the error is too large from the start; infinite where errors do not grow. Of a frame with a row a
        series, by id; of draws from a posterior, with quantiles (``q05``, ``q50``, ``q95``).
    """
    if not (error > 0 and tolerance > 0):
        raise ParameterError(f"error and tolerance must be positive, but are {error} and {tolerance}.")
    if not isinstance(exponent, pd.DataFrame):
        return _horizon(float(exponent), error, tolerance)
    column = next(name for name in exponent.columns if str(name).startswith("exponent_per_"))
    draws = exponent.attrs.get("draws")
    if draws is not None:
        keys = [name for name in draws.columns if name not in ("draw", "exponent", column)]
        largest = draws[draws["exponent"] == 1].set_index([*keys, "draw"])[column]
        times = largest.map(lambda x: _horizon(float(x), error, tolerance))
        quantiles = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
        if not keys:
            return pd.Series({name: np.quantile(times, q, method="nearest") for name, q in quantiles.items()})
        by = times.groupby(level=list(range(len(keys))))
        return pd.DataFrame({name: by.quantile(q, interpolation="nearest") for name, q in quantiles.items()})
    if "exponent" not in exponent.columns:
        return _horizon(float(exponent[column].iloc[0]), error, tolerance)
    first = exponent[exponent["exponent"] == 1]
    key = next(name for name in exponent.columns if name not in ("exponent", column))
    return first.set_index(key)[column].map(lambda x: _horizon(float(x), error, tolerance)).rename("horizon")


def _horizon(exponent: float, error: float, tolerance: float) -> float:
    if error >= tolerance:
        return 0.0
    return math.log(tolerance / error) / exponent if exponent > 0 else math.inf
