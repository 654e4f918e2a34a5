"""Zeno behaviour: events without end before a finite time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["accumulation_time", "has_accumulated"]

_N_GAPS = 6  # in a row must shrink: two events that nearly coincide are no sign of more
_REMAINDER = 1e-6


def accumulation_time(times: Sequence[Tensor]) -> Tensor:
    """Time (b,) towards which successive event times (b,) run, if their gaps go on shrinking as the last two did.

    Aitken's extrapolation, exact for a geometric series; infinite where the gaps do not shrink or are too few to tell.
    """
    if len(times) <= _N_GAPS:
        return torch.full_like(times[-1], torch.inf)
    recent = torch.stack(list(times[-_N_GAPS - 1 :]))
    gaps = recent.diff(dim=0)
    before, last = gaps[-2:]
    shrinks = (gaps.diff(dim=0) < 0).all(dim=0)
    remainder = torch.where(shrinks, last.square() / torch.where(shrinks, before - last, 1.0), 0.0)
    stands = (gaps == 0).all(dim=0)
    return torch.where(shrinks | stands, times[-1] + remainder, torch.inf)


def has_accumulated(times: Sequence[Tensor], t0: Tensor, t1: Tensor) -> Tensor:
    """Whether a row's events go on without end before `t1` (b,).

    They do where no more than a millionth of the time since `t0` is left to the time of accumulation.
    """
    limit = accumulation_time(times)
    return (limit <= t1) & (limit - times[-1] <= _REMAINDER * (limit - t0))
