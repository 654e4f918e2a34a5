"""Space of the parameters of a population: typical values, how series differ, and each series' deviations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import Transform, identity_transform

from tsode.errors import ParameterError
from tsode.inference.effects.covariates import Covariates
from tsode.inference.effects.occasions import Occasions, on_occasion
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.known_paths import KnownPaths
from tsode.inference.parameters import ParameterSpace, Unpacked
from tsode.inference.priors import Prior

__all__ = ["Population", "PopulationSpace"]

_FARTHEST = 500.0  # on the line: beyond it a positive number leaves floating point


@dataclass(frozen=True, eq=False)
class Population:
    """How series of a system differ.

    Parameters
    ----------
    effects : RandomEffects
    covariates : Covariates, optional
    occasions : Occasions, optional
    """

    effects: RandomEffects
    covariates: Covariates | None = None
    occasions: Occasions | None = None

    def meeting(self, known: KnownPaths | None) -> Population:
        """The same for series with these inputs along time."""
        return self if self.occasions is None else replace(self, occasions=self.occasions.meeting(known))

    def parameters(self) -> dict[str, Any]:
        """What they add to the parameters of a system."""
        added = self.effects.parameters() | ({} if self.covariates is None else self.covariates.parameters())
        return added | ({} if self.occasions is None else self.occasions.parameters())

    def own(self) -> set[str]:
        """Those of `parameters` that each series has its own of."""
        return self.effects.own() | (set() if self.occasions is None else self.occasions.own())

    def standard(self) -> tuple[str, ...]:
        """Those that are standard normal and integrated out: of series, then of their occasions one by one."""
        of_series = [f"eta_{name}" for name in self.effects.names]
        if self.occasions is None:
            return tuple(of_series)
        return (*of_series, *(name for k in range(self.occasions.n) for name in self.occasions.names_on(k)))

    def names_used(self, used: set[str]) -> set[str]:
        """Those of `parameters` that act on one that is used."""
        found = self.effects.acting_on(used)
        if self.occasions is not None:
            found |= self.occasions.acting_on(used)
        return found if self.covariates is None else found | set(self.covariates.parameters(used))

    def check(self, parameters: Mapping[str, Any], own: set[str]) -> None:
        """Raise a ParameterError unless a system with these parameters can have it."""
        self.effects.check(parameters, own)
        if self.covariates is not None:
            self.covariates.check(parameters)
        added = set(self.effects.parameters())
        if self.occasions is not None:
            self.occasions.check(parameters, own)
            parameters = {**parameters, **dict.fromkeys(added & set(self.occasions.parameters()))}
        twice = sorted(set(self.parameters()) & set(parameters))
        if twice:
            raise ParameterError(f"There is a parameter {twice[0]!r} already, which random effects add: rename yours.")


@dataclass(frozen=True, eq=False)
class PopulationSpace(ParameterSpace):
    """Parameters with random effects, of which each series has its own value, and what these are made of.

    Parameters
    ----------
    effects : RandomEffects
    lines : dict of str to Transform
        Of each parameter that varies: the map from the real line.
    design : dict of str to dict of str to Tensor[g 1 s]
        What each coefficient of a parameter is multiplied by.
    occasions : Occasions or None
        With which values have parameters of each occasion, by `on_occasion`, beside those of the series.
    """

    effects: RandomEffects = field(default_factory=lambda: RandomEffects({}))
    lines: Mapping[str, Transform] = field(default_factory=dict)
    design: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    occasions: Occasions | None = None

    @classmethod
    def of(
        cls, population: Population, parameters: Mapping[str, Any], table: Mapping[str, np.ndarray],
        ids: Sequence[Hashable], own: set[str], n_problems: int | None,
    ) -> Self:  # fmt: skip
        """Space of a system's `parameters`, with those of the population, of series whose covariates are a `table`."""
        space = cls.build(parameters, ids, own, n_problems)
        covariates = population.covariates
        design = {} if covariates is None else covariates.design(table, ids)
        of_occasions = {} if population.occasions is None else population.occasions.effects.sd
        lines = {name: _line(name, parameters[name]) for name in {**population.effects.sd, **design, **of_occasions}}
        shape = (space.n_problems, 1, space.n_series)
        shaped = {name: {k: x.reshape(shape) for k, x in of.items()} for name, of in design.items()}
        assert isinstance(space, cls)
        return replace(space, effects=population.effects, lines=lines, design=shaped, occasions=population.occasions)

    def select(self, problems: Tensor) -> ParameterSpace:
        chosen = super().select(problems)
        assert isinstance(chosen, PopulationSpace)
        design = {name: {k: x[problems] for k, x in of.items()} for name, of in self.design.items()}
        return replace(chosen, design=design)

    def unpack(self, u: Tensor) -> Unpacked:
        """Read the coordinates ``u`` (g b p); parameters that vary are those of each series."""
        point = super().unpack(u)
        values, is_fine = dict(point.values), point.is_fine
        shifts = self.effects.shifts(values)
        occasions = self.occasions
        of_occasions = [] if occasions is None else [occasions.shifts(values, k) for k in range(occasions.n)]
        for name, line in self.lines.items():
            place = line.inv(values[name])
            if name in shifts:
                place = place + shifts[name]
            for coefficient, column in self.design.get(name, {}).items():
                place = place + values[coefficient] * column
            places = {name: place}
            places |= {on_occasion(name, k): place + of[name] for k, of in enumerate(of_occasions) if name in of}
            for key, at in places.items():
                is_near = at.detach().abs() <= _FARTHEST
                values[key] = line(torch.where(is_near, at, 0.0))
                is_fine = is_fine & is_near.all(dim=-1)
        return Unpacked(values, point.log_prior, is_fine)


def _line(name: str, given: Any) -> Transform:
    """Map from the line to a parameter: its prior's, and the exponential of one that is a positive number."""
    if isinstance(given, Prior):
        return given.line
    numbers = torch.as_tensor(given, dtype=torch.float64)
    return biject_to(constraints.positive) if bool((numbers > 0).all()) else identity_transform
