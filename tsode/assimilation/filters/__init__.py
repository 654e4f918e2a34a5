"""Filters of states, one file each."""

from tsode._registry import Registry
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.filters.extended import ExtendedKalman
from tsode.assimilation.filters.unscented import UnscentedKalman

__all__ = ["FILTERS", "ExtendedKalman", "Filter", "UnscentedKalman"]

FILTERS: Registry[type[Filter]] = Registry(
    "filter",
    Filter,
    {
        "extended": ExtendedKalman,
        "unscented": UnscentedKalman,
    },
)
