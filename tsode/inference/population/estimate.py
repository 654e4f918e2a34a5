"""Maximum likelihood of a population, from many starts at once, with standard errors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tsode.errors import SolverError
from tsode.inference.evaluation import INTERRUPTED, Stopped
from tsode.inference.population.marginal import MarginalDensity
from tsode.inference.population.series_scores import observed_information, series_scores
from tsode.inference.population.starts import find_starts
from tsode.inference.population.subjects import LOG_2PI
from tsode.numerics.quasi_newton import minimise

__all__ = ["Estimate", "maximum_likelihood"]

ROUNDS = 3  # of the search, the later ones for starts that have not come to the best end
SAME = 0.01  # units of the objective within which starts have come to the same
TOLERANCE = 1e-7
LEAST_GAIN = 1e-3  # nats
FARTHEST = 12.0  # standard deviations of a prior that a search goes: a spread that still falls there is 0 by the data


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimate of what a population shares.

    Parameters
    ----------
    theta : Tensor[p]
        Coordinates.
    objective : float
        ``-2 log L``, without ``n log 2 pi`` of the ``n`` observations.
    n_observations : int
    eta : Tensor[n q]
        Most probable effects.
    is_found : Tensor[n], bool
    is_seen : Tensor[n], bool
        Series that have any value.
    hessian : Tensor[p p]
        Of the log likelihood, negative.
    scores : Tensor[n p]
        Derivatives of each series' log likelihood.
    ends : Tensor[b]
        Objectives that the starts have come to, the best first.
    points : Tensor[b p]
        Where they are.
    is_done : Tensor[b], bool
        Which of them have come to an end by their own gradient.
    why_stopped : str
        Why it was ended before that; empty if it was not.
    """

    theta: Tensor
    objective: float
    n_observations: int
    eta: Tensor
    is_found: Tensor
    is_seen: Tensor
    hessian: Tensor
    scores: Tensor
    ends: Tensor
    points: Tensor
    is_done: Tensor
    why_stopped: str = ""

    @property
    def covariance(self) -> Tensor:
        """By the Hessian, (p p); NaN where the likelihood is flat along any direction."""
        return _inverse(self.hessian)

    @property
    def sandwich(self) -> Tensor:
        """By the Hessian and the scores of the series, (p p): right also where the model is not quite."""
        inverse = _inverse(self.hessian)
        return inverse @ (self.scores.mT @ self.scores) @ inverse

    def other_ends(self) -> list[float]:
        """Objectives of ends that are not the best, each once."""
        found: list[float] = []
        for x in self.ends.tolist():
            if x > self.ends[0] + SAME and math.isfinite(x) and not any(abs(x - y) < SAME for y in found):
                found.append(x)
        return found

    @property
    def n_at_best(self) -> int:
        """Starts that have come to the best end."""
        return int((self.ends < self.ends[0] + SAME).sum())


