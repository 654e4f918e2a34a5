"""Multilevel training: the first epochs take coarse steps in time, the last ones the steps of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tsode.evolutions.base import Solved
from tsode.numerics.base import Solver

__all__ = ["Levels"]

COARSER = 2.0  # times as long a step on the next level


class Levels:
    """Levels of the solvers in a model, from steps that are several times as long down to its own.

    A vector field does not know the steps that it is solved with, so that what it has learned on coarse steps needs no
    change to go on with finer ones: its weights are their own prolongation (Chang et al. 2018; Haber et al. 2017). Each
    level has as many epochs as the next, the last as many as are left; one that no longer gets better ends early.

    Parameters
    ----------
    model : nn.Module
        Of its parts, those that are solved have levels.
    n_levels : int
        1 = none but the finest.
    n_epochs : int
        Of all levels.
    n_last : int
        Epochs that the finest one has at least.

    Attributes
    ----------
    level : int
        0 is the finest.

    References
    ----------
    Chang et al., "Multi-level residual networks from dynamical systems view", ICLR 2018.
    Haber, Ruthotto, Holtham & Jun, "Learning across scales: multiscale methods for convolution neural networks", 2017.
    """

    def __init__(self, model: nn.Module, n_levels: int, n_epochs: int, n_last: int) -> None:
        self._parts = [part for part in model.modules() if isinstance(part, Solved)]
        self._own = [(part.solver, part.query_step) for part in self._parts]
        self._n_levels = n_levels if self._parts else 1
        self._n_each = min(n_epochs / self._n_levels, (n_epochs - n_last) / max(self._n_levels - 1, 1))
        self._began = 0.0
        self.level = 0
        self._set(self._n_levels - 1)

    @property
    def is_finest(self) -> bool:
        """Whether steps are the model's own."""
        return self.level == 0

    @property
    def n_levels(self) -> int:
        """Levels there are: one of a model without a solver."""
        return self._n_levels

    def end_epoch(self, epoch: int, has_stalled: bool) -> bool:
        """Go on to the next level where this one has had its epochs, or has stalled; whether that was done."""
        if self.is_finest or not (has_stalled or epoch - self._began >= self._n_each):
            return False
        self._began = epoch if has_stalled else self._began + self._n_each
        self._set(self.level - 1)
        return True

    @contextmanager
    def finest(self) -> Iterator[None]:
        """The model's own steps inside, those of the level again after."""
        level = self.level
        self._set(0)
        try:
            yield
        finally:
            self._set(level)

    def close(self) -> None:
        """Leave the model with its own steps."""
        self._set(0)

    def _set(self, level: int) -> None:
        self.level, factor = level, COARSER**level
        for part, (solver, query_step) in zip(self._parts, self._own):
            part.solver = solver.coarser(factor) if level else solver
            # queries are answered in steps of this length by the number of steps, which has fallen where there is one
            part.query_step = query_step * factor * _count(part.solver) / _count(solver)


def _count(solver: Solver) -> int:
    return getattr(solver, "n_steps", 1)
