"""Chains of the effects of series, and scores by them: Fisher's identity for what a population shares."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.inference.effects.space import PopulationSpace
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.subjects import Subjects

__all__ = ["EffectChains"]

DF = 5.0  # of Student's t that candidates are drawn from
NARROW = 1e-6  # a spread below which effects cannot be read off parameters


class EffectChains:
    """Chains of the effects of all series at several points, one of each, that follow these as they move.

    At each step a chain chooses, by their weights, one of its own place and a few candidates from Student's t about the
    individual mode (iterated sampling importance resampling, which leaves the law of the effects given the data as it
    is). All of these, weighted, make up the score of a series: the mean of the derivative of the joint log density.

    Parameters
    ----------
    subjects : Subjects
        Each a problem of its own.
    theta : Tensor[b p]
        Where the chains begin, at the modes.
    generator : torch.Generator
    n_candidates : int

    References
    ----------
    Andrieu, Lee and Vihola, "Uniform ergodicity of the iterated conditional SMC and geometric ergodicity of particle
    Gibbs samplers", Bernoulli 24, 2018.
    """

    def __init__(self, subjects: Subjects, theta: Tensor, generator: torch.Generator, n_candidates: int) -> None:
        self.subjects, self.generator, self.n_candidates = subjects, generator, n_candidates
        self.eta = theta.new_zeros(subjects.shape[0], len(theta), subjects.shape[2])  # (n b q)
        self.mean, self.root = self.eta, self.eta
        self.follow(theta)
        self.eta = self.mean

    def follow(self, theta: Tensor) -> None:
        """Place the law of candidates anew, about the modes at points (b p)."""
        method = Laplace()
        at = theta.expand(self.subjects.shape[0], *theta.shape)
        modes = method.search(self.subjects, at, self.mean[:, :, None])
        curvature = method.look(self.subjects, at, modes.eta).curvature[:, :, 0]
        self.mean, self.root = modes.eta[:, :, 0], torch.linalg.inv(torch.linalg.cholesky(curvature)).mT

    def select(self, places: Tensor) -> None:
        """Go on with the chains at some of the points."""
        self.eta, self.mean, self.root = self.eta[:, places], self.mean[:, places], self.root[:, places]

    def scores(self, theta: Tensor) -> Tensor:
        """Scores (n b p) of each series at points (b p), after a step of the chains."""
        n, b, _ = self.eta.shape
        nodes, log_density = self._candidates()
        k = nodes.shape[2]
        with torch.enable_grad():
            at = theta.detach().expand(n, b, -1).clone().requires_grad_()
            effects = nodes.flatten(1, 2)[:, :, None].requires_grad_()
            point = self.subjects.at(at[:, :, None].expand(-1, -1, k, -1).flatten(1, 2), effects)
            score = point.score[..., 0].unflatten(1, (b, k))
            is_fine = point.is_fine[..., 0].unflatten(1, (b, k))
            log_weight = (score.detach() - 0.5 * nodes.square().sum(dim=-1) - log_density).where(is_fine, -torch.inf)
            is_any = is_fine.any(dim=2, keepdim=True)
            weight = torch.softmax(log_weight.where(is_any, 0.0), dim=2) * is_any
            by_theta, by_effects = torch.autograd.grad((weight * score).sum(), (at, effects))
        # what failed may have left numbers that are not finite, and zero times these is no zero
        by_theta = by_theta.where(by_theta.isfinite(), 0.0)
        pull = by_effects[:, :, 0].unflatten(1, (b, k)).where(is_fine[..., None], 0.0) - weight[..., None] * nodes
        moved = self._with_parameters_held(theta, torch.where(is_fine[..., None], nodes, 0.0), pull, is_any[..., 0])
        self._choose(nodes, log_weight, is_any[..., 0])
        return by_theta + moved

    def _candidates(self) -> tuple[Tensor, Tensor]:
        """Places of the chains and candidates (n b k q), and their log densities (n b k) in the law of these."""
        n, b, q = self.eta.shape
        shape = (n, b, self.n_candidates)
        z = torch.randn(*shape, q, generator=self.generator, dtype=torch.float64)
        # a chi squared number is twice a gamma one
        gamma = torch._standard_gamma(self.eta.new_full(shape, 0.5 * DF), generator=self.generator)
        z = z * (0.5 * DF / gamma).sqrt()[..., None]
        drawn = self.mean[:, :, None] + torch.einsum("nbij,nbkj->nbki", self.root, z)
        own = torch.linalg.solve(self.root, (self.eta - self.mean)[..., None])[:, :, None, :, 0]
        size = torch.cat([own, z], dim=2).square().sum(dim=-1)
        return torch.cat([self.eta[:, :, None], drawn], dim=2), -0.5 * (DF + q) * (size / DF).log1p()

    def _choose(self, nodes: Tensor, log_weight: Tensor, is_any: Tensor) -> None:
        level = torch.rand(log_weight.shape, generator=self.generator, dtype=torch.float64)
        chosen = (log_weight - torch.log(-level.log())).argmax(dim=2)
        picked = nodes.gather(2, chosen[..., None, None].expand(-1, -1, 1, nodes.shape[3]))[:, :, 0]
        self.eta = torch.where(is_any[..., None], picked, self.eta)

    def _with_parameters_held(self, theta: Tensor, nodes: Tensor, pull: Tensor, is_any: Tensor) -> Tensor:
        """What the score has more if parameters of series, not their standardised effects, are held: 0 in the mean.

        The parameters of a series that has many values are known, and then typical values are seen by how they differ
        from these, and no longer through the data: a score of far less variance.

        Parameters
        ----------
        theta : Tensor[b p]
        nodes : Tensor[n b k q]
        pull : Tensor[n b k q]
            Weighted derivatives of the joint log density by standardised effects.
        is_any : Tensor[n b], bool
            Series that have a likelihood.
        """
        n, b, k, _ = nodes.shape
        space = self.subjects.joint.space
        assert isinstance(space, PopulationSpace)
        with torch.enable_grad():
            at = theta.detach().expand(n, b, -1).clone().requires_grad_()
            wide = at[:, :, None].expand(-1, -1, k, -1).flatten(1, 2)
            values = space.unpack(self.subjects.points(wide, nodes.flatten(1, 2)[:, :, None])).values
            places = torch.stack([space.lines[name].inv(values[name]) for name in space.effects.names], dim=-1)
            covariance = space.effects.covariance(values)[:, ::k, 0]  # (n b q q), or less of what is fixed
            covariance = covariance.expand(n, b, *covariance.shape[2:])
            is_wide = covariance.diagonal(dim1=-2, dim2=-1).detach().amin(dim=-1) > NARROW**2
            unit = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
            root = torch.linalg.cholesky(torch.where(is_wide[..., None, None], covariance, unit))
            # effects of held parameters move by minus the inverse root times the move of their places
            push = torch.linalg.solve_triangular(root.detach().mT[:, :, None], pull[..., None], upper=True)[..., 0]
            is_held = (is_wide & is_any)[..., None, None]
            moved = (torch.where(is_held, push, 0.0) * places[:, :, 0].unflatten(1, (b, k))).sum()
            log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
            total = -moved - torch.where(is_wide & is_any, log_det, 0.0).sum()
            (slope,) = torch.autograd.grad(total, at, allow_unused=True, materialize_grads=True)
        return slope.where(slope.isfinite(), 0.0)
