"""Automatic recipe: which components, on which scale, and with what weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import torch
from torch import Tensor

from tsode.core.transforms import Transform
from tsode.models.structural.component import Component, DataScale
from tsode.models.structural.cycle import Cycle
from tsode.models.structural.damped_slope import DampedSlope
from tsode.models.structural.level import Level
from tsode.models.structural.matern import Matern
from tsode.models.structural.member import ChannelFit, Member
from tsode.models.structural.ornstein_uhlenbeck import LongOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tsode.models.structural.season import Season
from tsode.models.structural.slope import Slope
from tsode.models.structural.structure import Structure
from tsode.training.structural.evidence import Posterior, posteriors
from tsode.training.structural.problems import Data, Problem, evaluate
from tsode.training.structural.quasi_newton import minimise

__all__ = ["Settings", "fit_channel"]

LEAST_WEIGHT = 0.01
MOST_HARMONICS = 6
GAIN_OF_SEASON = 3.0  # nats


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Parameters
    ----------
    n_starts : int
        Of each structure: the priors' centre and random ones.
    n_draws : int
        Of the parameters, shared by the members as they weigh.
    most_rows : int
        Parameters are learned from so many last observations.
    """

    n_starts: int = 2
    n_draws: int = 60
    most_rows: int = 1000


@dataclass(frozen=True)
class Sample:
    """Series (n s) on one scale, standardised."""

    data: Data
    scale: DataScale
    shift: float
    spread: float
    log_slope: float  # of the transform and the standardisation, summed over all values


def trends() -> list[tuple[Component, ...]]:
    """Sets of components for what is not periodic: every trend with a rough texture, and with a smooth one as well."""
    short, long, smooth = OrnsteinUhlenbeck(), LongOrnsteinUhlenbeck(), Matern()
    sets = [(Level(), short), (Level(known_start=True), Slope(), short), (Slope(), short, long), (DampedSlope(), short, long)]
    return [(*parts, *texture) for texture in ((), (smooth,)) for parts in sets]


STATIONARY = (OrnsteinUhlenbeck(), LongOrnsteinUhlenbeck())


def fit_channel(
    times: Tensor,
    values: Tensor,
    mask: Tensor,
    transforms: dict[str, Transform],
    periods: Sequence[tuple[float, float]],
    generator: torch.Generator,
    settings: Settings = Settings(),
) -> ChannelFit:
    """Fit one channel: choose its scale and its seasons, then average over trends and textures by their evidence.

    Parameters
    ----------
    times, values, mask : Tensor[n s]
        In model time and the data's own units; padded rows repeat the last time and are not seen.
    transforms : dict of name to Transform
    periods : sequence of (period, price)
        Candidates in model time, and the nats that a season must bring beyond `GAIN_OF_SEASON`.
    """
    n = len(times)
    keep = slice(max(0, n - settings.most_rows), n)
    span = float((times.amax(dim=0) - times[0]).median())
    samples = {name: _sample(times[keep], values[keep], mask[keep], one, span) for name, one in transforms.items()}
    gap = next(iter(samples.values())).scale.gap
    seasons = [
        Season(period / span, max(1, min(MOST_HARMONICS, int(0.5 * period / span / gap + 1e-6))), name=f"season_{k}" if k else "season")
        for k, (period, _) in enumerate(periods)
    ]
    choices = _choices(seasons)
    base = (Level(known_start=True), Slope(), OrnsteinUhlenbeck())
    first = [
        (name, chosen, Problem(Structure(base + chosen, sample.scale), sample.data))
        for name, sample in samples.items()
        for chosen in choices
    ]
    found = _fit([problem for _, _, problem in first], 1, generator)
    score = [
        float(found.evidence[k]) + samples[name].log_slope
        - sum(GAIN_OF_SEASON + price for season, (_, price) in zip(seasons, periods) if season in chosen)
        for k, (name, chosen, _) in enumerate(first)
    ]  # fmt: skip
    name, chosen, _ = first[int(np.argmax(score))]
    sample = samples[name]
    sets = [components + chosen for components in trends()]
    if not chosen:
        sets.append(STATIONARY)
    problems = [Problem(Structure(components, sample.scale), sample.data) for components in sets]
    posterior = _fit(problems, settings.n_starts, generator)
    members = _average([problem.structure for problem in problems], posterior, settings.n_draws, generator)
    return ChannelFit(members, transforms[name], sample.shift, sample.spread, span)


