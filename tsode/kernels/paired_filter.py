"""Kalman filter over states that come in pairs, with the adjoint of its likelihood, for many problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.kernels.workspace import borrow, give_back

__all__ = ["Belief", "PairedSteps", "PairedSystem", "Update", "filter_rows", "log_likelihood"]

DENSE_AT_ONCE = 2**17  # numbers of dense transition matrices built at a time
KEPT_AT_ONCE = 2**24  # numbers of covariances kept for the gradient; what is longer is filtered a second time, in parts
LOG_TAU = 1.8378770664093453  # log 2 pi


class PairedSteps(NamedTuple):
    """Transitions of states (2j, 2j + 1) that move together: ``x_i <- own_i x_i + other_i x_partner(i) + noise``.

    Parameters
    ----------
    own, other : Tensor[g b m]
        m is even.
    variance : Tensor[g b m]
        Of the noise.
    covariance : Tensor[g b m/2]
        Of the noise within each pair.
    """

    own: Tensor
    other: Tensor
    variance: Tensor
    covariance: Tensor


class PairedSystem(NamedTuple):
    """Problems of one length: a start, transitions, and rows of one value each.

    Parameters
    ----------
    steps : PairedSteps
        The distinct ones (g b ...).
    which : Tensor[n], int64
        Which of them leads to each row; values of one time follow each other by a step of no length.
    start : Tensor[b m m]
        Covariance before the first row; its mean is zero, unless a filter is told.
    readout : Tensor[n b m] or Tensor[1 b m]
        What each row sees of the state.
    noise : Tensor[n b] or Tensor[1 b]
        Variance of each row's noise.
    """

    steps: PairedSteps
    which: Tensor
    start: Tensor
    readout: Tensor
    noise: Tensor


class Belief(NamedTuple):
    """Mean (b m) and covariance (b m m) of the state."""

    mean: Tensor
    cov: Tensor


class Update(NamedTuple):
    """What one row did: error and its variance (b), the covariance of the state with the value (b m)."""

    error: Tensor
    variance: Tensor
    cross: Tensor


Array = np.ndarray


def filter_rows(
    system: PairedSystem, values: Tensor, mask: Tensor, keeps: bool = False, mean: Tensor | None = None
) -> Iterator[tuple[Belief, Belief, Update]]:
    """Belief before each row, belief after it, and what the row did, one row at a time.

    A covariance lives until the next row, unless it `keeps` those after each row.

    Parameters
    ----------
    system : PairedSystem
    values : Tensor[n b]
    mask : Tensor[n b]
        1 where a value was seen, 0 where not: such a row changes nothing.
    mean : Tensor[b m], optional
        Of the start, if it is not zero.
    """
    arrays = _Arrays.of(system, values, mask)
    covs = iter(np.empty((len(values), *arrays.start.shape))) if keeps else cycle(arrays.work())
    initial = arrays.initial if mean is None else (mean.numpy(), arrays.start)
    for before, after, update in _filter(arrays, initial, range(len(values)), arrays.work(), covs):
        yield (
            Belief(torch.from_numpy(before[0]), torch.from_numpy(before[1])),
            Belief(torch.from_numpy(after[0]), torch.from_numpy(after[1])),
            Update(*map(torch.from_numpy, update)),
        )


class _Arrays(NamedTuple):
    """A system and its data as arrays: there are some fifty small operations a row, which cost torch thrice as much."""

    own: Array
    other: Array
    variance: Array
    covariance: Array
    which: list[int]
    start: Array
    readout: Array
    noise: Array
    values: Array
    mask: Array

    @classmethod
    def of(cls, system: PairedSystem, values: Tensor, mask: Tensor) -> _Arrays:
        n, (b, m) = len(values), system.start.shape[:2]
        own, other, variance, covariance = (part.detach().numpy() for part in system.steps)
        expanded = system.readout.expand(n, b, m), system.noise.expand(n, b), values.expand(n, b), mask.expand(n, b)
        readout, noise, given, seen = (part.detach().numpy() for part in expanded)
        which, start = system.which.tolist(), system.start.detach().numpy()
        return cls(own, other, variance, covariance, which, start, readout, noise, given, seen)

    @property
    def initial(self) -> tuple[Array, Array]:
        return np.zeros(self.start.shape[:2]), self.start

    def work(self) -> Array:
        return np.empty((2, *self.start.shape))

    def matrices(self, rows: range) -> Iterator[Array]:
        """Transition matrices (b m m), one a row."""
        return _built(self, rows, self.own, self.other[..., 0::2], self.other[..., 1::2])

    def noises(self, rows: range) -> Iterator[Array]:
        """Noise covariances (b m m), one a row."""
        return _built(self, rows, self.variance, self.covariance, self.covariance)


def _built(arrays: _Arrays, rows: range, diagonal: Array, upper: Array, lower: Array) -> Iterator[Array]:
    """Matrices of 2 x 2 blocks: views of memory that is used again after some rows."""
    b, m = arrays.start.shape[:2]
    index = [arrays.which[k] for k in rows]
    size = max(1, DENSE_AT_ONCE // (b * m * m))
    are_few = len(diagonal) <= size  # as on a regular grid
    matrix = np.zeros((min(size, len(diagonal) if are_few else len(index)), b, m, m))
    places = np.arange(m)
    even, odd = places[0::2], places[1::2]

    def fill(part: list[int] | slice) -> None:
        k = len(diagonal[part])
        matrix[:k, :, places, places] = diagonal[part]
        matrix[:k, :, even, odd] = upper[part]
        matrix[:k, :, odd, even] = lower[part]

    if are_few:
        fill(slice(None))
        yield from (matrix[k] for k in index)
        return
    for first in range(0, len(index), size):
        part = index[first : first + size]
        fill(part)
        yield from matrix[: len(part)]


def _filter(
    arrays: _Arrays, start: tuple[Array, Array], rows: range, work: Array, covs: Iterator[Array]
) -> Iterator[tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array, Array]]]:
    """As `filter_rows`, in memory that is given: beliefs before a row live until the next."""
    half, ahead = work
    mean, cov = start
    for k, matrix, noise, out in zip(rows, arrays.matrices(rows), arrays.noises(rows), covs):
        if k:  # the start holds at the first row
            mean = (matrix @ mean[..., None])[..., 0]
            np.matmul(matrix, cov, out=half)
            cov = np.matmul(half, matrix.swapaxes(1, 2), out=ahead)
            cov += noise
        before = mean, cov
        h, seen, row_noise = arrays.readout[k], arrays.mask[k], arrays.noise[k]
        error = (arrays.values[k] - (h * mean).sum(axis=1)) * seen
        cross = (cov @ h[..., None])[..., 0]
        variance = (h * cross).sum(axis=1) + row_noise
        gain = cross * (seen / variance)[:, None]
        mean = mean + gain * error[:, None]
        # Joseph's form by vectors: the variance that is left is right however much there was
        np.multiply(gain[..., None], cross[:, None], out=half)
        left = np.subtract(cov, half, out=half)
        rest = (left @ h[..., None])[..., 0] - gain * row_noise[:, None]
        np.multiply(rest[..., None], gain[:, None], out=out)
        cov = np.subtract(left, out, out=out)
        yield before, (mean, cov), (error, variance, cross)


def log_likelihood(system: PairedSystem, values: Tensor, mask: Tensor) -> Tensor:
    """Log density of the values of each problem, in nats: Tensor[b].

    The gradient is by one sweep back over the rows, for all parameters at once, from the filter's beliefs.
    """
    steps, which, start, readout, noise = system
    total: Tensor = _LogLikelihood.apply(*steps, start, readout, noise, which, values, mask)
    return total


class _LogLikelihood(torch.autograd.Function):
    """The sweep back is that of a smoother: r is the slope in the mean, ``(r r' - N) / 2`` that in the covariance.

    A row with the error v, ``F = h P h + R`` and ``K = P h / F``: ``u = v / F - K r``, ``c = 1 / F + K N K``,
    ``dR = (u^2 - c) / 2``, ``r <- r + h u``, ``N <- (1 - h K') N (1 - K h') + h h' / F``.
    A step ``m <- A m``, ``P <- A P A' + Q``: ``dQ = (r r' - N) / 2``, ``dA = r m' + (r r' - N) A P``, ``r <- A' r``,
    ``N <- A' N A``.
    """

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> Tensor:
        own, other, variance, covariance, start, readout, noise, which, values, mask = args
        system = PairedSystem(PairedSteps(own, other, variance, covariance), which, start, readout, noise)
        arrays = _Arrays.of(system, values, mask)
        ctx.shapes = [part.shape for part in args]
        with np.errstate(all="ignore"):  # what fails is not finite, and is told so
            if any(ctx.needs_input_grad):
                total, ctx.slopes = _with_slopes(arrays, wants_readout=ctx.needs_input_grad[5])
            else:
                total, work = np.zeros(len(start)), arrays.work()
                rows, turns = range(len(values)), cycle(arrays.work())
                for k, (_, _, update) in zip(rows, _filter(arrays, arrays.initial, rows, work, turns)):
                    total += _density(update, arrays.mask[k])
        return torch.from_numpy(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        own, other, variance, covariance, start, readout, noise, values = ctx.slopes
        each = grad.numpy()[:, None]
        slopes = (
            own * each, other * each, variance * each, covariance * each, start * each[..., None],
            None if readout is None else readout * each, noise * each[:, 0], None, values * each[:, 0], None,
        )  # fmt: skip
        pairs = zip(slopes, ctx.shapes)
        return tuple(None if x is None else torch.from_numpy(x).sum_to_size(shape) for x, shape in pairs)


def _density(update: tuple[Array, Array, Array], seen: Array) -> Array:
    error, variance, _ = update
    return -0.5 * seen * (np.log(variance) + LOG_TAU + error * error / variance)


def _with_slopes(arrays: _Arrays, wants_readout: bool) -> tuple[Array, tuple[Array | None, ...]]:
    """Log densities, and their slopes in all that the system is made of."""
    n, (b, m) = len(arrays.values), arrays.start.shape[:2]
    size = min(n, max(16, KEPT_AT_ONCE // (b * m * m)))
    parts = [range(first, min(first + size, n)) for first in range(0, n, size)]
    workspace = borrow(torch.empty(0, dtype=torch.float64))  # fresh pages cost more than what is done in them
    covs, work = workspace.new(size, b, m, m).numpy(), arrays.work()
    total, starts = np.zeros(b), [arrays.initial]
    for part in parts:
        kept = []
        for k, (before, after, update) in zip(part, _filter(arrays, starts[-1], part, work, iter(covs))):
            total += _density(update, arrays.mask[k])
            kept.append((before[0], after, update))
        starts.append((after[0], after[1].copy()))
    sweep = _Sweep(arrays, wants_readout)
    for number, part in reversed(list(enumerate(parts))):
        if part is not parts[-1]:
            rerun = _filter(arrays, starts[number], part, work, iter(covs))
            kept = [(before[0], after, update) for before, after, update in rerun]
        sweep.over(part, kept, starts[number], work)
    give_back(workspace)
    return total, sweep.slopes()


class _Sweep:
    """The way back over the rows, part by part."""

    def __init__(self, arrays: _Arrays, wants_readout: bool) -> None:
        self.arrays, self.wants_readout = arrays, wants_readout
        self.d_steps = [np.zeros_like(part) for part in arrays[:4]]
        self.d_readout = np.zeros(arrays.readout.shape if wants_readout else 0)
        self.d_noise, self.d_values = np.zeros(arrays.noise.shape), np.zeros(arrays.noise.shape)
        self.r, self.curve = np.zeros(arrays.start.shape[:2]), np.zeros_like(arrays.start)

    def slopes(self) -> tuple[Array | None, ...]:
        start = 0.5 * (self.r[..., None] * self.r[:, None] - self.curve)
        return (*self.d_steps, start, self.d_readout if self.wants_readout else None, self.d_noise, self.d_values)

    def over(
        self, rows: range, kept: list[tuple[Array, tuple[Array, Array], tuple[Array, Array, Array]]],
        start: tuple[Array, Array], work: Array,
    ) -> None:  # fmt: skip
        arrays = self.arrays
        d_own, d_other, d_variance_of_step, d_covariance = self.d_steps
        pulled, spread = work
        places = np.arange(arrays.start.shape[1])
        even, odd, swap = places[0::2], places[1::2], places ^ 1
        r, curve = self.r, self.curve
        backwards = rows[::-1]
        for k, matrix in zip(backwards, arrays.matrices(backwards)):
            mean, (_, after), (error, variance, cross) = kept[k - rows.start]
            h, inverse = arrays.readout[k], arrays.mask[k] / variance
            gain = cross * inverse[:, None]
            pull = error * inverse - (gain * r).sum(axis=1)
            bent = (curve @ gain[..., None])[..., 0]
            weight = inverse + (gain * bent).sum(axis=1)
            d_variance = self.d_noise[k] = 0.5 * (pull * pull - weight)
            self.d_values[k] = -pull
            if self.wants_readout:
                along = (r * cross).sum(axis=1)[:, None]
                inner = 0.5 * (r * along - (curve @ cross[..., None])[..., 0])
                d_cross = r * (error * inverse)[:, None] - 2.0 * inverse[:, None] * inner + d_variance[:, None] * h
                cov = after + cross[..., None] * gain[:, None]
                d_h = (cov @ d_cross[..., None])[..., 0] + d_variance[:, None] * cross + pull[:, None] * mean
                self.d_readout[k] = d_h
            r = r + pull[:, None] * h
            # (1 - h K) N (1 - K h) one side after the other: what is left is right however close K comes to 1
            left = curve - np.multiply(bent[..., None], h[:, None], out=pulled)
            other_side = inverse[:, None] * h - (gain[:, None] @ left)[:, 0]
            curve = left + np.multiply(h[..., None], other_side[:, None], out=pulled)
            if k == 0:
                break
            place, (last_mean, last_cov) = arrays.which[k], kept[k - rows.start - 1][1] if k > rows.start else start
            slope = np.multiply(r[..., None], r[:, None], out=pulled)
            slope -= curve  # twice that in the covariance
            d_variance_of_step[place] += 0.5 * slope[:, places, places]
            d_covariance[place] += slope[:, even, odd]
            np.matmul(slope, matrix @ last_cov, out=spread)
            d_own[place] += r * last_mean + spread[:, places, places]
            d_other[place] += r * last_mean[:, swap] + spread[:, places, swap]
            r = (r[:, None] @ matrix)[:, 0]
            curve = matrix.swapaxes(1, 2) @ curve @ matrix
        self.r, self.curve = r, curve
