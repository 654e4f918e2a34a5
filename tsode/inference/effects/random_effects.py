"""Random effects: parameters of which each series has its own, around a typical value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Self

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.priors import LogNormal, Normal, Prior

__all__ = ["RandomEffects"]

DEFAULT_SD = LogNormal(-1.2, 0.8)  # on the line: most series within a factor of two of the typical value
DEFAULT_CORRELATION = Normal(0.0, 0.5, lower=-1.0, upper=1.0)
STANDARD = Normal(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class RandomEffects:
    """Deviations of series from typical parameters, normal on the line that a parameter's prior is mapped to.

    So a positive parameter is log-normal among series, a share logistic-normal, and one without bounds normal.
    In coordinates an effect is ``eta_<name>``, standard normal; ``omega_<name>`` is its standard deviation. Effects of
    a block are correlated: ``corr_<a>_<b>`` is the correlation of two, and in blocks of more the partial one given
    those that stand before ``a`` (Lewandowski, Kurowicka, Joe 2009), so that every value between -1 and 1 is possible.

    Parameters
    ----------
    sd : mapping of str to Prior or number
        Of each parameter with an effect.
    blocks : sequence of tuple of str
        Names whose effects are correlated.
    correlation : mapping of tuple of str to Prior or number
        Of pairs in blocks, where it is not the default: normal about 0 with standard deviation .5, within -1 and 1.
    """

    sd: Mapping[str, Prior | float]
    blocks: Sequence[tuple[str, ...]] = ()
    correlation: Mapping[tuple[str, str], Prior | float] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Any) -> Self:
        """Effects as users write them: a list of names, or a dict of a name or a tuple of names to priors.

        The value of a tuple is a dict of names, and of pairs of names, to priors; None takes the defaults.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
            raise ParameterError(
                f"random_effects= takes a list of parameters, or a dict of them to priors of standard deviations, not "
                f"{given!r}."
            )
        entries = given if isinstance(given, Mapping) else dict.fromkeys(given)
        sd: dict[str, Prior | float] = {}
        blocks: list[tuple[str, ...]] = []
        correlation: dict[tuple[str, str], Prior | float] = {}
        for key, value in entries.items():
            names = key if isinstance(key, tuple) else (key,)
            if len(names) > 1:
                blocks.append(names)
            of = value if isinstance(value, Mapping) else dict.fromkeys(names, value)
            for name in names:
                if name in sd:
                    raise ParameterError(f"random_effects= names {name!r} twice: each parameter has one effect.")
                own = of.get(name)
                sd[name] = DEFAULT_SD if own is None else own
            for pair, prior in of.items():
                if isinstance(pair, tuple):
                    if len(pair) != 2 or not set(pair) <= set(names):
                        raise ParameterError(f"random_effects= has a correlation of {pair!r}, no pair of {names!r}.")
                    first, second = sorted(pair, key=names.index)
                    correlation[first, second] = DEFAULT_CORRELATION if prior is None else prior
                elif pair not in names:
                    raise ParameterError(f"random_effects= has a prior for {pair!r}, which is none of {names!r}.")
        if not sd:
            raise ParameterError("random_effects= is empty: name at least one parameter, or leave it out.")
        effects = cls(sd, tuple(blocks), correlation)
        effects._check()
        return effects

    def _check(self) -> None:
        for name, value in self.sd.items():
            low = value.bounds[0] if isinstance(value, Prior) else value
            if isinstance(value, bool) or not isinstance(value, Prior | int | float) or not low >= 0:
                raise ParameterError(
                    f"The standard deviation of the effect of {name!r} is a prior of positive numbers (lower=0), or a "
                    f"number, not {value!r}."
                )
        for pair, prior in self.correlation.items():
            low, high = prior.bounds if isinstance(prior, Prior) else (prior, prior)
            if not -1 <= low <= high <= 1:
                raise ParameterError(f"The correlation of {pair!r} lies between -1 and 1, but came {prior!r}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters with an effect."""
        return tuple(self.sd)

    def parameters(self) -> dict[str, Prior | float]:
        """What they add to the parameters of a system."""
        added: dict[str, Prior | float] = {f"omega_{name}": prior for name, prior in self.sd.items()}
        added |= {f"eta_{name}": STANDARD for name in self.sd}
        for block in self.blocks:
            for pair in combinations(block, 2):
                added["corr_{}_{}".format(*pair)] = self.correlation.get(pair, DEFAULT_CORRELATION)
        return added

    def acting_on(self, used: Collection[str]) -> set[str]:
        """Those of `parameters` that act on one of these."""
        found = {f"{kind}_{name}" for kind in ("omega", "eta") for name in self.sd if name in used}
        pairs = (pair for block in self.blocks for pair in combinations(block, 2))
        return found | {"corr_{}_{}".format(*pair) for pair in pairs if any(name in used for name in pair)}

    def own(self) -> set[str]:
        """Those of `parameters` that each series has its own of."""
        return {f"eta_{name}" for name in self.sd}

    def check(self, parameters: Mapping[str, Any], own: Collection[str]) -> None:
        """Raise a ParameterError unless a system with these parameters can have them."""
        for name in self.sd:
            if name not in parameters:
                raise ParameterError(
                    f"random_effects= names {name!r}, which is no parameter. Those are: {', '.join(parameters)}."
                )
            if name in own:
                raise ParameterError(
                    f"random_effects= and per_series= (or a state's initial prior) both name {name!r}: a parameter "
                    "varies around a common mean, or not at all in common. Drop it from one."
                )

    def shifts(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By how much each parameter's place on the line differs from the typical one, each (g b s)."""
        found = {name: values[f"eta_{name}"] for name in self.sd}
        for block in self.blocks:
            found |= dict(zip(block, _correlated(block, found, values)))
        return {name: values[f"omega_{name}"] * effect for name, effect in found.items()}

    def covariance(self, values: Mapping[str, Tensor]) -> Tensor:
        """Covariance of the effects (... q q), of parameters (...)."""
        unit = torch.eye(len(self.sd), dtype=torch.float64)
        like = next(values[f"omega_{name}"] for name in self.sd)
        columns = []
        for row in unit:
            one = {f"eta_{name}": x.expand_as(like) for name, x in zip(self.sd, row)}
            columns.append(torch.stack(list(self.shifts({**values, **one}).values()), dim=-1))
        root = torch.stack(columns, dim=-1)
        return root @ root.mT


def _correlated(block: tuple[str, ...], effects: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> list[Tensor]:
    """Correlated effects of unit variance, from independent ones by Cholesky's factor in partial correlations."""
    result = []
    for j, name in enumerate(block):
        rest: Tensor | float = 1.0  # of the variance
        total: Tensor | float = 0.0
        for before in block[:j]:
            partial = values[f"corr_{before}_{name}"]
            total = total + partial * torch.as_tensor(rest).sqrt() * effects[before]
            rest = rest * (1.0 - partial.square())
        result.append(total + torch.as_tensor(rest).sqrt() * effects[name])
    return result
