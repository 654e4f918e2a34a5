"""Rate axes: what a user says about rates that differ between series."""

from __future__ import annotations

from typing import Any

from tsode._registry import lookup
from tsode.errors import ParameterError
from tsode.models.linear.rate_classes import AXES

__all__ = ["check_rates", "rate_axes"]

MOST_CLASSES = 1000  # the cost of a fit grows with their number


def rate_axes(series_rates: int | dict[str, int]) -> dict[str, int]:
    """Number of classes along each axis."""
    return dict(series_rates) if isinstance(series_rates, dict) else {"frequency": series_rates}


def check_rates(name: str, value: Any, default: Any) -> None:
    """Raise an error unless this is None, a number of classes, or a dict of an axis to one."""
    if value is None:
        return
    is_number = isinstance(value, int) and not isinstance(value, bool)
    counts = value if isinstance(value, dict) and value else {"frequency": value} if is_number else None
    if counts is None:
        raise ParameterError(f"{name}={value!r} must be None, a number of classes, or a dict of axes to them.")
    total = 1
    for axis, count in counts.items():
        lookup(AXES, axis, f"axis of {name}")
        if type(count) is not int or count < 2:
            raise ParameterError(f"{name}={value!r} has {count!r} classes: give at least 2.")
        total *= count
    if total > MOST_CLASSES:
        raise ParameterError(f"{name}={value!r} has {total} classes in all: give at most {MOST_CLASSES}.")
