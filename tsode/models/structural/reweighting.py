"""Reweighting of values that stand out, each by what came before it alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps, PairedSystem
from tsode.models.structural.problems import Data, Doubts
from tsode.models.structural.standing import Standing
from tsode.models.structural.structure import Structure

__all__ = ["STANDS_OUT", "Verdict", "judge", "ordinary_limit"]

FREEDOM = 4.0  # degrees of freedom of the Student-t law that values which stand out are weighed by
STANDS_OUT = 3.0  # standard deviations, where a series is known to have outliers
BELIEVED = 4  # values in a row that stand out on one side are a new level
FALSE_ALARM = 0.01  # chance that a series of normal noise has a value that stands out


class Verdict(NamedTuple):
    """What one pass over some series found.

    Parameters
    ----------
    errors : Tensor[n s]
        Each value less its forecast from all before it, in standard deviations of that forecast; NaN where unseen.
    doubts : Doubts
    runs : Tensor[n s]
        See `Standing`, after each value.
    """

    errors: Tensor
    doubts: Doubts
    runs: Tensor


def ordinary_limit(n: int) -> float:
    """Standard deviations that `n` normal numbers stay within, all of them, but for the chance of a false alarm."""
    return float(-torch.special.ndtri(torch.tensor(0.5 * FALSE_ALARM / max(n, 1), dtype=torch.float64)))


def judge(structure: Structure, z: Tensor, data: Data, limit: float, begin: Standing | None = None) -> Verdict:
    """Errors of the series (n s) by the parameters `z` (p), and what is to be doubted.

    A value whose error is beyond `limit` standard deviations ``sqrt(F)`` is weighed as by a Student-t law: the variance
    of its error is taken to be ``F (nu + error^2) / (nu + 1)``. The fourth in a row on one side, and those after it,
    are believed: the level has moved, by about as much as the error. The noise of `data` counts, its `shift` does not.
    `begin` is where the filter stands at the first row (s m), of which no value is seen; None where the series begin.
    """
    n_series = data.values.shape[1]
    points = z[None].expand(n_series, -1)
    parts = structure.parts(points, data.gap)
    steps = PairedSteps(*(part.expand(len(data.gap), n_series, -1) for part in parts.steps))
    values = data.values - torch.einsum("nsf,sf->ns", data.features, structure.coefficients(points))
    noise = parts.noise + data.noise
    system = PairedSystem(steps, data.index, torch.diag_embed(parts.start), parts.readout[None], noise)
    with np.errstate(all="ignore"):  # what fails is not finite, and stands out from nothing
        return _judge(system, structure.level(), values, data.mask, limit, begin)


def _judge(
    system: PairedSystem, level: Tensor, values: Tensor, mask: Tensor, limit: float, begin: Standing | None
) -> Verdict:
    own, other, variance, covariance = (part.detach().numpy() for part in system.steps)
    order, readout, moved = system.which.tolist(), system.readout[0].numpy(), level.numpy()
    noise, given, seen = system.noise.detach().numpy(), values.detach().numpy(), mask.numpy() > 0
    cov = system.start.detach().numpy()
    nothing: tuple[np.ndarray, ...] = np.zeros(cov.shape[:2]), cov, np.zeros(len(cov))
    mean, cov, run = nothing if begin is None else (part.numpy() for part in begin)
    run, side = np.abs(run), np.sign(run)
    places = np.arange(cov.shape[-1])
    even, odd, swap = places[0::2], places[1::2], places ^ 1
    errors, noises, shifts = np.full(given.shape, np.nan), np.zeros(given.shape), np.zeros(given.shape)
    runs = np.zeros(given.shape)
    for k, step in enumerate(order):
        if k:  # the start holds at the first row
            a, b = own[step], other[step]
            mean = a * mean + b * mean[:, swap]
            half = a[..., None] * cov + b[..., None] * cov[:, swap]
            cov = a[:, None] * half + b[:, None] * half[:, :, swap]
            cov[:, places, places] += variance[step]
            cov[:, even, odd] += covariance[step]
            cov[:, odd, even] += covariance[step]
        cross = (cov * readout[:, None]).sum(axis=2)
        spread = (readout * cross).sum(axis=1) + noise[k]
        error = given[k] - (readout * mean).sum(axis=1)
        score = error / np.sqrt(spread)
        errors[k, seen[k]] = score[seen[k]]
        stands_out = seen[k] & (np.abs(score) > limit)
        run = np.where(stands_out, np.where(np.sign(error) == side, run, 0.0) + 1.0, np.where(seen[k], 0.0, run))
        side = np.where(stands_out, np.sign(error), side)
        runs[k] = run * side
        is_new = stands_out & (run >= BELIEVED)
        shifts[k] = np.where(is_new, error * error, 0.0)
        noises[k] = np.where(stands_out & ~is_new, spread * ((FREEDOM + score * score) / (FREEDOM + 1.0) - 1.0), 0.0)
        if is_new.any():
            cov = cov + shifts[k][:, None, None] * moved[:, None] * moved
            cross = (cov * readout[:, None]).sum(axis=2)
            spread = (readout * cross).sum(axis=1) + noise[k]
        row_noise = noise[k] + noises[k]
        gain = cross * (seen[k] / (spread + noises[k]))[:, None]
        mean = mean + gain * error[:, None]
        # Joseph's form, as in the filter
        cov = cov - gain[..., None] * cross[:, None]
        rest = (cov * readout[:, None]).sum(axis=2) - gain * row_noise[:, None]
        cov = cov - rest[..., None] * gain[:, None]
    doubts = Doubts(torch.from_numpy(noises), torch.from_numpy(shifts))
    return Verdict(torch.from_numpy(errors), doubts, torch.from_numpy(runs))
