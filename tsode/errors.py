"""Exceptions of tsode. Each is also the built-in exception a caller would expect."""

from __future__ import annotations

__all__ = [
    "DataError",
    "FileFormatError",
    "InfeasiblePlanError",
    "NotFittedError",
    "ParameterError",
    "ShapeError",
    "SolverError",
    "TsodeError",
    "TsodeWarning",
    "UnapproachedLevelError",
    "UnknownNameError",
    "UnknownParameterError",
    "UnreadActionError",
    "UnsettledError",
    "ZenoError",
]

from typing import Any

from sklearn.exceptions import NotFittedError as SklearnNotFittedError


class TsodeError(Exception):
    """Base of every error that tsode raises on purpose."""


class DataError(TsodeError, ValueError):
    """The data given cannot be read as irregular time series."""


class ParameterError(TsodeError, ValueError):
    """A parameter of an estimator, model or solver is out of its range."""


class ShapeError(TsodeError, ValueError):
    """Tensors that must agree on an axis do not."""


class UnapproachedLevelError(ParameterError):
    """A crossing was asked for of a level that no path comes near."""


class UnknownNameError(TsodeError, ValueError):
    """A part was asked for by a name that no registry knows."""


class UnknownParameterError(UnknownNameError, AttributeError):
    """A function asked for a named parameter that has neither a prior nor a value."""


class SolverError(TsodeError, RuntimeError):
    """A solve did not reach its end time for at least one series."""


class UnsettledError(SolverError):
    """A mean along an orbit, such as a Lyapunov exponent, still moves at the end of it."""


class ZenoError(SolverError):
    """State-triggered events of at least one series accumulate: infinitely many before a finite time."""


class NotFittedError(TsodeError, SklearnNotFittedError):
    """A forecast was asked of an estimator that has not been fitted."""


class UnreadActionError(ParameterError):
    """What a plan may change is nothing that the model reads."""


class InfeasiblePlanError(TsodeError, ValueError):
    """No plan that was found keeps what was asked.

    Attributes
    ----------
    closest : Plan
        The plan that comes closest.
    """

    def __init__(self, message: str, closest: Any = None) -> None:
        super().__init__(message)
        self.closest = closest


class FileFormatError(TsodeError, ValueError):
    """A model file is damaged, of a newer format, or not a tsode file."""


class TsodeWarning(UserWarning):
    """Something was done in another way than asked; the message says how."""
