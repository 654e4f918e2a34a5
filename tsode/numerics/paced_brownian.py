"""Brownian motion that all rows follow in a clock of their own, which goes by one from stop to stop."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.numerics.brownian import BrownianPath

__all__ = ["paced_brownian"]


def paced_brownian(paths: BrownianPath, stops: Tensor, lengths: Tensor, times: Tensor, pace: float) -> Tensor:
    """Values at ``times >= 0`` (b m) of motions that have the law of Brownian motion in time: Tensor[p b m k].

    A path is followed from one end of a cell to the next between two stops, and over a time of `pace` after the last,
    and scaled to the time that this takes. At stops, where most times are, nothing but the ends of cells is read, for
    all rows at once; a `BrownianPath` followed in time is read at as many times as there are rows and stops.

    Parameters
    ----------
    paths : BrownianPath
        Of p paths.
    stops : Tensor[b n], float64
        Of each row, not negative and not decreasing, n at least 1; padding repeats the last.
    lengths : Tensor[b], int64
        Number of stops of each row before its padding.
    times : Tensor[b m], float64
        In any order; the values depend on their own time only.
    """
    (b, n), p, cell = stops.shape, len(paths.knots), paths.cell
    last, origin = stops[:, -1:], times.new_zeros(p * b)
    before = torch.cat([torch.zeros_like(last), stops[:, :-1]], dim=1)
    gap = torch.searchsorted(stops, times.contiguous())  # n: past the last stop
    begin = torch.cat([before, last], dim=1).gather(1, gap)
    takes = torch.cat([stops - before, torch.full_like(last, pace)], dim=1)
    scale, takes = (takes / cell).sqrt().to(paths.knots), takes.gather(1, gap)
    count = torch.where(gap < n, gap, lengths[:, None])
    clock = cell * (count + torch.where(takes > 0, (times - begin) / takes, 0.0))

    followed = torch.arange(p, device=times.device).repeat_interleave(b)
    moved = paths.starting_at(origin, followed)(clock.repeat(p, 1)).unflatten(0, (p, b)) - paths.knots[:, count]
    at_stops = (paths.knots.diff(dim=1)[:, None, :n] * scale[:, :n, None]).cumsum(dim=2)
    at_stops = torch.nn.functional.pad(at_stops, (0, 0, 1, 0))
    rows = torch.arange(b, device=times.device)[:, None]
    return at_stops[:, rows, count] + scale.gather(1, gap)[..., None] * moved
