"""Correlated errors: pairs of channels whose noise at one time goes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.inference.effects.random_effects import DEFAULT_CORRELATION
from tsode.inference.noise.base import Noise
from tsode.inference.priors import Prior
from tsode.likelihoods.log_normal import LogNormal
from tsode.likelihoods.normal import Normal

__all__ = ["CorrelatedErrors", "Given", "correlated", "correlated_columns", "name_of"]

_LEAST = 1e-15  # level of a quantile


class Given(NamedTuple):
    """Channel that the errors of another one are drawn given.

    Parameters
    ----------
    place : int
        In the order of the channels.
    rho : Tensor[...]
        Correlation with it.
    """

    place: int
    rho: Tensor


@dataclass(frozen=True, eq=False)
class CorrelatedErrors:
    """Correlation of the errors of two channels of one series at one time, each on the scale on which it is normal.

    Of a pair (a, b) it is the parameter ``corr_error_<a>_<b>``. Errors of different times are independent, and so are
    those of channels that form no pair. A value beyond a limit of quantification counts by its mass given the other
    one; where both lie beyond limits data are refused. What is predicted of one channel at a time, as where gaps are
    filled, is by the posterior alone: it does not know the error of the other channel at that time.

    Parameters
    ----------
    correlation : mapping of tuple of str to Prior or number
    """

    correlation: Mapping[tuple[str, str], Prior | float] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Any) -> Self:
        """Pairs as users write them: a list of pairs of channels, or a dict of pairs to priors or numbers."""
        if isinstance(given, cls):
            return given
        if isinstance(given, str) or not isinstance(given, Mapping | Sequence | None):
            raise ParameterError(_wanted(given))
        entries = list(given.items()) if isinstance(given, Mapping) else [(pair, None) for pair in given or ()]
        correlation: dict[tuple[str, str], Prior | float] = {}
        taken: set[str] = set()
        for pair, value in entries:
            if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
                raise ParameterError(_wanted(given))
            for name in pair:
                if name in taken:
                    raise ParameterError(
                        f"correlated_errors= names {name!r} twice: each channel is in one pair at most, with another."
                    )
                taken.add(name)
            correlation[pair[0], pair[1]] = DEFAULT_CORRELATION if value is None else value
        for key, prior in correlation.items():
            if isinstance(prior, bool) or not isinstance(prior, Prior | int | float) or not _is_inside(prior):
                raise ParameterError(f"The correlation of {key!r} lies between -1 and 1, but came {prior!r}.")
        return cls(correlation)

    def parameters(self) -> dict[str, Prior | float]:
        """What they add to the parameters of a system."""
        return {name_of(pair): prior for pair, prior in self.correlation.items()}

    def check(self, observed: Mapping[str, Noise], parameters: Mapping[str, Any]) -> None:
        """Raise a ParameterError unless a system with these channels and parameters can have them."""
        for pair in self.correlation:
            for channel in pair:
                if channel not in observed:
                    raise ParameterError(
                        f"correlated_errors= names {channel!r}, which is no channel. Those are: {', '.join(observed)}."
                    )
                if not isinstance(observed[channel].family, Normal | LogNormal):
                    raise ParameterError(
                        f"correlated_errors= are of normal and log-normal noise, but channel {channel!r} has "
                        f"{type(observed[channel]).__name__}: take another noise, or leave it out of pairs."
                    )
            if name_of(pair) in parameters:
                raise ParameterError(
                    f"There is a parameter {name_of(pair)!r} already, which correlated_errors= adds: rename yours."
                )

    def given(self, channel: str, channels: Sequence[str], values: Mapping[str, Tensor]) -> Given | None:
        """What the errors of a channel are drawn given, if it is the second of a pair, by parameters (...)."""
        for pair in self.correlation:
            if pair[1] == channel:
                return Given(list(channels).index(pair[0]), values[name_of(pair)])
        return None


def name_of(pair: tuple[str, str]) -> str:
    """Name of the parameter of a pair."""
    return "corr_error_{}_{}".format(*pair)


def correlated(level: Tensor, given: Tensor, rho: Tensor) -> Tensor:
    """Levels, uniform in (0, 1), whose normal scores have the correlation `rho` with those of the levels `given`."""
    score = rho * torch.special.ndtri(given) + (1.0 - rho.square()).sqrt() * torch.special.ndtri(level)
    return torch.special.ndtr(score).clamp(_LEAST, 1.0 - _LEAST)


def correlated_columns(levels: Tensor, given: Sequence[Given | None]) -> Tensor:
    """Levels (... c) of all channels side by side, correlated where they are in pairs."""
    columns = list(levels.unbind(dim=-1))
    for c, one in enumerate(given):
        if one is not None:
            columns[c] = correlated(columns[c], columns[one.place], one.rho)
    return torch.stack(columns, dim=-1)


def _is_inside(prior: Prior | float) -> bool:
    """A prior is within the bounds; a number is strictly so, since errors that determine each other have no density."""
    if isinstance(prior, Prior):
        return -1 <= prior.bounds[0] <= prior.bounds[1] <= 1
    return -1 < prior < 1


def _wanted(given: Any) -> str:
    return (
        "correlated_errors= takes a list of pairs of channels, such as [('conc', 'effect')], or a dict of pairs to "
        f"priors or numbers, not {given!r}."
    )
