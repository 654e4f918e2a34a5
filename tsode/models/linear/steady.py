"""Steady state of a Kalman filter that sees the same channels at even gaps: its gain, and what is left of an error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tsode.jumps.gaussian import condition
from tsode.models.linear.system import LinearSystem

__all__ = ["Steady", "steady_covariance", "steady_filter", "updates"]

MOST_DOUBLINGS = 60


class Steady(NamedTuple):
    """Filter in its steady state.

    Parameters
    ----------
    closed_loop : Tensor[b d d]
        ``(I - K H) F``: what one step of flow and observation leaves of an error of the mean.
    gain : Tensor[b d c]
        K; 0 for channels that are not seen.
    """

    closed_loop: Tensor
    gain: Tensor


def steady_covariance(phi: Tensor, cov: Tensor, readout: Tensor, variance: Tensor) -> Tensor:
    """Covariance before an observation, of the discrete Riccati equation; not finite where there is none: (b d d).

    By structure-preserving doubling, which has twice as many steps behind it after each: Anderson, "Second-order
    convergent algorithms for the steady-state Riccati equation", International Journal of Control 28, 1978.

    Parameters
    ----------
    phi, cov : Tensor[b d d]
        Of the flow from one observation to the next, F and Q.
    readout : Tensor[c d]
        Of the channels that are seen.
    variance : Tensor[c]
        Of their noise, above 0.
    """
    identity = torch.eye(phi.shape[-1], dtype=phi.dtype, device=phi.device)
    a, g, h = phi.mT, (readout.mT / variance @ readout).expand_as(phi), cov
    for _ in range(MOST_DOUBLINGS):
        inverse = torch.linalg.solve_ex(identity + g @ h, torch.cat([a, g], dim=-1)).result
        by_a, by_g = inverse.chunk(2, dim=-1)
        grown = h + a.mT @ h @ by_a
        a, g, before, h = a @ by_a, g + a @ by_g @ a.mT, h, 0.5 * (grown + grown.mT)
        if bool(((h - before).abs() <= 1e-15 * h.abs().amax(dim=(-2, -1), keepdim=True)).all()):
            break
    return h


def steady_filter(system: LinearSystem, phi: Tensor, cov: Tensor, mask: Tensor) -> Steady:
    """The filter with transitions ``phi`` and ``cov`` (b d d) between observations of the channels in ``mask`` (c)."""
    seen = mask.nonzero()[:, 0]
    before = steady_covariance(phi, cov, system.readout[seen], system.noise[seen] ** 2)
    return Steady(*updates(system, phi, before, mask.expand(len(phi), -1)))


def updates(system: LinearSystem, phi: Tensor, before: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``(I - K H) F`` and K, of observations of the channels in ``mask`` (... c), ``before`` (... d d) each."""
    nothing = before.new_zeros(before.shape[:-1])
    gains = []
    for c in range(system.readout.shape[0]):  # the mean that an error of one channel alone makes
        error = before.new_zeros(*mask.shape)
        error[..., c] = 1.0
        after = condition(nothing, before, error, mask, system.readout, system.noise**2)
        gains.append(after.mean)
    return after.kept @ phi, torch.stack(gains, dim=-1)
