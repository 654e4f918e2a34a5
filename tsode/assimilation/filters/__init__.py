"""Filters of states, one file each."""

from tsode._registry import Registry
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.guided import GuidedFilter
from tsode.assimilation.filters.particle import ParticleFilter
from tsode.assimilation.filters.unscented import UnscentedKalman

__all__ = ["FILTERS", "ExtendedKalman", "Filter", "GuidedFilter", "ParticleFilter", "UnscentedKalman"]

FILTERS: Registry[type[Filter]] = Registry(
    "filter",
    Filter,
    {
        "extended": ExtendedKalman,
        "guided": GuidedFilter,
        "particle": ParticleFilter,
        "unscented": UnscentedKalman,
    },
)
