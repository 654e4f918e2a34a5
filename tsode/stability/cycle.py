"""Limit cycles of a flow, by Newton's method on a return, and their Floquet multipliers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode.errors import ParameterError, SolverError
from tsode.numerics.base import Solver
from tsode.stability.exponents import crossing_time
from tsode.stability.fitted_cycles import fitted_cycle
from tsode.stability.flow import ROUGH, TIGHT, FieldFlow, Flow, as_flow, read_states
from tsode.stability.forecasters import as_fitted

__all__ = ["limit_cycle"]

SOLVER = TIGHT
N_ITERATIONS, N_PIECES, N_TURNS = 30, 20, 400
STRETCH = 4.0  # in powers of e, that a piece may stretch or shrink: tangents of more lose their digits
NEAR = 0.1  # of the amplitude, in which a first return has to come back
AT_ONE = 1e-6  # how far the multiplier along the cycle may be from 1
ISOLATED = 1e-4  # another multiplier closer to 1 than this: cycles stand side by side


def limit_cycle(
    system: Any, start: Any = None, *, period: float | None = None, transient: float | None = None,
    n_points: int = 200, names: Sequence[str] | None = None, solver: Solver | None = None, series: Hashable = None,
) -> pd.DataFrame:  # fmt: skip
    """Closed orbit near a start, its smallest period and its multipliers.

    The flow is followed for a `transient`, then to its first return, unless a `period` is told; Newton's method on
    ``phi_T(z) = z`` takes it from there, also to a cycle that repels. Multipliers are those of the product of the
    tangent maps of twenty pieces; of large ratios their logarithms are found by repeated orthonormalisation.

    Parameters
    ----------
    system : callable, Dynamics or Solved
        ``f(t, z)`` that does not read the time.
    start : array[d] or dict
        A state in the basin of the cycle; beside a `period`, one near the cycle itself.
    period : float, optional
        A guess, of which parts are tried too: a multiple of the smallest period is taken for it.
    transient : float, optional
        Nought beside a `period`.
    n_points : int
        Rows of the answer.
    series : label, optional
        Of a forecaster, where series have fields of their own.

    Returns
    -------
    DataFrame
        States along the cycle by ``time``, from 0 to the period. ``attrs``: ``period``, ``multipliers`` (complex, by
        falling modulus, the one along the cycle first), ``log_multipliers`` (of their moduli), ``is_stable``,
        ``kind`` ("stable", "unstable", "saddle" or "not isolated": a centre, or a system that keeps something),
        ``divergence`` (integrated over a period; the sum of the logarithms), ``residual`` and ``trivial_error`` (of the
        multiplier that should be 1). Of draws from a posterior the cycle of its median, with ``period_q05``,
        ``period_q95`` and ``share_of_draws`` that have one.

    Raises
    ------
    ParameterError
        If the flow comes to rest, does not return, or reads the time.
    SolverError
        If Newton's method does not close the orbit, or the multiplier along it is not 1.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import limit_cycle
    >>> van_der_pol = lambda t, z: torch.stack([z[:, 1], (1 - z[:, 0] ** 2) * z[:, 1] - z[:, 0]], dim=1)
    >>> cycle = limit_cycle(van_der_pol, [1.0, 1.0])
    >>> round(cycle.attrs["period"], 6), cycle.attrs["kind"]
    (6.663287, 'stable')
    """
    fitted = as_fitted(system)
    if fitted is not None:

        def find(flow: Flow, near: Any, guess: float | None) -> pd.DataFrame:
            assert isinstance(flow, FieldFlow)
            own = replace(flow, solver=solver or SOLVER, stride=None)
            return limit_cycle(own, near, period=guess or period, transient=transient, n_points=n_points)

        return fitted_cycle(fitted, series, start, find)
    if start is None:
        raise ParameterError("Where to start is not known: give a state in the basin of the cycle.")
    z = read_states(start)[:1]
    flow = as_flow(system, z.shape[1], names, solver or SOLVER)
    if flow.is_map:
        raise ParameterError("A map has no cycle in time: fixed_points of its n-th iterate are its cycles.")
    zero = torch.zeros(1, dtype=torch.float64)
    if flow.reads_time(zero, z):
        raise ParameterError(
            "The field reads the time: the cycles of a driven system are fixed points of its period map, "
            "fixed_points(period_map(field, period), starts)."
        )
    with torch.no_grad():
        if period is None:
            rough = as_flow(system, z.shape[1], names, solver or ROUGH)
            z, period = _first_return(rough, z, transient)
        elif transient:
            z = flow.arrive(z, zero, zero + transient)
        z, period, residual = _close(flow, z, period)
        z, period, residual = _smallest(flow, z, period, residual)
        return _table(flow, z, period, residual, n_points)


def _along(flow: Flow, z: Tensor, span: float, n: int) -> tuple[Tensor, Tensor]:
    """Times (n + 1) and states (n + 1, d) from ``z`` (1 d) on."""
    times = torch.linspace(0.0, span, n + 1, dtype=torch.float64)
    return times, flow.path(z, times)[0]


def _first_return(flow: Flow, z: Tensor, transient: float | None) -> tuple[Tensor, float]:
    """A state on the way, after the transient, and when the flow first comes back near it."""
    zero = torch.zeros(1, dtype=torch.float64)
    crossing, z, _, _ = crossing_time(flow, z, zero, transient)
    z = flow.arrive(z, zero, zero + (50.0 * crossing if transient is None else transient))
    for n_crossings in (20, 100, 500):
        times, states = _along(flow, z, n_crossings * crossing, 10 * n_crossings)
        amplitude = states.amax(dim=0) - states.amin(dim=0)
        if bool((amplitude <= 1e-7 * (1 + states.abs().amax(dim=0))).all()):
            at = ", ".join(f"{x:.6g}" for x in states[-1].tolist())
            raise ParameterError(f"The flow comes to rest at ({at}): a fixed point, not a cycle. See fixed_points.")
        scale = amplitude.clamp(min=1e-3 * float(amplitude.max()))
        apart = (states - z) / scale
        side = (apart * (flow.slope(zero, z) / scale)).sum(dim=1)
        rises = (side[:-1] < 0) & (side[1:] >= 0)
        for i in rises.nonzero()[:, 0].tolist():
            if float(apart[i : i + 2].norm(dim=1).min()) < NEAR + float((apart[i + 1] - apart[i]).norm()):
                share = float(side[i] / (side[i] - side[i + 1]))
                return z, _meeting(flow, z, float(times[i] + share * (times[i + 1] - times[i])))
    raise ParameterError(
        f"The flow does not come back near ({', '.join(f'{x:.6g}' for x in z[0].tolist())}) within "
        f"{500 * crossing:.6g}: it may be chaotic, or its transient longer. Give transient=, or a guess period=."
    )


def _meeting(flow: Flow, z: Tensor, time: float) -> float:
    """When the flow from ``z`` (1 d) crosses the plane across itself there, near a time, by Newton's method."""
    zero = torch.zeros(1, dtype=torch.float64)
    normal = flow.slope(zero, z)
    for _ in range(5):
        end = flow.arrive(z, zero, zero + time)
        speed = float((flow.slope(zero, end) * normal).sum())
        if speed <= 0:
            break
        time -= float(((end - z) * normal).sum()) / speed
    return time


