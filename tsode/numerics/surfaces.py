"""Triggers: surfaces that a state may cross, and its reset there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.errors import ParameterError
from tsode.numerics.base import VectorField

__all__ = ["Surface", "Trigger", "as_signed", "evaluate_surfaces", "surface_values"]

# Rounding errors of a surface function, in units of the last place of what it is computed from.
_N_ULPS = 8


@dataclass(frozen=True)
class Trigger:
    """A surface in time and state, and the change of a state that crosses it.

    Parameters
    ----------
    surface : callable
        ``surface(t, z)``: ``t`` (b,) float64, ``z`` (b d) -> (b,), each row by itself; the surface is where it is zero.
        Its parameters (of a module, or tensors it closes over) get gradients where it is differentiable by autograd.
        One that jumps, or tells true from false, is crossed where it jumps; where it is flat and zero it has the sign
        that it had before. At a pole it is not crossed.
    direction : {-1, 0, 1}
        Which crossings count: where `surface` falls (-1), rises (1), or both (0).
    reset : callable, optional
        ``reset(t, z) -> z`` (b d): state just after the event. Without one the state goes on as it is.
    terminal : bool
        Whether a row ends at this event, after the reset.
    fn : callable, optional
        The name of `surface` before 0.2.
    """

    surface: Callable[[Tensor, Tensor], Tensor] = None  # type: ignore[assignment]  # optional only beside `fn`
    direction: int = 0
    reset: Callable[[Tensor, Tensor], Tensor] | None = None
    terminal: bool = False
    fn: InitVar[Callable[[Tensor, Tensor], Tensor] | None] = None

    def __post_init__(self, fn: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        if fn is not None:
            warnings.warn("fn= of Trigger is called surface= now.", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "surface", fn)
        if self.direction not in (-1, 0, 1):
            raise ParameterError(
                f"direction must be -1 (surface falls), 0 (both) or 1 (surface rises), but is {self.direction!r}."
            )
        if not callable(self.surface) or not (self.reset is None or callable(self.reset)):
            raise ParameterError(
                f"surface and reset must be callable with (t, z), but are {self.surface!r} and {self.reset!r}: "
                "write for instance Trigger(lambda t, z: z[:, 0], direction=-1)."
            )


class Surface(NamedTuple):
    """Surface functions of all events at a state.

    Parameters
    ----------
    value, rate : Tensor[b e], float64
        Of the surface functions, and their change per time along the flow.
    rounding : Tensor[b e], float64
        Values closer to zero than this are zero up to rounding errors.
    """

    value: Tensor
    rate: Tensor
    rounding: Tensor


def as_signed(value: Tensor) -> Tensor:
    """Values of a surface function as float64; of one that tells true from false, 1 and -1."""
    return value.double() if value.dtype != torch.bool else torch.where(value, 1.0, -1.0).double()


def surface_values(events: Sequence[Trigger], t: Tensor, z: Tensor) -> Tensor:
    """Surface functions at ``t`` (b,), ``z`` (b d): Tensor[b e], float64."""
    return torch.stack([as_signed(event.surface(t, z)) for event in events], dim=1)


def evaluate_surfaces(events: Sequence[Trigger], field: VectorField, t: Tensor, z: Tensor, size: Tensor) -> Surface:
    """Values, rates and rounding errors of the surface functions, without a gradient.

    Parameters
    ----------
    size : Tensor[b d]
        Magnitude of the numbers from which `z` was computed.
    """
    with torch.no_grad():
        velocity = field(t, z).double()
    with torch.inference_mode(False), torch.enable_grad():
        t, z = t.detach().clone().requires_grad_(), z.detach().clone().requires_grad_()
        values, rates, roundings = [], [], []
        for event in events:
            value = event.surface(t, z)
            by_t, by_z = torch.zeros_like(t), torch.zeros_like(z)
            if value.requires_grad:
                by_t, by_z = torch.autograd.grad(value.sum(), (t, z), allow_unused=True, materialize_grads=True)
            by_z = by_z.double()
            rate = by_t + (by_z * velocity).sum(dim=1)
            of_state = torch.finfo(z.dtype).eps * (by_z.abs() * size.detach()).sum(dim=1)
            of_time = torch.finfo(t.dtype).eps * t.abs() * (by_t.abs() + rate.abs())
            values.append(as_signed(value.detach()))
            rates.append(rate)
            roundings.append(_N_ULPS * (of_state + of_time).detach())
    return Surface(torch.stack(values, dim=1), torch.stack(rates, dim=1).detach(), torch.stack(roundings, dim=1))
