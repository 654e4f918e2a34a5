"""Noise of an observed channel: what it promises, which prediction it is about, and limits of quantification."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.likelihoods.base import Likelihood

__all__ = ["Between", "Noise"]


@dataclass(frozen=True)
class Between:
    """Prediction from two times: what has happened since the channel was last seen.

    Parameters
    ----------
    function : callable
        ``(t_before, z_before, t, z, p)``: times (r,) float64, states (r d), parameters by name -> (r,). The earlier
        time is that of the channel's last value, and for the first one the start of the series, before its events.

    Examples
    --------
    >>> infected = Between(lambda t_before, z_before, t, z, p: z_before[:, 0] - z[:, 0])
    """

    function: Callable[[Tensor, Tensor, Tensor, Tensor, Any], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ParameterError(
                f"Between needs a function of (t_before, z_before, t, z, p), but came {self.function!r}."
            )


@dataclass(frozen=True)
class Noise(ABC):
    """Law of what is observed of a channel, given its prediction.

    A member names a family of `tsode.likelihoods` and gives the parameters of that family from the prediction and from
    numbers of its own, its fields, which are names of parameters or plain numbers, all positive.

    Parameters
    ----------
    of : str, callable or Between
        The prediction: the name of a state, or ``(t, z, p) -> (r,)`` of times (r,) float64, states (r d) and
        parameters by name; each row by itself.
    below, above : float, optional
        Limits of quantification. A value at or beyond one counts by the probability of all that lies there.

    Attributes
    ----------
    family : Likelihood
    numbers : tuple of str
        Names of the fields that are numbers of the noise.
    support : str
        What values can come, in words.
    """

    family: ClassVar[Likelihood]
    numbers: ClassVar[tuple[str, ...]] = ()
    support: ClassVar[str] = "finite numbers"

    of: str | Callable[..., Tensor] | Between
    below: float | None = field(default=None, kw_only=True)
    above: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.of, str | Between) and not callable(self.of):
            raise ParameterError(
                f"{name} is of a state's name, of a function (t, z, p) or of a Between, but came {self.of!r}."
            )
        for number in self.numbers:
            value = getattr(self, number)
            if isinstance(value, str):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
                raise ParameterError(
                    f"{number} of {name} must be the name of a parameter or a number above 0, but is {value!r}."
                )
        for limit in (self.below, self.above):
            if limit is not None and not np.isfinite(limit):
                raise ParameterError(f"A limit of quantification of {name} must be finite, but is {limit!r}.")
        if self.below is not None and self.above is not None and not self.below < self.above:
            raise ParameterError(
                f"below of {name} must be less than above, but they are {self.below} and {self.above}."
            )

    def settings(self) -> dict[str, str | float]:
        """Numbers of the noise, each a value or the name of a parameter."""
        return {number: getattr(self, number) for number in self.numbers}

    @abstractmethod
    def params(self, mean: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """Parameters (... q) of the family.

        Parameters
        ----------
        mean : Tensor[...]
            The prediction, possible.
        own : mapping of str to Tensor[...]
            Numbers of the noise.
        """

    def is_possible(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        """Which predictions (...) the noise can be about; `tolerance` (...) is the error of the solver in them."""
        return torch.isfinite(mean)

    def held(self, mean: Tensor, tolerance: Tensor) -> Tensor:
        """The prediction (...), held in the range of the noise where it has left it by the error of the solver."""
        return mean

    def is_supported(self, values: Tensor) -> Tensor:
        """Which values (...) can come; those beyond a limit of quantification are not asked about."""
        return torch.isfinite(values)

    def is_below(self, values: Tensor) -> Tensor:
        """Which values (...) lie at or below the limit of quantification."""
        return torch.zeros_like(values, dtype=torch.bool) if self.below is None else values <= self.below

    def is_above(self, values: Tensor) -> Tensor:
        """Which values (...) lie at or above it."""
        return torch.zeros_like(values, dtype=torch.bool) if self.above is None else values >= self.above

    def log_prob(self, params: Tensor, values: Tensor, is_below: Tensor, is_above: Tensor) -> Tensor:
        """Log density (b k), or mass beyond a limit, of values (k,) by parameters (b k q) of the family."""
        inside = ~(is_below | is_above)
        score = params.new_zeros(params.shape[:-1])
        at = torch.where(is_below, self.below or 0.0, torch.where(is_above, self.above or 0.0, values))
        for log_prob, cells in (
            (self.family.log_prob, inside),
            (self.family.log_below, is_below),
            (self.family.log_above, is_above),
        ):
            if cells.all():  # the usual case, without a copy
                return log_prob(params, at)
            if cells.any():
                (which,) = cells.nonzero(as_tuple=True)
                score = score.index_copy(1, which, log_prob(params[:, which], at[which]))
        return score
