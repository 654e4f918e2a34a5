"""Filter of a channel over the events of some series, all draws of its parameters at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps, PairedSystem, filter_rows
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.problems import Doubts
from tsode.models.structural.reweighting import Verdict
from tsode.models.structural.standing import Standing

__all__ = ["standings"]


def standings(
    fit: ChannelFit,
    times: Tensor,
    values: Tensor,
    mask: Tensor,
    begin: Standing | None,
    judge: Callable[[slice, Standing | None], Verdict],
    at_once: int,
    given: Tensor,
) -> Iterator[tuple[int, Standing]]:
    """Number of each event, and where the filters stand after it, until the next.

    Parameters
    ----------
    fit : ChannelFit
    times : Tensor[n r]
    values : Tensor[n r d] or Tensor[n r 1]
        Scaled, without what covariates explain.
    mask : Tensor[n r]
        1 where a value was seen.
    begin : Standing or None
        At the first event, with its value; None where the series begin.
    judge : callable
        Verdict on these events from where the filters stand at the first of them. Asked only where `fit` has a limit.
    at_once : int
        Numbers of each part of the transitions to events that are built together.
    given : Tensor[n r]
        Variance of the noise of each value beside what was fitted.
    """
    n_draws, r = len(fit.log_weights), times.shape[1]
    size = max(1, at_once // (r * n_draws * fit.n_states))
    for first in range(0, len(times), size):
        part = slice(max(first - 1, 0), first + size)  # from the last event before, at which the filters stand
        gap = times[part].diff(dim=0, prepend=times[part][:1])
        which = torch.arange(len(gap))
        if r == 1:
            distinct, which = gap[:, 0].unique(return_inverse=True)
            gap = distinct[:, None]
        parts = fit.parts(gap)
        steps, start = PairedSteps(*(x.flatten(1, 2) for x in parts.steps)), torch.diag_embed(parts.start)
        seen, mean, cov = mask[part], None, start.repeat(r, 1, 1)
        runs = times.new_zeros(len(seen), r)
        if begin is not None:
            mean, cov = begin.mean.flatten(0, 1), begin.cov.flatten(0, 1)
            seen = torch.cat([torch.zeros_like(seen[:1]), seen[1:]])
        noise = parts.noise.repeat(r) + given[part].repeat_interleave(n_draws, dim=1)
        system = PairedSystem(steps, which, cov, parts.readout.repeat(r, 1)[None], noise)
        if fit.limit is not None:
            _, doubts, runs = judge(part, begin)
            doubts = Doubts(*(x.repeat_interleave(n_draws, dim=1) for x in doubts))
            system = doubts.applied(system, fit.levels.repeat(r, 1))
        rows = values[part].expand(-1, -1, n_draws).flatten(1), seen.repeat_interleave(n_draws, dim=1)
        for k, (_, after, _) in enumerate(filter_rows(system, *rows, mean=mean)):
            begin = Standing(after.mean.unflatten(0, (r, n_draws)), after.cov.unflatten(0, (r, n_draws)), runs[k])
            if part.start + k >= first:
                yield part.start + k, begin
