"""Problems of fit: structures with data of one length, evaluated together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.kernels.paired_filter import KEPT_AT_ONCE, PairedSteps, PairedSystem, log_likelihood
from tsode.models.structural.joint import JointStructure
from tsode.models.structural.structure import Structure

__all__ = ["Data", "Doubts", "Problem", "evaluate", "log_likelihoods"]

FEWEST_AT_ONCE = 16  # problems: fewer leave most of the time to what each row costs whatever their number
ALIKE = 1e-12  # gaps that differ by less of themselves are one


class Doubts(NamedTuple):
    """Variance added to single rows, zeros where there is no doubt.

    Parameters
    ----------
    noise : Tensor[n s]
        To the noise of a value that stands out.
    shift : Tensor[n s]
        To the level just before a row, where it has moved.
    """

    noise: Tensor
    shift: Tensor

    def scaled(self, factor: float) -> Doubts:
        return Doubts(factor * self.noise, factor * self.shift)

    def applied(self, system: PairedSystem, level: Tensor) -> PairedSystem:
        """The system (b problems, as there are columns) with them; `level` (b m) is 1 at the state that moves."""
        moves = self.shift.any(dim=1).nonzero()[:, 0]
        if self.noise.any():
            system = system._replace(noise=system.noise + self.noise)
        if not len(moves):
            return system
        own, other, variance, covariance = (torch.cat([part, part[system.which[moves]]]) for part in system.steps)
        first = len(variance) - len(moves)
        variance = torch.cat([variance[:first], variance[first:] + self.shift[moves][..., None] * level])
        which = system.which.index_copy(0, moves, torch.arange(first, len(variance)))
        return system._replace(steps=PairedSteps(own, other, variance, covariance), which=which)


@dataclass(frozen=True, eq=False)
class Data:
    """Series, padded to one length, their times in spans of the data.

    Parameters
    ----------
    gap : Tensor[g 1] or Tensor[n s]
        Distinct gaps of a single series; those of several as they come.
    index : Tensor[n], int64
        Which gap leads to each row.
    values : Tensor[n s]
    mask : Tensor[n s]
    noise : Tensor[n s]
        Variance known of each value beside the one that is fitted, in variances of the series.
    shift : Tensor[n s]
        Variance added to the level before a row, where it is known to have moved.
    features : Tensor[n s f]
        Covariates at each row.
    channel : Tensor[n s], int64, optional
        Which channel each row is of, where a structure holds for several.
    """

    gap: Tensor
    index: Tensor
    values: Tensor
    mask: Tensor
    noise: Tensor
    shift: Tensor
    features: Tensor
    channel: Tensor | None = None

    @classmethod
    def of(
        cls, times: Tensor, values: Tensor, mask: Tensor, noise: Tensor | None = None, features: Tensor | None = None
    ) -> Data:
        """From times (n s), values and mask; the times of what is padded repeat."""
        gap = times.diff(dim=0, prepend=times[:1])
        index = torch.arange(len(gap))
        if gap.shape[1] == 1:
            distinct, index = _distinct(gap[:, 0])
            gap = distinct[:, None]
        nothing = torch.zeros_like(values) if noise is None else noise
        features = values.new_zeros(*values.shape, 0) if features is None else features
        return cls(gap, index, values, mask, nothing, torch.zeros_like(values), features)

    def with_doubts(self, doubts: Doubts) -> Data:
        return replace(self, noise=self.noise + doubts.noise, shift=doubts.shift)


def _distinct(gap: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct gaps, and which of them each is; those that differ by rounding are one."""
    order = gap.argsort()
    ordered = gap[order]
    is_new = torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered.diff() > ALIKE * ordered[1:].abs()])
    index = torch.empty_like(order)
    index[order] = is_new.cumsum(0) - 1
    return ordered[is_new], index


@dataclass(frozen=True)
class Problem:
    """A structure to be fitted to data: with several series, to all of them together."""

    structure: Structure
    data: Data


