"""Kalman filter over states that come in pairs, with the adjoint of its likelihood, for many problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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
    index : Tensor[n], int64
        Which of them leads to each row; values of one time follow each other by a step of no length.
    start : Tensor[b m m]
        Covariance before the first row; its mean is zero.
    readout : Tensor[n b m] or Tensor[1 b m]
        What each row sees of the state.
    noise : Tensor[n b] or Tensor[1 b]
        Variance of each row's noise.
    """

    steps: PairedSteps
    index: Tensor
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


def filter_rows(
    system: PairedSystem, values: Tensor, mask: Tensor, start: Belief | None = None, rows: range | None = None
) -> Iterator[tuple[Belief, Belief, Update]]:
    """Belief before each row, belief after it, and what the row did, one row at a time.

    Parameters
    ----------
    system : PairedSystem
    values : Tensor[n b]
    mask : Tensor[n b]
        1 where a value was seen, 0 where not: such a row changes nothing.
    start : Belief, optional
        After the row before the first of `rows`, by default that of the system.
    rows : range, optional
        Some of the rows, in order.
    """
    rows = range(len(values)) if rows is None else rows
    n = len(rows)
    work = system.start.new_empty(2, *system.start.shape)
    covs = system.start.new_empty(n, *system.start.shape)
    yield from _filter(system, values, mask, start or _initial(system), rows, work, list(covs))


def _initial(system: PairedSystem) -> Belief:
    return Belief(torch.zeros_like(system.start[:, 0]), system.start)


def _filter(
    system: PairedSystem, values: Tensor, mask: Tensor, start: Belief, rows: range, work: Tensor, covs: Any
) -> Iterator[tuple[Belief, Belief, Update]]:
    """As `filter_rows`, in memory that is given: beliefs before a row live until the next."""
    n, (b, m) = len(values), system.start.shape[:2]
    readouts, noises = system.readout.expand(n, b, m), system.noise.expand(n, b)
    half, ahead = work
    mean, cov = start
    for k, matrix, noise, out in zip(rows, *_dense(system, rows), covs):
        if k:  # the start holds at the first row
            mean = (matrix @ mean[..., None]).squeeze(-1)
            cov = torch.baddbmm(noise, torch.bmm(matrix, cov, out=half), matrix.mT, out=ahead)
        before = Belief(mean, cov)
        h, seen = readouts[k], mask[k]
        error = (values[k] - (h * mean).sum(dim=-1)) * seen
        cross = (cov * h[:, None]).sum(dim=-1)
        variance = (h * cross).sum(dim=-1) + noises[k]
        gain = cross * (seen / variance)[:, None]
        mean = torch.addcmul(mean, gain, error[:, None])
        # Joseph's form by vectors: the variance that is left is right however much there was
        left = torch.addcmul(cov, gain[..., None], cross[:, None], value=-1.0, out=half)
        rest = torch.addcmul((left * h[:, None]).sum(dim=-1), gain, noises[k][:, None], value=-1.0)
        cov = torch.addcmul(left, rest[..., None], gain[:, None], value=-1.0, out=out)
        yield before, Belief(mean, cov), Update(error, variance, cross)


def _dense(system: PairedSystem, rows: range) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
    """Dense matrices of the rows' steps, and dense covariances of their noises."""
    covariance = system.steps.covariance
    return _matrices(system, rows), _built(system, rows, system.steps.variance, covariance, covariance)


def _matrices(system: PairedSystem, rows: range) -> Iterator[Tensor]:
    own, other = system.steps[:2]
    return _built(system, rows, own, other[..., 0::2], other[..., 1::2])


