"""Report of a particle filter: how many particles count at each time, and why there are few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.assimilation.filters.guided import normal_by_curvature
from tsode.assimilation.filters.particle import Particles, effective_size
from tsode.assimilation.motion import Seen

__all__ = ["ADVICE", "ParticleReport", "Trouble", "report_particles"]

FEW = 0.05  # share of the particles, or as many as this:
FEWEST = 10.0
FAR = 4.5  # nats below the best possible of the nearest particle: three standard deviations of normal noise
N_CLIMBS = 8  # steps to the best possible


class Trouble(IntEnum):
    """What is wrong at a time."""

    NONE = 0
    FEW_COUNT = 1
    FAR_OFF = 2
    IMPOSSIBLE = 3
    NOT_FINITE = 4
    LOST = 5


ADVICE: Mapping[Trouble, str] = {
    Trouble.NONE: "",
    Trouble.FEW_COUNT: (
        "few particles carry most of the weight, though some are near the value: use a guided proposal "
        "(filter='guided'), or more particles"
    ),
    Trouble.FAR_OFF: (
        "no particle is near the value: it may be an outlier (use noise with heavy tails, such as StudentTNoise), or "
        "the process noise is too small for what happens"
    ),
    Trouble.IMPOSSIBLE: (
        "the value is impossible for every particle: look at the noise of the values, whose support may not hold it, "
        "and at the start and the process noise"
    ),
    Trouble.NOT_FINITE: "every particle has left the range of numbers: take shorter steps, or narrower priors",
    Trouble.LOST: "an earlier value was impossible for every particle: look there",
}


class ParticleReport(NamedTuple):
    """What has become of particles at each of ``k`` stops; NaN, or 0, where nothing was seen.

    Parameters
    ----------
    effective : Tensor[r k]
        Effective number of particles when all has been seen.
    n_ancestors : Tensor[r k], int64
        How many different particles of the last time at which something was seen those with weight come from.
    log_evidence : Tensor[r k]
        Of what was seen, given all before; -inf is said as it is.
    shortfall : Tensor[r k]
        By how much the log evidence is below that of a state which is known and predicts the values best.
    trouble : Tensor[r k], int64
        Of `Trouble`; `ADVICE` says what to do.
    worst : Tensor[r k], int64
        Stops by shortfall, the worst first; those at which nothing was seen come last.
    """

    effective: Tensor
    n_ancestors: Tensor
    log_evidence: Tensor
    shortfall: Tensor
    trouble: Tensor
    worst: Tensor


def report_particles(
    before: Sequence[Particles],
    seen: Sequence[Particles],
    log_evidence: Tensor,
    seen_at: Callable[[int], Sequence[Seen | None]],
) -> ParticleReport:
    """Diagnose a particle filter at each stop.

    Parameters
    ----------
    before, seen : sequence of Particles
        On arrival at each stop, and when all has been seen there (`tsode.assimilation.run.Passed`).
    log_evidence : Tensor[r k c]
        Of each channel.
    seen_at : callable
        Of a stop: what is seen there, by channel.
    """
    parts = [
        _at_one_stop(early, late, log_evidence[:, k].sum(dim=1), [one for one in seen_at(k) if one is not None])
        for k, (early, late) in enumerate(zip(before, seen))
    ]
    effective, n_ancestors, evidence, shortfall, trouble = (torch.stack(part, dim=1) for part in zip(*parts))
    is_lost = (evidence == -torch.inf).long().cumsum(dim=1) > 1
    is_lost &= trouble > 0
    trouble = torch.where(is_lost, int(Trouble.LOST), trouble)
    by = torch.where(is_lost, 0.0, shortfall).nan_to_num(nan=-torch.inf, posinf=torch.inf)
    worst = by.argsort(dim=1, descending=True, stable=True)
    return ParticleReport(effective, n_ancestors, evidence, shortfall, trouble, worst)


@torch.no_grad()
def _at_one_stop(early: Particles, late: Particles, evidence: Tensor, seen: list[Seen]) -> tuple[Tensor, ...]:
    r, m = early.log_weights.shape
    is_seen = torch.zeros(r, dtype=torch.bool)
    best, nearest = torch.zeros(r, dtype=torch.float64), torch.zeros(r, m, dtype=torch.float64)
    for one in seen:
        prediction = one.predict(early.particles)
        log_prob = one.log_prob(prediction)
        log_prob = torch.where(log_prob.isnan(), -torch.inf, log_prob)
        best = best + torch.where(one.is_seen, _best(one, prediction, log_prob), 0.0)
        nearest = nearest + torch.where(one.is_seen[:, None], log_prob, 0.0)
        is_seen |= one.is_seen
    is_alive = early.log_weights > -torch.inf
    nearest = nearest.where(is_alive, -torch.inf).amax(dim=1)
    effective = effective_size(late.log_weights)
    counted = torch.zeros(r, m, dtype=torch.long).scatter_reduce(1, early.lineage, is_alive.long(), "amax")
    trouble = torch.where(effective < max(FEW * m, min(FEWEST, 0.5 * m)), int(Trouble.FEW_COUNT), int(Trouble.NONE))
    trouble = torch.where(nearest < best - FAR, int(Trouble.FAR_OFF), trouble)
    trouble = torch.where(evidence == -torch.inf, int(Trouble.IMPOSSIBLE), trouble)
    is_finite = early.particles.isfinite().all(dim=2).any(dim=1)
    trouble = torch.where(is_finite, trouble, int(Trouble.NOT_FINITE))
    shortfall = torch.where(evidence == -torch.inf, torch.inf, (best - evidence).clamp(min=0.0))
    return (
        torch.where(is_seen, effective, torch.nan),
        torch.where(is_seen, counted.sum(dim=1), 0),
        torch.where(is_seen, evidence, torch.nan),
        torch.where(is_seen, shortfall, torch.nan),
        torch.where(is_seen, trouble, int(Trouble.NONE)),
    )


def _best(seen: Seen, prediction: Tensor, log_prob: Tensor) -> Tensor:
    """The largest log likelihood (r,) of a value that a prediction can have: by Newton's steps from the nearest."""
    place = log_prob.argmax(dim=1, keepdim=True)
    at, best = prediction.gather(1, place), log_prob.gather(1, place)
    at = torch.where(best > -torch.inf, at, 1.0)
    if seen.value is not None:
        here = torch.where(seen.is_seen & ~seen.value.isnan(), seen.value.detach(), at[:, 0])[:, None]
        best = torch.maximum(best, seen.log_prob(here).nan_to_num(nan=-torch.inf))
    best = torch.maximum(best, seen.log_prob(at).nan_to_num(nan=-torch.inf))
    for _ in range(N_CLIMBS):
        error, _ = normal_by_curvature(seen, at)
        step = torch.where(error.isfinite(), error, 0.0)
        for share in (1.0, 0.25):
            value = seen.log_prob(at + share * step).nan_to_num(nan=-torch.inf)
            is_better = value > best
            at, best = torch.where(is_better, at + share * step, at), torch.where(is_better, value, best)
    return best[:, 0]
