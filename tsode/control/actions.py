"""Actions that a plan may choose: amounts of doses at allowed times, and values of an input along time."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from tsode.errors import ParameterError

__all__ = ["Doses", "Input"]


@dataclass(frozen=True)
class Doses:
    """Doses whose amounts, and within limits whose times, are to be chosen.

    Parameters
    ----------
    times : list of times
        When a dose may be given, in the kind of time of the series. A dose of no amount is not given.
    target : label, optional
        What it is given to, as in a table of events; None is the first.
    low, high : float
        Bounds of each amount.
    available : list of float, or float
        Amounts that there are, or what they are multiples of; the plan is rounded to them. No dose is always there.
    duration : duration, optional
        Time over which a dose goes in; by default at once.
    shift : duration, optional
        How much earlier or later than its time each dose may be given.
    apart : duration, optional
        Least time between two doses, also from doses that were given.
    at_most, within : float and duration, optional
        What may be given in any stretch of this length, doses that were given included.
    n_most : int, optional
        How many doses, at most.

    Examples
    --------
    >>> from tsode.control import Doses
    >>> Doses([12.0, 24.0, 36.0], "depot", high=400.0, available=100.0, at_most=600.0, within=24.0).high
    400.0
    """

    times: Any
    target: Hashable = None
    _: KW_ONLY
    low: float = 0.0
    high: float = np.inf
    available: Any = None
    duration: Any = None
    shift: Any = None
    apart: Any = None
    at_most: float | None = None
    within: Any = None
    n_most: int | None = None

    def __post_init__(self) -> None:
        _check_bounds("Doses", self.low, self.high)
        if (self.at_most is None) != (self.within is None):
            given, missing = ("within", "at_most") if self.at_most is None else ("at_most", "within")
            raise ParameterError(
                f"Doses has {given}= but not {missing}=: at_most= limits what is given within= a time."
            )
        if self.at_most is not None and not self.at_most > 0.0:
            raise ParameterError(f"at_most={self.at_most!r} of Doses must be above 0.")
        if self.n_most is not None and not self.n_most >= 1:
            raise ParameterError(f"n_most={self.n_most!r} of Doses must be 1 or more.")
        if self.low > 0.0 and (self.n_most is not None or self.apart is not None):
            raise ParameterError(
                f"Doses has low={self.low!r} at every one of its times, so that none can be left out: set low=0 with "
                "n_most= or apart=, and name the smallest amount by available=."
            )

    @property
    def what(self) -> str:
        return "doses" if self.target is None else f"doses to {self.target!r}"

    def levels(self) -> np.ndarray | None:
        """Amounts that there are, in order; None: any."""
        return _levels(self.available, self.low, self.high, "Doses", with_none=self.low <= 0.0 <= self.high)


@dataclass(frozen=True)
class Input:
    """Values of a column that is known along time, to be chosen.

    Each holds from its time to the next, or is the knot of a line, as the forecaster reads such columns.

    Parameters
    ----------
    column : label
        Of the table ``known=``.
    times : list of times
    low, high : float
        Bounds of each value.
    available : list of float, or float
        As in `Doses`.
    """

    column: Hashable
    times: Any
    _: KW_ONLY
    low: float = -np.inf
    high: float = np.inf
    available: Any = None

    def __post_init__(self) -> None:
        _check_bounds("Input", self.low, self.high)

    @property
    def what(self) -> str:
        return f"values of {self.column!r}"

    def levels(self) -> np.ndarray | None:
        """Values that there are, in order; None: any."""
        return _levels(self.available, self.low, self.high, "Input", with_none=False)


def _check_bounds(kind: str, low: float, high: float) -> None:
    if not low < high:
        raise ParameterError(f"{kind} has low={low!r} and high={high!r}: low must be less.")


def _levels(available: Any, low: float, high: float, kind: str, with_none: bool) -> np.ndarray | None:
    if available is None:
        return None
    if np.ndim(available) == 0:
        step = float(available)
        if not (step > 0.0 and np.isfinite([low, high]).all()):
            raise ParameterError(
                f"available={available!r} of {kind} means its multiples, which needs a number above 0 and finite "
                f"bounds, but low={low!r} and high={high!r}."
            )
        first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
        levels = step * np.arange(first, last + 1)
    else:
        levels = np.unique(np.asarray(available, dtype=np.float64))
        levels = levels[(levels >= low) & (levels <= high)]
    if with_none:
        levels = np.union1d(levels, [0.0])
    if not len(levels):
        raise ParameterError(f"available={available!r} of {kind} has nothing between low={low!r} and high={high!r}.")
    return levels
