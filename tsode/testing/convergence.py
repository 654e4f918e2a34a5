"""Order of convergence of solvers, measured against known solutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tsode.numerics.base import Solver, VectorField
from tsode.numerics.brownian import BrownianPath
from tsode.numerics.integrate import integrate
from tsode.numerics.sde import DiagonalSDE, integrate_sde
from tsode.numerics.stepwise import StepwiseSolver

__all__ = ["convergence_order", "step_errors", "strong_errors", "strong_order"]

ROUNDS = (16, 32, 64, 128)  # steps of a unit of time, for a strong order
N_GROUPS = 10  # of paths, for the standard error of a strong order

Exact = Callable[[Tensor], Tensor]


def step_errors(
    solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, n_steps: int, exact: Exact
) -> tuple[float, float] | None:
    """Largest error at `t1` (b,) after so many equal steps, and inside them; None of a solver without such steps.

    Parameters
    ----------
    exact : callable
        ``times`` (b,) -> the states (b d) then.
    """
    if isinstance(solver, StepwiseSolver):
        dt, inside, d = (t1 - t0) / n_steps, 0.0, z.shape[1]
        solver, z = solver.carried(field, t0, z)
        length = dt.to(z.dtype)[:, None]
        for k in range(n_steps):
            t = t0 + k * dt
            step = solver.step(field, t, dt, z)
            for share in (0.2, 0.5, 0.7):
                within = solver.interpolate(z, step.stages, length, z.new_full((1, 1), share))
                inside = max(inside, float((within[:, :d] - exact(t + share * dt)).abs().max()))
            z = step.z
        return float((z[:, :d] - exact(t1)).abs().max()), inside
    if solver.shares_steps or not hasattr(solver, "n_steps"):
        return None
    end = integrate(field, z, t0, t1, replace(solver, n_steps=n_steps)).z  # type: ignore[type-var]
    return float((end - exact(t1)).abs().max()), math.nan


def convergence_order(
    solver: Solver, field: VectorField, z: Tensor, t0: Tensor, t1: Tensor, exact: Exact
) -> tuple[float, float] | None:
    """Power of the length of the steps with which errors at `t1` (b,), and inside the steps, fall; None as above."""
    n = 64 if solver.order <= 4 else 160 // solver.order  # steps of a high order meet rounding early
    errors = [step_errors(solver, field, z, t0, t1, n_steps, exact) for n_steps in (n, 2 * n)]
    coarse, fine = errors
    return None if coarse is None or fine is None else (math.log2(coarse[0] / fine[0]), math.log2(coarse[1] / fine[1]))


def strong_errors(
    solver: Any, sde: DiagonalSDE, exact: Callable[[Tensor, Tensor, Tensor], Tensor], z: Tensor, n_paths: int = 4000
) -> Tensor:
    """Mean distance after one unit of time from the solution along the same path: Tensor[steps groups].

    Parameters
    ----------
    solver : SDESolver
        One with `n_steps`, which is set to 16, 32, 64 and 128.
    exact : callable
        ``z`` (b d), ``span`` (b,) and the path's value ``w`` (b d) -> the state (b d) then.
    z : Tensor[1 d]
        Where all paths start.
    """
    t0 = torch.zeros(n_paths, dtype=torch.float64)
    paths = BrownianPath.draw(torch.Generator().manual_seed(0), n_paths, z.shape[1], 1.0, depth=6).starting_at(t0)
    z = z.expand(n_paths, -1)
    truth = exact(z, t0 + 1.0, paths(t0 + 1.0))
    errors = []
    with torch.no_grad():
        for n_steps in ROUNDS:
            steps = {"n_steps": n_steps} | ({"max_step": None} if solver.max_step is not None else {})
            solution = integrate_sde(sde, z, t0, t0 + 1.0, replace(solver, **steps), paths)
            assert not bool(solution.status.any()), "a solve of geometric Brownian motion succeeds."
            errors.append((solution.z - truth).abs().mean(dim=1).reshape(N_GROUPS, -1).mean(dim=1))
    return torch.stack(errors)


def strong_order(errors: Tensor) -> tuple[float, float]:
    """Slope of log error over log step, and its standard error from the groups of paths."""
    x = -torch.tensor(ROUNDS, dtype=torch.float64).log()
    x = x - x.mean()
    slopes = (x[:, None] * errors.log()).sum(dim=0) / x.square().sum()
    return float(slopes.mean()), float(slopes.std() / N_GROUPS**0.5)
