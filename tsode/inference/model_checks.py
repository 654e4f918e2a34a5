"""Checks of a model before inference: its gradient, and coordinates that the data say nothing about."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsode.inference.known_density import KnownDensity
from tsode.numerics.dopri5 import Dopri5

__all__ = ["direction_error", "gradient_error", "gradients", "uninformed"]

_TIGHT = Dopri5(rtol=1e-11, atol=1e-13, max_steps=10_000)
_TIGHT_ENOUGH = Dopri5(rtol=1e-8, atol=1e-10, max_steps=10_000)  # to see a gradient that is off by a per cent
_STEP = 1e-3  # of differences of the fourth order: their error is some 1e-12 of a fifth derivative


def gradient_error(density: KnownDensity, u: Tensor) -> Tensor:
    """Error (g b) of the gradient of a log density at ``u`` (g b p), relative to its largest part; see `gradients`."""
    gradient, slope = gradients(density, u)
    return (gradient - slope).abs().amax(dim=-1) / slope.abs().amax(dim=-1).clamp(min=1.0)


def gradients(density: KnownDensity, u: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (g b p) of a log density at ``u`` (g b p) by autograd, and by central differences of tight solves.

    Where they differ by more than a few hundred tolerances of the solver, a function that it is given has no derivative
    there, or hides its parameters from autograd (`detach`, NumPy). NaN where a point, or one beside it, is impossible.
    """
    tight = _tight(density)
    u = u.detach().clone().requires_grad_()
    value = density.log_prob(u)
    (gradient,) = torch.autograd.grad(value.where(value.isfinite(), 0.0).sum(), u)
    gradient = torch.where(value.isfinite()[..., None], gradient, torch.nan)
    p = u.shape[-1]
    steps = _STEP * torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=u.dtype)[:, None, None] * torch.eye(p, dtype=u.dtype)
    with torch.no_grad():
        beside = tight.log_prob((u[:, :, None] + steps.reshape(1, 1, 4 * p, p)).flatten(1, 2))
    ahead, behind, far_ahead, far_behind = beside.reshape(*u.shape[:2], 4, p).unbind(2)
    slope = (8 * (ahead - behind) - (far_ahead - far_behind)) / (12 * _STEP)
    return gradient, slope.where(slope.isfinite(), torch.nan)


def direction_error(density: KnownDensity, u: Tensor, n_directions: int = 2) -> Tensor:
    """Error (g) of the gradient at points ``u`` (g b p) along random directions, relative to its largest derivative.

    As `gradients` finds it, at a cost that does not grow with the number of coordinates.
    """
    tight = _tight(density, _TIGHT_ENOUGH)
    u = u.detach().clone().requires_grad_()
    value = density.log_prob(u)
    (gradient,) = torch.autograd.grad(value.where(value.isfinite(), 0.0).sum(), u)
    g, b, p = u.shape
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(b, n_directions, p, generator=generator, dtype=u.dtype)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    steps = _STEP * torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=u.dtype)[:, None] * directions[:, :, None]
    with torch.no_grad():
        beside = tight.log_prob((u[:, :, None, None] + steps).flatten(1, 3)).reshape(g, b, n_directions, 4)
    ahead, behind, far_ahead, far_behind = beside.unbind(-1)
    slope = (8 * (ahead - behind) - (far_ahead - far_behind)) / (12 * _STEP)
    error = (torch.einsum("gbp,bkp->gbk", gradient, directions) - slope).abs()
    is_there = slope.isfinite() & value.isfinite()[..., None]
    largest = torch.where(is_there, slope.abs(), 0.0).flatten(1).amax(dim=1).clamp(min=1.0)
    found = torch.where(is_there, error, 0.0).flatten(1).amax(dim=1) / largest
    return found.where(is_there.flatten(1).any(dim=1), torch.nan).detach()


def _tight(density: KnownDensity, tight: Dopri5 = _TIGHT) -> KnownDensity:
    solver = density.system.solver
    if not isinstance(solver, Dopri5):
        return density
    return density.with_solver(replace(tight, max_step=solver.max_step))


def uninformed(density: KnownDensity, n: int = 8) -> list[list[str]]:
    """Names of the coordinates, of each problem, by which the likelihood does not change anywhere in the prior.

    Their posterior is their prior: of a state that is never seen and that nothing seen depends on, say.

    Parameters
    ----------
    n : int
        Draws of the prior that are looked at.
    """
    u = density.sample_prior(n, torch.Generator().manual_seed(0)).requires_grad_()
    score = density.log_prob(u) - density.space.log_prior(u)
    (gradient,) = torch.autograd.grad(score.where(score.isfinite(), 0.0).sum(), u)
    # where the two gradients of the prior cancel, rounding is left
    size = torch.autograd.functional.jacobian(lambda v: density.space.log_prior(v).sum(), u.detach()).abs()
    is_flat = (gradient.abs() <= 1e-12 * (1.0 + size)).all(dim=1)
    is_known = score.isfinite().any(dim=1)
    return [
        [name for name, flat in zip(density.names, row) if flat] if known else []
        for row, known in zip(is_flat.tolist(), is_known.tolist())
    ]
