"""Filters of states, one file each."""

from tsode._registry import Registry
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.filters.unscented import UnscentedKalman

__all__ = [
    "FILTERS",
    "EnsembleKalman",
    "ExtendedKalman",
    "Filter",
    "GuidedFilter",
    "ParticleFilter",
    "SquareRootEnsemble",
    "UnscentedKalman",
]

FILTERS: Registry[type[Filter]] = Registry(
    "state_filter",
    Filter,
    {
        "ensemble": EnsembleKalman,
        "extended": ExtendedKalman,
        "guided": GuidedFilter,
        "particle": ParticleFilter,
        "square_root": SquareRootEnsemble,
        "unscented": UnscentedKalman,
    },
)
