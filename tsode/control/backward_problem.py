"""Backward equation: its terminal value, its driver, and the value that a gradient gives along paths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsode.control.forward_sde import ForwardSDE, Paths
from tsode.errors import DataError, ShapeError

__all__ = ["BackwardProblem", "Driver", "Gradient", "Terminal", "pathwise"]

Terminal = Callable[[Tensor], Tensor]
Driver = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class BackwardProblem:
    """Equation ``-dY = f(t, X, Y, Z) dt - Z dW`` with ``Y(T) = g(X(T))``, on a grid of times.

    Parameters
    ----------
    forward : ForwardSDE
    start : Tensor[d]
    times : Tensor[n+1], float64
    g, f : callable
        See `backward_sde`; `f` None is 0.
    n_substeps : int
    """

    forward: ForwardSDE
    start: Tensor
    times: Tensor
    g: Terminal
    f: Driver | None
    n_substeps: int = 1

    def paths(self, n: int, generator: torch.Generator) -> Paths:
        return self.forward.paths(self.start, self.times, n, self.n_substeps, generator)

    def terminal(self, x: Tensor) -> Tensor:
        """Terminal value (b,) of states (b d)."""
        return _checked("g", self.g(x), len(x))

    def driver(self, i: int, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Driver (b,) at the time of place `i`."""
        if self.f is None:
            return torch.zeros_like(y)
        return _checked("f", self.f(self.times[i].expand(len(x)), x, y, z), len(x))

    def terminal_slope(self, x: Tensor) -> Tensor:
        """What `Z` is at the end (n b k) if paths (n b d) end where they are: the slope of g times the diffusion."""
        n, b, d = x.shape
        with torch.enable_grad():
            at = x.detach().reshape(-1, d).requires_grad_()
            value = self.terminal(at)
            slope = torch.zeros_like(at)
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), at, materialize_grads=True)
        with torch.no_grad():
            t = self.times[:n].repeat_interleave(b)
            row = [self.forward.times_noise(t[k : k + b], at.detach()[k : k + b], slope[k : k + b])
                   for k in range(0, n * b, b)]  # fmt: skip
            return torch.stack(row)


class Gradient(ABC):
    """What a method has found of ``Y`` and ``Z`` as functions of time and state."""

    history: list[dict[str, Any]]
    value: float

    @abstractmethod
    def along(self, paths: Paths) -> tuple[Tensor, Tensor]:
        """``Y`` (n b) and ``Z`` (n b k) at the starts of the steps of paths."""


def pathwise(problem: BackwardProblem, paths: Paths, y: Tensor, z: Tensor) -> Tensor:
    """Values (b,) at the start, ``g + sum f dt - sum Z dW``: their mean is ``Y(0)``; exact ``Z`` make them equal."""
    total = problem.terminal(paths.x[-1]) - (z * paths.dw).sum(dim=(0, 2))
    for i, h in enumerate(paths.t.diff()):
        total = total + h * problem.driver(i, paths.x[i], y[i], z[i])
    return total


def _checked(name: str, value: Any, b: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise DataError(f"{name} must give a tensor ({b},), but gave {type(value).__name__}: use functions of torch.")
    if tuple(value.shape) != (b,):
        raise ShapeError(
            f"{name} must give one number a path, a tensor of shape ({b},), but gave {tuple(value.shape)}: reduce over "
            "the last axis, as in x.square().sum(dim=-1)."
        )
    return value
