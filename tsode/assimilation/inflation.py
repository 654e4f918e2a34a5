"""Inflation of ensembles: what keeps a small sample from being surer than its errors allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from tsode.errors import ParameterError

__all__ = ["AdaptiveInflation", "Inflation", "Innovation", "RelaxationToPrior", "spread_out"]


class Innovation(NamedTuple):
    """What a value said about its prediction, in the terms of normal noise of whatever kind it was.

    Parameters
    ----------
    var : Tensor[r]
        Of the prediction before.
    error : Tensor[r]
        Value less prediction.
    noise : Tensor[r]
        Variance of the noise; infinite where the value said nothing.
    correlation : Tensor[r d]
        Of each state with the prediction, tapered.
    """

    var: Tensor
    error: Tensor
    noise: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Inflation:
    """None: the base of those that do something.

    Attributes
    ----------
    is_adaptive : bool
        Whether factors learn from values.
    """

    is_adaptive: ClassVar[bool] = False

    def renewed(self, factor: Tensor) -> Tensor:
        """Factors (r d) of the variance at a time with data, from those after the last."""
        return factor

    def learned(self, factor: Tensor, innovation: Innovation) -> Tensor:
        """Factors (r d) after a value."""
        return factor

    def relaxed(self, before: Tensor, after: Tensor) -> Tensor:
        """Members (r m d) after a value, given those before it."""
        return after


@dataclass(frozen=True)
class AdaptiveInflation(Inflation):
    """Factor of each state's variance that the values seen ask for: an error that is too large widens what it is about.

    Each factor has a normal law whose mean a value moves by Bayes' rule, in proportion to how much the state has to do
    with the value; so a state that no data are about keeps a factor of 1. A factor acts once at each time with data,
    and falls back towards 1 from one to the next.

    Parameters
    ----------
    sd : float
        Standard deviation of that law: no value moves a factor by more. Larger is faster and less steady.
    damping : float
        Share of ``factor - 1`` that is left at the next time. Nearer to 1 it mends larger faults of the model, and
        costs more where there are none.
    most : float
        Largest factor. The smallest is 1.

    Notes
    -----
    Where all is as modelled, factors still go up by chance and not below 1: variances are then some hundredths too
    large. To compare log evidence of parameters, or where the model is right, use none.

    References
    ----------
    Anderson, "Spatially and temporally varying adaptive covariance inflation for ensemble filters", Tellus A 61, 2009;
    with the spread of the law held fixed, and damped, as the Data Assimilation Research Testbed does by default.
    """

    is_adaptive: ClassVar[bool] = True

    sd: float = 0.6
    damping: float = 0.9
    most: float = 100.0

    def __post_init__(self) -> None:
        if not self.sd > 0.0:
            raise ParameterError(f"sd of adaptive inflation is a number above 0, but is {self.sd!r}.")
        if not 0.0 <= self.damping <= 1.0:
            raise ParameterError(f"damping of adaptive inflation is a share from 0 to 1, but is {self.damping!r}.")
        if not self.most >= 1.0:
            raise ParameterError(f"most of adaptive inflation is a factor of at least 1, but is {self.most!r}.")

    def renewed(self, factor: Tensor) -> Tensor:
        return 1.0 + self.damping * (factor - 1.0)

    def learned(self, factor: Tensor, innovation: Innovation) -> Tensor:
        root, gamma = factor.sqrt(), innovation.correlation.abs()
        widened = 1.0 + gamma * (root - 1.0)  # by which the prediction's spread has been inflated through this state
        bare = innovation.var[:, None] / widened.square()
        # total = theta^2 of Anderson 2009; slope: of log N(error; 0, theta^2) by the factor
        total = (innovation.var + innovation.noise)[:, None]
        by_factor = 0.5 * bare * gamma * widened / root  # d theta / d factor, times theta
        slope = (innovation.error.square()[:, None] / total - 1.0) / total * by_factor
        # mode of exp(-(x - factor)^2 / 2 sd^2) (1 + slope (x - factor))
        step = 2.0 * self.sd**2 * slope / (1.0 + (1.0 + 4.0 * (self.sd * slope).square()).sqrt())
        return (factor + step.nan_to_num(0.0)).clamp(1.0, self.most)


@dataclass(frozen=True)
class RelaxationToPrior(Inflation):
    """Share of the spread that a value took from a state, given back to it.

    Parameters
    ----------
    share : float
        0 leaves all as it is, 1 gives the whole spread back.

    References
    ----------
    Whitaker & Hamill, "Evaluating methods to account for system errors in ensemble data assimilation", Monthly Weather
    Review 140, 2012, equation 2; after each value rather than after all of a time.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ParameterError(f"share of the relaxation is a number from 0 to 1, but is {self.share!r}.")

    def relaxed(self, before: Tensor, after: Tensor) -> Tensor:
        old, new = before.var(dim=1), after.var(dim=1)
        lost = torch.where(new > 0.0, old / torch.where(new > 0.0, new, 1.0), 1.0).clamp(min=1.0)
        return spread_out(after, 1.0 + self.share * (lost.sqrt() - 1.0))


def spread_out(members: Tensor, factor: Tensor) -> Tensor:
    """Members (r m d) with anomalies multiplied by factors (r d); bit for bit where those are 1."""
    extra = (factor - 1.0)[:, None]
    return members + extra * (members - members.mean(dim=1, keepdim=True))
