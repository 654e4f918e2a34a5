"""Zeno behaviour: events without end before a finite time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["EventClock", "accumulation_time"]

_N_GAPS = 6  # in a row must shrink: two events that nearly coincide are no sign of more
_REMAINDER = 1e-6
_N_AT_ONCE = 100  # events, whose pace tells
_ENDLESS = 1e8  # events that would still come at this pace


def accumulation_time(times: Tensor) -> Tensor:
    """Time (...) towards which successive event times (... k) run, if their gaps go on shrinking as the last two did.

    Aitken's extrapolation, exact for a geometric series; infinite where the gaps do not shrink and are not all zero.
    """
    gaps = times.diff(dim=-1)
    before, last = gaps[..., -2], gaps[..., -1]
    shrinks, stands = (gaps.diff(dim=-1) < 0).all(dim=-1), (gaps == 0).all(dim=-1)
    remainder = torch.where(shrinks, last.square() / torch.where(shrinks, before - last, 1.0), 0.0)
    return torch.where(shrinks | stands, times[..., -1] + remainder, torch.inf)


class EventClock:
    """Keeps the last times of each row's events, and tells when they have no end.

    Parameters
    ----------
    t0, t1 : Tensor[b]
        Start and end of each row.
    n_events : int
        Kinds of events.
    """

    def __init__(self, t0: Tensor, t1: Tensor, n_events: int) -> None:
        self.t0, self.t1 = t0.detach(), t1.detach()
        self._recent = t0.new_full((len(t0), n_events, _N_GAPS + 1), torch.nan)  # no event yet: no gap shrinks
        self._count, self._mark = torch.zeros_like(t0, dtype=torch.int64), self.t0

    def tick(self, time: Tensor, is_met: Tensor) -> tuple[Tensor, Tensor]:
        """Take in that events (b e) were met at a time (b,): whether a row's have no end, and when they accumulate.

        They have none where the gaps between those of one kind have shrunk until a millionth of the time since the
        start is left to their accumulation, or where the last hundred came so fast that at this pace a hundred million
        more would follow.
        """
        time = time.detach()
        later = torch.cat([self._recent[..., 1:], time[:, None, None].expand(-1, is_met.shape[1], 1)], dim=2)
        self._recent = torch.where(is_met[..., None], later, self._recent)
        limit = accumulation_time(self._recent).nan_to_num(nan=torch.inf)
        limit = torch.where(is_met, limit, torch.inf).amin(dim=1)
        ends = (limit <= self.t1) & (limit - time <= _REMAINDER * (limit - self.t0))

        self._count = self._count + is_met.any(dim=1)
        is_turn = is_met.any(dim=1) & (self._count % _N_AT_ONCE == 0)
        is_endless = is_turn & ((time - self._mark) * _ENDLESS < (self.t1 - time) * _N_AT_ONCE)
        self._mark = torch.where(is_turn, time, self._mark)
        return ends | is_endless, torch.where(ends, limit, torch.where(is_endless, time, torch.inf))
