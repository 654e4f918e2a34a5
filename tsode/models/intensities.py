"""Intensity by its name."""

from __future__ import annotations

from typing import Any

from tsode._registry import Part, build, class_of
from tsode.evolutions.decay import DecayingFlow
from tsode.intensities import INTENSITIES
from tsode.intensities.base import Intensity
from tsode.intensities.neural_jump import NeuralJump

__all__ = ["build_intensity"]


def build_intensity(
    intensity: str | Part, n_marks: int, *, n_hidden: int = 64, n_modes: int = 16, n_static: int = 8
) -> Intensity:
    """Make an untrained intensity.

    Parameters
    ----------
    intensity : str or Part
        Name in `tsode.intensities.INTENSITIES`.
    n_marks : int
    n_hidden, n_modes, n_static : int
        Of the neural member: its memory, and the decaying and constant parts of its latent state.
    """
    sizes: dict[str, Any] = {"n_marks": n_marks, "n_hidden": n_hidden, "n_modes": n_modes, "n_static": n_static}
    if class_of(INTENSITIES, intensity, "intensity") is NeuralJump:
        sizes["evolution"] = DecayingFlow(n_modes, n_static)
    return build(INTENSITIES, intensity, "intensity", **sizes)
