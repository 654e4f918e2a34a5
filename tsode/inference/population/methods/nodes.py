"""Nodes about individual modes, and integrals over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.inference.population.methods.base import Answer
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.subjects import LOG_2PI, Subjects, hessian

__all__ = ["Law", "integrate", "place_laws"]


SAME = 1e-6  # in which two curvatures of one point agree


class Law(NamedTuple):
    """Where the effects of each subject are.

    Parameters
    ----------
    mean : Tensor[g b s q]
    root : Tensor[g b s q q]
        Of their covariance, upper triangular.
    log_det_root : Tensor[g b s]
    is_found : Tensor[g b s], bool
        Whether the mode was found.
    """

    mean: Tensor
    root: Tensor
    log_det_root: Tensor
    is_found: Tensor


def place_laws(subjects: Subjects, theta: Tensor, start: Tensor | None) -> Law:
    """The normal law about the mode of each subject, by the curvature there; it moves with ``theta`` (g b p)."""
    method = Laplace()
    modes = method.search(subjects, theta.detach(), start)
    if not (torch.is_grad_enabled() and theta.requires_grad):
        return _law(modes.eta, method.look(subjects, theta.detach(), modes.eta).curvature, modes.is_found)
    here = method.look(subjects, theta.detach(), modes.eta)
    slope = _slope(subjects, theta, modes.eta.detach().requires_grad_())
    moved = torch.linalg.solve(here.curvature, (slope - slope.detach())[..., None])[..., 0]
    mean = modes.eta.detach() + moved
    curvature = -hessian(_slope(subjects, theta, mean), mean, True)
    # where the search has had to take another curvature than the Hessian, the law stays where it is
    apart, size = (
        x.abs().amax(dim=(-2, -1), keepdim=True) for x in (curvature.detach() - here.curvature, here.curvature)
    )
    is_exact = apart < SAME * size
    return _law(mean, torch.where(is_exact, curvature, here.curvature), modes.is_found)


def _slope(subjects: Subjects, theta: Tensor, eta: Tensor) -> Tensor:
    """Derivatives of the log density of the effects, with their graph."""
    score = subjects.at(theta, eta).score - 0.5 * eta.square().sum(dim=-1)
    return torch.autograd.grad(score.sum(), eta, create_graph=True)[0]


def _law(mean: Tensor, curvature: Tensor, is_found: Tensor) -> Law:
    root = torch.linalg.inv(torch.linalg.cholesky(curvature)).mT
    return Law(mean, root, root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1), is_found)


def integrate(subjects: Subjects, theta: Tensor, nodes: Tensor, log_weights: Tensor, law: Law) -> Answer:
    """Log of the sum over nodes (g b k s q) of a subject's likelihood and standard normal density, times weights.

    Parameters
    ----------
    subjects : Subjects
    theta : Tensor[g b p]
    nodes : Tensor[g b k s q]
    log_weights : Tensor[g b k s]
    law : Law
    """
    b, k = nodes.shape[1:3]
    wide = theta[:, :, None].expand(-1, -1, k, -1).flatten(1, 2)
    point = subjects.at(wide, nodes.flatten(1, 2))
    score = point.score.where(point.is_fine, -torch.inf).unflatten(1, (b, k))
    kernel = -0.5 * (nodes.square() + LOG_2PI).sum(dim=-1)
    value = torch.logsumexp(score + kernel + log_weights, dim=2)
    return Answer(value, point.log_prior.unflatten(1, (b, k))[:, :, 0], law.mean.detach(), law.is_found)
