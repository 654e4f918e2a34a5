"""Filters of states, one file each."""

from tsode._registry import Registry
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.ensemble_kalman import EnsembleKalman
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.square_root import SquareRootEnsemble
from tsode.assimilation.filters.unscented import UnscentedKalman

__all__ = ["FILTERS", "EnsembleKalman", "ExtendedKalman", "Filter", "SquareRootEnsemble", "UnscentedKalman"]

FILTERS: Registry[type[Filter]] = Registry(
    "filter",
    Filter,
    {
        "ensemble": EnsembleKalman,
        "extended": ExtendedKalman,
        "square_root": SquareRootEnsemble,
        "unscented": UnscentedKalman,
    },
)
