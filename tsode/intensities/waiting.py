"""Waiting time and mark of the next event, by inverting the compensator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsode.intensities.base import Intensity

__all__ = ["NextEvent", "next_event", "waits_until"]

FARTHEST = 2.0**40  # units of time within which an event is looked for
N_STEPS = 60
# Panels of a Gauss-Legendre rule for the mean over an exponential variable; beyond the last is a share of e**-40.
PANELS = (0.0, 1e-3, 0.01, 0.05, 0.2, 0.6, 1.2, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)


@dataclass(frozen=True)
class NextEvent:
    """Distribution of the next event, float64.

    Parameters
    ----------
    mean : Tensor[b]
        Of the time until then; infinite where there may be none.
    quantiles : Tensor[b q]
    mark_probabilities : Tensor[b k]
    """

    mean: Tensor
    quantiles: Tensor
    mark_probabilities: Tensor


@torch.no_grad()
def waits_until(intensity: Intensity, z: Tensor, since: Tensor, targets: Tensor) -> Tensor:
    """Find when the compensator has grown by `targets` if nothing happens: bisection and Newton's steps.

    Parameters
    ----------
    z : Tensor[b d]
    since : Tensor[b], float64
        Time that has passed since that of ``z`` without an event; waits count from then.
    targets : Tensor[b m], float64, positive

    Returns
    -------
    Tensor[b m], float64
        Infinite where it is not reached within 2**40 units of time.
    """
    base = intensity.extrapolate(z, since[:, None]).compensator[:, 0].double()
    rows = torch.arange(len(z), device=z.device).repeat_interleave(targets.shape[1])
    targets_by_row = targets.reshape(-1)

    def grown(at: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
        """How far the compensator of those still `open_` is beyond its target, and how fast it grows."""
        row = rows[open_]
        future = intensity.extrapolate(z[row], (since[row] + at)[:, None])
        return future.compensator[:, 0].double() - base[row] - targets_by_row[open_], future.total[:, 0].double()

    low, high = torch.zeros_like(targets_by_row), torch.ones_like(targets_by_row)
    open_ = torch.arange(len(targets_by_row), device=z.device)
    while len(open_):
        open_ = open_[(grown(high[open_], open_)[0] < 0.0) & (high[open_] < FARTHEST)]
        low[open_] = high[open_]
        high[open_] *= 2.0
    is_never = high >= FARTHEST
    close = max(1e-12, 8.0 * torch.finfo(z.dtype).eps)  # a compensator in float32 is not known any better
    waits = (0.5 * (low + high)).masked_fill(is_never, math.inf)
    open_ = (~is_never).nonzero()[:, 0]
    for _ in range(N_STEPS):
        at = waits[open_]
        error, slope = grown(at, open_)
        low[open_], high[open_] = low[open_].where(error > 0.0, at), high[open_].where(error <= 0.0, at)
        newton = at - error / slope
        is_inside = (newton > low[open_]) & (newton < high[open_])
        new = newton.where(is_inside, 0.5 * (low[open_] + high[open_]))
        waits[open_] = new
        open_ = open_[(new - at).abs() > close * new]
        if not len(open_):
            break
    return waits.reshape(targets.shape)


@torch.no_grad()
def next_event(intensity: Intensity, z: Tensor, since: Tensor, levels: list[float]) -> NextEvent:
    """Distribution of the time until the next event and of its mark, given that none has come `since` (b,).

    With ``E`` exponential of mean 1 and ``t(E)`` the inverse of the compensator, the wait is ``t(E)`` and the mark has
    the probabilities ``lambda_k / sum lambda`` at that time: all expectations are integrals over ``E``.

    Parameters
    ----------
    z : Tensor[b d]
    since : Tensor[b], float64
    levels : list of float
        Of the quantiles, in (0, 1).
    """
    x, w = np.polynomial.legendre.leggauss(8)
    edges = np.array(PANELS)
    nodes = (edges[:-1, None] + np.diff(edges)[:, None] * 0.5 * (x + 1.0)).reshape(-1)
    weights = (np.diff(edges)[:, None] * 0.5 * w).reshape(-1) * np.exp(-nodes)
    exponential_quantiles = -np.log1p(-np.array(levels, dtype=np.float64))
    targets = torch.from_numpy(np.concatenate([nodes, exponential_quantiles])).to(since.device).expand(len(since), -1)
    waits = waits_until(intensity, z, since, targets)
    spread, quantiles = waits.split([len(nodes), len(exponential_quantiles)], dim=1)
    weight = torch.from_numpy(weights).to(since.device)
    rates = intensity.rates(z, since[:, None] + spread.clamp(max=FARTHEST)).double()
    shares = rates / rates.sum(dim=-1, keepdim=True)
    marks = (weight[:, None] * shares).sum(dim=1)
    return NextEvent(spread @ weight, quantiles, marks / marks.sum(dim=-1, keepdim=True))
