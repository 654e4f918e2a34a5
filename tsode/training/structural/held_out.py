"""Held-out score: how well a structure has forecast the later blocks of the data from what came before each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps, PairedSystem, filter_rows
from tsode.likelihoods.normal import Normal
from tsode.models.structural.evidence import Posterior
from tsode.models.structural.problems import Doubts, Problem

__all__ = ["by_held_out", "held_out_score"]

FAR_BEHIND = 12.0  # nats of evidence: a structure that no score brings back
BLOCKS = ((0.7, 0.8), (0.8, 0.9), (0.9, 1.0))  # of the rows, each forecast from all rows before it


def by_held_out(problems: Sequence[Problem], posterior: Posterior) -> Tensor:
    """What forecasts of later blocks say of each problem beside its evidence, in nats: Tensor[k].

    A block counts as one observation, of the size of its errors: those of the best by those of each.
    """
    near = posterior.evidence > posterior.evidence.max() - FAR_BEHIND
    scores = torch.full_like(posterior.evidence, torch.nan)
    for k in near.nonzero()[:, 0].tolist():
        scores[k] = held_out_score(problems[k], posterior.mode[k])
    scores = torch.where(scores.isfinite() & (scores > 0.0), scores, torch.inf)
    if not scores.isfinite().any():
        return torch.zeros_like(scores)
    return len(BLOCKS) * (scores.min() / scores).log()


def held_out_score(problem: Problem, z: Tensor) -> float:
    """Mean CRPS of the blocks' values, standardised, by the parameters ``z`` (p); NaN where none was seen.

    A block's rows are not seen, so that what the filter expects of them is their forecast. The parameters may have been
    learned from all rows: for structures that are compared on the same terms.
    """
    structure, data = problem.structure, problem.data
    n, s = data.values.shape
    rows, b = torch.arange(n)[:, None], len(BLOCKS)
    lengths = data.mask.sum(dim=0)
    begin, end = (torch.cat([(share[k] * lengths).round() for share in BLOCKS]) for k in (0, 1))
    points = z[None, : structure.n_parameters].expand(b * s, -1)
    parts = structure.parts(points, data.gap.repeat(1, b) if data.gap.shape[1] > 1 else data.gap)
    steps = PairedSteps(*(part.expand(len(data.gap), b * s, -1) for part in parts.steps))
    noise = parts.noise + data.noise.repeat(1, b)
    system = PairedSystem(steps, data.index, torch.diag_embed(parts.start), parts.readout[None], noise)
    shift = data.shift.repeat(1, b)
    system = Doubts(torch.zeros_like(shift), shift).applied(system, structure.level().expand(b * s, -1))
    explained = torch.einsum("nsf,f->ns", data.features, structure.coefficients(points[:1])[0])
    values, mask = (data.values - explained).repeat(1, b), data.mask.repeat(1, b)
    is_asked = (mask > 0) & (rows >= begin) & (rows < end) & (data.noise.repeat(1, b) == 0.0)
    family, total, count = Normal(), 0.0, 0
    with np.errstate(all="ignore"):  # what fails is not finite
        for k, (before, _, update) in enumerate(filter_rows(system, values, torch.where(rows < begin, mask, 0.0))):
            asked = is_asked[k]
            if asked.any():
                mean = (before.mean * parts.readout).sum(dim=1)[asked]
                params = family.from_moments(mean, update.variance[asked].sqrt())
                total += float(family.crps(params, values[k, asked]).sum())
                count += int(asked.sum())
    return total / count if count else math.nan
