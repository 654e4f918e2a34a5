"""Method: how the effects of a subject are integrated out of its likelihood."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.inference.paired_cells import Links
from tsode.inference.population.individual_modes import Local, Look, Modes, find_individual_modes
from tsode.inference.population.subjects import LOG_2PI, Normals, Point, Subjects, hessian, normal_cells

__all__ = ["Answer", "ByModes", "LinearisedMethod", "Marginal"]


class Answer(NamedTuple):
    """Log likelihoods of subjects with their effects integrated out.

    Parameters
    ----------
    value : Tensor[g b s]
        -inf where a subject has none.
    log_prior : Tensor[g b]
        Of the shared coordinates.
    eta : Tensor[g b s q]
        Most probable effects, or 0 where the method does not look for them.
    is_found : Tensor[g b s], bool
        Whether they were found.
    """

    value: Tensor
    log_prior: Tensor
    eta: Tensor
    is_found: Tensor


@dataclass(frozen=True)
class Marginal(ABC):
    """A method of integrating effects out; all members answer to the same call.

    Attributes
    ----------
    name : str
    title : str
        What the value is, in words.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def log_likelihood(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Answer:
        """Log likelihood of each subject at shared coordinates ``theta`` (g b p), differentiable by them.

        Parameters
        ----------
        subjects : Subjects
        theta : Tensor[g b p]
        start : Tensor[g b s q], optional
            Effects to begin the search for the most probable ones at; 0 by default.
        """

    def check(self, subjects: Subjects) -> None:  # noqa: B027 - most methods are for all subjects
        """Raise a ParameterError if the method is none for these subjects."""


def normal_score(subjects: Subjects, point: Point, log_sd: Tensor, cells: Normals) -> Tensor:
    """Log likelihood (g b s) of normal cells with these logarithms of standard deviations (b k)."""
    error = point.links.freed((cells.values - point.mean) * (-log_sd).exp())
    score = -0.5 * error.square() - log_sd - point.links.log_root(log_sd) - 0.5 * LOG_2PI
    return subjects.by_subject(score + cells.log_jacobian, cells.series)


def information(
    subjects: Subjects, links: Links, by_mean: Tensor, by_log_sd: Tensor | None, log_sd: Tensor, series: Tensor
) -> Tensor:
    """Expected information of the effects (g b s q q), with that of their own standard normal law."""
    weighted = links.freed(by_mean * (-log_sd).exp()[..., None])
    total = weighted[..., :, None] * weighted[..., None, :]
    if by_log_sd is not None:
        total = total + 2.0 * by_log_sd[..., :, None] * by_log_sd[..., None, :]
        total = total + links.of_widths(by_log_sd) if len(links.of) else total
    q = by_mean.shape[-1]
    return subjects.by_subject(total, series) + torch.eye(q, dtype=by_mean.dtype)


def log_det(matrix: Tensor) -> Tensor:
    """Log determinant of positive definite matrices."""
    return 2.0 * torch.linalg.cholesky(matrix).diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


class ByModes(Marginal):
    """Laplace's approximation about the individual modes, with one curvature or another.

    The value is the log density at the most probable effects, less half the log determinant of the curvature there.
    Its derivatives are exact: by the implicit function theorem the mode moves by the inverse of the true Hessian times
    the change of the slope.
    """

    @abstractmethod
    def objective(self, subjects: Subjects, point: Point, theta: Tensor) -> Tensor:
        """Log likelihood (g b s) given effects, that the mode is of."""

    @abstractmethod
    def curvature(
        self, subjects: Subjects, point: Point, theta: Tensor, eta: Tensor, slope: Tensor, is_kept: bool
    ) -> Tensor:
        """Negative curvature (g b s q q) of the log density of the effects, or what stands for it."""

    def search(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Modes:
        """The most probable effects of each subject."""
        g, s, q = subjects.shape
        fixed = theta.detach()
        eta = theta.new_zeros(g, theta.shape[1], s, q) if start is None else start.detach()

        def look_at(problems: Tensor) -> Look:
            chosen = subjects if len(problems) == g else subjects.select(problems)
            return partial(self.look, chosen, fixed[problems])

        return find_individual_modes(look_at, eta)

    def look(self, subjects: Subjects, theta: Tensor, eta: Tensor) -> Local:
        """The log density of the effects about a point, with its exact curvature, for the search.

        Expected information is dearer than the Hessian, and steps by it converge slowly where residuals are large.
        """
        with torch.enable_grad():
            at = eta.detach().requires_grad_()
            point = subjects.at(theta, at)
            value = self.objective(subjects, point, theta) - 0.5 * at.square().sum(dim=-1)
            (slope,) = torch.autograd.grad(value.sum(), at, create_graph=True)
            curvature = -hessian(slope, at, False)
        return _local(value.detach(), slope.detach(), curvature.detach(), point.is_fine)

    def log_likelihood(self, subjects: Subjects, theta: Tensor, start: Tensor | None = None) -> Answer:
        modes = self.search(subjects, theta, start)
        has_gradient = torch.is_grad_enabled() and theta.requires_grad
        with torch.enable_grad():
            eta = modes.eta.detach().requires_grad_()
            point = subjects.at(theta, eta)
            inner = self.objective(subjects, point, theta) - 0.5 * eta.square().sum(dim=-1)
            (slope,) = torch.autograd.grad(inner.sum(), eta, create_graph=True)
            curvature = self.curvature(subjects, point, theta, eta, slope, has_gradient)
            is_fine, curvature = _positive(curvature, point.is_fine)
            value = inner - 0.5 * log_det(curvature)
            if has_gradient:
                value = self._moving(value, slope, eta, is_fine)
        value = torch.where(is_fine, value, -torch.inf)
        found = Answer(value, point.log_prior, modes.eta, modes.is_found)
        return found if has_gradient else Answer(*(x.detach() for x in found))

    def _moving(self, value: Tensor, slope: Tensor, eta: Tensor, is_fine: Tensor) -> Tensor:
        """The value, with derivatives that know how the mode moves."""
        (by_eta,) = torch.autograd.grad(value.where(is_fine, 0.0).sum(), eta, retain_graph=True)
        exact = _symmetric_positive(-hessian(slope, eta, False))
        pull = torch.linalg.solve(exact, by_eta[..., None])[..., 0]
        moved = (pull.detach() * (slope - slope.detach())).sum(dim=-1)
        return value + torch.where(is_fine, moved, 0.0)


class LinearisedMethod(ByModes):
    """Methods for normal noise, with the expected information for curvature."""

    def check(self, subjects: Subjects) -> None:
        normal_cells(subjects.joint, self.name)


def _local(value: Tensor, slope: Tensor, curvature: Tensor, is_fine: Tensor) -> Local:
    is_fine = is_fine & value.isfinite() & slope.isfinite().all(dim=-1) & curvature.flatten(3).isfinite().all(dim=-1)
    unit = torch.eye(curvature.shape[-1], dtype=curvature.dtype)
    curvature = _symmetric_positive(torch.where(is_fine[..., None, None], curvature, unit))
    return Local(value.where(is_fine, -torch.inf), slope.where(is_fine[..., None], 0.0), curvature)


def _symmetric_positive(curvature: Tensor) -> Tensor:
    """The matrix where it is positive definite, else one with its eigenvalues' sizes."""
    width, axes = torch.linalg.eigh(curvature.nan_to_num())
    if bool((width > 1e-8).all()):
        return curvature
    size = width.abs().clamp(min=1e-3)
    return torch.where((width > 1e-8).all(dim=-1)[..., None, None], curvature, (axes * size[..., None, :]) @ axes.mT)


def _positive(curvature: Tensor, is_fine: Tensor) -> tuple[Tensor, Tensor]:
    """Which subjects have a positive definite curvature, and the curvature with ones in place of the others'."""
    least = torch.linalg.eigvalsh(curvature.detach().nan_to_num())[..., 0]
    is_fine = is_fine & (least > 0) & curvature.detach().flatten(3).isfinite().all(dim=-1)
    unit = torch.eye(curvature.shape[-1], dtype=curvature.dtype)
    return is_fine, torch.where(is_fine[..., None, None], curvature, unit)
