"""Contact that stays: a reset onto a surface that the field still drives the state through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.stepwise import StepwiseSolver
from tsode.numerics.surfaces import Surface, Trigger, surface_values

__all__ = ["stays_in_contact"]

_PUSH = 1e-4  # share of a step by which a state is pushed


@torch.no_grad()
def stays_in_contact(
    events: Sequence[Trigger], field: VectorField, solver: StepwiseSolver, t: Tensor, z_minus: Sequence[Tensor],
    z: Tensor, surface: Surface, is_on: Tensor, signs: Tensor, length: Tensor,
) -> Tensor:  # fmt: skip
    """Rows (b,) whose state a reset holds on a surface while the field drives it through.

    A reset holds a state if it takes back a push along the field: a floor, not a counter, a kick or a bounce, after
    which the function has moved as far as without the reset.

    Parameters
    ----------
    t, z : Tensor[b], Tensor[b d]
        Time of the events, and state after all resets.
    z_minus : sequence of Tensor[b d]
        For each event, the state before its reset.
    surface : Surface
        At `t` and `z`.
    is_on : Tensor[b e], bool
        Whether the value there is zero up to rounding errors.
    signs : Tensor[b e]
        Signs that the functions of events which have just happened take on, else 0.
    length : Tensor[b]
        Of a step.
    """
    has_reset = torch.tensor([event.reset is not None for event in events], device=t.device)
    may_stay = has_reset & (signs != 0) & is_on & (surface.rate * signs >= 0)
    if not may_stay.any():
        return may_stay.any(dim=1)
    push = _PUSH * length
    falls = surface_values(events, t + push, solver.step(field, t, push, z).z) * signs > surface.rounding
    may_stay = may_stay & ((surface.rate != 0) | falls)
    holds = torch.zeros_like(may_stay)
    for k, event in enumerate(events):
        if event.reset is None:
            continue
        pushed = z_minus[k] + push[:, None].to(z) * field(t, z_minus[k])
        without = surface_values([event], t + push, pushed) - surface_values([event], t, z_minus[k])
        back, there = event.reset(t + push, pushed), event.reset(t, z_minus[k])
        moved = surface_values([event], t + push, back) - surface_values([event], t, there)
        holds[:, k] = ((moved.abs() <= 0.5 * without.abs()) & (without.abs() > surface.rounding[:, k : k + 1]))[:, 0]
    return (may_stay & holds).any(dim=1)
