"""Sums of states of one series, given all that was seen of it, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps, PairedSystem
from tsode.models.structural.member import ChannelFit
from tsode.models.structural.problems import Doubts
from tsode.models.structural.smoother import PairedSmoother

__all__ = ["smoothed_sums"]

HELD_AT_ONCE = 2**22  # numbers of covariances at query times; of those at rows, four times as many


def smoothed_sums(
    fit: ChannelFit, times: Tensor, values: Tensor, readout: Tensor, noise: Tensor, doubts: Doubts | None,
    query_times: Tensor, readouts: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Means and variances (k q d) of sums of states, by each draw of the parameters.

    Parameters
    ----------
    fit : ChannelFit
    times : Tensor[n], float64
    values : Tensor[n 1] or Tensor[n d]
        Scaled, less what covariates explain.
    readout : Tensor[n d m] or Tensor[1 d m]
        What each value sees of the states.
    noise : Tensor[n d] or Tensor[1 d]
        Variance of its noise.
    doubts : Doubts or None
        About these values (n 1).
    query_times : Tensor[q], float64
    readouts : Tensor[k d m]
        Weights of the states in each sum.
    """
    if not len(times):
        start = fit.parts(times.new_zeros(1, 1)).start
        variance = (readouts**2 * start).sum(dim=-1)[:, None].expand(-1, len(query_times), -1)
        return torch.zeros_like(variance), variance
    values = values.expand(-1, readouts.shape[1])
    gap, which = times.diff(prepend=times[:1]).unique(return_inverse=True)
    parts = fit.parts(gap[:, None])
    behind = torch.searchsorted(times, query_times, right=True)
    last, ahead = times[(behind - 1).clamp(min=0)], times[behind.clamp(max=len(times) - 1)]
    since = torch.where(behind > 0, query_times - last, 0.0)
    until = torch.where((behind > 0) & (behind < len(times)), ahead - query_times, 0.0)  # the start stands still
    out = values.new_empty(2, len(readouts), len(query_times), readouts.shape[1])
    size = HELD_AT_ONCE // fit.n_states**2
    for draws in torch.arange(readouts.shape[1]).split(max(1, 4 * size // len(times))):
        steps = PairedSteps(*(x[:, 0, draws] for x in parts.steps))
        system = PairedSystem(steps, which, torch.diag_embed(parts.start[draws]), readout[:, draws], noise[:, draws])
        if doubts is not None:
            system = Doubts(*(x.expand(-1, len(draws)) for x in doubts)).applied(system, fit.levels[draws])
        smoother = PairedSmoother.of(system, values[:, draws], torch.ones_like(values[:, draws]))
        for at in torch.arange(len(query_times)).split(max(1, size // len(draws))):
            before, after = (
                PairedSteps(*(x[:, 0, draws] for x in fit.parts(part[at, None]).steps)) for part in (since, until)
            )
            belief = smoother.states(behind[at], before, after)
            for k, weights in enumerate(readouts[:, draws]):
                spread = (belief.cov @ weights[..., None]).squeeze(-1)
                out[0, k, at[:, None], draws] = (belief.mean * weights).sum(dim=-1)
                out[1, k, at[:, None], draws] = (spread * weights).sum(dim=-1)
    return out[0], out[1]
