"""Registries of parts: a class by its name, with settings, with a guess when the name is close to a known one."""

from __future__ import annotations

import datetime
import functools
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar, cast

import numpy as np

from tsode.errors import ParameterError, UnknownNameError

__all__ = [
    "FAMILIES",
    "Part",
    "Registry",
    "abstract_methods",
    "as_part",
    "build",
    "class_of",
    "is_plain",
    "lookup",
    "name_of",
    "part",
    "register",
    "registered_name",
]

T = TypeVar("T")

FAMILIES: dict[str, Registry[Any]] = {}
"""Every registry by the kind of its members."""


# -- a part by its name ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Part:
    """Part of a model by its registered name, with settings of its own; made by `part`.

    Parts compare, hash and print by value, and may be tried by a search over parameters.

    Parameters
    ----------
    name : str
    settings : mapping, or pairs
        Kept as pairs, sorted by name; a list becomes a tuple.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ParameterError(f"A part is named by a string, but came {self.name!r}: try part('rk4', max_step=0.1).")
        settings = {name: _plain(name, value) for name, value in dict(self.settings).items()}
        object.__setattr__(self, "settings", tuple(sorted(settings.items())))

    def __repr__(self) -> str:
        return f"part({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in self.settings)])})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name, so that scikit-learn lists them as ``solver__max_step`` of an estimator."""
        return dict(self.settings)

    def __sklearn_clone__(self) -> Part:
        return self

    def replace(self, **settings: Any) -> Part:
        """The same part with other values of some settings."""
        return Part(self.name, (*self.settings, *settings.items()))


def part(name: str, /, **settings: Any) -> Part:
    """Name a part of a model together with its settings, wherever its name alone may stand.

    Parameters
    ----------
    name : str
        Of a dynamics, jump, likelihood, solver, encoder, SDE, intensity or evolution.
    **settings : numbers, strings, booleans, None, or lists of these
        Parameters of the constructor of that part, but for the sizes that the model gives it.

    Examples
    --------
    >>> from tsode import JumpODEForecaster, part
    >>> solver = part("rk4", max_step=0.1)
    >>> forecaster = JumpODEForecaster(evolution=part("mlp", width=32), solver=solver)
    >>> forecaster.set_params(solver__max_step=0.05).solver
    part('rk4', max_step=0.05)
    """
    return Part(name, tuple(settings.items()))


def is_plain(value: Any) -> bool:
    """Whether this is None, a boolean, number or string, or a tuple of these."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime.date | np.datetime64):  # timestamps too; a string reads as the same time
        value = str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return tuple(_plain(name, entry) for entry in value)
    if not is_plain(value):
        raise ParameterError(
            f"{name}={value!r} cannot be a setting of a part: give numbers, strings, booleans, None or lists of these, "
            "or give the part itself as an instance."
        )
    return value


def as_part(spec: str | Part) -> Part:
    """A part that is given by name, with its settings."""
    return spec if isinstance(spec, Part) else Part(spec)


def name_of(spec: Any) -> Any:
    """Name of a part that is given by name; anything else is returned as it is."""
    return spec.name if isinstance(spec, Part) else spec


# -- from the name to the part -----------------------------------------------------------------------------------------


def lookup(registry: Mapping[str, T], name: str, what: str) -> T:
    """Return ``registry[name]``.

    Raises
    ------
    UnknownNameError
        If there is no such name; the message lists the known ones and guesses the one meant.
    """
    if isinstance(name, str) and name in registry:
        return registry[name]
    close = get_close_matches(str(name), registry, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownNameError(f"{name!r} is not a known {what}.{guess} Known: {', '.join(sorted(registry)) or 'none'}.")


def class_of(registry: Mapping[str, type[T]], spec: Any, what: str) -> type[T]:
    """Class of a part that is given by name or as a class."""
    return spec if isinstance(spec, type) else lookup(registry, name_of(spec), what)


def build(registry: Registry[type[T]], spec: Any, what: str, **sizes: Any) -> T:
    """Make a part that is given by its name, by a `Part` or as a class; an instance is returned as it is.

    Parameters
    ----------
    registry : Registry
    spec : str, Part, class or instance
    what : str
        The parameter that it is given for, as in "solver".
    **sizes
        Parameters that the model gives, of which a constructor gets those that it takes; no settings may be among them.

    Raises
    ------
    UnknownNameError
        If there is no such name, or a setting that the constructor does not take; the message lists those it takes.
    ParameterError
        If a setting is of another type than the constructor declares, or is a size.
    """
    if isinstance(spec, registry.base):
        return cast("T", spec)
    is_member = isinstance(spec, type) and issubclass(spec, registry.base)
    cls = spec if is_member else lookup(registry, name_of(spec), what)
    parameters = _parameters(cls)
    given = {name: value for name, value in sizes.items() if name in parameters}
    settings = spec.get_params() if isinstance(spec, Part) else {}
    label = f"{what} {name_of(spec)!r}"
    for name, value in settings.items():
        if name in given:
            raise ParameterError(f"{name} is no setting of {label}: the model that it is a part of gives it.")
        lookup({key: None for key in parameters if key not in given}, name, f"setting of {label}")
        _check_type(cls, name, value, label)
    return cls(**settings, **given)


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters that a constructor takes by name."""
    if cls.__init__ is object.__init__:  # type: ignore[misc]  # its signature is text, which would be compiled
        return {}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


