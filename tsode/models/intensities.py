"""Intensities put together from parts."""

from __future__ import annotations

from tsode._registry import lookup
from tsode.evolutions.decay import DecayingFlow
from tsode.intensities import INTENSITIES
from tsode.intensities.base import Intensity
from tsode.intensities.neural_jump import NeuralJump

__all__ = ["build_intensity"]


def build_intensity(name: str, n_marks: int, *, n_hidden: int = 64, n_modes: int = 16, n_static: int = 8) -> Intensity:
    """An untrained member of the family by its name.

    Parameters
    ----------
    name : str
        Of `tsode.intensities.INTENSITIES`.
    n_marks : int
    n_hidden, n_modes, n_static : int
        Of the neural member: its memory, and the decaying and constant parts of its latent state.
    """
    member = lookup(INTENSITIES, name, "intensity")
    if member is NeuralJump:
        return NeuralJump(n_marks, DecayingFlow(n_modes, n_static), n_hidden)
    return member(n_marks)
