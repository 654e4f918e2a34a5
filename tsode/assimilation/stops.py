"""Stops along series: times at which something is seen, given or changed, in the order in which that happens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.errors import DataError

__all__ = ["Change", "Stops", "line_up", "line_up_nothing"]


class Change(NamedTuple):
    """What events do to the states of rows, ``z -> factor * z + shift``.

    Parameters
    ----------
    factor, shift : Tensor[r d]
    """

    factor: Tensor
    shift: Tensor


class Stops(NamedTuple):
    """Stops of ``r`` rows, in order; of one time rows of data come before ends of inputs, and these before events.

    Parameters
    ----------
    time : Tensor[r k], float64
        Padding repeats the last.
    row : Tensor[r k], int64
        Column of the data that stands there; -1: none.
    changes : list of Change or None
        At each of the ``k`` stops.
    inputs : list of Tensor[r d] or None
        What goes into the states per unit of time on the way to each of the stops, and, as a last one, after them.
    """

    time: Tensor
    row: Tensor
    changes: list[Change | None]
    inputs: list[Tensor | None]


def line_up(events: ScheduledEvents, times: Tensor, is_row: Tensor, t0: Tensor, n_state: int) -> Stops:
    """Stops of rows that begin at ``t0`` (r,), from their events (r e) and the times (r m) of their data.

    Parameters
    ----------
    events : ScheduledEvents
        Without steady states.
    times : Tensor[r m], float64
    is_row : Tensor[r m], bool
        Which of them count.
    t0 : Tensor[r], float64
    n_state : int
    """
    if (events.steady_state > 0).any():
        raise DataError(
            "A dose in steady state is known for equations without noise alone: write its repeats out (every= and "
            "n_more=), from early enough."
        )
    (r, m), n_events = times.shape, events.time.shape[1]
    is_input = (events.duration > 0) & events.duration.isfinite()
    end = torch.where(is_input, events.time + events.duration, torch.inf)
    nothing = torch.full((r, 1), torch.inf, dtype=torch.float64)
    time = torch.cat([times.where(is_row, torch.inf), end, events.time, nothing], dim=1)
    order = time.detach().argsort(dim=1, stable=True)
    n = int((time < torch.inf).sum(dim=1).max())
    order = order[:, :n]
    time = time.gather(1, order)
    is_stop = time < torch.inf
    time = torch.cat([t0[:, None], torch.where(is_stop, time, -torch.inf)], dim=1).cummax(dim=1).values[:, 1:]
    row = torch.where(order < m, order, -1)
    if not n_events:
        return Stops(time, row, [None] * n, [None] * (n + 1))
    index = torch.where(order < m, -1, (order - m) % n_events)
    is_end, begins = (order >= m) & (order < m + n_events), (order >= m + n_events) & is_stop
    return Stops(time, row, *_happening(events, index, is_end & is_stop, begins, n_state))


def line_up_nothing(t0: Tensor) -> Stops:
    """No stops of rows that begin at ``t0`` (r,)."""
    none = torch.zeros(len(t0), 0, dtype=torch.float64)
    return Stops(none, none.long(), [], [None])


def _happening(
    events: ScheduledEvents, index: Tensor, is_end: Tensor, begins: Tensor, n_state: int
) -> tuple[list[Change | None], list[Tensor | None]]:
    """Changes at stops, and inputs on the way to each, by the index (r k) of the event that begins or ends there."""
    length = torch.where((events.duration > 0) & events.duration.isfinite(), events.duration, 1.0)
    rate = torch.where(events.duration > 0, events.amount / length, 0.0)
    target = torch.nn.functional.one_hot(events.target, n_state).to(rate)
    running = torch.zeros_like(rate)
    has_inputs = bool((events.duration > 0).any())
    changes: list[Change | None] = []
    inputs: list[Tensor | None] = []
    for k in range(index.shape[1]):
        inputs.append(torch.einsum("re,red->rd", running * rate, target) if has_inputs else None)
        at = index[:, k].clamp(min=0)[:, None]
        kind = torch.where(begins[:, k], events.kind.gather(1, at)[:, 0], int(EventKind.MARK))
        is_open = events.duration.gather(1, at)[:, 0] > 0
        is_added = (kind == EventKind.ADD) | (kind == EventKind.RESET_ADD)
        is_reset = (kind == EventKind.RESET) | (kind == EventKind.RESET_ADD)
        own = target.gather(1, at[..., None].expand(-1, -1, n_state))[:, 0]
        amount = events.amount.gather(1, at)
        gives = ((is_added & ~is_open) | (kind == EventKind.SET))[:, None]
        factor = torch.where((kind == EventKind.SET)[:, None], 1.0 - own, torch.ones_like(own))
        factor = torch.where((kind == EventKind.MULTIPLY)[:, None], 1.0 + own * (amount - 1.0), factor)
        factor = torch.where(is_reset[:, None], 0.0, factor)
        is_any = bool((kind != EventKind.MARK).any())
        changes.append(Change(factor, torch.where(gives, own * amount, 0.0)) if is_any else None)
        if has_inputs:
            here = torch.zeros_like(running).scatter(1, at, 1.0)
            running = torch.where(is_reset[:, None], 0.0, running)
            running = torch.where((is_added & is_open)[:, None] & (here > 0), 1.0, running)
            running = torch.where(is_end[:, k : k + 1] & (here > 0), 0.0, running)
    inputs.append(torch.einsum("re,red->rd", running * rate, target) if has_inputs else None)
    return changes, inputs
