"""Scheduled events of every row of a batch: doses, infusions, resets at known times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor

__all__ = ["EventKind", "ScheduledEvents"]


class EventKind(IntEnum):
    """What an event does to the state."""

    MARK = 0
    ADD = 1
    SET = 2
    MULTIPLY = 3
    RESET = 4
    RESET_ADD = 5


@dataclass(frozen=True)
class ScheduledEvents:
    """Events of every row, in the order in which they are applied.

    Parameters
    ----------
    time : Tensor[b k], float64
        Not decreasing along a row; infinite where a row has fewer than ``k`` events.
    kind : Tensor[b k], int64
        `EventKind` of each.
    target : Tensor[b k], int64
        Which state is changed.
    amount : Tensor[b k]
        What is added, set or multiplied by; may require a gradient. Of an input without end, per unit of time.
    duration : Tensor[b k], float64
        Time over which the amount is given; 0 is at once, infinite without end.
    every : Tensor[b k], float64
        Interval of a dose in steady state.
    steady_state : Tensor[b k], int64
        1: the state becomes that of this dose given for ever, and other inputs end; 2: that state is added.
    since : Tensor[b k], float64
        How long ago the last dose of a steady state began, less than `every`; 0: it begins now, as all else does.
    is_part : Tensor[b k], bool
        Whether it is the further part of the event before it, which happens along with it.
    """

    time: Tensor
    kind: Tensor
    target: Tensor
    amount: Tensor
    duration: Tensor
    every: Tensor
    steady_state: Tensor
    since: Tensor
    is_part: Tensor
