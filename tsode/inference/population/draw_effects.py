"""Draws of the effects of series, given draws of what all share."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.laplace import Laplace

__all__ = ["draw_effects"]

MOST_ROWS = 2**15  # of series times draws
N_CANDIDATES = 8
WIDER = 1.1  # than the normal law about the mode


@torch.no_grad()
def draw_effects(density: MarginalDensity, theta: Tensor, start: Tensor | None, generator: torch.Generator) -> Tensor:
    """One draw of the effects of each series for each draw of what is shared: (n k q).

    A few candidates are drawn from the normal law about the mode, and one of them is chosen by its weight (Rubin 1988).

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
    k = theta.shape[1]
    begin = None if start is None else start[:, None, None].expand(-1, k, 1, -1)
    modes = method.search(subjects, theta, begin)
    curvature = method.look(subjects, theta, modes.eta).curvature
    root = torch.linalg.inv(torch.linalg.cholesky(curvature)).mT  # (n k 1 q q)
    best, best_weight = modes.eta, torch.full_like(modes.eta[..., 0], -torch.inf)
    for _ in range(N_CANDIDATES):
        z = torch.randn(modes.eta.shape, generator=generator, dtype=torch.float64)
        eta = modes.eta + WIDER * (root @ z[..., None])[..., 0]
        point = subjects.at(theta, eta)
        log_weight = point.score - 0.5 * eta.square().sum(dim=-1) + 0.5 * z.square().sum(dim=-1)
        log_weight = torch.where(point.is_fine, log_weight, -torch.inf)
        # the largest of weights times exponential noise is a draw by the weights (Gumbel)
        noise = -torch.log(-torch.rand(log_weight.shape, generator=generator, dtype=torch.float64).log())
        is_better = log_weight + noise > best_weight
        best = torch.where(is_better[..., None], eta, best)
        best_weight = torch.where(is_better, log_weight + noise, best_weight)
    return best[:, :, 0]
