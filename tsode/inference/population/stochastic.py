"""Stochastic ascent of the likelihood of a population, for more effects than any rule of nodes can hold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tsode.errors import SolverError
from tsode.inference.evaluation import INTERRUPTED
from tsode.inference.population.effect_chains import EffectChains
from tsode.inference.population.estimate import Estimate
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.methods.laplace import Laplace
from tsode.inference.population.series_scores import observed_information, series_scores
from tsode.inference.population.starts import find_starts
from tsode.inference.population.subjects import LOG_2PI

__all__ = ["maximum_by_chains"]

N_FIRST, N_SHORTER, N_AVERAGED = 60, 40, 80  # steps of one length, that become shorter, and that are averaged too
LENGTH, POWER = 0.3, 2.0 / 3.0  # of the first steps, and of the number of a later one by which it becomes shorter
FEW, MANY = 3, 8  # candidates of a chain, while there are many starts and after
EVERY = 10  # steps after which candidates are drawn about new modes
FARTHEST = 0.5  # that any coordinate moves in a step
LAST = 1.0  # nats that a last step may promise
DONE = 0.01  # nats that one more would bring, below which the top is reached


def maximum_by_chains(
    density: MarginalDensity,
    generator: torch.Generator,
    n_starts: int = 8,
    n_prior: int = 128,
    start: Tensor | None = None,
    tell: Callable[[str], None] = lambda text: None,
    max_seconds: float | None = None,
) -> Estimate:
    """Maximise the marginal likelihood of one problem without ever computing it on the way.

    The score of a series is the mean, over its effects given its data, of the derivative of the joint density (Fisher's
    identity). Chains of effects give it with noise; it is averaged over steps, and steps are made by the inverse of the
    sum of outer products of these scores, an estimate of the information (Baey et al. 2023). Starts climb side by side
    by steps of one length; the best of them goes on by shorter ones, and the mean of the last is taken. Then the method
    of `density`, such as importance sampling, says what the likelihood is there, with its derivatives by which one more
    Newton step is made, and standard errors.

    Parameters
    ----------
    density : MarginalDensity
    generator : torch.Generator
    n_starts, n_prior, start, tell, max_seconds
        As in `tsode.inference.population.estimate.maximum_likelihood`.

    References
    ----------
    Baey, Delattre, Kuhn, Leger and Lemler, "Efficient preconditioned stochastic gradient descent for estimation in
    latent variable models", ICML 2023; Polyak and Juditsky, "Acceleration of stochastic approximation by averaging",
    SIAM J. Control Optim. 30, 1992.
    """
    theta = find_starts(density, generator, n_starts, n_prior, tell) if start is None else start.clone()
    until, why = math.inf if max_seconds is None else time.monotonic() + max_seconds, ""
    mean = theta.clone()
    chains = EffectChains(density.subjects, theta, generator, FEW if len(theta) > 1 else MANY)
    score, n_averaged = chains.scores(theta), 0
    n_steps, delay = N_FIRST + N_SHORTER + N_AVERAGED, LENGTH ** (-1.0 / POWER)
    try:
        for k in range(n_steps):
            if time.monotonic() > until:
                why = f"stopped after max_seconds={max_seconds:g}"
                break
            if k % EVERY == 0:
                chains.follow(theta)
                tell(f"step {k} of {n_steps}")
            if k == N_FIRST and len(theta) > 1:
                place = _best(density, theta)
                mean, theta, score = theta[place], theta[place], score[:, place]
                chains.select(place)
                chains.n_candidates = MANY
            share = (delay + max(0, k - N_FIRST)) ** -POWER
            score = score + share * (chains.scores(theta) - score)
            theta = theta + share * _step(score)
            n_averaged += k >= N_FIRST + N_SHORTER
            mean = theta if n_averaged <= 1 else mean + (theta - mean) / n_averaged
    except KeyboardInterrupt:
        why = INTERRUPTED
    if len(mean) > 1:
        place = _best(density, mean)
        mean = mean[place]
        chains.select(place)
    return _at_end(density, mean[0], chains.mean[:, :, None].clone(), why, tell)


def _step(score: Tensor) -> Tensor:
    """Steps (b p) by the scores (n b p) of series; priors, of width one, keep what no series tells of."""
    information = torch.einsum("nbp,nbq->bpq", score, score) + torch.eye(score.shape[2], dtype=score.dtype)
    step = torch.linalg.solve(information, score.sum(dim=0)[..., None])[..., 0]
    return step * (FARTHEST / step.abs().amax(dim=1, keepdim=True).clamp(min=FARTHEST))


def _best(density: MarginalDensity, theta: Tensor) -> Tensor:
    """Place (1,) of the best of points (b p), by Laplace's approximation."""
    with torch.no_grad():
        value = Laplace().log_likelihood(density.subjects, theta.expand(density.subjects.shape[0], *theta.shape)).value
    return value[..., 0].sum(dim=0).argmax()[None]


def _at_end(density: MarginalDensity, theta: Tensor, modes: Tensor, why: str, tell: Callable[[str], None]) -> Estimate:
    """The estimate, a Newton step of the likelihood itself from where the chains have come to."""
    tell("standard errors")
    n_seen = sum(len(cells.values) for cells in density.joint.cells.values())
    value, slope, found = series_scores(density, theta[None], modes)
    if not bool(value.isfinite().all()):
        raise SolverError(
            "The chains have come to no finite likelihood: look at priors and units, or give more n_starts."
        )
    hessian = observed_information(density, theta, slope[:, 0], modes)
    promised = math.inf
    if bool((torch.linalg.eigvalsh(hessian) > 0).all()):
        move = torch.linalg.solve(hessian, slope[:, 0].sum(dim=0))
        promised = 0.5 * float(move @ slope[:, 0].sum(dim=0))
        if promised < LAST:
            there = series_scores(density, (theta + move)[None], modes.clone())
            if float(there[0].sum()) > float(value.sum()):
                theta, (value, slope, found) = theta + move, there
                gradient = slope[:, 0].sum(dim=0)
                promised = 0.5 * float(gradient @ torch.linalg.solve(hessian, gradient))
    objective = float(-2.0 * value.sum() - n_seen * LOG_2PI)
    return Estimate(
        theta, objective, n_seen, found.eta[:, 0, 0].detach(), found.is_found[:, 0, 0], density.subjects.is_seen,
        hessian, slope[:, 0], torch.tensor([objective], dtype=torch.float64), theta[None],
        torch.tensor([promised < DONE]), why,
    )  # fmt: skip
