"""Convergence of chains: R-hat and effective sample sizes by ranks.

Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization", Bayesian Analysis 16,
2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bulk_ess", "ess", "hold", "qualities", "rhat", "tail_ess", "thinned"]


def rhat(draws: Tensor) -> Tensor:
    """Rank-normalised split R-hat, the larger of that of the draws and that of their distance from the median.

    Parameters
    ----------
    draws : Tensor[... c n]
        Chains of a quantity, at least four draws each.

    Returns
    -------
    Tensor[...]
        Near 1 where chains agree; NaN where all draws are equal.
    """
    halves = _split(draws)
    folded = (halves - halves.flatten(-2).median(dim=-1).values[..., None, None]).abs()
    return torch.maximum(_plain_rhat(_normal_scores(halves)), _plain_rhat(_normal_scores(folded)))


def bulk_ess(draws: Tensor) -> Tensor:
    """Effective draws for the centre: (... c n) -> (...)."""
    return ess(_normal_scores(_split(draws)))


def tail_ess(draws: Tensor) -> Tensor:
    """Effective draws for the tails, the smaller of those for the 5 % and 95 % quantiles: (... c n) -> (...)."""
    halves = _split(draws)
    levels = torch.quantile(halves.flatten(-2), draws.new_tensor([0.05, 0.95]), dim=-1)
    low, high = (ess((halves <= level[..., None, None]).to(draws.dtype)) for level in levels)
    return torch.minimum(low, high)


def ess(draws: Tensor) -> Tensor:
    """Effective sample size of the mean: (... c n) -> (...), by Geyer's initial monotone sequence over all chains.

    Where chains alternate about their mean it is more than the number of draws, up to that times its logarithm.
    """
    c, n = draws.shape[-2:]
    centred = draws - draws.mean(dim=-1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=-1)
    covariance = torch.fft.irfft(spectrum.abs() ** 2, n=2 * n, dim=-1)[..., :n] / n
    mean_covariance = covariance.mean(dim=-2)
    within = mean_covariance[..., 0] * n / (n - 1)
    total = within * (n - 1) / n
    if c > 1:
        total = total + draws.mean(dim=-1).var(dim=-1)
    rho = 1.0 - (within[..., None] - mean_covariance * n / (n - 1)) / total[..., None]
    rho[..., 0] = 1.0
    pairs = rho[..., : 2 * (n // 2)].unflatten(-1, (n // 2, 2)).sum(dim=-1)
    is_initial = (pairs > 0).long().cumprod(dim=-1)
    monotone = pairs.cummin(dim=-1).values.clamp(min=0.0) * is_initial
    # the last even lag counts by itself where it is positive, which lowers the variance of the estimate for short tau
    after = is_initial.sum(dim=-1, keepdim=True).clamp(max=n // 2 - 1)
    extra = rho[..., 0 : 2 * (n // 2) : 2].gather(-1, after).clamp(min=0.0).squeeze(-1)
    tau = -1.0 + 2.0 * monotone.sum(dim=-1) + extra * (is_initial[..., -1] == 0)
    tau = tau.clamp(min=1.0 / torch.log10(draws.new_tensor(float(c * n))).item())
    return c * n / tau


def hold(draws: Tensor, max_rhat: float, enough: float) -> Tensor:
    """Problems (g) whose chains (g c n p) agree in every coordinate, and have enough effective draws."""
    by_axis = draws.permute(0, 3, 1, 2)
    is_enough = torch.minimum(bulk_ess(by_axis), tail_ess(by_axis)) >= enough
    return ((rhat(by_axis) <= max_rhat) & is_enough).all(dim=1)


def qualities(draws: Tensor, end: Tensor) -> list[Tensor]:
    """R-hat and effective draws for centre and tails, (g p) each, of chains (g c n p) over their first `end` (g)."""
    g, _, _, p = draws.shape
    quality = [torch.full((g, p), torch.nan, dtype=draws.dtype) for _ in range(3)]
    for own in range(g):  # each over its own length
        chain = draws[own, :, : end[own]].permute(2, 0, 1)
        for into, measure in zip(quality, (rhat, bulk_ess, tail_ess)):
            into[own] = measure(chain)
    return quality


def thinned(draws: Tensor, end: Tensor, n: int) -> Tensor:
    """Draws (g c n p) of the first `end` (g) of chains, evenly thinned, or repeated."""
    places = ((torch.arange(n) + 1) * end[:, None] - 1) // n
    return draws.gather(2, places[:, None, :, None].expand(-1, draws.shape[1], -1, draws.shape[3]))


def _split(draws: Tensor) -> Tensor:
    """First and second halves as chains of their own."""
    half = draws.shape[-1] // 2
    return torch.cat([draws[..., :half], draws[..., -half:]], dim=-2)


def _normal_scores(draws: Tensor) -> Tensor:
    """Normal scores of the ranks among all chains; equal draws share their mean rank."""
    flat = draws.flatten(-2).contiguous()
    ordered = flat.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, flat)
    upto = torch.searchsorted(ordered, flat, right=True)
    rank = 0.5 * (below + upto + 1).to(draws.dtype)
    return torch.special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25)).reshape(draws.shape)


def _plain_rhat(draws: Tensor) -> Tensor:
    n = draws.shape[-1]
    within = draws.var(dim=-1).mean(dim=-1)
    between = draws.mean(dim=-1).var(dim=-1)
    return ((n - 1) / n + between / within).sqrt()
