"""Vector field that cannot break what it promises: the base class of structured dynamics."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tsode.dynamics.base import Dynamics
from tsode.errors import ParameterError, ShapeError

__all__ = ["Guarantee", "Structured", "finite_exp"]

MOST = 20.0  # of the logarithm of a rate: a field faster than that no solver could follow


@dataclass(frozen=True)
class Guarantee:
    """Promise of a field beside what was measured.

    Parameters
    ----------
    promise : str
        As a formula.
    measured, bound : float
        The promise is that the first is not above the second.
    rounding : float
        By which it may be, in the precision of the field.
    """

    promise: str
    measured: float
    bound: float
    rounding: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it was kept; a number that is not finite keeps nothing."""
        return self.measured <= self.bound + self.rounding

    def __str__(self) -> str:
        word = "kept" if self.holds else "BROKEN"
        return f"{self.promise}: measured {self.measured:.6g}, promised at most {self.bound:.6g}, {word}"


class Structured(Dynamics):
    """Field of a state ``[x, theta]`` with a structure that no weights can break; ``theta`` stands still and is read.

    A member promises what its `check` measures, for all weights, in any precision, for every fixed ``theta``.

    Parameters
    ----------
    n_state : int
        Width of the whole state.
    n_static : int
        Coordinates of ``theta``, the last ones: parameters of one series.
    """

    def __init__(self, n_state: int, n_static: int = 0) -> None:
        super().__init__(n_state)
        if not 0 <= n_static < n_state:
            raise ParameterError(f"n_static={n_static} must leave some of n_state={n_state} to move.")
        self.n_static = n_static
        self.n_moving = n_state - n_static

    @property
    def n_pairs(self) -> int:
        """Half of what moves, in a field of as many positions as velocities or momenta.

        Raises
        ------
        ParameterError
            If it has no half.
        """
        if self.n_moving % 2:
            raise ParameterError(
                "There are as many velocities, or momenta, as positions: "
                f"n_state={self.n_state} less n_static={self.n_static} must be even."
            )
        return self.n_moving // 2

    @abstractmethod
    def motion(self, t: Tensor, x: Tensor, theta: Tensor) -> Tensor:
        """Rate of change of what moves: ``t`` (b,) float64, ``x`` (b n_moving), ``theta`` (b n_static) -> as `x`."""

    @abstractmethod
    def measure(self, t: Tensor, x: Tensor, theta: Tensor) -> tuple[Guarantee, ...]:
        """Promises at these states; arguments as of `motion`."""

    def drift(self, t: Tensor, z: Tensor) -> Tensor:
        rate = self.motion(t, z[:, : self.n_moving], z[:, self.n_moving :])
        return functional.pad(rate, (0, self.n_static)) if self.n_static else rate

    def check(self, states: Tensor, t: Tensor | None = None) -> tuple[Guarantee, ...]:
        """What the field promises, measured at states of your own.

        Parameters
        ----------
        states : Tensor[b d]
            In model units.
        t : Tensor[b], optional
            Times; 0 by default.

        Raises
        ------
        ShapeError
            If states are not of the width of the field.
        """
        if states.dim() != 2 or states.shape[1] != self.n_state or not len(states):
            raise ShapeError(f"states must have the shape (b, {self.n_state}), b > 0, not {tuple(states.shape)}.")
        times = torch.zeros(len(states), dtype=torch.float64, device=states.device) if t is None else t
        like = next(self.parameters(), states)
        states = states.to(like)
        return self.measure(times, states[:, : self.n_moving], states[:, self.n_moving :])


def finite_exp(logarithm: Tensor) -> Tensor:
    """Exponential of a weight, whatever it is: between 2e-9 and 5e8."""
    return logarithm.clamp(-MOST, MOST).exp()
