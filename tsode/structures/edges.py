"""Edges of a structure: terms of the rates that may be absent, alternative laws, and the structures they make up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from tsode.errors import ParameterError
from tsode.inference.known_system import KnownSystem
from tsode.inference.priors import Normal, Prior

__all__ = ["DUMMY", "Edge", "Structure", "enumerate_structures", "read_edges", "system_of", "with_an_axis"]

MOST = 1024
DUMMY = "no_parameter"  # what is "inferred" where a structure has nothing unknown; nothing reads it
Choices = Mapping[str, Any]  # of each edge: whether it is present, or the label of its law


@dataclass(frozen=True)
class Edge:
    """Part of the rates that a structure has or has not, or has in one of several forms.

    Parameters
    ----------
    name : str
    nulls : dict of str to number
        Parameters that carry it, and what they are where it is absent.
    laws : dict of label to dict of str to number
        Where it has several forms instead: the parameters that each holds fixed.
    rates : dict of label to callable
        Forms that are rates of their own.
    """

    name: str
    nulls: Mapping[str, float]
    laws: Mapping[Any, Mapping[str, float]]
    rates: Mapping[Any, Callable[..., Any]]

    @property
    def is_law(self) -> bool:
        """Whether it has several forms."""
        return bool(self.laws)

    @property
    def options(self) -> list[Any]:
        """What a structure may have of it: False and True, or a label."""
        return list(self.laws) if self.is_law else [False, True]

    def columns(self) -> list[tuple[str, Any]]:
        """Names of its claims, and the option that each is about."""
        return [(f"{self.name}: {label}", label) for label in self.laws] if self.is_law else [(self.name, True)]


@dataclass(frozen=True)
class Structure:
    """One combination of the options of all edges.

    Parameters
    ----------
    name : str
        Its edges, with " + " between them.
    choices : dict of str to option
        Of each edge.
    log_prior : float
    """

    name: str
    choices: Choices
    log_prior: float


def read_edges(edges: Any, system: KnownSystem) -> list[Edge]:
    """Edges from what `compare_structures` was given.

    Raises
    ------
    ParameterError
        If an edge names a parameter that the system does not have, or can be read in no way.
    """
    if not isinstance(edges, Mapping) or not edges:
        raise ParameterError(
            "edges= takes a dict of an edge's name to the parameters that carry it, such as {'x->y': 'k_xy'}, but is "
            f"{edges!r}."
        )
    found = [_read_edge(str(name), given, system) for name, given in edges.items()]
    if sum(bool(edge.rates) for edge in found) > 1:
        raise ParameterError("Two edges give rates of their own: let one give rates, and the other fix parameters.")
    nulls: dict[str, float] = {}
    for edge in found:
        for name, value in edge.nulls.items():
            if nulls.setdefault(name, value) != value:
                raise ParameterError(f"Two edges give {name!r} different values where it is absent: give one.")
    return found


def _read_edge(name: str, given: Any, system: KnownSystem) -> Edge:
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping) and given:
        if all(_is_number(value) for value in given.values()):
            return Edge(name, {p: float(value) for p, value in given.items() if _named(p, name, system)}, {}, {})
        laws: dict[Any, Mapping[str, float]] = {}
        for label, law in given.items():
            if callable(law):
                laws[label] = {}
                continue
            if not isinstance(law, Mapping) or not all(_is_number(value) for value in law.values()):
                raise ParameterError(
                    f"Law {label!r} of edge {name!r} must be a function of (t, z, p), or a dict of parameters to "
                    f"numbers that it holds fixed, but is {law!r}."
                )
            laws[label] = {p: float(value) for p, value in law.items() if _named(p, name, system)}
        if len(laws) < 2:
            raise ParameterError(f"Edge {name!r} has one law alone: give at least two to choose from.")
        return Edge(name, {}, laws, {label: law for label, law in given.items() if callable(law)})
    if isinstance(given, Iterable) and not isinstance(given, Mapping) and (carriers := list(given)):
        for parameter in carriers:
            _named(parameter, name, system)
        rest = {p: system.parameters[p]._median for p in carriers[1:] if isinstance(system.parameters[p], Prior)}
        return Edge(name, {carriers[0]: 0.0, **rest}, {}, {})
    raise ParameterError(
        f"Edge {name!r} must be the name of the parameter that carries it, a list of names (the first is 0 where the "
        f"edge is absent), a dict of names to what they are then, or a dict of laws, but is {given!r}."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _named(parameter: object, edge: str, system: KnownSystem) -> bool:
    if parameter in system.parameters:
        return True
    close = get_close_matches(str(parameter), list(system.parameters), n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise ParameterError(
        f"Edge {edge!r} names {parameter!r}, which is no parameter.{guess} Known: "
        f"{', '.join(sorted(system.parameters))}."
    )


def enumerate_structures(
    edges: Sequence[Edge],
    prior: Any = 0.5,
    always: Collection[str] = (),
    forbidden: Collection[str] = (),
    groups: Sequence[Collection[str]] = (),
    candidates: Sequence[Any] | None = None,
) -> list[Structure]:
    """All structures that are allowed, with the logs of their prior probabilities, which sum to one.

    Raises
    ------
    ParameterError
        If a name is unknown, no structure is left, or more than 1,024 are.
    """
    by_name = {edge.name: edge for edge in edges}
    for where, names in (("always=", always), ("forbidden=", forbidden), *(("groups=", group) for group in groups)):
        if isinstance(names, str):
            raise ParameterError(f"{where} takes a list of names of edges, but is {names!r}.")
        for name in names:
            if name not in by_name or by_name[name].is_law:
                raise ParameterError(f"{where} names {name!r}, which is no edge that may be absent: {_list(edges)}.")
    clash = set(always) & set(forbidden)
    if clash:
        raise ParameterError(f"Edge {sorted(clash)[0]!r} is in always= and in forbidden=: leave it out of one.")
    if candidates is None:
        options = [
            [True] if edge.name in always else [False] if edge.name in forbidden else edge.options for edge in edges
        ]
        n_most = math.prod(len(one) for one in options)
        if n_most > 64 * MOST:
            raise ParameterError(f"The edges make up {n_most} structures: {_LESS}.")
        every = [dict(zip(by_name, chosen)) for chosen in itertools.product(*options)]
    else:
        every = [_read_candidate(one, by_name) for one in candidates]
        every = [c for c in every if all(c[n] for n in always) and not any(c[n] for n in forbidden)]
    every = [c for c in every if all(len({c[name] for name in group}) <= 1 for group in groups)]
    if not every:
        raise ParameterError("No structure is left by always=, forbidden=, groups= and candidates=: allow some.")
    if len(every) > MOST:
        raise ParameterError(f"{len(every)} structures are left, more than {MOST}: {_LESS}.")
    found = [Structure(_name_of(c, by_name), c, _log_prior(c, by_name, prior, groups, always)) for c in every]
    if len({one.name for one in found}) < len(found):
        raise ParameterError("candidates= has the same structure twice: leave one out.")
    total = math.fsum(math.exp(one.log_prior) for one in found)
    if not total > 0:
        raise ParameterError(f"prior={prior!r} leaves no structure any probability.")
    return [replace(one, log_prior=one.log_prior - math.log(total)) for one in found]


_LESS = "fix some by always= or forbidden=, tie some together by groups=, or list those to compare by candidates="


def _list(edges: Sequence[Edge]) -> str:
    return ", ".join(edge.name for edge in edges if not edge.is_law) or "there is none"


def _read_candidate(given: Any, by_name: Mapping[str, Edge]) -> dict[str, Any]:
    """A structure from a list of its edges, or from a dict of edges to options."""
    chosen: dict[str, Any] = {name: edge.options[0] for name, edge in by_name.items()}
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ParameterError(f"candidates= takes lists of names of edges, but has {given!r}.")
    named = given if isinstance(given, Mapping) else dict.fromkeys(given, True)
    for name, option in named.items():
        if name not in by_name:
            raise ParameterError(f"candidates= names {name!r}, which is no edge: {', '.join(by_name)}.")
        if option not in by_name[name].options:
            raise ParameterError(f"candidates= gives {name!r} the option {option!r}, not of {by_name[name].options}.")
        chosen[name] = option
    return chosen


def _name_of(choices: Choices, by_name: Mapping[str, Edge]) -> str:
    parts = [f"{name}: {choices[name]}" if edge.is_law else name for name, edge in by_name.items() if
             edge.is_law or choices[name]]  # fmt: skip
    return " + ".join(parts) or "none"


def _log_prior(
    choices: Choices,
    by_name: Mapping[str, Edge],
    prior: Any,
    groups: Sequence[Collection[str]],
    always: Collection[str],
) -> float:
    """Log prior of a structure but for a constant; edges of a group count once, those that are fixed not at all."""
    if callable(prior):
        return _log(float(prior(dict(choices))), prior)
    total, counted = 0.0, set(always)
    for name, edge in by_name.items():
        if name in counted:
            continue
        for group in groups:
            counted |= set(group) if name in group else set()
        given = prior.get(name, None if edge.is_law else 0.5) if isinstance(prior, Mapping) else prior
        if edge.is_law:
            if isinstance(given, Mapping):
                total += _log(float(given.get(choices[name], 0.0)), prior)
            else:
                total -= math.log(len(edge.laws))
            continue
        if not _is_number(given) or not 0.0 <= given <= 1.0:
            raise ParameterError(f"The prior probability of edge {name!r} must be between 0 and 1, but is {given!r}.")
        total += _log(given if choices[name] else 1.0 - given, prior)
    return total


def _log(probability: float, prior: Any) -> float:
    if not 0.0 <= probability < math.inf:
        raise ParameterError(f"prior={prior!r} gives {probability!r}, which is no probability.")
    return math.log(probability) if probability else -math.inf


def system_of(
    system: KnownSystem, edges: Sequence[Edge], choices: Choices, unread: Collection[str] = ()
) -> KnownSystem:
    """The system of a structure, whose absent edges are known numbers.

    One with nothing unknown gets a parameter that nothing reads, which changes no evidence: engines need an axis.

    Parameters
    ----------
    system : KnownSystem
    edges : sequence of Edge
    choices : dict of str to option
    unread : collection of str
        Parameters that nothing reads by these rates: they are fixed at the middle of their prior, which changes no
        evidence.
    """
    fixed: dict[str, float] = {}
    carried = {name for edge in edges if not edge.is_law and choices[edge.name] for name in edge.nulls}
    for edge in edges:
        if edge.is_law:
            fixed |= edge.laws[choices[edge.name]]
        elif not choices[edge.name]:
            fixed |= {name: value for name, value in edge.nulls.items() if name not in carried}
    for name in unread:
        given = system.parameters.get(name)
        if isinstance(given, Prior) and name not in fixed:
            fixed[name] = given._median
    rates = next((edge.rates[choices[edge.name]] for edge in edges if choices[edge.name] in edge.rates), system.rates)
    kept = tuple(name for name in system.per_series if name not in fixed)
    chosen = replace(system, rates=rates, parameters={**system.parameters, **fixed}, per_series=kept)
    return with_an_axis(chosen)


def with_an_axis(system: KnownSystem) -> KnownSystem:
    """The system, with a parameter that nothing reads if it has nothing unknown: engines need an axis."""
    if any(isinstance(given, Prior) for given in system.all_parameters().values()):
        return system
    return replace(system, parameters={**system.parameters, DUMMY: Normal(0.0, 1.0)})
