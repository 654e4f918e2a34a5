"""Evolutions of which each row follows one Brownian path, and the path KL between two of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from tsode.errors import ParameterError
from tsode.evolutions.base import Evolution, Evolved
from tsode.numerics.base import Solution
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.sde import DiagonalSDE, SDESolver, check_calculus, integrate_sde, integrate_sde_to

__all__ = ["ControlledSDE", "Drift", "Guided", "SolvedSDE"]


class Drift(Protocol):
    """Whatever has a drift: ``t`` (b,), ``z`` (b d) -> (b d)."""

    def drift(self, t: Tensor, z: Tensor) -> Tensor: ...


class ControlledSDE(DiagonalSDE):
    """Family of equations that are a prior with a control ``u`` along its noise: ``dz = (f + g u) dt + g dW``.

    By Girsanov's theorem the law of its paths has the Kullback-Leibler divergence ``E integral of |u|**2 / 2 dt`` from
    the prior's, in either calculus, for the terms that tell the two calculi apart are the same in both.
    """

    @abstractmethod
    def controlled_terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drift with the control in it, diffusion and control: ``t`` (b,), ``z`` (b d) -> (b d) each."""

    def terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.controlled_terms(t, z)[:2]

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.controlled_terms(t, z)[0]


class Guided(ControlledSDE):
    """A prior that is steered: ``dz = (f + steer) dt + g dW``, which takes the control ``u = steer / g``.

    Parameters
    ----------
    prior : DiagonalSDE
    steer : callable
        ``t`` (b,), ``z`` (b d) -> (b d).
    """

    def __init__(self, prior: DiagonalSDE, steer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(prior.n_state)
        self.calculus = prior.calculus
        self.prior, self.steer = prior, steer

    def controlled_terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, g = self.prior.terms(t, z)
        steer = self.steer(t, z)
        return f + steer, g, steer / g

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.prior.diffusion(t, z)

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.prior.diffusion_slope(t, z)


class SolvedSDE(Evolution):
    """Evolution of a stochastic differential equation by a numerical solver, along given Brownian paths.

    It is one realisation: the same paths give the same states, and any number of rows may share a path. The cost of a
    `ControlledSDE` is ``integral of |u|**2 / 2 dt``, the path KL from its prior; the solver carries it along as one
    more coordinate, which has no noise. Other equations have no cost.

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
        Of the same diffusion: the equation is then taken for a controlled one, with ``u = (drift - prior drift) / g``.
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
        if prior is not None:
            sde = _Compared(sde, prior)
        self.has_cost = isinstance(sde, ControlledSDE)
        self.sde = _WithCost(sde) if isinstance(sde, ControlledSDE) else sde
        self.solver = solver
        self.paths = paths
        self.query_step = query_step
        self.n_state = sde.n_state

    def evolve(self, z: Tensor, t0: Tensor, t1: Tensor) -> Evolved:
        return self._split(integrate_sde(self.sde, self._widen(z), t0, t1, self.solver, self._paths(t0)))

    def evolve_to(self, z: Tensor, t0: Tensor, times: Tensor) -> Evolved:
        return self._split(
            integrate_sde_to(self.sde, self._widen(z), t0, times, self.solver, self._paths(t0), self.query_step)
        )

    def _paths(self, t0: Tensor) -> BrownianPath:
        return self.paths if self.paths.origin is not None else self.paths.starting_at(t0)

    def _widen(self, z: Tensor) -> Tensor:
        return nn.functional.pad(z, (0, 1)) if self.has_cost else z

    def _split(self, solution: Solution) -> Evolved:
        z = solution.z
        if self.has_cost:
            return Evolved(z[..., :-1], z[..., -1], solution.status)
        return Evolved(z, z.new_zeros(z.shape[:-1]), solution.status)


class _Compared(ControlledSDE):
    """An equation beside a prior of the same diffusion."""

    def __init__(self, sde: DiagonalSDE, prior: Drift) -> None:
        super().__init__(sde.n_state)
        self.calculus = sde.calculus
        self.sde, self.prior = sde, prior

    def controlled_terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f, g = self.sde.terms(t, z)
        return f, g, (f - self.prior.drift(t, z)) / g

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sde.diffusion(t, z)

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return self.sde.diffusion_slope(t, z)


class _WithCost(DiagonalSDE):
    """A controlled equation with the density of its cost as the drift of one more coordinate."""

    def __init__(self, sde: ControlledSDE) -> None:
        super().__init__(sde.n_state + 1)
        self.calculus = sde.calculus
        self.sde = sde

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        return self.terms(t, z)[0]

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        return _without_noise(self.sde.diffusion(t, z[:, :-1]))

    def diffusion_slope(self, t: Tensor, z: Tensor) -> Tensor:
        return _without_noise(self.sde.diffusion_slope(t, z[:, :-1]))

    def terms(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        f, g, u = self.sde.controlled_terms(t, z[:, :-1])
        density = 0.5 * u.square().sum(dim=1, keepdim=True)
        return torch.cat([f, density], dim=1), _without_noise(g)


def _without_noise(term: Tensor) -> Tensor:
    return nn.functional.pad(term, (0, 1))
