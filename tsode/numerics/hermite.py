"""Cubic through the ends of a step and the slopes there."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["hermite"]


def hermite(z: Tensor, stages: Sequence[Tensor], dt: Tensor, theta: Tensor) -> Tensor:
    """State after the share `theta` (... 1) of a step of length `dt` (... 1) from ``z`` (... d).

    Parameters
    ----------
    stages : sequence of Tensor[... d]
        The state at the end, and the slopes at the start and at the end (Hairer, Norsett, Wanner, eq. II.6.7).
    """
    end, slope, end_slope = stages
    change = end - z
    bend = (1.0 - 2.0 * theta) * change + (theta - 1.0) * dt * slope + theta * dt * end_slope
    return z + theta * (change + (theta - 1.0) * bend)
