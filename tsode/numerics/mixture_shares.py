"""Shares of a mixture: the maximum of its likelihood, by an interior-point method."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mixture_shares"]

MOST_STEPS = 100
CLOSE = 1e-12  # slope, and product of a share and its slope, at the maximum


def mixture_shares(densities: Tensor) -> Tensor:
    """Find the shares ``u >= 0`` of sum 1 that maximise ``mean_i log sum_j densities[i, j] u[j]``.

    Newton's steps on the conditions of Karush, Kuhn and Tucker of the same problem without the sum, from whose
    logarithm ``sum_j u[j]`` is taken (Koenker & Mizera 2014, section 3; Nocedal & Wright 2006, section 19.3): the slope
    is zero where a share is positive, and not negative where it is none. A step costs ``n p^2``, and some twenty are
    enough however the columns are correlated, where expectation and maximisation takes thousands.

    Parameters
    ----------
    densities : Tensor[n p], float64
        Not negative, with an entry that is positive in each row.

    Returns
    -------
    Tensor[p]
        Positive: what has no share is some 1e-12.
    """
    n, p = densities.shape
    share, slope = densities.new_full((p,), 1.0 / p), densities.new_ones(p)
    for _ in range(MOST_STEPS):
        relative = densities / (densities @ share)[:, None]
        rise = 1.0 - relative.mean(dim=0)
        if max((rise - slope).abs().max(), (share * slope).max()) < CLOSE:
            break
        target = (0.1 * (share @ slope) / p).clamp(min=0.1 * CLOSE)
        curvature = relative.t() @ relative / n + torch.diag(slope / share)
        move = torch.linalg.solve(curvature, target / share - rise)
        turn = target / share - slope - slope / share * move
        # not quite to the edge, beyond which there is no logarithm
        fastest = -torch.cat([move / share, turn / slope]).min()
        length = torch.minimum(0.99 / fastest.clamp(min=1e-300), fastest.new_ones(()))
        share, slope = share + length * move, slope + length * turn
    return share
