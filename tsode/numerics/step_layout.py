"""Steps of each row from stop to stop, and on from the last of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsode.core.status import Status

__all__ = ["StepLayout"]

# A gap longer than the step by a rounding error is not worth a second step.
_SLACK = 1e-9


@dataclass(frozen=True)
class StepLayout:
    """Steps of k rounds: in each, every row takes a step of its own length, which is zero once it has arrived.

    Between two stops of a row there are just enough equal steps of at most the given length, and none between stops
    at one time; after the last stop steps have the full length and do not know how far they are asked to go.

    Parameters
    ----------
    starts, ends : Tensor[b k], float64
        Of the steps, as time elapsed since the row's start at 0.
    stop : Tensor[b k], int64
        The stop that a step leads to; the number of stops where it leads past the last.
    n_before : Tensor[b n], int64
        Steps before each stop.
    status : Tensor[b], int64
        `Status.MAX_STEPS` where a row would need more than were allowed.
    """

    starts: Tensor
    ends: Tensor
    stop: Tensor
    n_before: Tensor
    status: Tensor

    @classmethod
    def lay(cls, stops: Tensor, until: Tensor, step: float, max_steps: int) -> StepLayout:
        """Lay steps of at most `step` through the `stops` (b n) and on to at least ``until`` (b,), all float64.

        Stops, at least one a row, do not decrease; padding repeats the last.
        """
        n, last = stops.shape[1], stops[:, -1]
        zero = torch.zeros_like(until)
        gaps = torch.diff(stops, dim=1, prepend=zero[:, None])
        most = max_steps + 1
        count = (gaps / step * (1 - _SLACK)).ceil().clamp(max=most).long()
        n_before = count.cumsum(dim=1)
        needed = n_before[:, -1] + ((until - last) / step).ceil().clamp(min=0, max=most).long()
        n_rounds = min(int(needed.max()), max_steps) if len(needed) else 0

        rounds = torch.arange(n_rounds, device=stops.device).repeat(len(stops), 1)
        stop = torch.searchsorted(n_before, rounds, right=True)
        inside = stop.clamp(max=n - 1)
        to_go = n_before.gather(1, inside) - rounds - 1  # steps of the gap that are left after this one
        length = gaps.gather(1, inside) / count.gather(1, inside).clamp(min=1)
        on_the_way = stops.gather(1, inside) - to_go * length
        # a row that has arrived waits at the end of its last step
        beyond = last[:, None] + step * (torch.minimum(rounds + 1, needed[:, None]) - n_before[:, -1:])
        ends = torch.where(stop < n, on_the_way, beyond)
        starts = torch.cat([zero[:, None], ends], dim=1)[:, :n_rounds]
        status = torch.where(needed > max_steps, int(Status.MAX_STEPS), int(Status.OK))
        return cls(starts, ends, stop, n_before, status)