def _choices(seasons: Sequence[Season]) -> list[tuple[Season, ...]]:
    """Sets of seasons to compare: all, all but one, one, none."""
    every = tuple(seasons)
    but_one = [tuple(s for s in seasons if s is not left) for left in seasons]
    return list(dict.fromkeys([every, *but_one, *((s,) for s in seasons), ()]))


def _sample(times: Tensor, values: Tensor, mask: Tensor, transform: Transform, span: float) -> Sample:
    is_seen = mask > 0
    scaled = transform.forward(values)
    seen = scaled[is_seen]
    shift, spread = float(seen.mean()), float(seen.std(correction=0)) or 1.0
    scaled = torch.where(is_seen, (scaled - shift) / spread, 0.0)
    log_slope = float(transform.log_slope(values[is_seen]).sum()) - len(seen) * log(spread)
    own_time = times / span
    gaps, changes = [], []
    for column in range(times.shape[1]):
        rows = is_seen[:, column]
        gaps.append(own_time[rows, column].diff())
        changes.append(scaled[rows, column].diff())
    gap = torch.cat(gaps)
    change = torch.cat(changes)[gap > 0]
    gap = gap[gap > 0]
    typical = float(gap.median()) if len(gap) else 1.0
    roughness = float((change**2).median() / 0.455 / 2.0) if len(gap) else 1.0
    return Sample(
        Data.of(own_time, scaled, mask.double()), DataScale(typical, max(roughness, 1e-6)), shift, spread, log_slope
    )


def _fit(problems: Sequence[Problem], n_starts: int, generator: torch.Generator) -> Posterior:
    """Best of several starts of each problem, and the posterior about it."""
    size = max(problem.structure.n_parameters for problem in problems)
    is_own = torch.stack([torch.arange(size) < problem.structure.n_parameters for problem in problems])
    started = [problem for problem in problems for _ in range(n_starts)]
    start = 0.8 * torch.randn(len(started), size, generator=generator, dtype=torch.float64)
    start[::n_starts] = 0.0
    start = torch.where(is_own.repeat_interleave(n_starts, dim=0), start, 0.0)
    point, value, _ = minimise(lambda z, which: evaluate([started[k] for k in which.tolist()], z, torch.arange(len(z))), start)
    best = value.reshape(-1, n_starts).argmin(dim=1) + n_starts * torch.arange(len(problems))
    return posteriors(
        lambda z, which: evaluate([problems[k] for k in which.tolist()], z, torch.arange(len(z))), point[best], value[best]
    )


def _average(
    structures: Sequence[Structure], posterior: Posterior, n_draws: int, generator: torch.Generator
) -> tuple[Member, ...]:
    """Members that weigh something, with draws of their parameters."""
    weights = (posterior.evidence - posterior.evidence.max()).exp()
    weights = torch.where(weights / weights.sum() < LEAST_WEIGHT, 0.0, weights)
    weights = weights / weights.sum()
    members = []
    for k in weights.argsort(descending=True).tolist():
        weight = float(weights[k])
        if not weight:
            continue
        p = structures[k].n_parameters
        n = max(4, round(weight * n_draws))
        normals = torch.randn(n // 2, posterior.mode.shape[1], generator=generator, dtype=torch.float64)
        normals = torch.cat([torch.zeros_like(normals[:1]), normals, -normals])
        members.append(Member(structures[k], weight, posterior.draws(k, normals)[:, :p]))
    return tuple(members)