def _built(system: PairedSystem, rows: range, diagonal: Tensor, upper: Tensor, lower: Tensor) -> Iterator[Tensor]:
    """Matrices (b m m) of 2 x 2 blocks, one a row: views of memory that is used again after some rows."""
    b, m = system.start.shape[:2]
    index = system.index[torch.arange(rows.start, rows.stop, rows.step)]
    size = max(1, DENSE_AT_ONCE // (b * m * m))
    are_few = len(diagonal) <= size  # as on a regular grid
    matrix = diagonal.new_zeros(min(size, len(diagonal) if are_few else len(index)), b, m, m)
    views = matrix.unbind()

    def fill(part: Tensor | slice) -> None:
        k = len(diagonal[part])
        matrix.diagonal(dim1=-2, dim2=-1)[:k].copy_(diagonal[part])
        matrix[..., 0::2, 1::2].diagonal(dim1=-2, dim2=-1)[:k].copy_(upper[part])
        matrix[..., 1::2, 0::2].diagonal(dim1=-2, dim2=-1)[:k].copy_(lower[part])

    if are_few:
        fill(slice(None))
        yield from (views[k] for k in index.tolist())
        return
    for part in index.split(size):
        fill(part)
        yield from views[: len(part)]


def log_likelihood(system: PairedSystem, values: Tensor, mask: Tensor) -> Tensor:
    """Log density of the values of each problem, in nats: Tensor[b].

    The gradient is by one sweep back over the rows, for all parameters at once, from the filter's beliefs.
    """
    steps, index, start, readout, noise = system
    total: Tensor = _LogLikelihood.apply(*steps, start, readout, noise, index, values, mask)
    return total


class _LogLikelihood(torch.autograd.Function):
    """With r and N the slopes in mean and covariance, N symmetric and ``dL = sum N dP``.

    A row, ``M = P h``, ``F = h M + R``, error v: ``m+ = m + M v / F``, ``P+ = P - M M' / F``.
    A step, ``m = A m+``, ``P = A P+ A' + Q``: ``dQ = N``, ``dA = r m+' + 2 N A P+``, ``r <- A' r``, ``N <- A' N A``.
    """

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> Tensor:
        own, other, variance, covariance, start, readout, noise, index, values, mask = args
        system = PairedSystem(PairedSteps(own, other, variance, covariance), index, start, readout, noise)
        if not any(ctx.needs_input_grad):
            total = torch.zeros_like(start[:, 0, 0])
            work = torch.empty_like(start).expand(1, -1, -1, -1).repeat(4, 1, 1, 1)
            turns = (work[2 + k % 2] for k in range(len(values)))
            for k, (_, _, update) in enumerate(
                _filter(system, values, mask, _initial(system), range(len(values)), work[:2], turns)
            ):
                total = _add_density(total, update, mask[k])
            return total
        total, slopes = _with_slopes(system, values.detach(), mask, wants_readout=ctx.needs_input_grad[5])
        ctx.slopes = slopes
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        own, other, variance, covariance, start, readout, noise, values = ctx.slopes
        each = grad[:, None]
        return (
            own * each, other * each, variance * each, covariance * each, start * each[..., None],
            None if readout is None else readout * each, noise * grad, None, values * grad, None,
        )  # fmt: skip


def _add_density(total: Tensor, update: Update, seen: Tensor) -> Tensor:
    spread = update.variance.log().add_(LOG_TAU).addcdiv_(update.error * update.error, update.variance)
    return torch.addcmul(total, spread, seen, value=-0.5)


def _with_slopes(
    system: PairedSystem, values: Tensor, mask: Tensor, wants_readout: bool
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Log densities, and their slopes in all that the system is made of."""
    n, (b, m) = len(values), system.start.shape[:2]
    size = min(n, max(16, KEPT_AT_ONCE // (b * m * m)))
    parts = [range(first, min(first + size, n)) for first in range(0, n, size)]
    workspace = borrow(system.start)
    work, covs = workspace.new(2, b, m, m), workspace.new(size, b, m, m).unbind()
    total, starts = torch.zeros_like(system.start[:, 0, 0]), [_initial(system)]
    for part in parts:
        kept = []
        for k, (before, after, update) in zip(part, _filter(system, values, mask, starts[-1], part, work, covs)):
            total = _add_density(total, update, mask[k])
            kept.append((before.mean, after, update))
        starts.append(Belief(after.mean, after.cov.clone()))
    sweep = _Sweep(system, mask, wants_readout)
    for number, part in reversed(list(enumerate(parts))):
        if part is not parts[-1]:
            rerun = _filter(system, values, mask, starts[number], part, work, covs)
            kept = [(before.mean, after, update) for before, after, update in rerun]
        sweep.over(part, kept, starts[number], work)
    give_back(workspace)
    return total, sweep.slopes()


class _Sweep:
    """The way back over the rows, part by part."""

    def __init__(self, system: PairedSystem, mask: Tensor, wants_readout: bool) -> None:
        self.system, self.mask, self.wants_readout = system, mask, wants_readout
        self.d_steps = PairedSteps(*map(torch.zeros_like, system.steps))
        self.d_readout, self.d_noise = torch.zeros_like(system.readout), torch.zeros_like(system.noise)
        self.r, self.curve = torch.zeros_like(system.start[:, 0]), torch.zeros_like(system.start)
        self.d_values = mask.new_zeros(len(mask), len(system.start))
        self.swap = torch.arange(system.start.shape[1]) ^ 1

    def slopes(self) -> tuple[Tensor | None, ...]:
        d_readout = self.d_readout if self.wants_readout else None
        return (*self.d_steps, self.curve, d_readout, self.d_noise, self.d_values)

    def over(self, rows: range, kept: list[tuple[Tensor, Belief, Update]], start: Belief, work: Tensor) -> None:
        system, d_steps, swap = self.system, self.d_steps, self.swap
        n, (b, m) = len(self.mask), system.start.shape[:2]
        readouts = system.readout.expand(n, b, m)
        index = system.index.tolist()
        pulled, spread = work
        crossed = swap.expand(b, m)[..., None]
        r, curve = self.r, self.curve
        backwards = rows[::-1]
        for k, matrix in zip(backwards, _matrices(system, backwards)):
            mean, after, (error, variance, cross) = kept[k - rows.start]
            h, inverse = readouts[k], self.mask[k] / variance
            shift = error * inverse
            along = (r * cross).sum(dim=-1)
            bent = (curve * cross[:, None]).sum(dim=-1)
            d_error = self.d_values[k] = along * inverse - shift
            d_variance = ((cross * bent).sum(dim=-1) * inverse - along * shift - 0.5) * inverse + 0.5 * shift * shift
            d_cross = torch.addcmul(r * shift[:, None], bent, inverse[:, None], value=-2.0)
            d_cross.addcmul_(d_variance[:, None], h)
            self.d_noise[k if len(self.d_noise) > 1 else 0] += d_variance
            if self.wants_readout:
                cov = torch.addcmul(after.cov, cross[..., None], (cross * inverse[:, None])[:, None])
                d_h = (cov * d_cross[:, None]).sum(dim=-1) + d_variance[:, None] * cross - d_error[:, None] * mean
                self.d_readout[k if len(self.d_readout) > 1 else 0] += d_h
            half = 0.5 * d_cross
            curve.addcmul_(half[..., None], h[:, None]).addcmul_(h[..., None], half[:, None])
            r = torch.addcmul(r, d_error[:, None], h, value=-1.0)
            if k == 0:
                break
            place, last = index[k], kept[k - rows.start - 1][1] if k > rows.start else start
            d_steps.variance[place] += curve.diagonal(dim1=-2, dim2=-1)
            d_steps.covariance[place] += 2.0 * curve[:, 0::2, 1::2].diagonal(dim1=-2, dim2=-1)
            torch.bmm(curve, matrix, out=pulled)
            torch.bmm(pulled, last.cov, out=spread)  # entry (i, j): half the slope in A_ij by the covariance
            d_steps.own[place].addcmul_(r, last.mean).add_(spread.diagonal(dim1=-2, dim2=-1), alpha=2.0)
            other = d_steps.other[place].addcmul_(r, last.mean[:, swap])
            other.add_(spread.gather(2, crossed).squeeze(-1), alpha=2.0)
            r = (r[:, None] @ matrix).squeeze(1)
            curve = torch.bmm(matrix.mT, pulled, out=curve)
        self.r, self.curve = r, curve
