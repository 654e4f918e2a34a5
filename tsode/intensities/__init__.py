"""Intensities: how likely an event of each mark is now, given the events before."""

from tsode._registry import Registry
from tsode.intensities.base import FutureIntensity, Intensity, IntensityTrace
from tsode.intensities.hawkes import HawkesExponential
from tsode.intensities.neural_jump import NeuralJump
from tsode.intensities.poisson import Poisson
from tsode.intensities.self_correcting import SelfCorrecting

__all__ = [
    "INTENSITIES",
    "FutureIntensity",
    "HawkesExponential",
    "Intensity",
    "IntensityTrace",
    "NeuralJump",
    "Poisson",
    "SelfCorrecting",
]

INTENSITIES: Registry[type[Intensity]] = Registry(
    "intensity",
    Intensity,
    {
        "hawkes": HawkesExponential,
        "neural_jump": NeuralJump,
        "poisson": Poisson,
        "self_correcting": SelfCorrecting,
    },
    sizes=("n_marks", "n_hidden", "n_modes", "n_static"),
)
