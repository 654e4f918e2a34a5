"""Component interface: one part of a structural model, such as a trend or a season."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.kernels.paired_filter import PairedSteps

__all__ = ["FLAT", "Component", "DataScale", "Prior", "decayed"]

FLAT = 100.0
"""Variance of a state of which nothing is known, in variances of the series: proper, so that models compare."""


@dataclass(frozen=True)
class DataScale:
    """What the priors are measured by. The series have standard deviation 1, and their span is the unit of time.

    Parameters
    ----------
    gap : float
        Median time between observations.
    roughness : float
        Half the robust variance of first differences: about the variance of what is new in each value.
    """

    gap: float
    roughness: float


class Prior(NamedTuple):
    """Log-normal prior of a positive parameter."""

    median: float
    log_sd: float

    @property
    def log_median(self) -> float:
        return log(self.median)


class Component(ABC):
    """A part of the sum that a series is; a member is a frozen dataclass of its settings, and knows itself in time.

    Times are in spans of the data and values in their standard deviations, see `DataScale`. The states of a component
    that move together are neighbours, two by two. The series sees the sum of the states where ``readout`` is 1.

    Attributes
    ----------
    name : str
        Of the component in a structure; two of a kind have two names.
    role : {"trend", "season", "cycle", "rest"}
        The part of a decomposition that it belongs to.
    has_own_period : bool
        Whether its period is a parameter: then the likelihood may have several maxima.
    """

    role: ClassVar[str] = "rest"
    has_own_period: ClassVar[bool] = False
    name: str

    @property
    @abstractmethod
    def n_states(self) -> int: ...

    @property
    @abstractmethod
    def readout(self) -> tuple[float, ...]:
        """Weight of each state in the series."""

    @abstractmethod
    def priors(self, scale: DataScale) -> dict[str, Prior]:
        """Prior of each parameter, all positive."""

    @abstractmethod
    def steps(self, gap: Tensor, **parameters: Tensor) -> PairedSteps:
        """Exact transitions over gaps (g b), by parameters (b)."""

    @abstractmethod
    def start(self, **parameters: Tensor) -> Tensor:
        """Variances of the states at the first observation: Tensor[b m], by parameters (b)."""

    def describe(self) -> str:
        """The component in one word or two, for summaries."""
        return self.name


def decayed(x: Tensor) -> Tensor:
    """``1 - exp(-x)``, exact for small x."""
    return -torch.expm1(-x)
