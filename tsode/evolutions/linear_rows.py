"""Exact steps of linear-Gaussian equations of which each row has its own, driven by a straight line."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.evolutions.linear_sde import Transition

__all__ = ["discretise_rows"]

_RADIUS = 0.5  # norm of the drift times the step that is taken at once: its inverse is no larger than 1.7


def discretise_rows(drift: Tensor, offset: Tensor, ramp: Tensor, noise: Tensor, steps: Tensor) -> Transition:
    """Exact transitions of ``dx = (A x + b + c t) dt + L dW``, from ``t = 0`` over the step of each row.

    The exponential of one block (Van Loan 1978) over a step that is halved until it is short, and doublings: a stable
    ``A`` and a long step overflow nothing.

    Parameters
    ----------
    drift : Tensor[r d d]
        A; stable or not.
    offset, ramp : Tensor[r d]
        b and c.
    noise : Tensor[r d d]
        ``L L'``.
    steps : Tensor[r], float64
        Not negative.
    """
    r, d = offset.shape
    size = torch.linalg.matrix_norm(drift.detach(), torch.inf).nan_to_num(0.0, 0.0, 0.0)
    count = (steps.detach() * size / _RADIUS).clamp(min=1.0).log2().ceil().clamp(max=1100.0).long()
    short = (steps * 0.5 ** count.to(steps)).to(drift)[:, None, None]
    # shifts and covariances are linear in what makes them: in units of that the block is no larger than its drift
    forced = _size(torch.cat([offset, ramp], dim=1))[:, None]
    shaken = _size(noise.flatten(1))[:, None, None]
    block = drift.new_zeros(r, 2 * d + 2, 2 * d + 2)
    block[:, :d, :d], block[:, :d, d : 2 * d], block[:, d : 2 * d, d : 2 * d] = drift, noise / shaken, -drift.mT
    block[:, :d, -2], block[:, :d, -1], block[:, -1, -2] = offset / forced, ramp / forced, 1.0
    # what is not finite must not stop its batch-mates
    is_fine = block.detach().isfinite().flatten(1).all(dim=1)[:, None, None]
    whole = torch.linalg.matrix_exp(torch.where(is_fine, block * short, 0.0))
    whole = torch.where(is_fine, whole, torch.nan)
    phi, shift, slope = whole[:, :d, :d], forced * whole[:, :d, -2], forced * whole[:, :d, -1]
    cov = _symmetric(shaken * whole[:, :d, d : 2 * d] @ phi.mT)
    step = short[:, 0, 0]
    for k in range(int(count.max()) if len(count) else 0):
        # over twice the step; the line has risen in between
        goes_on = (count > k)[:, None]
        shift, slope = (
            torch.where(goes_on, _times(phi, shift) + shift + step[:, None] * slope, shift),
            torch.where(goes_on, _times(phi, slope) + slope, slope),
        )
        cov = torch.where(goes_on[..., None], _symmetric(phi @ cov @ phi.mT + cov), cov)
        phi = torch.where(goes_on[..., None], phi @ phi, phi)
        step = torch.where(goes_on[:, 0], 2.0 * step, step)
    return Transition(phi, shift, cov)


def _size(x: Tensor) -> Tensor:
    """Largest number of each row (r n), as a constant; 1 where there is none."""
    size = x.detach().abs().amax(dim=1).nan_to_num(0.0, 0.0, 0.0)
    return torch.where(size > 0, size, 1.0)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)
