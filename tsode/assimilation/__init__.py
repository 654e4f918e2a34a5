"""Assimilation: filters and smoothers of states, and parameters, of dynamics that are uncertain themselves."""

from tsode.assimilation.filters import (
    FILTERS,
    EnsembleKalman,
    ExtendedKalman,
    Filter,
    GuidedFilter,
    ParticleFilter,
    SquareRootEnsemble,
    UnscentedKalman,
)
from tsode.assimilation.inflation import AdaptiveInflation, Inflation, RelaxationToPrior
from tsode.assimilation.localisation import Localisation
from tsode.assimilation.process_noise import StateNoise
from tsode.assimilation.training import EnsembleFit, ensemble_kalman_train

__all__ = [
    "FILTERS",
    "AdaptiveInflation",
    "EnsembleFit",
    "EnsembleKalman",
    "ExtendedKalman",
    "Filter",
    "GuidedFilter",
    "Inflation",
    "Localisation",
    "ParticleFilter",
    "RelaxationToPrior",
    "SquareRootEnsemble",
    "StateNoise",
    "UnscentedKalman",
    "ensemble_kalman_train",
]
