"""Log-likelihood of linear-Gaussian systems at their events, with its gradient in one sweep back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["log_likelihood"]

LOG_TAU = 1.8378770664093453  # log 2 pi
Array = np.ndarray


def log_likelihood(
    phi: Tensor, cov: Tensor, start: Tensor, readout: Tensor, noise: Tensor, values: Tensor, mask: Tensor, moves: Tensor
) -> Tensor:
    """Log density of the values of each series, in nats: Tensor[b]. It is not finite where a pass fails.

    The mean starts at zero. The channels of an event are seen one after the other, for their noises are independent.
    The gradient is that of the smoother, as in `tsode.kernels.paired_filter`, and flows to all but `start` and `mask`.

    Parameters
    ----------
    phi, cov : Tensor[b n d d]
        What carries the state to each event, and the covariance of the noise on the way.
    start : Tensor[b d d]
        Covariance before the first step.
    readout : Tensor[c d]
    noise : Tensor[c]
        Variances.
    values : Tensor[b n c]
    mask : Tensor[b n c], bool
    moves : Tensor[b n d]
        What is added to the state just after each event.
    """
    total: Tensor = _LogLikelihood.apply(phi, cov, start, readout, noise, values, mask, moves)
    return total


class _Row(NamedTuple):
    """What one value did: error, its variance, covariance with the state, and the state's mean and covariance after."""

    error: Array
    inverse: Array  # of the variance, zero where nothing was seen
    cross: Array
    mean: Array
    cov: Array


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        phi, cov, start, readout, noise, values, mask, moves = (x.detach().numpy() for x in given)
        keeps = any(ctx.needs_input_grad)
        mean, belief, total = np.zeros(start.shape[:2]), start, np.zeros(len(start))
        kept: list[tuple[tuple[Array, Array], list[_Row]]] = []
        with np.errstate(all="ignore"):  # what fails is not finite, and is told so
            for k in range(values.shape[1]):
                before = mean, belief
                step = phi[:, k]
                mean = (step @ mean[..., None])[..., 0]
                belief = step @ belief @ step.swapaxes(1, 2) + cov[:, k]
                rows = []
                for h, r, y, seen in zip(readout, noise, values[:, k].T, mask[:, k].T):
                    error = np.where(seen, y - mean @ h, 0.0)
                    cross = belief @ h
                    variance = cross @ h + r
                    inverse = seen / variance
                    total -= 0.5 * np.where(seen, np.log(variance) + LOG_TAU, 0.0) + 0.5 * error * error * inverse
                    gain = cross * inverse[:, None]
                    mean = mean + gain * error[:, None]
                    left = belief - gain[..., None] * cross[:, None]
                    rest = left @ h - gain * r  # Joseph's form: right however much was known
                    belief = left - rest[..., None] * gain[:, None]
                    rows.append(_Row(error, inverse, cross, mean, belief))
                mean = mean + moves[:, k]
                if keeps:
                    kept.append((before, rows))
        ctx.kept, ctx.arrays = kept, (phi, readout, values)
        return torch.from_numpy(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        phi, readout, values = ctx.arrays
        each = grad.numpy()
        d_phi, d_cov = np.empty_like(phi), np.empty_like(phi)
        d_readout, d_noise = np.zeros_like(readout), np.zeros(len(readout))
        d_values, d_moves = np.empty_like(values), np.empty((*values.shape[:2], phi.shape[-1]))
        r, curve = np.zeros(d_moves[:, 0].shape), np.zeros_like(phi[:, 0])
        for k in range(values.shape[1] - 1, -1, -1):
            (last_mean, last_cov), rows = ctx.kept[k]
            d_moves[:, k] = r
            for c in range(len(readout) - 1, -1, -1):
                h, (error, inverse, cross, mean, cov) = readout[c], rows[c]
                gain = cross * inverse[:, None]
                pull = error * inverse - (gain * r).sum(axis=1)
                bent = (curve @ gain[..., None])[..., 0]
                d_variance = 0.5 * (pull * pull - inverse - (gain * bent).sum(axis=1))
                d_noise[c] += each @ d_variance
                d_values[:, k, c] = -pull
                along = (r * cross).sum(axis=1)[:, None]
                inner = 0.5 * (r * along - (curve @ cross[..., None])[..., 0])
                d_cross = r * (error * inverse)[:, None] - 2.0 * inverse[:, None] * inner + d_variance[:, None] * h
                prior_cov_times = (cov @ d_cross[..., None])[..., 0] + cross * (gain * d_cross).sum(axis=1)[:, None]
                prior_mean = mean - gain * error[:, None]
                d_h = prior_cov_times + d_variance[:, None] * cross + pull[:, None] * prior_mean
                d_readout[c] += each @ d_h
                r = r + pull[:, None] * h
                left = curve - bent[..., None] * h
                other_side = inverse[:, None] * h - (gain[:, None] @ left)[:, 0]
                curve = left + h[:, None] * other_side[:, None]
            slope = r[..., None] * r[:, None] - curve  # twice that in the covariance
            step = phi[:, k]
            d_cov[:, k] = 0.5 * slope
            d_phi[:, k] = r[..., None] * last_mean[:, None] + slope @ step @ last_cov
            r = (r[:, None] @ step)[:, 0]
            curve = step.swapaxes(1, 2) @ curve @ step
        by_series = each[:, None, None]
        found = (
            d_phi * by_series[..., None], d_cov * by_series[..., None], None, d_readout, d_noise, d_values * by_series,
            None, d_moves * by_series,
        )  # fmt: skip
        return tuple(None if x is None else torch.from_numpy(x) for x in found)
