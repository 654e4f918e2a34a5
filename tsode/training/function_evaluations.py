"""Function evaluations: a count of the calls of a model's vector fields."""

from __future__ import annotations

from typing import Any

from torch import nn

from tsode.evolutions.base import Solved

__all__ = ["EvaluationCounter"]


class EvaluationCounter:
    """Counts the calls of every vector field in a model that a solver steps through, until it is closed.

    Fused passes and flows in closed form call none, and are not counted.

    Parameters
    ----------
    model : nn.Module

    Attributes
    ----------
    n_calls : int
        Since the last `take`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.n_calls = 0
        fields = {part.dynamics for part in model.modules() if isinstance(part, Solved)}
        self._handles = [
            field.register_forward_hook(self._count) for field in fields if isinstance(field, nn.Module)
        ]  # fmt: skip

    def _count(self, *_: Any) -> None:
        self.n_calls += 1

    def take(self) -> int:
        """The number of calls so far, which then starts from zero again."""
        taken, self.n_calls = self.n_calls, 0
        return taken

    def close(self) -> None:
        """Count no more."""
        for handle in self._handles:
            handle.remove()
