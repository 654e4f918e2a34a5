"""Thinning: exact simulation of future events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode._random import hashed_uniforms
from tsode.errors import SolverError
from tsode.intensities.base import Intensity

__all__ = ["Simulated", "simulate"]

EARLY = 500  # events after which a path is judged by its pace
FAR_BEYOND = 3.0  # times the limit, so that a burst which would end within it may pass


@dataclass(frozen=True)
class Simulated:
    """Events of many paths, in the order of rows and times.

    Parameters
    ----------
    rows : array[e], int64
        Path of each event.
    times : array[e], float64
        Time since the start of the path.
    marks : array[e], int64
    """

    rows: np.ndarray
    times: np.ndarray
    marks: np.ndarray


@torch.no_grad()
def simulate(
    intensity: Intensity, z: Tensor, since: Tensor, span: Tensor, keys: np.ndarray, most_events: int = 20_000
) -> Simulated:
    """Draw the events of the next `span` of each path by thinning (Ogata 1981), with bounds on short stretches.

    Parameters
    ----------
    intensity : Intensity
    z : Tensor[b d]
        States to go on from.
    since : Tensor[b], float64
        Time that has passed since that of ``z`` without an event.
    span : Tensor[b], float64
    keys : array[b], uint64
        A path depends on its own key, not on the paths beside it.
    most_events : int
        Of one path: beyond that an intensity is taken to feed on itself. So is one that has had 500, and is bound for
        three times as many by its pace so far and by its rate now.

    Raises
    ------
    SolverError
        If a path has more than `most_events`, or an intensity that is not finite.
    """
    rows = torch.arange(len(z))
    now = torch.zeros_like(span)
    events: list[tuple[Tensor, Tensor, Tensor]] = []
    counts = np.zeros(len(z), dtype=np.int64)
    step = 0
    while len(rows):
        draws = torch.from_numpy(hashed_uniforms(keys, step, 3)).to(z.device)
        step += 1
        # rates change on the scale of the time since the last event, so that bounds up to there are not far off
        total = intensity.rates(z, since[:, None])[:, 0].sum(dim=-1).double()
        if not bool(torch.isfinite(total).all()):
            raise SolverError(
                "The intensity of a simulated path is beyond the range of numbers: ask for a shorter horizon."
            )
        reach = torch.minimum(torch.minimum(1.0 / total, 0.5 * since + 0.05), span - now)
        bound = intensity.upper_bound(z, since, since + reach).double() * (1.0 + 1e-6)  # rounding
        if counts.max() >= EARLY:
            so_far = torch.from_numpy(counts[rows.numpy()]).to(now)
            bound_for = torch.minimum(so_far * span / now, total * (span - now))
            if bool(((so_far >= EARLY) & (bound_for > FAR_BEYOND * most_events)).any()):
                raise _too_many(most_events)
        wait = -draws[:, 0].log() / bound
        is_inside = wait < reach
        wait = torch.minimum(wait, reach)
        now, since = now + wait, since + wait
        rates = intensity.rates(z, since[:, None])[:, 0].double()
        is_event = is_inside & (draws[:, 1] * bound < rates.sum(dim=1))
        if bool(is_event.any()):
            at = is_event.nonzero()[:, 0]
            shares = rates[at].cumsum(dim=1)
            marks = (shares < draws[at, 2:] * shares[:, -1:]).sum(dim=1).clamp(max=intensity.n_marks - 1)
            events.append((rows[at], now[at], marks))
            z = z.index_copy(0, at, intensity.jump(z[at], since[at], marks))
            since = since.index_fill(0, at, 0.0)
            np.add.at(counts, rows[at].numpy(), 1)
            if counts.max() > most_events:
                raise _too_many(most_events)
        is_going = now < span
        if not bool(is_going.all()):
            rows, now, since, span, z = (part[is_going] for part in (rows, now, since, span, z))
            keys = keys[is_going.numpy()]
    if not events:
        return Simulated(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))
    row, time, mark = (torch.cat(parts).numpy() for parts in zip(*events))
    order = np.lexsort((time, row))
    return Simulated(row[order], time[order], mark[order])


def _too_many(most_events: int) -> SolverError:
    return SolverError(
        f"A simulated path has more than {most_events} events: each event brings more than one further event. Ask for "
        "a shorter horizon, or fit on more data."
    )
