"""Checks of constructor parameters: data beside the fields, one kind of check each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from pandas.api.types import is_hashable

from tsode._registry import FAMILIES, Part, is_plain, lookup, name_of
from tsode.errors import ParameterError

__all__ = [
    "Check",
    "at_least",
    "callables",
    "check_parameters",
    "named",
    "not_negative",
    "one_of",
    "or_value",
    "positive",
    "read_by",
    "share",
]

Check = Callable[[str, Any, Any], Any]
"""``(name, value, default)``; raises a ParameterError that says what to give, with the default as the example."""


_NAMED_TYPES: dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool | np.bool_),
    "int": lambda value: isinstance(value, Integral) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, Real) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "Part": lambda value: isinstance(value, Part),
    "Hashable": is_hashable,
    "None": lambda value: value is None,
}


def check_parameters(estimator: Any, but: Collection[str] = ()) -> None:
    """Run the ``checks`` of an estimator's classes on its parameters; those of a subclass replace those of its base.

    Then compare each parameter with the type that the constructor declares, where that is one of plain values.

    Parameters
    ----------
    estimator : estimator
    but : collection of str
        Parameters that are left out.

    Raises
    ------
    ParameterError
    """
    checks: dict[str, Check] = {}
    for cls in reversed(type(estimator).__mro__):
        checks |= vars(cls).get("checks", {})
    for name, check in checks.items():
        if name not in but:
            check(name, getattr(estimator, name), getattr(type(estimator), name, None))
    for name, parameter in inspect.signature(type(estimator)).parameters.items():
        options, value = str(parameter.annotation).split(" | "), getattr(estimator, name)
        if name in but or any(option in _NAMED_TYPES and _NAMED_TYPES[option](value) for option in options):
            continue
        if "Part" in options:  # by instance or by class
            is_wrong = is_plain(value) or isinstance(value, list | dict | set)
        else:
            is_wrong = all(option in _NAMED_TYPES for option in options)
        if is_wrong:
            raise ParameterError(
                f"{name} is declared as {parameter.annotation}, but is {value!r}: try {name}={parameter.default!r}."
            )


def _require(is_met: Callable[[Any], Any], claim: str) -> Check:
    def check(name: str, value: Any, default: Any) -> None:
        try:
            is_right = bool(is_met(value))
        except (TypeError, ValueError):  # no number at all
            is_right = False
        if not is_right:
            raise ParameterError(f"{name} {claim}, but is {value!r}: try {name}={default!r}.")

    return check


def at_least(least: int, most: float = math.inf) -> Check:
    """A whole number from `least` on, up to `most`."""
    return _require(
        lambda value: isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= value <= most,
        f"must be a whole number of at least {least}" + (f" and at most {most}" if most < math.inf else ""),
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


def named(kind: str) -> Check:
    """A part of this kind: where it is given by name, one that is registered."""
    return lambda name, value, default: isinstance(value, str | Part) and lookup(FAMILIES[kind], name_of(value), name)


def callables(name: str, value: Any, default: Any) -> None:
    """None, or a list of what can be called."""
    if value is not None and not (isinstance(value, list | tuple) and all(map(callable, value))):
        raise ParameterError(f"{name} must be a list of functions, or None, but is {value!r}: try {name}=None.")


def read_by(read: Callable[[Any], Any]) -> Check:
    """Whatever `read` takes without an error of its own."""
    return lambda name, value, default: read(value) and None
