"""First crossing of a surface inside a step: found on the dense output, polished on a true step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.bracketed_root import last_before_root
from tsode.numerics.sign_change import SignChangeDetector
from tsode.numerics.stepwise import StepwiseSolver, run_step
from tsode.numerics.surfaces import Trigger, surface_values

__all__ = ["CrossingStep", "FirstCrossing", "find_first_crossing", "step_to_crossing"]

_N_NEWTON = 3  # the dense output gives four digits or more, and each iteration doubles them
_GRAZING = 1e-4
_N_ULPS = 4


class FirstCrossing(NamedTuple):
    """The first crossing of each row, inside a step.

    Parameters
    ----------
    exists : Tensor[b], bool
        Whether there is one.
    z, start : Tensor[b d], Tensor[b]
        State and time at the start of the step.
    length, share : Tensor[b]
        Length of the step, and the share of it that passes before the crossing, on the dense output.
    kind : Tensor[b], int64
        The first in the list of the events that happen then.
    signs : Tensor[b e]
        Signs that the functions of all events that happen then take on; 0 for the others.
    mean_rate : Tensor[b]
        Largest size of the function since the last event, by the time since then.
    """

    exists: Tensor
    z: Tensor
    start: Tensor
    length: Tensor
    share: Tensor
    kind: Tensor
    signs: Tensor
    mean_rate: Tensor


class CrossingStep(NamedTuple):
    """A step that ends at a crossing.

    Parameters
    ----------
    time, z : Tensor[b], Tensor[b d]
        Of the crossing, and the state just before it.
    is_grazing : Tensor[b], bool
        As in `tsode.numerics.crossings.Crossings`.
    stages : sequence of Tensor[b d]
        As in `tsode.numerics.stepwise.Step`.
    """

    time: Tensor
    z: Tensor
    is_grazing: Tensor
    stages: Sequence[Tensor]


@torch.no_grad()
def find_first_crossing(
    detector: SignChangeDetector, field: VectorField, z: Tensor, start: Tensor, since: Tensor, tol: float
) -> FirstCrossing | None:
    """Find the first crossing in the step before which each row was stopped; None where no row was.

    Parameters
    ----------
    z, start : Tensor[b d], Tensor[b]
        State and time at which rows were stopped.
    since : Tensor[b]
        Time from the last event to `start`.
    tol : float
        Share of a step within which crossings are simultaneous.
    """
    exists = (detector.crossing != 0).any(dim=1)
    if not exists.any():
        return None
    solver, events = detector.solver, detector.events
    order = torch.arange(len(events), device=z.device)
    step = solver.step(field, start, detector.dt, z)
    stages = [torch.where(exists[:, None], stage, 0.0)[:, None] for stage in step.stages]
    length = detector.dt[:, None, None].to(z)

    def descent(share: Tensor) -> Tensor:
        """Surface functions (b e), as if all crossings were falls, at shares (b e) of the step."""
        states = solver.interpolate(z[:, None], stages, length, share[..., None].to(z))
        values = [event.surface(start + detector.dt * share[:, k], states[:, k]) for k, event in enumerate(events)]
        return -detector.crossing * torch.stack([value.double() for value in values], dim=1)

    # single precision cannot tell crossings apart that are closer than its rounding errors
    tol = max(tol, _N_ULPS * torch.finfo(z.dtype).eps)
    low, high = detector.low, detector.high
    share = last_before_root(descent, low, high, descent(low), descent(high), 0.5 * tol)
    share = torch.where(detector.crossing != 0, share, torch.inf)
    first = share.amin(dim=1, keepdim=True)
    is_tied = (share <= first + tol) & (detector.crossing != 0)
    kind = torch.where(is_tied, order, len(events)).amin(dim=1).clamp(max=len(events) - 1)
    share = torch.where(exists, share.gather(1, kind[:, None])[:, 0], 0.0)
    passed = (since + detector.dt * share).clamp(min=torch.finfo(start.dtype).tiny)
    mean_rate = detector.largest.gather(1, kind[:, None])[:, 0] / passed
    signs = torch.where(is_tied, detector.crossing, 0.0)
    return FirstCrossing(exists, z, start, detector.dt, share, kind, signs, mean_rate)


def step_to_crossing(
    crossing: FirstCrossing, field: VectorField, solver: StepwiseSolver, events: Sequence[Trigger], gradient: str
) -> CrossingStep:
    """Take a true step of the solver to the crossing, with the gradient of its time."""

    def surface_after(elapsed: Tensor, start: Tensor, z: Tensor, kind: Tensor) -> Tensor:
        step = run_step(gradient, solver.step, field, start, elapsed, z)
        values = surface_values(events, start + elapsed, step.z)
        return values.gather(1, kind[:, None])[:, 0]

    def with_rate(elapsed: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            elapsed = elapsed.clone().requires_grad_()
            start, z, kind = crossing.start.detach().clone(), crossing.z.detach().clone(), crossing.kind.clone()
            value = surface_after(elapsed, start, z, kind)
            (rate,) = torch.autograd.grad(value.sum(), elapsed)
        return value.detach(), rate

    elapsed = (crossing.length * crossing.share).detach()
    value, rate = with_rate(elapsed)
    of_length, of_time = 2 * torch.finfo(crossing.z.dtype).eps, torch.finfo(value.dtype).eps
    resolution = of_length * crossing.length + of_time * crossing.start.abs()
    nothing = torch.zeros_like(elapsed)
    for _ in range(_N_NEWTON):
        shift = value / torch.where(rate == 0, torch.inf, rate)
        is_open = crossing.exists & (shift.abs() > resolution)
        if not is_open.any():  # the loop test
            break
        trial = torch.where(is_open, (elapsed - shift).maximum(nothing).minimum(crossing.length), elapsed)
        trial_value, trial_rate = with_rate(trial)
        is_better = trial_value.abs() < value.abs()
        elapsed, value, rate = (
            torch.where(is_better, new, old)
            for new, old in ((trial, elapsed), (trial_value, value), (trial_rate, rate))
        )
    # the last correction is too small to need a value of its own
    shift = value / torch.where(rate == 0, torch.inf, rate)
    shift = torch.where(crossing.exists & (shift.abs() <= resolution), shift, 0.0)
    elapsed = (elapsed - shift).maximum(nothing).minimum(crossing.length).detach()
    is_grazing = rate.abs() <= _GRAZING * crossing.mean_rate
    if torch.is_grad_enabled():
        # Implicit function theorem: a Newton step from the root, which moves the gradient alone.
        value = surface_after(elapsed, crossing.start, crossing.z, crossing.kind)
        is_steep = crossing.exists & (rate.abs() > _GRAZING * crossing.mean_rate)
        shift = (value - value.detach()) / torch.where(is_steep, rate, torch.inf)
        elapsed = elapsed - shift
    step = run_step(gradient, solver.step, field, crossing.start, elapsed, crossing.z)
    return CrossingStep(crossing.start + elapsed, step.z, is_grazing, step.stages)
