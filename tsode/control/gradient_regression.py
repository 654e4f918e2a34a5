"""Gradient by least squares: conditional expectations as polynomials of the state, from the end backwards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from tsode.control.backward_problem import BackwardProblem, Gradient
from tsode.control.forward_sde import Paths
from tsode.errors import ParameterError

__all__ = ["RegressionGradient", "fit_regression"]

RIDGE = 1e-10  # of the mean square of a feature
MOST_SHARE = 0.1  # features, in parts of the paths
FARTHEST = 4.0  # spreads of the paths of fit, beyond which polynomials are not followed


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Functions at one time.

    Parameters
    ----------
    middle, spread : Tensor[d]
        Of the states.
    y, z : Tensor[p], Tensor[p k]
        Coefficients of the features.
    """

    middle: Tensor
    spread: Tensor
    y: Tensor
    z: Tensor


class RegressionGradient(Gradient):
    """``Y`` and ``Z`` at each time as a combination of polynomials, of the terminal value and of its slope.

    Parameters
    ----------
    problem : BackwardProblem
    degree : int
        Largest total degree.
    """

    def __init__(self, problem: BackwardProblem, degree: int) -> None:
        self.problem = problem
        d = len(problem.start)
        self.powers = [c for k in range(1, degree + 1) for c in combinations_with_replacement(range(d), k)]
        self.fitted: list[_Fitted] = []
        self.history: list[dict[str, Any]] = []
        self.value = float("nan")

    def features(self, i: int, x: Tensor, middle: Tensor, spread: Tensor) -> Tensor:
        """Features (b p) of states (b d) at the time of place `i`; at the start, where all are one, a constant."""
        one = torch.ones(len(x), 1, dtype=x.dtype)
        if i == 0:
            return one
        scaled = ((x - middle) / spread).clamp(-FARTHEST, FARTHEST)
        columns = [scaled[:, list(power)].prod(dim=1) for power in self.powers]
        # all at the same place: features that stand in for each other have coefficients that cancel there alone
        held = middle + spread * scaled
        slope = self.problem.terminal_slope(held[None])[0]
        return torch.cat(
            [one, torch.stack(columns, dim=1), self.problem.terminal(held).detach()[:, None], slope], dim=1
        )

    def along(self, paths: Paths) -> tuple[Tensor, Tensor]:
        y, z = [], []
        for i, one in enumerate(self.fitted):
            features = self.features(i, paths.x[i], one.middle, one.spread)
            y.append(features @ one.y)
            z.append(features @ one.z)
        return torch.stack(y), torch.stack(z)


@torch.no_grad()
def fit_regression(
    problem: BackwardProblem, generator: torch.Generator, *, degree: int, n_paths: int, n_rounds: int, verbose: int = 0
) -> RegressionGradient:
    """Regress, from the last step to the first, what is still to come on the state, and times the noise for ``Z``.

    What is to come is summed along whole paths and not over fitted values, so that errors do not add up from step to
    step, and less the noise that the later ``Z`` explain, so that it varies little. The driver reads its own ``Y``,
    which a few rounds find.

    References
    ----------
    Gobet, Lemor and Warin 2005, *A regression-based Monte Carlo method to solve backward stochastic differential
    equations*, Annals of Applied Probability 15:2172, eq. 4; the sums along paths are those of Bender and Denk 2007,
    eq. 7.
    """
    gradient = RegressionGradient(problem, degree)
    paths = problem.paths(n_paths, generator)
    n, k = len(paths.dw), paths.dw.shape[2]
    n_features = len(gradient.powers) + 2 + k
    if n_features > MOST_SHARE * n_paths:
        raise ParameterError(
            f"method='regression' has {n_features} features of {len(problem.start)} states at degree={degree}, which "
            f"{n_paths} paths do not determine: lower degree=, raise n_paths= or use method='network'."
        )
    to_come = problem.terminal(paths.x[-1])
    first = to_come
    for i in tqdm(range(n - 1, -1, -1), disable=not verbose, desc="backward", unit="step"):
        x, h = paths.x[i], paths.t[i + 1] - paths.t[i]
        middle, spread = x.mean(dim=0), x.std(dim=0)
        spread = torch.where(spread > 0.0, spread, 1.0)
        features = gradient.features(i, x, middle, spread)
        gram = features.mT @ features
        gram.diagonal().add_(RIDGE * gram.diagonal() + torch.finfo(gram.dtype).tiny)
        # paths that have left the range of numbers leave it to all that follows, and to the status
        root = torch.linalg.cholesky(gram) if bool(gram.isfinite().all()) else torch.full_like(gram, torch.nan)

        def regressed(target: Tensor, features: Tensor = features, root: Tensor = root) -> Tensor:
            return torch.cholesky_solve(features.mT @ target, root)

        mean = features @ regressed(to_come[:, None])  # (b, 1)
        of_z = regressed((to_come[:, None] - mean) * paths.dw[i] / h)
        z = features @ of_z
        # once the noise of this step is taken away, the mean is found again with less of it
        less = to_come - (z * paths.dw[i]).sum(dim=1)
        of_mean = regressed(less[:, None])
        y, drive = (features @ of_mean)[:, 0], torch.zeros_like(less)
        of_y = of_mean
        for _ in range(n_rounds):
            drive = problem.driver(i, x, y, z)
            of_y = of_mean + h * regressed(drive[:, None])
            y = (features @ of_y)[:, 0]
        to_come = less + h * problem.driver(i, x, y, z)
        gradient.fitted.append(_Fitted(middle, spread, of_y[:, 0], of_z))
        first = to_come
        gradient.history.append({"time": float(paths.t[i]), "loss": float(to_come.std()), "value": float(y.mean())})
    gradient.fitted.reverse()
    gradient.value = float(first.mean())
    return gradient
