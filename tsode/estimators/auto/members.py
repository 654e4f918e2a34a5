"""Members of an automatic choice: which forecasters are tried, in which order, and by what names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from tsode._registry import FAMILIES, Part, as_part, build, lookup
from tsode.errors import ParameterError

__all__ = ["Member", "Shape", "check_members", "find_members"]

JUMP = Part("JumpODEForecaster", (("expert", None),))  # linear models stand beside it, and are averaged with it
SHARP = Part("LinearSDEForecaster", (("components", ("sharp_season",)),))

FEW = (
    "ConstantForecaster",
    "LastValueForecaster",
    "DriftForecaster",
    "SeasonalNaiveForecaster",
    "DirectForecaster",
    Part("LinearSDEForecaster", (("components", "auto"),)),
    SHARP,
    Part("DirectForecaster", (("regression", "boosting"),)),
    "LinearSDEForecaster",
    JUMP,
    "LatentODEForecaster",
    "LatentSDEForecaster",
)
"""The order for few series: components go on where one series ends."""

MANY = (
    "ConstantForecaster",
    "LastValueForecaster",
    "DriftForecaster",
    "SeasonalNaiveForecaster",
    "DirectForecaster",
    Part("LinearSDEForecaster", (("series_rates", 9),)),
    Part("DirectForecaster", (("regression", "boosting"),)),
    SHARP,
    "LinearSDEForecaster",
    JUMP,
    Part("LinearSDEForecaster", (("components", "auto"),)),
    "LatentODEForecaster",
    "LatentSDEForecaster",
)
"""The order for many: networks learn from one what helps with another."""

MOST_SHARE = {"JumpODEForecaster": 1.0}
OTHERS_SHARE = 0.25
"""Of the time that is left, what a member may take that can be told when to stop."""
GOING_ON = 0.4  # of the time of a first fit of components, that one which goes on from it takes
FEWEST_ROWS = 30  # of a series, on average, for trends and seasons to be seen in it
ITSELF = "AutoForecaster"
READING = ("horizon", "id_col", "time_col", "target", "duplicates")
"""Parameters that all members share, whatever they say: they are asked the same."""


@dataclass(frozen=True)
class Shape:
    """Shape of the data, as far as the cost of a member depends on it."""

    n_series: int
    n_rows: int
    n_channels: int


@dataclass(frozen=True, eq=False)
class Member:
    """A forecaster that is tried.

    Parameters
    ----------
    name : str
    estimator : BaseForecaster
        With all its parameters, not fitted.
    """

    name: str
    estimator: Any

    @property
    def can_stop(self) -> bool:
        """Whether it can be told how long a fit may take."""
        return "max_seconds" in self.estimator.get_params(deep=False) and not (self._has_components or self._has_rates)

    @property
    def _has_components(self) -> bool:
        return getattr(self.estimator, "components", None) is not None

    @property
    def _has_rates(self) -> bool:
        return getattr(self.estimator, "series_rates", None) is not None

    @property
    def share(self) -> float:
        """Most of the time that is left that it may take."""
        return MOST_SHARE.get(type(self.estimator).__name__, OTHERS_SHARE)

    def unsuited(self, shape: Shape) -> str:
        """Why it has nothing to learn from such data, or nothing."""
        if self._has_components and shape.n_rows < FEWEST_ROWS * shape.n_series:
            return f"not suited: components are of series with {FEWEST_ROWS} rows or more"
        return ""

    def expected_seconds(self, shape: Shape) -> float:
        """Seconds that a fit takes, about, where it cannot be told; 0 where it is short anyway."""
        if self._has_components and "sharp_season" in self.estimator.components:
            return 0.002 * shape.n_rows * shape.n_channels
        if self._has_components:  # as measured; structures are compared on few of many rows
            return shape.n_channels * min(0.12 * shape.n_rows**0.65, 7.0)
        if self._has_rates:
            return min(0.015 * shape.n_rows, 2.0 * shape.n_rows**0.3) * shape.n_channels**2
        return 0.0

    @property
    def share_again(self) -> float:
        """Of the time of a fit, about, what another takes to data that have grown a little."""
        return GOING_ON if self.goes_on else 1.0

    @property
    def goes_on(self) -> bool:
        """Whether a fit may go on from another, and be told how long it may take."""
        return self._has_components and "sharp_season" not in self.estimator.components

    def fit_again(self, fitted: Any, max_seconds: float, X: Any, y: Any, **tables: Any) -> Any:
        """The forecaster fitted to data that have grown a little, on from what was `fitted` if that is much quicker."""
        if not self.goes_on:
            return self.fresh(max_seconds).fit(X, y, **tables)
        going_on = copy(fitted).set_params(warm_start=True).fit(X, y, **tables)
        return going_on.set_params(warm_start=self.estimator.warm_start)

    def fresh(self, max_seconds: float = math.inf) -> Any:
        """The forecaster, to be fitted within so many seconds, about, where it can be told."""
        estimator = clone(self.estimator)
        if (self.can_stop or self.goes_on) and estimator.max_seconds is None and math.isfinite(max_seconds):
            estimator.set_params(max_seconds=max_seconds)
        return estimator


def check_members(name: str, value: Any, default: Any) -> None:
    """Raise a ParameterError unless this names forecasters; see `AutoForecaster`."""
    if isinstance(value, str) and value == "auto":
        return
    if not isinstance(value, Sequence | Mapping) or isinstance(value, str) or not len(value):
        raise ParameterError(
            f'{name} takes "auto", or a list of names of forecasters and of forecasters, or a dict of these by names '
            f"of your own, but is {value!r}: try {name}=['DirectForecaster', 'LastValueForecaster']."
        )
    family = FAMILIES["forecaster"]
    for spec in value.values() if isinstance(value, Mapping) else value:
        if isinstance(spec, family.base):
            continue
        if not isinstance(spec, str | Part):
            raise ParameterError(f"{name} holds {spec!r}, which is no forecaster, nor the name of one.")
        lookup(family, as_part(spec).name, "forecaster")


def find_members(spec: Any, asks_others: bool, common: Mapping[str, Any]) -> list[Member]:
    """The members that `members=` of an `AutoForecaster` says, with parameters that they share.

    Parameters
    ----------
    spec : "auto", list, or dict
    asks_others : bool
        Whether they are judged on other series than they learned from, by which "auto" orders them. Forecasters that
        were registered follow those of the library.
    common : dict of parameter to value
        Of which each gets those that it has, unless `spec` has set them.
    """
    if isinstance(spec, str):
        listed: list[Any] = list(MANY if asks_others else FEW)
        known = {as_part(one).name for one in listed} | {ITSELF}
        spec = [*listed, *(name for name in FAMILIES["forecaster"] if name not in known)]
    named = list(spec.items()) if isinstance(spec, Mapping) else [(None, one) for one in spec]
    members: list[Member] = []
    for name, one in named:
        name = _name(one) if name is None else str(name)
        taken = {member.name for member in members}
        name = next(free for free in (name, *(f"{name} {k}" for k in range(2, len(named) + 2))) if free not in taken)
        members.append(Member(name, _with(one, common)))
    return members


def _name(spec: Any) -> str:
    """As in "Direct" and "Direct boosting"."""
    if not isinstance(spec, str | Part):
        return type(spec).__name__.removesuffix("Forecaster")
    part = as_part(spec)
    settings = []
    for key, value in part.settings:
        words = [value] if isinstance(value, str) else value if isinstance(value, tuple) else [key]
        settings += [key if word == "auto" else str(word) for word in words if value is not None]
    return " ".join([part.name.removesuffix("Forecaster"), *settings])


def _with(spec: Any, common: Mapping[str, Any]) -> Any:
    """The forecaster with what is common, but for what `spec` has set."""
    family = FAMILIES["forecaster"]
    if isinstance(spec, family.base):
        estimator = clone(spec)
        defaults = type(estimator)().get_params(deep=False)
        own = estimator.get_params(deep=False)
        is_set = {name for name, value in own.items() if repr(value) != repr(defaults[name])} - set(READING)
    else:
        estimator = build(family, spec, "forecaster")
        own, is_set = estimator.get_params(deep=False), {name for name, _ in as_part(spec).settings}
    return estimator.set_params(**{name: value for name, value in common.items() if name in own and name not in is_set})
