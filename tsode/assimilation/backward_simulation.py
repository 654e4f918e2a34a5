"""Backward simulation: paths of the state given all data, from what a particle filter has passed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.base import Ahead, Filter
from tsode.assimilation.filters.particle import ParticleFilter, Particles
from tsode.assimilation.motion import Draws, Motion, Seen, Start
from tsode.assimilation.noisy_step import NoisyStep
from tsode.jumps.resampling import resample_systematic
from tsode.numerics.semidefinite_root import semidefinite_root

__all__ = ["Recorder", "Step", "simulate_back"]

BACKWARD, LAST = 121, 122  # purposes of draws


class Step(NamedTuple):
    """One step of a particle filter.

    Parameters
    ----------
    motion : Motion
    t, h : Tensor[r], float64
    before, after : Particles
        Before resampling, and at the end of the step.
    """

    motion: Motion
    t: Tensor
    h: Tensor
    before: Particles
    after: Particles


@dataclass(frozen=True)
class Recorder(Filter[Particles]):
    """Particle filter that keeps all its steps, for `simulate_back`; for one run.

    Parameters
    ----------
    filter : ParticleFilter
    steps : list of Step
    marks : list of (int, Particles)
        Number of steps before, and belief, at each place that was marked.
    """

    is_random: ClassVar[bool] = True
    is_smooth: ClassVar[bool] = False

    filter: ParticleFilter
    steps: list[Step] = field(default_factory=list)
    marks: list[tuple[int, Particles]] = field(default_factory=list)

    @property
    def n_members(self) -> int:
        """Particles of a row."""
        return self.filter.n_particles

    def start(self, start: Start, motion: Motion, t: Tensor, draws: Draws) -> Particles:
        """What is known before any data."""
        return self.filter.start(start, motion, t, draws)

    def flow(
        self, belief: Particles, motion: Motion, t: Tensor, h: Tensor, draws: Draws, ahead: Ahead | None = None
    ) -> Particles:
        """Carry a belief over one step, and keep both."""
        after = self.filter.flow(belief, motion, t, h, draws, ahead)
        self.steps.append(Step(motion, t, h, belief, after))
        return after

    def change(self, belief: Particles, factor: Tensor, shift: Tensor) -> Particles:
        """Apply an event to each particle."""
        return self.filter.change(belief, factor, shift)

    def observe(self, belief: Particles, seen: Seen, t: Tensor, draws: Draws) -> tuple[Particles, Tensor]:
        """Weigh particles by their likelihoods."""
        return self.filter.observe(belief, seen, t, draws)

    def mark(self, belief: Particles) -> Particles:
        """Keep a belief: paths are told there."""
        self.marks.append((len(self.steps), belief))
        return belief

    def members(self, belief: Particles, n: int, t: Tensor, draws: Draws) -> Tensor:
        """States drawn by their weights."""
        return self.filter.members(belief, n, t, draws)


def simulate_back(
    steps: Sequence[Step], marks: Sequence[tuple[int, Particles]], n: int, draws: Draws, lag: int | None = 10
) -> Tensor:
    """Paths of the state given all data up to the last mark, told at each mark.

    Where the noise of every step reaches every state: a particle of the end is drawn by its weight, then, step by step
    backward, the particle that it may have come from, by weight times density (Godsill, Doucet & West 2004). The end of
    a step is a one-to-one map of where its noise has led to, so that density is the normal one of the noise itself
    (see `NoisyStep`). Events need no inverse: what is drawn is places of particles.

    In rows where it does not, that density does not exist. There the path is that of a particle's own ancestors, and so
    that a few ancestors do not stand for all, the states at each mark are those of the ancestors of particles `lag`
    marks later, which have only seen the data up to there (Kitagawa 1996): states at one mark belong together, paths
    only do with ``lag=None``, which uses all data and has few different ancestors far back.

    Parameters
    ----------
    steps, marks : list
        Of a `Recorder`.
    n : int
        Paths of each row.
    draws : Draws
    lag : int or None
        Marks to look ahead, where noise does not reach every state.

    Returns
    -------
    Tensor[r k n d]
        Of `k` marks. NaN in a row without weights at the end.

    References
    ----------
    Godsill, Doucet and West, "Monte Carlo smoothing for nonlinear time series", Journal of the American Statistical
    Association 99, 2004, algorithm 1; Kitagawa, "Monte Carlo filter and smoother", Journal of Computational and
    Graphical Statistics 5, 1996, section 3.2.

    Examples
    --------
    >>> recorder = Recorder(ParticleFilter(500))  # doctest: +SKIP
    >>> run(recorder, ...)  # doctest: +SKIP
    >>> paths = simulate_back(recorder.steps, recorder.marks, 100, draws)  # doctest: +SKIP
    """
    with torch.no_grad():
        paths, is_reached = _back_by_density(steps, marks, n, draws)
        if not is_reached.all():
            traced = _back_by_ancestors(steps, marks, n, draws, lag)
            paths = torch.where(is_reached[:, None, None, None], paths, traced)
        is_dead = (marks[-1][1].log_weights == -torch.inf).all(dim=1)
        return torch.where(is_dead[:, None, None, None], torch.nan, paths)


def _drawn(belief: Particles, n: int, t: Tensor, draws: Draws) -> Tensor:
    """Places (r n) of particles drawn by weight."""
    return resample_systematic(belief.log_weights, draws.uniform(LAST, t, 1)[:, 0], n)


def _at(z: Tensor, places: Tensor) -> Tensor:
    return z.gather(1, places[..., None].expand(-1, -1, z.shape[-1]))


def _end(steps: Sequence[Step], n_before: int, like: Tensor) -> Tensor:
    """Times (r,) after some number of steps, which draws go by."""
    if n_before:
        return steps[n_before - 1].t + steps[n_before - 1].h
    return steps[0].t if steps else torch.zeros(len(like), dtype=torch.float64)


def _back_by_density(
    steps: Sequence[Step], marks: Sequence[tuple[int, Particles]], n: int, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Paths (r k n d), and the rows (r,) in which the noise reaches every state in every step."""
    n_before, last = marks[-1]
    chosen = _drawn(last, n, _end(steps, n_before, last.log_weights), draws)
    is_reached = torch.ones(len(chosen), dtype=torch.bool, device=chosen.device)
    found, left = [], len(marks) - 1
    for k in range(n_before, -1, -1):
        while left >= 0 and marks[left][0] == k:
            found.append(_at(marks[left][1].particles, chosen))
            left -= 1
        if k == 0:
            break
        step = steps[k - 1]
        is_moving = step.h > 0
        log_density, is_full = _log_density(step, _at(step.after.midway, chosen))
        is_reached &= is_full | ~is_moving
        log_weights = step.before.log_weights[:, None] + log_density
        largest = log_weights.amax(dim=2, keepdim=True)
        share = (log_weights - largest.where(largest.isfinite(), 0.0)).exp().nan_to_num(0.0).cumsum(dim=2)
        tick = draws.uniform(BACKWARD, step.t, n)[..., None] * share[..., -1:]
        drawn = torch.searchsorted(share, tick)[..., 0].clamp(max=share.shape[2] - 1)
        chosen = torch.where(is_moving[:, None], drawn, chosen)
    return torch.stack(found[::-1], dim=1), is_reached


