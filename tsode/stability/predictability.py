"""Predictability class of orbits: strongly chaotic, partially predictable or regular, by pairs of nearby states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tsode._random import new_generator
from tsode.errors import ParameterError
from tsode.numerics.base import Solver
from tsode.stability.exponents import crossing_time
from tsode.stability.flow import Flow, as_flow, check_arrived, read_states

__all__ = ["predictability_class"]

DISTANCES = (1e-9, 1e-8, 1e-7, 1e-6)  # of a pair at the start, in spreads of the attractor
APART = 1e-3  # after which a pair has separated
LATER = 10.0  # times as long as that, pairs are looked at
LONGEST = 5_000.0  # crossings, or steps of a map, that this may take
N_LOOKS = 250  # on the way
N_SAMPLES, GAP = 4, 3.7  # states of an orbit for each pair, and crossings between two of them
ROUNDING = 1e-13  # of a state: pairs that are closer have merged
AT_REST = 1e-7  # of its states: an orbit that spreads by less stands


@torch.no_grad()
def predictability_class(
    system: Any, starts: Any, *, n_pairs: int = 50, duration: float | None = None, transient: float | None = None,
    t0: float = 0.0, names: Sequence[str] | None = None, solver: Solver | None = None, random_state: Any = 0,
) -> pd.DataFrame:  # fmt: skip
    """Whether the orbit of each start is chaotic, partially predictable or regular, by pairs of nearby states.

    States of the orbit get partners at distances from 1e-9 to 1e-6 of its spread. Long after pairs have separated (ten
    times as long as the nearest take to part by a thousandth) two numbers are read: how the distance depends on that of
    the start, ``distance ~ distance(0)**nu``, and the correlation of the pair that is left, ``C = 1 - <d**2> / (2
    s**2)``. On a regular orbit nu is 1; on a chaotic one it is 0, and C is 0 where nothing can be foretold, but near 1
    where pairs stay in the same place of a narrow band: the phase of such an orbit is known long after its Lyapunov
    time (Wernecke, Sandor, Gros 2017). Distances are in standard deviations of each coordinate along the orbit, where
    the paper has the units of the coordinates. States of a pair are solved by the same steps.

    Parameters
    ----------
    system : callable, Dynamics, Solved, Map or PeriodMap
    starts : array[d], array[s d], dict or frame
    n_pairs : int
        States of each orbit that get partners.
    duration : float, optional
        As long as pairs are followed at the most; by default 5,000 times as long as the coordinates take to cross their
        range, and 5,000 steps of a map. Pairs that have not separated in it are called by what they are by then.
    transient : float, optional
        Before the first pair; by default half of `duration`.
    t0 : float
        When orbits start.
    solver : Solver, optional
        By default one that sees stiffness, at a relative tolerance of 1e-7.

    Returns
    -------
    DataFrame
        A row a start: the start, ``class`` ("chaotic", "partially predictable", "regular", or "undecided" where the
        distance depends on its start and yet the correlation is lost), ``cross_distance_exponent`` (nu),
        ``cross_correlation`` (C), ``separation_time`` (in which the nearest pairs parted by a thousandth of the spread;
        infinite where they did not) and ``time`` (since the start of the pairs, of the two numbers). Of an orbit that
        comes to rest nu and C are NaN.

    Raises
    ------
    ParameterError
        If the duration is not positive.
    SolverError
        If an orbit does not stay finite.

    References
    ----------
    Wernecke, Sandor, Gros, "How to test for partially predictable chaos", Scientific Reports 7, 1087, 2017, equations 1
    and 4.

    Examples
    --------
    >>> import torch
    >>> from tsode.stability import Map, predictability_class
    >>> logistic = Map(lambda z: 3.9 * z * (1 - z))
    >>> predictability_class(logistic, [0.3])["class"].tolist()
    ['chaotic']
    """
    start = read_states(starts)
    flow = as_flow(system, start.shape[1], names, solver)
    if duration is not None and not duration > 0:
        raise ParameterError(f"duration must be positive, but is {duration}.")
    pairs = _pairs(flow, start, t0, n_pairs, duration, transient, new_generator(random_state))
    seen = _follow(flow, pairs, n_pairs)
    rows = [_row(seen, i) for i in range(len(start))]
    table = pd.DataFrame(start.numpy(), columns=list(flow.names))
    return pd.concat([table, pd.DataFrame(rows)], axis=1)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """States of orbits (b d), the spread of each (s d), where they are (b,), and how long they are followed."""

    z: Tensor
    beside: Tensor
    spread: Tensor
    t: Tensor
    step: float


@dataclass(frozen=True, eq=False)
class _Seen:
    """Distances (n s m) of pairs and their squares, by time (n,), of m distances at the start."""

    times: np.ndarray
    distance: np.ndarray
    square: np.ndarray
    size: np.ndarray
    is_moving: np.ndarray


def _pairs(
    flow: Flow, z: Tensor, t0: float, n: int, duration: float | None, transient: float | None,
    generator: torch.Generator,
) -> _Pairs:  # fmt: skip
    t = torch.full((len(z),), t0, dtype=torch.float64)
    if flow.is_map:
        duration = float(math.ceil(LONGEST * flow.n_steps / 1000)) if duration is None else float(round(duration))
        gap, step = 1.0, float(max(round(duration / N_LOOKS), 1))
        before = float(round(duration / 2 if transient is None else transient))
    else:
        crossing, z, t, spent = crossing_time(flow, z, t, transient)
        duration = LONGEST * crossing if duration is None else duration
        gap, step = GAP * crossing, duration / N_LOOKS
        before = max((duration / 2 if transient is None else transient) - spent, 0.0)
    z, t = flow.arrive(z, t, t + before), t + before
    times = t[0] + gap * torch.arange(n * N_SAMPLES, dtype=torch.float64)
    states = flow.path(z, times)
    spread = states.std(dim=1)
    is_moving = spread > AT_REST * states.abs().amax(dim=1)
    spread = spread.where(is_moving, 0.0)
    chosen = states[:, ::N_SAMPLES].flatten(0, 1)
    direction = torch.randn(chosen.shape, dtype=z.dtype, generator=generator) * (spread > 0).repeat_interleave(n, 0)
    direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-300)
    moved = direction * spread.repeat_interleave(n, 0)
    beside = torch.stack([chosen, *(chosen + size * moved for size in DISTANCES)], dim=1)
    return _Pairs(chosen, beside, spread, times[::N_SAMPLES].repeat(len(z)), float(step))


def _follow(flow: Flow, pairs: _Pairs, n_pairs: int) -> _Seen:
    s = len(pairs.spread)
    z, t = pairs.beside, pairs.t
    width = pairs.spread.repeat_interleave(n_pairs, 0)[:, None]
    is_moving = pairs.spread > 0
    size = (pairs.z.abs() / width[:, 0].where(width[:, 0] > 0, torch.inf)).amax(dim=1).reshape(s, -1).amax(dim=1)
    times, distances, squares = [], [], []
    separated = torch.where(is_moving.any(dim=1), torch.inf, 0.0)
    for k in range(1, N_LOOKS + 1):
        start, t1 = z[:, 0], t + pairs.step
        z, status = flow.advance_together(z, t, t1)
        check_arrived(status, start, t1)
        t, elapsed = t1, k * pairs.step
        apart = torch.where(width > 0, (z[:, 1:] - z[:, :1]) / width.clamp(min=1e-300), 0.0).norm(dim=2)
        apart = apart.reshape(s, n_pairs, -1)
        times.append(elapsed)
        distances.append(apart.mean(dim=1))
        squares.append(apart.square().mean(dim=1))
        is_apart = (distances[-1][:, 0] >= APART) & separated.isinf()
        separated = torch.where(is_apart, elapsed, separated)
        if elapsed >= LATER * float(separated.max()):
            break
    return _Seen(
        np.array(times), torch.stack(distances).numpy(), torch.stack(squares).numpy(), size.numpy(),
        is_moving.sum(dim=1).numpy(),
    )  # fmt: skip


def _row(seen: _Seen, i: int) -> dict[str, Any]:
    if not seen.is_moving[i]:
        return _answer("regular", math.nan, math.nan, math.inf, float(seen.times[-1]))
    distance = seen.distance[:, i]
    met = np.flatnonzero(distance[:, 0] >= APART)
    separation = float(seen.times[met[0]]) if len(met) else math.inf
    last = int(np.searchsorted(seen.times, LATER * separation))
    # of pairs that merge, what is left before they have
    apart = np.flatnonzero((distance > ROUNDING * seen.size[i]).all(axis=1))
    end = min(last, len(seen.times) - 1, int(apart[-1]) if len(apart) else 0)
    window = slice(max(end - max(end // 5, 1) + 1, 0), end + 1)
    slope = float(np.polyfit(np.log(DISTANCES), np.log(distance[window] + 1e-300).mean(axis=0), 1)[0])
    correlation = 1 - float(seen.square[window, i].mean()) / (2 * int(seen.is_moving[i]))
    is_alike = correlation > 0.5
    if slope > 0.5:
        kind = "regular" if is_alike else "undecided"
    else:
        kind = "partially predictable" if is_alike else "chaotic"
    return _answer(kind, slope, correlation, separation, float(seen.times[end]))


def _answer(kind: str, slope: float, correlation: float, separation: float, time: float) -> dict[str, Any]:
    return {
        "class": kind, "cross_distance_exponent": slope, "cross_correlation": correlation,
        "separation_time": separation, "time": time,
    }  # fmt: skip
