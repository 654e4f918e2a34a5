"""Kalman filter over states that come in pairs, with the adjoint of its likelihood, for many problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.kernels.workspace import borrow, give_back

__all__ = ["KEPT_AT_ONCE", "Belief", "PairedSteps", "PairedSystem", "Update", "filter_rows", "log_likelihood"]

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
                passed = _Passed.over(arrays, range(len(values)), arrays.initial, arrays.work())
                total = passed.log_density(arrays.mask)
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


class _Passed(NamedTuple):
    """What the filter has found in some rows.

    Parameters
    ----------
    error, variance : array[n b]
    cross, before, mean : array[n b m]
        Means before and after.
    cov : array[n b m m]
        Of the beliefs after; empty where it was not wanted.
    """

    error: Array
    variance: Array
    cross: Array
    before: Array
    mean: Array
    cov: Array

    @classmethod
    def over(
        cls, arrays: _Arrays, rows: range, start: tuple[Array, Array], work: Array, covs: Array | None = None
    ) -> _Passed:
        """Filter the rows, whose covariances (n b m m) are written to `covs` if they are wanted."""
        n, (b, m) = len(rows), arrays.start.shape[:2]
        (error, variance), (cross, before, mean) = np.empty((2, n, b)), np.empty((3, n, b, m))
        turns = cycle(arrays.work()) if covs is None else iter(covs)
        for k, (prior, after, update) in enumerate(_filter(arrays, start, rows, work, turns)):
            error[k], variance[k], cross[k] = update
            before[k], mean[k] = prior[0], after[0]
        return cls(error, variance, cross, before, mean, np.empty(0) if covs is None else covs[:n])

    def log_density(self, seen: Array) -> Array:
        """Of the values, of which some (n b) were seen: array[b]."""
        each = -0.5 * seen * (np.log(self.variance) + LOG_TAU + self.error * self.error / self.variance)
        return each.cumsum(axis=0)[-1]  # type: ignore[no-any-return]  # a sum's order would depend on b


def _with_slopes(arrays: _Arrays, wants_readout: bool) -> tuple[Array, tuple[Array | None, ...]]:
    """Log densities, and their slopes in all that the system is made of."""
    n, (b, m) = len(arrays.values), arrays.start.shape[:2]
    size = min(n, max(16, KEPT_AT_ONCE // (b * m * m)))
    parts = [range(first, min(first + size, n)) for first in range(0, n, size)]
    workspace = borrow(torch.empty(0, dtype=torch.float64))  # fresh pages cost more than what is done in them
    covs, work = workspace.new(size, b, m, m).numpy(), arrays.work()
    total, starts = np.zeros(b), [arrays.initial]
    for part in parts:
        passed = _Passed.over(arrays, part, starts[-1], work, covs)
        total += passed.log_density(arrays.mask[part.start : part.stop])
        starts.append((passed.mean[-1], passed.cov[-1].copy()))
    sweep = _Sweep(arrays, wants_readout)
    for number, part in reversed(list(enumerate(parts))):
        if part is not parts[-1]:
            passed = _Passed.over(arrays, part, starts[number], work, covs)
        sweep.over(part, passed, starts[number], work)
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

    def over(self, rows: range, passed: _Passed, start: tuple[Array, Array], work: Array) -> None:
        arrays, first, m = self.arrays, rows.start, self.arrays.start.shape[1]
        part = slice(first, rows.stop)
        pulled, spread = work
        diagonal, upper, lower = (
            slice(begin, None, step) for begin, step in ((0, m + 1), (1, 2 * m + 2), (m, 2 * m + 2))
        )
        slope_flat, spread_flat = pulled.reshape(-1, m * m), spread.reshape(-1, m * m)
        inverses = arrays.mask[part] / passed.variance
        gains, directs = passed.cross * inverses[..., None], arrays.readout[part] * inverses[..., None]
        errors = passed.error * inverses
        pulls, weights = np.empty_like(errors), np.empty_like(errors)
        slopes = [np.zeros((*errors.shape, part.shape[-1])) for part in arrays[:4]]  # of each row's step
        of_own, of_other, of_variance, of_covariance = slopes
        rs, r, curve = np.zeros_like(gains), self.r, self.curve
        last_mean = np.concatenate([start[0][None], passed.mean[:-1]])
        backwards = rows[::-1]
        for k, matrix in zip(backwards, arrays.matrices(backwards)):
            place = k - first
            h, gain = arrays.readout[k], gains[place]
            pull = np.subtract(errors[place], (gain * r).sum(axis=1), out=pulls[place])
            bent = (curve @ gain[..., None])[..., 0]
            weight = np.add(inverses[place], (gain * bent).sum(axis=1), out=weights[place])
            if self.wants_readout:
                cross, inverse = passed.cross[place], inverses[place]
                d_variance = 0.5 * (pull * pull - weight)
                along = (r * cross).sum(axis=1)[:, None]
                inner = 0.5 * (r * along - (curve @ cross[..., None])[..., 0])
                d_cross = r * errors[place][:, None] - 2.0 * inverse[:, None] * inner + d_variance[:, None] * h
                cov = passed.cov[place] + cross[..., None] * gain[:, None]
                d_h = (cov @ d_cross[..., None])[..., 0] + d_variance[:, None] * cross
                self.d_readout[k] = d_h + pull[:, None] * passed.before[place]
            r = r + pull[:, None] * h
            # (1 - h K) N (1 - K h) one side after the other: what is left is right however close K comes to 1
            left = curve - np.multiply(bent[..., None], h[:, None], out=pulled)
            other_side = directs[place] - (gain[:, None] @ left)[:, 0]
            curve = left + np.multiply(h[..., None], other_side[:, None], out=pulled)
            if k == 0:
                break
            slope = np.multiply(r[..., None], r[:, None], out=pulled)
            slope -= curve  # twice that in the covariance
            of_variance[place], of_covariance[place] = slope_flat[:, diagonal], slope_flat[:, upper]
            np.matmul(slope, matrix @ (passed.cov[place - 1] if place else start[1]), out=spread)
            of_own[place] = spread_flat[:, diagonal]
            of_other[place, :, 0::2], of_other[place, :, 1::2] = spread_flat[:, upper], spread_flat[:, lower]
            rs[place] = r
            r = (r[:, None] @ matrix)[:, 0]
            curve = matrix.swapaxes(1, 2) @ curve @ matrix
        self.r, self.curve = r, curve
        self.d_noise[part], self.d_values[part] = 0.5 * (pulls * pulls - weights), -pulls
        of_variance *= 0.5
        of_own += rs * last_mean
        of_other += rs * last_mean.reshape(*last_mean.shape[:2], -1, 2)[..., ::-1].reshape(last_mean.shape)
        self._add(np.array(arrays.which[part]), slopes)

    def _add(self, which: Array, slopes: list[Array]) -> None:
        """Sum the slopes of the rows by the step that leads to each."""
        order = which.argsort(kind="stable")
        distinct, first = np.unique(which[order], return_index=True)
        for total, of_rows in zip(self.d_steps, slopes):
            total[distinct] += np.add.reduceat(of_rows[order], first, axis=0)
