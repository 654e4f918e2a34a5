"""Evolutions of which each row follows one Brownian path, and the path KL between two of them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.evolution import Evolution, Evolved
from tsode.numerics.base import Solution
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import DiagonalSDE, SDESolver, check_calculus, integrate_sde, integrate_sde_to

__all__ = ["Drift", "SolvedSDE"]


class Drift(Protocol):
    """Whatever has a drift: ``t`` (b,), ``z`` (b d) -> (b d)."""

    def drift(self, t: Tensor, z: Tensor) -> Tensor: ...


class SolvedSDE(Evolution):
    """Evolution of a stochastic differential equation by a numerical solver, along given Brownian paths.

    It is one realisation: the same paths give the same states, and any number of rows may share a path. With a
    `prior`, of the same diffusion g, the cost is ``integral of ((drift - prior drift) / g)**2 / 2 dt``, summed over the
    coordinates. By Girsanov's theorem its mean is the Kullback-Leibler divergence of the law of the paths from that of
    the prior's, in either calculus, for the terms that tell the two calculi apart are the same in both drifts. The
    solver carries it along as one more coordinate, which has no noise.

    Parameters
    ----------
    sde : DiagonalSDE
        A member of `tsode.dynamics.SDES`.
    solver : SDESolver
        A member of `tsode.numerics.SDE_SOLVERS`.
    paths : BrownianPath
        Without an origin, each call starts its rows' paths at its own `t0`; with one, calls go on along the paths, and
        `t0` may not lie before the origin.
    prior : Drift, optional
        Without it there is no cost.
    query_step : float
        Step of `evolve_to` for solvers with `n_steps`, see `tsode.numerics.sde.integrate_sde_to`.

    References
    ----------
    Li et al., "Scalable gradients for stochastic differential equations", AISTATS 2020, eq. 8 to 10.
    """

    def __init__(
        self,
        sde: DiagonalSDE,
        solver: SDESolver,
        paths: BrownianPath,
        prior: Drift | None = None,
        query_step: float = 0.25,
    ) -> None:
        super().__init__()
        check_calculus(sde, solver)
        if paths.n_noise > sde.n_state:
            raise ParameterError(
                f"The Brownian paths have {paths.n_noise} columns, but the state only {sde.n_state}: draw them with "
                f"n_noise={sde.n_state}."
            )
        self.sde = sde if prior is None else _WithCost(sde, prior)
        self.solver = solver
        self.paths = paths
        self.query_step = query_step
        self.n_state = sde.n_state
        self.has_cost = prior is not None

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        return self._split(integrate_sde(self.sde, self._widen(z), t0, t1, self.solver, self._paths(t0)))

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
        return self._split(
            integrate_sde_to(self.sde, self._widen(z), t0, times, self.solver, self._paths(t0), self.query_step)
        )

    def _paths(self, t0: Tensor) -> BrownianPath:
        return self.paths if self.paths.origin is not None else self.paths.starting_at(t0)

    def _widen(self, z: Tensor) -> Tensor:
        return torch.nn.functional.pad(z, (0, 1)) if self.has_cost else z

    def _split(self, solution: Solution) -> Evolved:
        z = solution.z
        if self.has_cost:
            return Evolved(z[..., :-1], z[..., -1], solution.status)
        return Evolved(z, z.new_zeros(z.shape[:-1]), solution.status)


class _WithCost(DiagonalSDE):
    """An equation with the density of its path KL from a prior as one more coordinate."""

    def __init__(self, sde: DiagonalSDE, prior: Drift) -> None:
        super().__init__(sde.n_state + 1)
        self.calculus = sde.calculus
        self.sde, self.prior = sde, prior

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.terms(t, z)[0]

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.nn.functional.pad(self.sde.diffusion(t, z[:, :-1]), (0, 1))

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.nn.functional.pad(self.sde.diffusion_slope(t, z[:, :-1]), (0, 1))

    def terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        z = z[:, :-1]
        f, g = self.sde.terms(t, z)
        density = 0.5 * ((f - self.prior.drift(t, z)) / g).square().sum(dim=1, keepdim=True)
        return torch.cat([f, density], dim=1), torch.nn.functional.pad(g, (0, 1))