def _close(flow: Flow, z: Tensor, period: float, n: int = N_PIECES) -> tuple[Tensor, float, float]:
    """States (n d) at equal spans along the closed orbit, its period, and what is left open (multiple shooting).

    All pieces are solved side by side, which takes as many steps as one of them; short pieces also keep the digits of
    tangents that grow or fade over a period.
    """
    if len(z) != n:
        z = _along(flow, z[:1], period, n)[1][:-1]
    (n, d), eye = z.shape, torch.eye(z.shape[1], dtype=z.dtype)
    begin = torch.zeros(n, dtype=torch.float64)
    best = (z, period, math.inf)
    for _ in range(N_ITERATIONS):
        end, tangents, _, status = flow.carry(z, eye.expand(n, d, d), begin, begin + period / n)
        if status.any() or not period > 0:
            break
        miss = end - z.roll(-1, 0)
        residual = float((miss.abs() / (1e-3 * z.abs().amax() + z.abs().amax(dim=0))).max())
        if residual < best[2]:
            best = (z, period, residual)
        elif residual < 1e-9:
            break
        speed = flow.slope(begin, end)
        left = torch.zeros(n * d + 1, n * d + 1, dtype=z.dtype)
        for i in range(n):
            rows, following = slice(i * d, (i + 1) * d), (i + 1) % n
            left[rows, rows] += tangents[i]
            left[rows, following * d : (following + 1) * d] -= eye
            left[rows, -1] = speed[i] * period / n  # of the period's logarithm: the unit of time is the user's
        left[-1, :d] = flow.slope(begin[:1], z[:1])[0] * period
        right = torch.cat([-miss.flatten(), torch.zeros(1, dtype=z.dtype)])[:, None]
        # of cycles side by side the nearest: a direction in which nothing changes is not gone along
        step = torch.linalg.lstsq(left, right, rcond=1e-9, driver="gelsd").solution[:, 0]
        # a guess that is far off moves the period by no more than a fifth
        step = step * min(1.0, 0.2 / max(abs(float(step[-1])), 1e-300))
        z, period = z + step[:-1].reshape(n, d), period * (1 + float(step[-1]))
    if best[2] > 1e-7:
        raise SolverError(
            f"The orbit does not close: Newton's method ends {best[2]:.2g} of its size apart, at a period of "
            f"{best[1]:.6g}. Start nearer to the cycle (transient=), or give another period=."
        )
    return best