def maximum_likelihood(
    density: MarginalDensity,
    generator: torch.Generator,
    n_starts: int = 8,
    n_prior: int = 128,
    start: Tensor | None = None,
    tell: Callable[[str], None] = lambda text: None,
    max_seconds: float | None = None,
) -> Estimate:
    """Maximise the marginal likelihood of one problem; priors say where to begin, and how far to look (`FARTHEST`).

    Starts climb side by side by quasi-Newton steps (`tsode.numerics.quasi_newton.minimise`) with exact gradients; the
    search for individual modes goes on from where it was. A start that brings nothing any more ends, and is not done.

    Parameters
    ----------
    density : MarginalDensity
    generator : torch.Generator
    n_starts, n_prior : int
        Starts, and draws of the prior that they are chosen from.
    start : Tensor[b p], optional
        Coordinates to begin at instead.
    tell : callable
        Told what goes on.
    max_seconds : float, optional
        Of the clock, after which no more steps are made; the best point so far is kept, as it is after Ctrl-C.

    Raises
    ------
    SolverError
        If no start has a finite likelihood.
    """
    if density.n_problems != 1:
        raise ValueError(f"maximum likelihood is of one problem, not {density.n_problems}")
    start = find_starts(density, generator, n_starts, n_prior, tell) if start is None else start
    n, _, q = density.subjects.shape
    modes = start.new_zeros(n, len(start), 1, q)
    reached, places = torch.full_like(start[:, 0], math.inf), start.clone()
    until = math.inf if max_seconds is None else time.monotonic() + max_seconds
    why = ""

    def evaluate(some: Tensor, points: Tensor, places_of: Tensor) -> tuple[Tensor, Tensor]:
        which = some[places_of]
        if time.monotonic() > until and bool(reached.isfinite().any()):
            raise Stopped(f"stopped after max_seconds={max_seconds:g}")
        at = modes[:, which]
        value, slope, _ = series_scores(density, points, at)
        total = torch.where((points.abs() <= FARTHEST).all(dim=1), -value.sum(dim=0), torch.inf)
        is_better = total < reached[which]
        modes[:, which[is_better]] = at[:, is_better]  # those of a step that is not taken may be of another branch
        reached[which] = torch.where(is_better, total, reached[which])
        places[which] = torch.where(is_better[:, None], points, places[which])
        tell(f"objective {2.0 * float(reached.min()) - n_seen * LOG_2PI:.3f}")
        return total, torch.where(total.isfinite()[:, None], -slope.sum(dim=0), torch.nan)

    is_spread = torch.tensor([name.startswith("omega_") for name in density.names])
    n_seen = sum(len(cells.values) for cells in density.joint.cells.values())
    point, value = start.clone(), torch.full_like(reached, math.inf)
    is_done = torch.zeros_like(reached, dtype=torch.bool)
    left = torch.arange(len(start))
    try:
        for _ in range(ROUNDS):
            # near a spread of 0 the likelihood is flat in its logarithm, so that a start can end there far from a top
            is_fallen = (2.0 * (value - value.min()) > SAME)[:, None] & is_spread & (point < point[value.argmin()])
            point = torch.where(is_fallen, point[value.argmin()], point)
            slope = series_scores(density, point[left], modes[:, left])[1]
            spread = torch.einsum("nbp,nbq->bpq", slope, slope) + torch.eye(slope.shape[2], dtype=slope.dtype)
            point[left], value[left], is_done[left] = minimise(
                partial(evaluate, left), point[left], tolerance=TOLERANCE, inverse=torch.linalg.inv(spread),
                least_gain=LEAST_GAIN,
            )  # fmt: skip
            # where a spread has come near 0, or the metric has gone stale, a start begins anew by its scores there
            left = (~is_done | (2.0 * (value - value.min()) > SAME)).nonzero()[:, 0]
            if not len(left):
                break
    except (Stopped, KeyboardInterrupt) as stopped:
        if not bool(reached.isfinite().any()):  # nothing is there to be kept
            raise
        point, value, is_done = places, reached, torch.zeros_like(is_done)
        why = str(stopped) or INTERRUPTED
    order = value.argsort(stable=True)
    if not bool(value[order[0]].isfinite()):
        raise SolverError(
            "No start has come to a finite likelihood: look at priors and units, or give starting values."
        )
    tell("standard errors")
    theta = point[order[0]]
    own, slope, found = series_scores(density, theta[None], modes[:, order[:1]])
    ends = 2.0 * value[order] - n_seen * LOG_2PI
    hessian = observed_information(density, theta, slope[:, 0], modes[:, order[:1]])
    return Estimate(
        theta, float(-2.0 * own.sum() - n_seen * LOG_2PI), n_seen, found.eta[:, 0, 0].detach(), found.is_found[:, 0, 0],
        density.subjects.is_seen, hessian, slope[:, 0], ends, point[order], is_done[order], why,
    )  # fmt: skip


def _inverse(hessian: Tensor) -> Tensor:
    width, axes = torch.linalg.eigh(hessian)
    if bool((width > 1e-10 * width.abs().max()).all()):
        return (axes / width) @ axes.mT
    return torch.full_like(hessian, torch.nan)
