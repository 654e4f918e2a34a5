"""Checks of constructor parameters: data beside the fields, one kind of check each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import numpy as np

from tsode._registry import Registry, lookup, name_of
from tsode.errors import ParameterError

__all__ = [
    "Check",
    "at_least",
    "boolean_or_auto",
    "callables",
    "check_boolean",
    "check_parameters",
    "labels_rows",
    "mapping",
    "not_negative",
    "one_of",
    "or_value",
    "part_of",
    "parts_of",
    "positive",
    "read_by",
    "share",
]

Check = Callable[[str, Any, Any], Any]
"""``(name, value, default)``; raises a ParameterError that says what to give, with the default as the example."""


def check_parameters(estimator: Any, but: Collection[str] = ()) -> None:
    """Run the ``checks`` of an estimator's classes on its parameters, then compare these with their types.

    Checks of a subclass replace those of its base. Types are looked at where they are of plain values: a truth value,
    a whole number, a number, or None.

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
    for name, parameter in inspect.signature(type(estimator).__init__).parameters.items():
        if name != "self" and name not in but:
            _check_type(name, getattr(estimator, name), parameter)


def check_boolean(name: str, value: Any) -> None:
    """Raise a ParameterError unless this is True or False: the string "False" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{name} must be True or False, but is {value!r}.")


_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "int": ("a whole number", lambda value: isinstance(value, int | np.integer) and not isinstance(value, bool)),
    "float": (
        "a finite number",
        lambda value: (
            isinstance(value, int | float | np.integer | np.floating)
            and not isinstance(value, bool)
            and math.isfinite(value)
        ),
    ),
    "None": ("None", lambda value: value is None),
}


def _check_type(name: str, value: Any, parameter: inspect.Parameter) -> None:
    options = str(parameter.annotation).split(" | ")
    if not set(options) <= set(_PLAIN) or any(_PLAIN[option][1](value) for option in options):
        return
    wanted = " or ".join(_PLAIN[option][0] for option in options)
    raise ParameterError(f"{name} must be {wanted}, but is {value!r}: try {name}={parameter.default!r}.")


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


boolean_or_auto = _require(
    lambda value: isinstance(value, bool | np.bool_) or value == "auto", 'must be True, False or "auto"'
)
positive = _require(lambda value: value > 0.0, "must be positive")
mapping = _require(lambda value: isinstance(value, Mapping), "must be a dict")
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


def part_of(registry: Registry[Any]) -> Check:
    """A part of this registry: its name, with settings or not, its class or an instance; used or not."""

    def check(name: str, value: Any, default: Any) -> None:
        is_part = isinstance(value, registry.base) or (isinstance(value, type) and issubclass(value, registry.base))
        if not is_part:
            lookup(registry, name_of(value), name)

    return check


def parts_of(registry: Registry[Any]) -> Check:
    """None, a part of this registry as of `part_of`, or a list of them."""

    def check(name: str, value: Any, default: Any) -> None:
        for each in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            part_of(registry)(name, each, default)

    return check


def callables(name: str, value: Any, default: Any) -> None:
    """Functions in a list, or None."""
    if value is not None and not (isinstance(value, list | tuple) and all(map(callable, value))):
        raise ParameterError(f"{name} must be a list of functions or None, but is {value!r}.")


def labels_rows(name: str, value: Any, default: Any) -> None:
    """A label of a column."""
    if not isinstance(value, Hashable):
        raise ParameterError(f"{name} must be the label of a column, but is {value!r}: try {name}={default!r}.")


def read_by(read: Callable[[Any], Any]) -> Check:
    """Whatever `read` takes without an error of its own."""
    return lambda name, value, default: read(value) and None
