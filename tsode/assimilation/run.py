"""Run of a filter along the stops of series: it flows, is changed by events, and conditions on what is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead, Filter, where_rows
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.assimilation.stops import Stops

__all__ = ["Passed", "carry", "n_steps", "run"]

SeenAt = Callable[[int], Sequence[Seen | None]]
"""Of a stop: what is seen there, by channel; None where no row sees the channel."""


class Passed(NamedTuple):
    """What a filter has come to.

    Parameters
    ----------
    log_evidence : Tensor[r k c]
        Of each channel's value at each stop, given all before; 0 where none was seen.
    belief : NamedTuple
        After the last stop.
    before, seen, after : list
        Beliefs on arrival at each stop, when all has been seen there, and when all has happened there; the first of
        `after` is that at the start. Empty unless they were asked for.
    """

    log_evidence: Tensor
    belief: Any
    before: list[Any]
    seen: list[Any]
    after: list[Any]


def run(
    filter: Filter[Any],
    motion_to: Callable[[int], Motion],
    stops: Stops,
    t0: Tensor,
    start: Start,
    seen_at: SeenAt,
    n_channels: int,
    step: Tensor,
    draws: Draws,
    keep: bool = False,
    belief: Any = None,
) -> Passed:
    """Run a filter along the stops of ``r`` rows.

    Parameters
    ----------
    filter : Filter
    motion_to : callable
        Of a stop: the motion on the way to it.
    stops : Stops
    t0 : Tensor[r], float64
    start : Start
    seen_at : callable
        See `SeenAt`.
    n_channels : int
    step : Tensor[r], float64
        Longest step of each row, from each stop on; not read of a linear motion.
    draws : Draws
    keep : bool
        Whether to keep the beliefs at all stops.
    belief : NamedTuple, optional
        At ``t0``, instead of what is known at the start.
    """
    if belief is None:
        belief = filter.start(start, motion_to(0), t0, draws)
    r, n = stops.time.shape
    evidence = torch.zeros(r, n, n_channels, dtype=torch.float64) if not n else None
    belief = filter.mark(belief)
    parts, before, known = [], [], []
    after = [belief] if keep else []
    clock, seen = t0, [list(seen_at(k)) for k in range(n)]
    ahead = _ahead(stops, seen)
    for k in range(n):
        belief = carry(filter, belief, motion_to(k), clock, stops.time[:, k], step, draws, ahead[k])
        clock = stops.time[:, k]
        if keep:
            before.append(belief)
        row = []
        for one in seen[k]:
            gain = torch.zeros(r, dtype=torch.float64)
            if one is not None:
                belief, gain = filter.observe(belief, one, clock, draws)
            row.append(gain)
        parts.append(torch.stack(row, dim=1))
        belief = filter.mark(belief)
        if keep:
            known.append(belief)
        change = stops.changes[k]
        if change is not None:
            is_changed = (change.factor != 1.0).any(dim=1) | (change.shift != 0.0).any(dim=1)
            belief = where_rows(is_changed, filter.change(belief, change.factor, change.shift), belief)
        if keep:
            after.append(belief)
    return Passed(torch.stack(parts, dim=1) if evidence is None else evidence, belief, before, known, after)


def carry(
    filter: Filter[Any],
    belief: Any,
    motion: Motion,
    t0: Tensor,
    t1: Tensor,
    step: Tensor,
    draws: Draws,
    ahead: tuple[Tensor, list[Seen]] | None = None,
) -> Any:
    """A belief at ``t1`` (r,), from one at ``t0`` (r,), in steps that are laid out from ``t0`` on."""
    gap = (t1 - t0).detach()
    if motion.is_linear:
        count, step = (gap > 0).long(), gap
    else:
        count = n_steps(gap, step)
    most = int(count.max()) if len(count) else 0
    for i in range(most):
        begin = t0 + i * step
        h = torch.where(count > i + 1, step, torch.where(count == i + 1, t1 - begin, torch.zeros_like(gap)))
        steer = None if ahead is None else Ahead(ahead[0] - begin, ahead[1])
        belief = filter.flow(belief, motion, begin, h, draws, steer)
        if i % _LOOK == _LOOK - 1 and not bool(belief[0].isfinite().any()):
            break  # all rows have left the range of numbers
    return belief


def n_steps(gap: Tensor, step: Tensor) -> Tensor:
    """Steps (n,) of a way that is not linear: whole ones, and a last one that may be shorter."""
    return (gap / step - _ROUNDING).ceil().clamp(min=0).long()


def _ahead(stops: Stops, seen: list[list[Seen | None]]) -> list[tuple[Tensor, list[Seen]] | None]:
    """For the way to each stop: what is seen there; nothing where other rows see something later."""
    return [
        (stops.time[:, k], [one for one in here if one is not None]) if any(one is not None for one in here) else None
        for k, here in enumerate(seen)
    ]


_LOOK = 32  # steps after which a run that has failed is given up
_ROUNDING = 1e-9  # of a step, by which a gap may be longer than a whole number of them
