"""Checks of constructor parameters: data beside the fields, one kind of check each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tsode._registry import lookup
from tsode.errors import ParameterError

__all__ = [
    "Check",
    "at_least",
    "check_parameters",
    "not_negative",
    "one_of",
    "or_value",
    "positive",
    "read_by",
    "share",
]

Check = Callable[[str, Any, Any], None]
"""``(name, value, default)``; raises a ParameterError that says what to give, with the default as the example."""


def check_parameters(estimator: Any) -> None:
    """Run the ``checks`` of an estimator's classes on its parameters; those of a subclass replace those of its base.

    Raises
    ------
    ParameterError
    """
    checks: dict[str, Check] = {}
    for cls in reversed(type(estimator).__mro__):
        checks |= vars(cls).get("checks", {})
    for name, check in checks.items():
        check(name, getattr(estimator, name), getattr(type(estimator), name, None))


def _require(is_met: Callable[[Any], Any], claim: str) -> Check:
    def check(name: str, value: Any, default: Any) -> None:
        try:
            is_right = bool(is_met(value))
        except (TypeError, ValueError):  # no number at all
            is_right = False
        if not is_right:
            raise ParameterError(f"{name} {claim}, but is {value!r}: try {name}={default!r}.")

    return check


def at_least(least: int) -> Check:
    """A whole number from `least` on."""
    return _require(
        lambda value: isinstance(value, int | np.integer) and value >= least,
        f"must be a whole number of at least {least}",
    )


positive = _require(lambda value: value > 0.0, "must be positive")
not_negative = _require(lambda value: value >= 0.0, "must not be negative")


def share(low: str = "[", high: str = ")", kind: type = object) -> Check:
    """A number between 0 and 1, with either end taken in ("[", "]") or not ("(", ")")."""

    def is_met(value: Any) -> bool:
        is_inside = 0.0 < value < 1.0 or (value == 0.0 and low == "[") or (value == 1.0 and high == "]")
        return isinstance(value, kind) and is_inside

    return _require(is_met, f"is a share, in {low}0, 1{high}")


def or_value(special: Any, check: Check) -> Check:
    """`special`, such as "auto" or None, or what another check takes."""

    def either(name: str, value: Any, default: Any) -> None:
        if type(value) is not type(special) or value != special:
            check(name, value, default)

    return either


def one_of(registry: Mapping[str, Any]) -> Check:
    """A name in `registry`; an error lists the names and guesses the one meant."""
    return lambda name, value, default: lookup(registry, value, name) and None


def read_by(read: Callable[[Any], Any]) -> Check:
    """Whatever `read` takes without an error of its own."""
    return lambda name, value, default: read(value) and None