def _log_density(step: Step, midway: Tensor) -> tuple[Tensor, Tensor]:
    """Log density (r n m), up to a constant, of states (r n d) after the noise by particles before the step.

    And the rows (r,) in which it exists.
    """
    noise = NoisyStep.of(step.motion, step.t, step.before.particles, step.h)
    factor = semidefinite_root(noise.root @ noise.root.mT)  # (r m d d), or (r 1 d d)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    is_full = (pivots > 0.0).all(-1)
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    factor = torch.where(is_full[..., None, None], factor, identity)
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    white = torch.einsum("rmij,rmj->rmi", inverse.expand(*noise.mean.shape, -1), noise.mean)
    if inverse.shape[1] == 1:
        error = (midway @ inverse[:, 0].mT)[:, :, None] - white[:, None]
    else:
        error = torch.einsum("rmij,rnj->rnmi", inverse, midway) - white[:, None]
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * error.square().sum(-1) - log_det[:, None], is_full.all(dim=1)


def _back_by_ancestors(
    steps: Sequence[Step], marks: Sequence[tuple[int, Particles]], n: int, draws: Draws, lag: int | None
) -> Tensor:
    """States (r k n d) at marks: of ancestors of particles some marks later."""
    links = []  # from each mark to the one before: places (r m)
    for (early, _), (late, belief) in itertools.pairwise(marks):
        link = torch.arange(belief.log_weights.shape[1]).expand_as(belief.ancestors)
        for step in reversed(steps[early:late]):
            back = step.after.ancestors.gather(1, link)
            link = torch.where((step.h > 0)[:, None], back, link)
        links.append(link)
    last = len(marks) - 1
    found: list[Tensor] = []
    if lag is None:
        chosen = _drawn(marks[-1][1], n, _end(steps, marks[-1][0], marks[-1][1].log_weights), draws)
        for k in range(last, -1, -1):
            found.append(_at(marks[k][1].particles, chosen))
            if k:
                chosen = links[k - 1].gather(1, chosen)
        return torch.stack(found[::-1], dim=1)
    for k, (_, belief) in enumerate(marks):
        later = min(k + lag, last)
        n_before, seen = marks[later]
        chosen = _drawn(seen, n, _end(steps, n_before, seen.log_weights), draws)
        for j in range(later, k, -1):
            chosen = links[j - 1].gather(1, chosen)
        found.append(_at(belief.particles, chosen))
    return torch.stack(found, dim=1)
