"""Systematic resampling of weighted particles, many rows at once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["resample_systematic"]


def resample_systematic(log_weights: Tensor, uniform: Tensor, n: int | None = None) -> Tensor:
    """Places of the particles that are kept, in order: each about as often as its weight says, within one.

    One uniform number a row sets `n` evenly spaced ticks on the cumulated weights; the expected number of copies of a
    particle is exactly ``n`` times its weight. A particle of no weight is never kept.

    Parameters
    ----------
    log_weights : Tensor[r m]
        Need not be normalised; -inf is no weight.
    uniform : Tensor[r]
        In (0, 1).
    n : int, optional
        How many are kept; by default as many as there are.

    Returns
    -------
    Tensor[r n], int64
        A row none of whose weights is positive and finite comes back as it is, ``0, 1, 2, ...`` (again from 0 after
        m): there is nothing to choose by, and what is wrong with it is for the caller to say.

    References
    ----------
    Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models", Journal of Computational
    and Graphical Statistics 5, 1996, appendix; Douc, Cappe and Moulines, "Comparison of resampling schemes for particle
    filtering", 2005, section 2.4.

    Examples
    --------
    >>> import torch
    >>> resample_systematic(torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log(), torch.tensor([0.5]))
    tensor([[0, 0, 2, 3]])
    """
    m = log_weights.shape[1]
    n = m if n is None else n
    largest = log_weights.amax(dim=1, keepdim=True)
    is_alive = largest.isfinite()
    share = (log_weights - largest.where(is_alive, 0.0)).exp().cumsum(dim=1)
    share = share / share[:, -1:].where(is_alive, 1.0)
    ticks = (torch.arange(n, device=share.device) + uniform.to(share)[:, None]) / n
    chosen = torch.searchsorted(share, ticks).clamp(max=m - 1)
    return torch.where(is_alive, chosen, torch.arange(n, device=share.device) % m)
