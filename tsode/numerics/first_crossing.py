"""First crossing of a surface inside a step: found on the dense output, polished on a true step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.numerics.base import VectorField
from tsode.numerics.bracketed_root import narrow_bracket
from tsode.numerics.chebyshev import polynomial_root
from tsode.numerics.sign_change import SignChangeDetector
from tsode.numerics.stepwise import Step, StepwiseSolver, run_step
from tsode.numerics.surfaces import Trigger, as_signed, surface_values

__all__ = ["CrossingStep", "FirstCrossing", "find_first_crossing", "step_to_crossing"]

_N_SECANT = 4  # the dense output gives four digits or more, and each iteration doubles them
_N_PUSHES = 60  # each twice as far
_GRAZING = 1e-4
_N_ULPS = 4
_FINE = 1e-3  # of the tolerance, to which a jump is found
_SLOPE = 1e-5  # share of a part over which the slope is measured beside a kink
_JUMP = 1e-3  # share of its size that a function moves at one place only if it jumps there
_POLE = 100.0  # times its usual size on both sides


class FirstCrossing(NamedTuple):
    """The first crossing of each row, inside a step.

    Parameters
    ----------
    exists, is_pole, is_jump : Tensor[b], bool
        Whether there is one; whether the function has a pole there, and so no crossing; whether it jumps.
    z, start : Tensor[b d], Tensor[b]
        State and time at the start of the step.
    length, share : Tensor[b]
        Length of the step, and the share of it that passes before the crossing, on the dense output.
    kind : Tensor[b], int64
        The first in the list of the events that happen then.
    signs : Tensor[b e]
        Signs that the functions of all events that happen then take on; 0 for the others.
    rate, mean_rate : Tensor[b]
        Change of the function per time, at the crossing; its largest size since the last event, by the time since then.
    """

    exists: Tensor
    is_pole: Tensor
    is_jump: Tensor
    z: Tensor
    start: Tensor
    length: Tensor
    share: Tensor
    kind: Tensor
    signs: Tensor
    rate: Tensor
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
    detector: SignChangeDetector, z: Tensor, start: Tensor, since: Tensor, tol: float
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
    happens = detector.crossing != 0
    exists = happens.any(dim=1)
    if not exists.any():
        return None
    events, dt = detector.events, detector.dt

    def descent(share: Tensor) -> Tensor:
        """Surface functions (b e m), as if all crossings were falls, at shares (b e m) of the step."""
        stages = [stage[:, None] for stage in detector.stages.unbind(dim=1)]
        theta, length = share.flatten(1), dt[:, None, None].to(z)
        states = detector.solver.interpolate(z[:, None], stages, length, theta[..., None].to(z))
        times = start[:, None] + dt[:, None] * theta
        values = [
            as_signed(events[k // share.shape[2]].surface(times[:, k], states[:, k])) for k in range(theta.shape[1])
        ]
        return -detector.crossing[..., None] * torch.stack(values, dim=1).reshape(share.shape)

    # single precision cannot tell crossings apart that are closer than its rounding errors
    eps = torch.finfo(z.dtype).eps
    tol = max(tol, _N_ULPS * eps)
    # where the samples resolve the function, its root is that of their polynomial
    whole = torch.where(exists, dt, 1.0)[:, None]
    begin, span = detector.begin[:, None] / whole, detector.span[:, None] / whole
    root = polynomial_root(detector.value.nan_to_num(), detector.part, detector.value_low, detector.value_high)
    middle, width = begin + span * root, eps**0.4 * span
    low, high = (middle - width).maximum(detector.low), (middle + width).minimum(detector.high)
    value_low, value_high = descent(torch.stack([low, high], dim=2)).unbind(dim=2)
    is_root = happens & (value_low > 0) & (value_high < 0)
    fall = torch.where(is_root, value_low - value_high, 1.0)
    share, slope = low + (high - low) * value_low / fall, fall / torch.where(is_root, high - low, 1.0)
    is_jump = is_pole = torch.zeros_like(is_root)
    other = happens & ~is_root
    if other.any():  # a kink, a jump, a pole, a root at the very start, or two roots side by side
        low, high = (torch.where(other, end, 0.0) for end in (detector.low, detector.high))
        before, behind = (-detector.crossing * end for end in (detector.value_low, detector.value_high))
        found = narrow_bracket(lambda x: descent(x[..., None])[..., 0], low, high, before, behind, _FINE * tol)
        is_pole = other & (found.value_low.minimum(-found.value_high) > _POLE * detector.typical)
        size = before.abs() + behind.abs()
        is_jump = other & ~is_pole & (found.value_low - found.value_high > _JUMP * size)
        width = _SLOPE * (high - low)
        ends = torch.stack([(found.low - width).maximum(low), (found.high + width).minimum(high)], dim=2)
        beside = descent(ends)
        nearby = (beside[..., 0] - beside[..., 1]) / (ends[..., 1] - ends[..., 0]).clamp(min=torch.finfo(dt.dtype).tiny)
        share = torch.where(other, torch.where(is_jump | is_pole, found.high, found.low), share)
        slope = torch.where(other, torch.where(is_jump | is_pole, 0.0, nearby), slope)

    share = torch.where(happens, share, torch.inf)
    is_tied = happens & (share <= share.amin(dim=1, keepdim=True) + tol)
    signs = torch.where(is_tied & ~is_pole, detector.crossing, 0.0)
    is_met = signs != 0
    # the first in the list of those that are met
    kind = torch.where(is_met.any(dim=1, keepdim=True), is_met, is_tied).to(torch.int8).argmax(dim=1)

    def of_kind(x: Tensor) -> Tensor:
        return x.gather(1, kind[:, None])[:, 0]

    share = torch.where(exists, of_kind(share), 0.0)
    passed = (since + dt * share).clamp(min=torch.finfo(start.dtype).tiny)
    rate = of_kind(detector.crossing * slope) / whole[:, 0]
    return FirstCrossing(
        exists, exists & ~is_met.any(dim=1), of_kind(is_jump), z, start, dt, share, kind, signs, rate,
        of_kind(detector.largest) / passed,
    )  # fmt: skip


def step_to_crossing(
    crossing: FirstCrossing, field: VectorField, solver: StepwiseSolver, events: Sequence[Trigger], gradient: object
) -> CrossingStep:
    """Take a true step of the solver to the crossing, with the gradient of its time."""
    elapsed, step = _polish(crossing, field, solver, events)
    is_grazing = crossing.is_jump | ~(crossing.rate.abs() > _GRAZING * crossing.mean_rate)
    if not torch.is_grad_enabled():
        return CrossingStep(crossing.start + elapsed, step.z, is_grazing, step.stages)

    def surface_after(elapsed: Tensor, start: Tensor, z: Tensor, kind: Tensor) -> Tensor:
        step = run_step(gradient, solver.step, field, start, elapsed, z)
        values = surface_values(events, start + elapsed, step.z)
        return values.gather(1, kind[:, None])[:, 0]

    trial = elapsed.clone().requires_grad_()
    value = surface_after(trial, crossing.start.detach(), crossing.z.detach(), crossing.kind)
    rate = torch.zeros_like(elapsed)
    if value.requires_grad:
        (rate,) = torch.autograd.grad(value.sum(), trial, materialize_grads=True)
    # Implicit function theorem: a Newton step from the root, which moves the gradient alone.
    value = surface_after(elapsed, crossing.start, crossing.z, crossing.kind)
    is_steep = crossing.exists & ~is_grazing & (rate != 0)
    elapsed = elapsed - (value - value.detach()) / torch.where(is_steep, rate, torch.inf)
    step = run_step(gradient, solver.step, field, crossing.start, elapsed, crossing.z)
    return CrossingStep(crossing.start + elapsed, step.z, is_grazing, step.stages)


@torch.no_grad()
def _polish(
    crossing: FirstCrossing, field: VectorField, solver: StepwiseSolver, events: Sequence[Trigger]
) -> tuple[Tensor, Step]:
    """Time from the start of the step to the crossing, and a true step of this length."""
    start, z, length, kind = crossing.start.detach(), crossing.z.detach(), crossing.length, crossing.kind[:, None]

    def at(elapsed: Tensor) -> tuple[Step, Tensor]:
        step = solver.step(field, start, elapsed, z)
        return step, surface_values(events, start + elapsed, step.z).gather(1, kind)[:, 0]

    elapsed, rate = length * crossing.share, crossing.rate
    step, value = at(elapsed)
    resolution = 2 * torch.finfo(z.dtype).eps * length + torch.finfo(start.dtype).eps * start.abs()
    is_root = crossing.exists & ~crossing.is_pole & ~crossing.is_jump
    for _ in range(_N_SECANT):
        shift = value / torch.where(rate == 0, torch.inf, rate)
        is_open = is_root & (shift.abs() > resolution)
        if not is_open.any():  # the loop test
            break
        trial = torch.where(is_open, (elapsed - shift).clamp(min=0.0).minimum(length), elapsed)
        trial_step, trial_value = at(trial)
        is_better = is_open & (trial_value.abs() < value.abs())
        moved = torch.where(is_better & ((trial - elapsed).abs() > 1e-8 * length), trial - elapsed, torch.inf)
        rate = torch.where(moved == torch.inf, rate, (trial_value - value) / moved)
        is_root = is_root & (is_better | ~is_open)
        elapsed, value = torch.where(is_better, trial, elapsed), torch.where(is_better, trial_value, value)
        step = _choose(is_better, trial_step, step)
    # a true step may lie a little before the jump that was found on the dense output
    sign, push = crossing.signs.gather(1, kind)[:, 0], resolution
    for _ in range(_N_PUSHES):
        is_short = crossing.exists & crossing.is_jump & (value * sign <= 0)
        if not is_short.any():  # the loop test
            break
        elapsed = torch.where(is_short, elapsed + push, elapsed)
        trial_step, trial_value = at(elapsed)
        value, step, push = torch.where(is_short, trial_value, value), _choose(is_short, trial_step, step), 2.0 * push
    return elapsed, step


def _choose(is_new: Tensor, new: Step, old: Step) -> Step:
    of_row = is_new[:, None]
    stages = [torch.where(of_row, a, b) for a, b in zip(new.stages, old.stages)]
    return Step(torch.where(of_row, new.z, old.z), stages, torch.where(is_new, new.is_finite, old.is_finite))