def evaluate(problems: Sequence[Problem], z: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log posterior of each problem, but for a constant, and its slopes: (k), (k p).

    Points `z` (k p) hold the parameters of each structure, and zeros after them.
    """
    order = sorted(range(len(problems)), key=lambda k: problems[k].structure.n_states)
    value, slope = z.new_empty(len(problems)), torch.empty_like(z)
    # so many at once that what their filter keeps for the slopes is kept only once
    width, size = problems[order[-1]].structure.n_states, max(problem.data.values.numel() for problem in problems)
    at_once = max(FEWEST_AT_ONCE, KEPT_AT_ONCE // (size * width**2))
    for part in torch.tensor(order).split(at_once):
        value[part], slope[part] = _evaluate_together([problems[k] for k in part.tolist()], z[part])
    return value, slope


def _evaluate_together(problems: Sequence[Problem], z: Tensor) -> tuple[Tensor, Tensor]:
    point = z.detach().requires_grad_()
    with torch.enable_grad():
        value = -log_likelihoods(problems, point)
        value = torch.where(value.isfinite(), value, torch.inf) + 0.5 * (point * point).sum(dim=1)
        (slope,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), slope


def log_likelihoods(problems: Sequence[Problem], z: Tensor) -> Tensor:
    """Log density of the data of each problem, in nats, at ``z`` (k p): Tensor[k]. All have one length."""
    groups: dict[Problem, list[int]] = {}
    for k, problem in enumerate(problems):
        groups.setdefault(problem, []).append(k)
    size = max(problem.structure.n_states for problem in groups)
    systems, values, masks, shifts, levels = [], [], [], [], []
    for problem, rows in groups.items():
        data, n_series = problem.data, problem.data.values.shape[1]
        points = z[rows, : problem.structure.n_parameters].repeat_interleave(n_series, dim=0)
        gap = data.gap.repeat(1, len(rows)) if n_series > 1 else data.gap
        parts = problem.structure.parts(points, gap, size)
        if isinstance(problem.structure, JointStructure):
            assert data.channel is not None
            of_rows = data.channel.repeat(1, len(rows)), data.features.repeat(1, len(rows), 1)
            readout, own_noise, explained = problem.structure.rows(points, *of_rows, size)
        else:
            readout, own_noise = parts.readout[None], parts.noise
            explained = torch.einsum("nsf,kf->nks", data.features, problem.structure.coefficients(z[rows])).flatten(1)
        noise = own_noise + data.noise.repeat(1, len(rows))
        steps = PairedSteps(*(part.expand(len(gap), len(points), -1) for part in parts.steps))
        systems.append((steps, data.index, torch.diag_embed(parts.start), readout, noise))
        values.append(data.values.repeat(1, len(rows)) - explained)
        masks.append(data.mask.repeat(1, len(rows)))
        shifts.append(data.shift.repeat(1, len(rows)))
        levels.append(problem.structure.level(size).expand(len(points), -1))
    every, indices, starts, readouts, noises = zip(*systems)
    are_alike = all(index is indices[0] for index in indices) or all(
        torch.equal(index, indices[0]) for index in indices
    )
    if are_alike:
        index = indices[0]
    else:  # gaps of their own
        index = torch.arange(len(indices[0]))
        every = tuple(PairedSteps(*(part[own] for part in steps)) for steps, own in zip(every, indices))
    joined = PairedSteps(*(torch.cat(parts, dim=1) for parts in zip(*every)))
    system = PairedSystem(joined, index, torch.cat(starts), torch.cat(readouts, dim=1), torch.cat(noises, dim=1))
    shift = torch.cat(shifts, dim=1)
    system = Doubts(torch.zeros_like(shift), shift).applied(system, torch.cat(levels))
    each = log_likelihood(system, torch.cat(values, dim=1), torch.cat(masks, dim=1))
    totals = z.new_empty(len(problems))
    places, sums = [], []
    for rows, of_group in zip(groups.values(), each.split([v.shape[1] for v in values])):
        places += rows
        sums.append(of_group.unflatten(0, (len(rows), -1)).sum(dim=1))
    return totals.index_copy(0, torch.tensor(places), torch.cat(sums))
