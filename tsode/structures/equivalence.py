"""Equivalence of structures: which ones these data cannot tell apart, and which ones no data of these channels can."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode._isolation import isolated
from tsode.errors import TsodeError
from tsode.inference.known_density import KnownDensity
from tsode.inference.noise.additive import AdditiveNoise
from tsode.inference.noise.base import Between
from tsode.inference.observations import Observations
from tsode.inference.priors import Prior
from tsode.inference.settings import Settings
from tsode.structures.edges import DUMMY, Structure, with_an_axis
from tsode.structures.evidence import BuildDensity, Member, fit_structures
from tsode.structures.scores import Scores

__all__ = ["EquivalenceClass", "agree", "classes_of", "equivalent_subsets"]

TOLERANCE = 0.05  # of a log evidence and log likelihood, beyond their Monte Carlo error
LOCAL = 0.05  # of the log density of one value and of the share below it
LEAST = 1e-6  # probability of a structure that is asked about
ERRORS = 4.0  # standard errors
N_CURVES, N_TIMES, FINE = 2, 24, 1e-2  # curves of each structure, times of each, and their noise in parts of their size
SAME = 0.2  # nats by which log evidences of so fine data may differ: Laplace's approximation has an error
SEARCH = Settings(n_prior=512, n_starts=8, n_draws=64, n_chains=1)


@dataclass(frozen=True)
class EquivalenceClass:
    """Structures that the data do not tell apart.

    Attributes
    ----------
    structures : tuple of str
        The most probable first.
    probability : float
        Of all of them together.
    kind : str
        "equivalent": also fine curves drawn from each, at other times, were as probable by the others, so that more
        data of these channels will not tell them apart. "not told apart": these data do not, others may.
    """

    structures: tuple[str, ...]
    probability: float
    kind: str

    def __str__(self) -> str:
        what = {
            "equivalent": "are equivalent: no data of these channels tells them apart, as far as was tried",
            "not told apart": "are not told apart by these data; others may tell them apart",
        }[self.kind]
        return f"{', '.join(map(repr, self.structures))} {what} (together {self.probability:.3f})."


def agree(one: Member, other: Member, of_one: Scores, of_other: Scores) -> bool:
    """Whether two structures have equal evidence, equal likelihood at the mode, and equal predictive laws of the data.

    Equal means: within four Monte Carlo errors and a tolerance of .05 nats, value by value for the laws. For these both
    the density at a value and the share below it are compared.
    """
    if one.found is None or other.found is None:
        return False
    error = math.hypot(*(m.log_evidence_se if math.isfinite(m.log_evidence_se) else 0.0 for m in (one, other)))
    if abs(one.log_evidence - other.log_evidence) > TOLERANCE + ERRORS * error:
        return False
    if abs(of_one.log_likelihood - of_other.log_likelihood) > TOLERANCE:
        return False
    of_density = torch.hypot(of_one.lpd_se, of_other.lpd_se)
    is_same = (of_one.lpd - of_other.lpd).abs() <= LOCAL + ERRORS * of_density
    of_share = torch.hypot(of_one.share_se, of_other.share_se)
    is_same &= ~((of_one.share - of_other.share).abs() > LOCAL + ERRORS * of_share)  # NaN: there is no law
    return bool(is_same.all())


def classes_of(members: Sequence[Member], scores: Sequence[Scores | None], probability: np.ndarray) -> list[list[int]]:
    """Places of members in classes, within each of which all agree with all; the most probable first.

    Those below one in a million are in none.
    """
    classes: list[list[int]] = []
    for k in np.argsort(-probability, kind="stable"):
        own = scores[k]
        if own is None or probability[k] < LEAST:
            continue
        for found in classes:
            if all(agree(members[k], members[j], own, scores[j]) for j in found):  # type: ignore[arg-type]
                found.append(int(k))
                break
        else:
            classes.append([int(k)])
    return classes


def equivalent_subsets(members: Sequence[Member], build: BuildDensity, seed: int) -> list[list[int]] | None:
    """Places of members within each of which each draws curves that are as probable by all of them.

    Curves at draws of the prior of each are seen at 24 times along the data with a noise of 1 % of their size: the
    noise of the data, and the times at which they were seen, do not limit what they tell. Evidences are Laplace's. None
    where that cannot be tried: filters of stochastic systems, channels that look back.
    """
    looks_back = any(isinstance(noise.of, Between) for noise in members[0].system.observed.values())
    if looks_back or type(members[0].template) is not KnownDensity:
        return None
    rng = torch.Generator().manual_seed(seed)
    left, found = list(range(len(members))), []
    try:
        with isolated():
            curves = [_curves(member, rng) for member in members]
            while left:
                source, *others = left
                alike = _alike(source, others, curves[source], members, build, seed)
                alike = [k for k in alike if _alike(k, [source], curves[k], members, build, seed)]
                found.append([source, *alike])
                left = [k for k in others if k not in alike]
    except TsodeError:
        return None
    return found


def _alike(
    source: int, others: Sequence[int], curves: Sequence[Observations], members: Sequence[Member],
    build: BuildDensity, seed: int,
) -> list[int]:  # fmt: skip
    """Which of some members have the same evidence as the source for all of its curves; none if it has no curves."""
    alike = list(others) if curves else []
    for data in curves:
        if not alike:
            break
        own, *rest = _evidences([members[k] for k in (source, *alike)], data, build, seed)
        alike = [k for k, value in zip(alike, rest) if abs(value - own) <= SAME]
    return alike


def _curves(source: Member, rng: torch.Generator) -> list[Observations]:
    """Fine data sets by draws of the prior of a structure."""
    density, data = source.density, source.template.data
    last = data.times.amax(dim=1)
    first = torch.where(last > data.start, data.start, last)
    share = (torch.arange(N_TIMES, dtype=torch.float64) + 1.0) / N_TIMES
    times = first[:, None] + share * (last - first)[:, None]
    u = density.sample_prior(8 * N_CURVES, rng)
    u = 0.5 * u  # from the middle of the prior, where solves do not fail
    empty = replace(data, times=times, values=torch.full((*times.shape, data.values.shape[2]), torch.nan).double())
    with torch.no_grad():
        laws = density.predictive(u, times)
    values = torch.stack([_means(source, channel, law.params) for channel, law in laws.items()], dim=-1)  # (k n q c)
    is_fine = torch.stack([law.is_fine.flatten(2).all(dim=2).all(dim=0) for law in laws.values()]).all(dim=0)
    kept = [k for k in range(len(values)) if bool(is_fine[k]) and bool(values[k].isfinite().all())][:N_CURVES]
    found = []
    for k in kept:
        noise = torch.randn(values[k].shape, generator=rng, dtype=torch.float64)
        size = _size(values[k])
        found.append(replace(empty, values=values[k] + FINE * size * noise))
    return found


def _means(source: Member, channel: str, params: Tensor) -> Tensor:
    """Predictions (k n q) of a channel, from the parameters (g k s q r) of its laws."""
    family = source.system.observed[channel].family
    return family.mean(params).transpose(0, 1).flatten(1, 2)


def _size(values: Tensor) -> Tensor:
    """Size (1 1 c) of each channel of curves (n q c)."""
    return values.abs().flatten(0, 1).amax(dim=0).clamp(min=1e-12)


def _evidences(members: Sequence[Member], curves: Observations, build: BuildDensity, seed: int) -> list[float]:
    size = _size(curves.values)
    noises = {
        channel: AdditiveNoise(noise.of, sd=float(FINE * size[c]))
        for c, (channel, noise) in enumerate(members[0].system.observed.items())
    }
    asked = []
    for member in members:
        system = replace(member.system, observed=noises, correlated_errors=())
        density = build(system, curves, member.space.n_problems)
        unread = set(density.unused) - {DUMMY}  # of the noise that was replaced
        if unread:
            known = {name: given._median for name, given in system.parameters.items()
                     if name in unread and isinstance(given, Prior)}  # fmt: skip
            system = with_an_axis(replace(system, parameters={**system.parameters, **known}))
            density = build(system, curves, member.space.n_problems)
        asked.append(Member(Structure(member.structure.name, {}, 0.0), system, density, density.space))
    return [one.log_evidence for one in fit_structures(asked, "laplace", seed, (SEARCH, SEARCH))]