@functools.cache
def _types(cls: type) -> dict[str, Any]:
    """Types that a constructor declares; none where it names what is not there at run time."""
    try:
        return typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError):
        return {}


def _check_type(cls: type, name: str, value: Any, label: str) -> None:
    """Compare a setting with the annotation of the constructor, where that is one of plain values."""
    hint = _types(cls).get(name, Any)
    if not _fits(value, hint):
        wanted = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
        raise ParameterError(f"{name} of {label} must be {wanted.replace('typing.', '')}, but is {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple and Ellipsis not in arguments:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return isinstance(value, tuple) and all(_fits(entry, arguments[0]) for entry in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str) else True


# -- registries --------------------------------------------------------------------------------------------------------


class Registry(dict[str, T], Generic[T]):
    """Members of a family by name, to which `register` adds.

    Parameters
    ----------
    kind : str
        First argument of `register`.
    base : type
        What a member is a subclass of.
    members : mapping
    sizes : sequence of str
        What a constructor is given by name, if it takes it; its other parameters need defaults.
    beside : Registry, optional
        Another family whose names serve the same parameter, so that none may stand in both.
    """

    def __init__(
        self,
        kind: str,
        base: type,
        members: Mapping[str, T],
        sizes: Iterable[str] = (),
        beside: Registry[Any] | None = None,
    ) -> None:
        super().__init__(members)
        self.kind = kind
        self.base = base
        self.sizes = tuple(sizes)
        self.beside = beside
        if beside is not None:
            beside.beside = self
        FAMILIES[kind] = self

    def add(self, name: str, member: T) -> None:
        """Enter a member; see `register`."""
        if not isinstance(name, str) or not name:
            raise ParameterError(f"The name of a {self.kind} is a string, but is {name!r}.")
        self.check(name, member)
        for family in (self, self.beside):
            if family is not None and name in family and not _is_same(family[name], member):
                raise ParameterError(f"There is a {family.kind} {name!r} already: choose another name.")
        self[name] = member

    def check(self, name: str, member: Any) -> None:
        """Raise a ParameterError that says what is needed unless this can be a member."""
        base = self.base
        if not isinstance(member, type) or not issubclass(member, base):
            was = f"the class {member.__name__}" if isinstance(member, type) else repr(member)
            raise ParameterError(
                f"A {self.kind} is a subclass of {base.__module__}.{base.__qualname__}, but {name!r} is {was}."
            )
        missing = abstract_methods(member)
        if missing:
            raise ParameterError(f"{member.__name__} must define {', '.join(missing)} to be a {self.kind}.")
        parameters = _parameters(member).values()
        needed = [p.name for p in parameters if p.default is p.empty and p.name not in self.sizes]
        if needed:
            raise ParameterError(
                f"{member.__name__} cannot be made without {', '.join(needed)}: give defaults to the parameters of a "
                f"{self.kind}" + (f", save for {', '.join(self.sizes)}." if self.sizes else ".")
            )


def _is_same(before: Any, member: Any) -> bool:
    """Whether this is the same class again, be it from a cell of a notebook that was run twice."""
    if before is member:
        return True
    if not (isinstance(before, type) and isinstance(member, type)):
        return bool(before == member)
    return (before.__module__, before.__qualname__) == (member.__module__, member.__qualname__)


def abstract_methods(cls: type) -> list[str]:
    """Names of what a class must still define; of one that is no ABC too."""
    members = {name: inspect.getattr_static(cls, name, None) for name in dir(cls)}
    return [name for name, member in members.items() if getattr(member, "__isabstractmethod__", False)]


def registered_name(cls: type) -> tuple[str, str] | None:
    """Kind and name under which a class is registered, or None."""
    for kind, family in FAMILIES.items():
        for name, member in family.items():
            if member is cls:
                return kind, name
    return None


def register(kind: str, name: str, member: Any = None) -> Any:
    """Give a class of your own a name, so that models take it by that name and model files may hold it.

    A model file names its parts and never brings code along: register the class before a file is loaded, too.

    Parameters
    ----------
    kind : str
        "dynamics", "evolution", "jump", "likelihood", "encoder", "solver", "sde", "sde_solver", "intensity",
        "component" or "forecaster"; or "filter", a named composition.
    name : str
        Not taken by another member of the kind.
    member : class
        Subclass of the base class of the kind. It is made with the sizes of the model by name, as far as it takes them
        (``n_state``; of a jump also ``n_channels`` and ``n_inputs``; ...), and needs defaults for all else. Of a
        filter: a dict of its parts. Left out: a decorator is returned.

    Returns
    -------
    member

    Raises
    ------
    ParameterError
        If the name is taken or the class cannot be one of that kind; the message says what is needed.

    Examples
    --------
    >>> import tsode
    >>> from tsode.dynamics import LinearDynamics
    >>> @tsode.register("dynamics", "fading")
    ... class Fading(LinearDynamics):
    ...     def drift(self, t, z):
    ...         return super().drift(t, z) - z
    >>> tsode.JumpODEForecaster(evolution="fading", max_epochs=1).evolution
    'fading'
    """
    family = lookup(FAMILIES, kind, "kind of part")
    if member is None:
        return lambda cls: register(kind, name, cls)
    family.add(name, member)
    return member
