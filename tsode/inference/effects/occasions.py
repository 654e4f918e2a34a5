"""Occasions: a second level, on which parameters of one series change from one stretch of time to the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tsode.errors import DataError, ParameterError
from tsode.inference.effects.random_effects import RandomEffects
from tsode.inference.known_paths import KnownPaths, Stages
from tsode.inference.priors import Prior

__all__ = ["AlongOccasions", "Occasions", "on_occasion"]


def on_occasion(name: str, k: int) -> str:
    """What a parameter is called on the occasion of number ``k``, among values: no name that a function can read."""
    return f"{name}@{k}"


@dataclass(frozen=True, eq=False)
class Occasions:
    """Deviations of occasions from a series' own parameters, normal on the line as those of series are.

    In coordinates the effect on the first occasion is ``kappa_<name>_1``, standard normal, and so on;
    ``omega_occasion_<name>`` is its standard deviation, ``corr_occasion_<a>_<b>`` the correlation of two of a block. A
    parameter stays as it is while an occasion lasts. Of series with fewer occasions the rest have no data.

    Parameters
    ----------
    effects : RandomEffects
        On each occasion.
    by : str
        Input along time that numbers the occasions of a series, 0, 1, ..., each from when it begins.
    n : int
        Occasions that a series has at most.
    """

    effects: RandomEffects
    by: str
    n: int = 1

    def meeting(self, known: KnownPaths | None) -> Occasions:
        """The same for series with these inputs, as many occasions as any of them has, and not fewer than before."""
        if known is None or self.by not in known.names:
            raise DataError(f"Nothing says which occasion it is along time: there is no input {self.by!r}.")
        last = known.values[:, :, known.names.index(self.by)].amax()
        return replace(self, n=max(self.n, int(last) + 1))

    def parameters(self) -> dict[str, Prior | float]:
        """What they add to the parameters of a system."""
        inner = self.effects.parameters()
        return {_outer(name, k): inner[name] for name in inner for k in range(self.n)}

    def own(self) -> set[str]:
        """Those of `parameters` that each series has its own of."""
        return {name for k in range(self.n) for name in self.names_on(k)}

    def names_on(self, k: int) -> list[str]:
        """Effects on one occasion."""
        return [_outer(f"eta_{name}", k) for name in self.effects.names]

    def acting_on(self, used: Collection[str]) -> set[str]:
        """Those of `parameters` that act on one of these."""
        return {_outer(name, k) for name in self.effects.acting_on(used) for k in range(self.n)}

    def check(self, parameters: Mapping[str, Any], own: Collection[str]) -> None:
        """Raise a ParameterError unless a system with these parameters can have them."""
        for name in self.effects.names:
            if name not in parameters:
                raise ParameterError(
                    f"occasion_effects= names {name!r}, which is no parameter. Those are: {', '.join(parameters)}."
                )
            if name in own:
                raise ParameterError(
                    f"occasion_effects= and per_series= (or a state's initial prior) both name {name!r}: drop one."
                )

    def shifts(self, values: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
        """By how much places on the line differ on one occasion from those of the series, each (g b s)."""
        return self.effects.shifts({name: values[_outer(name, k)] for name in self.effects.parameters()})

    def along(
        self, known: KnownPaths, series: Tensor, values: Mapping[str, Tensor], before: Tensor | None
    ) -> AlongOccasions:
        """Inputs, and parameters of the occasion that lasts, as a function of the time of each row.

        Parameters
        ----------
        known : KnownPaths
        series : Tensor[r], int64
            Which each row belongs to.
        values : mapping of str to Tensor[r]
            Parameters; where they say nothing of occasions they stay as they are.
        before : Tensor[n k], optional
            Times of events of the series. An occasion that begins with one has not begun for what is asked at its time.
        """
        begins = known.times
        if before is not None and before.shape[1]:
            is_event = (begins[..., None] == before[:, None]).any(dim=2)
            begins = torch.where(is_event, torch.nextafter(begins, torch.full_like(begins, torch.inf)), begins)
        number_at = replace(known, times=begins).along(series)
        names = set(values)
        by_occasion = {
            name: torch.stack([values[on_occasion(name, k)] for k in range(self.n)], dim=-1)
            for name in self.effects.names
            if on_occasion(name, 0) in names
        }

        return AlongOccasions(self.by, known.along(series), number_at, by_occasion)


@dataclass(frozen=True)
class AlongOccasions(Stages):
    """Inputs, and parameters of the occasion that lasts, as a function of the time of each row.

    Parameters
    ----------
    by : str
    known_at, number_at : callable
        Inputs at times (r,), and among them the number of the occasion.
    by_occasion : dict of str to Tensor[r n]
        Parameters on each.
    """

    by: str
    known_at: Callable[[Tensor], dict[str, Tensor]]
    number_at: Callable[[Tensor], dict[str, Tensor]]
    by_occasion: Mapping[str, Tensor]

    def during(self, t: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        number = self.number_at(t)[self.by].detach().long()[:, None]
        own = {name: table.gather(1, number)[:, 0] for name, table in self.by_occasion.items()}
        known = self.known_at.during(t) if isinstance(self.known_at, Stages) else self.known_at
        return lambda at: {name: x for name, x in known(at).items() if name != self.by} | own


def _outer(name: str, k: int) -> str:
    """Name of a parameter of the effects on one occasion, from that among series."""
    kind, _, of = name.partition("_")
    return f"kappa_{of}_{k + 1}" if kind == "eta" else f"{kind}_occasion_{of}"