def _smallest(flow: Flow, z: Tensor, period: float, residual: float) -> tuple[Tensor, float, float]:
    """The orbit, or the part of it after which it is closed already."""
    amplitude = float((z.amax(dim=0) - z.amin(dim=0)).max())
    if amplitude <= 1e-6 * (1 + float(z.abs().max())):
        at = ", ".join(f"{x:.6g}" for x in z[0].tolist())
        raise ParameterError(
            f"Newton's method has come to a fixed point, ({at}), not to a cycle: start farther from it."
        )
    _, states = _along(flow, z[:1], period, 60)
    for parts in (6, 5, 4, 3, 2):
        if float((states[60 // parts] - states[0]).abs().max()) < 1e-5 * amplitude:
            return _close(flow, z[:1], period / parts)
    return z, period, residual


@dataclass(frozen=True, eq=False)
class _Floquet:
    multipliers: np.ndarray
    logs: np.ndarray
    divergence: float
    trivial_error: float


def _floquet(flow: Flow, states: Tensor, period: float) -> _Floquet:
    """Multipliers from the tangent maps of pieces that begin at `states` (n d), solved side by side."""
    n, d = states.shape
    span = torch.full((n,), period / n, dtype=torch.float64)
    eye = torch.eye(d, dtype=states.dtype).expand(n, d, d)
    _, pieces, divergence, _ = flow.carry(states, eye, torch.zeros_like(span), span)
    assert divergence is not None  # of as many tangents as states
    # the flow's own direction comes back as it was, also where 1 is a double multiplier and has half the digits
    speed = carried = flow.slope(torch.zeros_like(span), states)[0]
    for piece in pieces:
        carried = piece @ carried
    error = float((carried - speed).norm() / speed.norm())
    basis, growth = torch.eye(d, dtype=states.dtype), []
    for _ in range(N_TURNS):
        total = torch.zeros(d, dtype=states.dtype)
        for piece in pieces:
            basis, upper = torch.linalg.qr(piece @ basis)
            total += upper.diagonal().abs().log()
        growth.append(total)
    logs = torch.stack(growth[N_TURNS // 2 :]).mean(dim=0)
    product = torch.linalg.multi_dot(list(pieces.flip(0))) if n > 1 else pieces[0]
    values = torch.linalg.eigvals(product)
    order = values.abs().argsort(descending=True)
    values = values[order]
    # eigenvalues of the product are right to its rounding; those far below the largest are not
    is_exact = values.abs() > 1e-6 * values.abs().max()
    logs = torch.where(is_exact, values.abs().log(), logs.sort(descending=True).values)
    sized = torch.where(is_exact, values, logs.exp().to(values.dtype) * values.real.sign())
    return _Floquet(sized.numpy(), logs.numpy(), float(divergence.sum()), error)


def _table(flow: Flow, z: Tensor, period: float, residual: float, n_points: int) -> pd.DataFrame:
    found = _floquet(flow, z, period)
    if abs(found.divergence) > STRETCH * len(z):
        z, period, residual = _close(flow, z[:1], period, math.ceil(abs(found.divergence) / STRETCH))
        found = _floquet(flow, z, period)
    trivial = int(np.abs(found.multipliers - 1).argmin())
    error = found.trivial_error
    if error > AT_ONE:
        raise SolverError(
            f"The multiplier along the cycle should be 1, but is off by {error:.2g}: the orbit is not closed well "
            "enough. Give a solver= with tighter tolerances."
        )
    order = [trivial, *(i for i in range(len(found.multipliers)) if i != trivial)]
    multipliers, logs = found.multipliers[order], found.logs[order]
    others = logs[1:]
    kind = "not isolated" if (np.abs(multipliers[1:] - 1) < ISOLATED).any() else "stable"
    if kind == "stable" and (others > 0).any():
        kind = "unstable" if (others > 0).all() else "saddle"
    times, states = _along(flow, z[:1], period, n_points - 1)
    table = pd.DataFrame(states.numpy(), columns=list(flow.names))
    table.insert(0, "time", times.numpy())
    table.attrs = {
        "period": period, "multipliers": multipliers.tolist(), "log_multipliers": logs.tolist(), "kind": kind,
        "is_stable": kind == "stable", "divergence": found.divergence, "residual": residual, "trivial_error": error,
    }  # fmt: skip
    return table
