"""Draws of the effects of series, given draws of what all share."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.laplace import Laplace

__all__ = ["MOST_ROWS", "draw_effects"]

MOST_ROWS = 2**16  # of series times draws
N_CENTRES, ROWS_OF_CENTRES = 32, 2**9  # draws that modes are looked for at, and rows of that search
N_CANDIDATES = 8
WIDER = 1.15  # than the normal law about the mode
AT_ONCE = 2**13


@torch.no_grad()
def draw_effects(density: MarginalDensity, theta: Tensor, start: Tensor | None, generator: torch.Generator) -> Tensor:
    """One draw of the effects of each series for each draw of what is shared: (n k q).

    Candidates are drawn from the normal law about the mode of the nearest of a few draws, and one of them is chosen by
    its weight (Rubin 1988).

    Parameters
    ----------
    density : MarginalDensity
    theta : Tensor[n k p]
        Draws of each series' shared coordinates.
    start : Tensor[n q], optional
        Effects near the most probable ones.
    generator : torch.Generator
    """
    method, subjects = Laplace(), density.subjects
    n, k, _ = theta.shape
    n_centres = max(1, min(k, N_CENTRES, ROWS_OF_CENTRES // n))
    centres = theta[:, :: -(-k // n_centres)]
    begin = None if start is None else start[:, None, None].expand(-1, centres.shape[1], 1, -1)
    modes = method.search(subjects, centres, begin)
    curvature = method.look(subjects, centres, modes.eta).curvature
    roots = torch.linalg.inv(torch.linalg.cholesky(curvature)).mT  # (n c 1 q q)
    unit = theta.std(dim=1, keepdim=True, correction=0).clamp(min=1e-12)
    nearest = torch.cdist(theta / unit, centres / unit).argmin(dim=2)
    every = torch.arange(n)[:, None]
    draws = []
    width = max(1, AT_ONCE // n)
    for some, near in zip(theta.split(width, dim=1), nearest.split(width, dim=1)):
        mean, root = modes.eta[every, near], roots[every, near]
        best, best_weight = mean, torch.full_like(mean[..., 0], -torch.inf)
        for _ in range(N_CANDIDATES):
            z = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
            eta = mean + WIDER * (root @ z[..., None])[..., 0]
            point = subjects.at(some, eta)
            log_weight = point.score - 0.5 * eta.square().sum(dim=-1) + 0.5 * z.square().sum(dim=-1)
            # the largest of log weights and Gumbel noise is a draw by the weights
            noise = -torch.log(-torch.rand(log_weight.shape, generator=generator, dtype=torch.float64).log())
            found = torch.where(point.is_fine, log_weight + noise, -torch.inf)
            is_better = found > best_weight
            best, best_weight = torch.where(is_better[..., None], eta, best), torch.where(is_better, found, best_weight)
        draws.append(best[:, :, 0])
    return torch.cat(draws, dim=1)
