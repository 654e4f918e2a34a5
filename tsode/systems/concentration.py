"""Concentrations as they are measured: a channel with combined noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tsode.inference.noise.base import Noise
from tsode.inference.noise.combined import CombinedNoise
from tsode.inference.priors import Prior
from tsode.systems.priors import around

__all__ = ["of_concentration"]


def of_concentration(
    function: Callable[[Tensor, Tensor, Any], Tensor], level: float
) -> tuple[dict[str, Noise], dict[str, Prior]]:
    """Noise of the channel ``concentration``, and priors of its numbers.

    Parameters
    ----------
    function : callable
        ``(t, z, p)`` -> the concentration.
    level : float
        A typical one: the noise is some 5 % of it, and 15 % of what is measured, each within a factor of about 3.
    """
    noise = CombinedNoise(function, sd="sd", cv="cv")
    return {"concentration": noise}, {"sd": around("level", 0.05 * level, 1.0), "cv": around("cv", 0.15, 0.5)}
