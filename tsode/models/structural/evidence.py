"""Laplace evidence of fitted problems, and draws of their parameters."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

__all__ = ["Posterior", "normals", "posteriors", "quick_posteriors"]

STEP = 1e-3
LEAST_CURVATURE = 0.5  # the prior alone has 1
FARTHEST = 5.0  # that draws lie from the prior's centre, in its standard deviations, unless the mode does


class Posterior:
    """Normal approximation of the parameters of several problems.

    Parameters
    ----------
    mode : Tensor[b p]
    curvature : Tensor[b p p]
        Of the negative log posterior.
    value : Tensor[b]
        Negative log posterior at the mode, without the constants of the prior.
    """

    def __init__(self, mode: Tensor, curvature: Tensor, value: Tensor) -> None:
        eigenvalues, self.axes = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
        self.mode, self.eigenvalues = mode, eigenvalues.clamp(min=LEAST_CURVATURE)
        self.evidence = -value - 0.5 * self.eigenvalues.log().sum(dim=1)

    def moved(self, mode: Tensor, value: Tensor) -> Posterior:
        """About other modes (b p) with other values, its curvature the same."""
        other = copy(self)
        other.mode, other.evidence = mode, -value - 0.5 * self.eigenvalues.log().sum(dim=1)
        return other

    @property
    def covariance(self) -> Tensor:
        """Of the parameters: Tensor[b p p]."""
        return (self.axes / self.eigenvalues[:, None]) @ self.axes.mT

    @property
    def sd(self) -> Tensor:
        """Standard deviation of each parameter: Tensor[b p]."""
        return (self.axes**2 / self.eigenvalues[:, None]).sum(dim=-1).sqrt()

    def draws(self, row: int, normals: Tensor) -> Tensor:
        """Parameters of one problem (k p), which has the first p of all, from standard normal numbers (k p)."""
        p = normals.shape[1]
        curvature = (self.axes[row] * self.eigenvalues[row]) @ self.axes[row].T
        root, failed = torch.linalg.cholesky_ex(torch.linalg.inv(curvature[:p, :p]))
        if failed:  # curved by many orders of magnitude, as where one channel is a multiple of another
            values, vectors = torch.linalg.eigh(curvature[:p, :p])
            root = vectors * values.clamp(min=LEAST_CURVATURE).rsqrt()
        mode = self.mode[row, :p]
        return (mode + normals @ root.T).clamp(mode.clamp(max=-FARTHEST), mode.clamp(min=FARTHEST))


def normals(n: int, p: int, generator: torch.Generator) -> Tensor:
    """Zero, and pairs of normal numbers and their negatives, some `n` in all: Tensor[k p].

    Where there are enough of them, their covariance is exactly one.
    """
    half = torch.randn(max(n // 2, 1), p, generator=generator, dtype=torch.float64)
    if len(half) > p:
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(half.T @ half / len(half)), half.T, upper=False).T
    return torch.cat([torch.zeros_like(half[:1]), half, -half])


def posteriors(evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], mode: Tensor, value: Tensor) -> Posterior:
    """Posteriors about the modes (b p), by central differences of the slopes; see `quasi_newton.minimise`."""
    which, place = torch.ones_like(mode, dtype=torch.bool).nonzero(as_tuple=True)
    move = _moves(mode, place)
    ahead, behind = (evaluate(mode[which] + sign * move, which)[1] for sign in (1.0, -1.0))
    return Posterior(mode, _curvature(mode, which, place, (ahead - behind) / (2.0 * STEP)), value)


def quick_posteriors(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], mode: Tensor, value: Tensor, is_own: Tensor, far: float
) -> Posterior:
    """Posteriors about the modes (b p) at half the price or less, for a comparison of the best of them.

    The differences of the slopes are to one side, with an error of the order of the step, and of own parameters (b p)
    alone. What lies `far` nats or more behind the best borrows its curvature.
    """
    is_near = value < value.min() + far
    near = is_near.nonzero()[:, 0]
    which, place = (is_own & is_near[:, None]).nonzero(as_tuple=True)
    slope = evaluate(torch.cat([mode[near], mode[which] + _moves(mode, place)]), torch.cat([near, which]))[1]
    at_mode = torch.zeros_like(mode).index_copy(0, near, slope[: len(near)])
    curvature = _curvature(mode, which, place, (slope[len(near) :] - at_mode[which]) / STEP)
    return Posterior(mode, torch.where(is_near[:, None, None], curvature, curvature[value.argmin()]), value)


def _moves(mode: Tensor, place: Tensor) -> Tensor:
    """Small moves (k p) along single coordinates (k)."""
    return STEP * torch.nn.functional.one_hot(place, mode.shape[1]).to(mode.dtype)


def _curvature(mode: Tensor, which: Tensor, place: Tensor, row: Tensor) -> Tensor:
    """Curvatures (b p p) from some of their rows (k p): the prior's in the others, and where not all is finite."""
    b, p = mode.shape
    eye = torch.eye(p, dtype=mode.dtype, device=mode.device).repeat(b, 1, 1)
    curvature = eye.index_put((which, place), row)
    is_fine = curvature.isfinite().flatten(1).all(dim=1)[:, None, None]
    return torch.where(is_fine, curvature, eye)
