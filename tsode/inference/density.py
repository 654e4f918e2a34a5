"""Density that inference asks: the log posterior of some problems at points in unconstrained coordinates."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Density", "hurried", "reseeded", "select", "surrogate"]


@runtime_checkable
class Density(Protocol):
    """Log posteriors of `g` problems that do not touch, over `p` unconstrained coordinates each.

    Problems are data sets with parameters all their own: series, or simulated data. Points are starts, chains or draws.

    A density may also have a method ``select(problems: Tensor[k]) -> Density`` that leaves out the other problems;
    without it they are computed along. One some of whose points are very dear may have a method
    ``hurried() -> Density``: the same where it is cheap, and -inf elsewhere. One that is estimated by random numbers
    may have ``with_seed(k: int) -> Density``: the estimate by other numbers, the mean of whose exponential is the same.
    One that is rough may have ``surrogate() -> Density``: something smooth and like it, by which modes are sought.

    Attributes
    ----------
    names : tuple of str
        Of the coordinates.
    n_problems : int
    """

    names: tuple[str, ...]
    n_problems: int

    def log_prob(self, u: Tensor) -> Tensor:
        """Log prior, log likelihood and log Jacobian, summed: (g b p) -> (g b), float64, differentiable.

        No row depends on another. Where a solve has failed it is -inf, and the gradient of that row is zero.
        """
        ...

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of the prior: (g n p). Problems with the same prior had best share theirs.

        Only then does a problem's answer not depend on which others are in the batch.
        """
        ...


class _Selected:
    """Some problems of a density that cannot leave out the others: these are computed at the first one's points."""

    def __init__(self, density: Density, problems: Tensor) -> None:
        self.names, self.n_problems = density.names, len(problems)
        self.density, self.problems = density, problems
        self._filler = torch.zeros(density.n_problems, dtype=torch.long)
        self._filler[problems] = torch.arange(len(problems))

    def log_prob(self, u: Tensor) -> Tensor:
        return self.density.log_prob(u[self._filler])[self.problems]

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        return self.density.sample_prior(n, generator)[self.problems]


def select(density: Density, problems: Tensor) -> Density:
    """Some problems of a density, by their places."""
    if len(problems) == density.n_problems and bool((problems == torch.arange(len(problems))).all()):
        return density
    if hasattr(density, "select"):
        return density.select(problems)
    return _Selected(density, problems)


def hurried(density: Density) -> Density:
    """The density where it is cheap, -inf elsewhere; the density itself where all points cost the same."""
    return _asked(density, "hurried")


def reseeded(density: Density, k: int) -> Density:
    """The density as another seed estimates it; the density itself where nothing is estimated."""
    return _asked(density, "with_seed", k)


def surrogate(density: Density) -> Density:
    """Something smooth that is like the density; the density itself where it has nothing of the kind."""
    return _asked(density, "surrogate")


def _asked(density: Density, method: str, *arguments: int) -> Density:
    """What a method gives that a density may have; the density itself where it has not."""
    if isinstance(density, _Selected):
        inner = _asked(density.density, method, *arguments)
        return density if inner is density.density else _Selected(inner, density.problems)
    found: Any = getattr(density, method)(*arguments) if hasattr(density, method) else density
    return found
