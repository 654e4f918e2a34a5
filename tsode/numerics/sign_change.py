"""Sign changes of surface functions inside the steps of a solver."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsode.numerics.chebyshev import N_PARTS
from tsode.numerics.stepwise import Step, StepwiseSolver
from tsode.numerics.surface_samples import SurfaceSampler
from tsode.numerics.surface_window import Window, WindowReader
from tsode.numerics.surfaces import Trigger

__all__ = ["SignChangeDetector"]

_LEAST = 2.0**-12  # share of a step below which a window is not cut any further
_SHORT = 2.0**-5  # below which one jump may be taken for one, or none is cut where crossings were missed already
_N_ULPS = 4


class SignChangeDetector:
    """Stops a row at the start of the first step inside of which one of its events happens.

    A row looks through each step in windows, in each of which it samples the surface functions at 33 points. A window
    in which they are not resolved (see `WindowReader`) is cut, and how long windows may be is remembered for what
    follows; where a function turns close to zero, a short window is laid around that place. Ordinary functions need
    one window a step. Cutting ends at 2^-12 of a step, and `unclear` tells where that was not enough.

    Attributes
    ----------
    dt : Tensor[b], float64
        Length of the step in which a row was stopped.
    stages : Tensor[b k d]
        Of that step.
    crossing : Tensor[b e]
        Sign that the event's function takes on in that step, or 0 where it does not happen there.
    begin, span : Tensor[b]
        Begin of the window in which the row was stopped, as time since that of the step, and its length.
    value, typical : Tensor[b e n+1], Tensor[b e]
        In this window: the samples, and the median size of the functions.
    part : Tensor[b e], int64
        Part of the window in which the event happens.
    low, high, value_low, value_high : Tensor[b e]
        Shares of the step at the ends of this part, and the values there.
    largest : Tensor[b e]
        Largest size of the function before that.
    unclear : Tensor[b e], float64
        The first time at which a function changed too fast to be followed; else infinite.
    """

    def __init__(self, solver: StepwiseSolver, events: Sequence[Trigger], t: Tensor, z: Tensor) -> None:
        self.solver, self.events = solver, events
        self._sample, self._reader = SurfaceSampler(events), WindowReader(t.device, z.dtype)
        self._direction = t.new_tensor([event.direction for event in events])
        self._width, self._rough = torch.full_like(t, torch.inf), torch.full_like(t, -torch.inf)
        self.unclear = t.new_full((len(t), len(events)), torch.inf)
        nothing = torch.zeros_like(self.unclear)
        self.arm(nothing, nothing, nothing)
        self.dt = self.begin = self.span = torch.zeros_like(t)
        self.stages = z[:, None].detach()
        self.value, self.part = nothing[..., None].expand(-1, -1, N_PARTS + 1), nothing.long()
        self.low = self.high = self.value_low = self.value_high = self.typical = nothing

    def arm(self, value: Tensor, sign: Tensor, rounding: Tensor) -> None:
        """Start afresh from values (b e) of the surface functions.

        Parameters
        ----------
        sign : Tensor[b e]
            The last one that was not zero.
        rounding : Tensor[b e]
            Values closer to zero than this have no sign.
        """
        self.sign, self.rounding, self.largest = sign, rounding, value.abs()
        self.crossing = torch.zeros_like(value)

    @torch.no_grad()
    def __call__(self, z: Tensor, step: Step, t: Tensor, dt: Tensor, is_accepted: Tensor) -> Tensor:
        is_open = is_accepted & (dt > 0)
        is_stopped = torch.zeros_like(is_open)
        begin, near = torch.zeros_like(dt), torch.full_like(dt, torch.inf)
        rounding = self.rounding
        whole, least = torch.where(is_open, dt, 1.0), _N_ULPS * torch.finfo(dt.dtype).eps * dt
        while is_open.any():  # the loop test
            rest = dt - begin
            span = self._width.minimum(near).minimum(rest)
            share = ((begin[:, None] + span[:, None] * self._reader.points) / whole[:, None]).clamp(0.0, 1.0)
            value = self._sample(t[:, None] + dt[:, None] * share, self._states(z, step, dt, share))
            glance = self._reader.glance(value, self.sign)
            is_quiet = glance.is_quiet & (near == torch.inf)
            if (is_quiet | ~is_open).all():  # most windows end here
                self._pass(is_open, is_open, glance.is_calm, span, t + begin, value.abs().amax(dim=1))
                begin = torch.where(is_open, begin + span, begin)
                is_open = is_open & (dt - begin > least)
                continue
            window = self._reader.read(value, self.sign, glance, rounding)
            # what is nearer to zero than the errors in a long window is not looked at closer
            rounding = torch.where((~is_quiet & (near == torch.inf))[:, None], rounding.maximum(window.noise), rounding)
            is_change = window.is_change & ((self._direction == 0) | (window.sign[:, 1:] == self._direction))
            happens, part = is_change.any(dim=2).any(dim=1), is_change.any(dim=2).to(torch.int8).argmax(dim=1)

            is_least = span <= 2.0 * dt * torch.where(self.unclear.isinf().all(dim=1), _LEAST, _SHORT)
            is_known = window.is_resolved | (window.is_step & (span <= _SHORT * dt)[:, None])
            is_good = is_known.all(dim=1) | is_least
            is_near, node, width = self._dip(window, span)
            is_near = is_near & is_good & (width > _LEAST * dt) & (~happens | (node + 1 <= part))
            is_found = is_open & is_good & ~is_near & happens
            goes_on = is_open & ~is_found
            last = torch.where(is_good, torch.where(is_near, node - 1, N_PARTS), 0)  # the last point that counts
            if is_found.any():
                self._note(is_found, dt, begin, span, share, value, is_change, window, step)

            seen = torch.arange(N_PARTS + 1, device=t.device) <= torch.where(is_found, part, last)[:, None]
            size = torch.where(seen[..., None], value.abs(), 0.0).amax(dim=1)
            self._pass(is_open, goes_on & is_good & ~is_near, glance.is_calm, span, t + begin, size)
            at_last = window.sign.gather(1, last[:, None, None].expand(-1, 1, value.shape[2]))[:, 0]
            self.sign = torch.where(goes_on[:, None], at_last, self.sign)
            is_unclear = (goes_on & is_least)[:, None] & ~is_known & window.is_swinging
            self.unclear = self.unclear.minimum(torch.where(is_unclear, (t + begin)[:, None], torch.inf))
            is_cut = goes_on & ~is_good
            self._width = torch.where(is_cut, span * torch.where(window.is_smooth.all(dim=1), 0.5, 0.125), self._width)
            self._rough = torch.where(is_cut, t + begin, self._rough)
            begin = torch.where(goes_on, begin + span * self._reader.points[last], begin)
            near = torch.where(is_near, width, torch.inf)
            is_stopped = is_stopped | is_found
            is_open = goes_on & (dt - begin > least)
        return is_stopped

    def _states(self, z: Tensor, step: Step, dt: Tensor, share: Tensor) -> Tensor:
        """States (b s d) at shares (b s) of the step."""
        stages = [part[:, None] for part in step.stages]
        return self.solver.interpolate(z[:, None], stages, dt[:, None, None].to(z), share[..., None].to(z))

    def _dip(self, window: Window, span: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether a function may pass zero where it turns, beside which point, and how wide to look around there."""
        is_dip = window.is_dip.any(dim=2)
        place = is_dip.to(torch.int8).argmax(dim=1)
        row = torch.arange(len(span), device=span.device)
        event = window.is_dip[row, place].to(torch.int8).argmax(dim=1)
        width = 2.0 * (window.turn[row, place, event] - self._reader.points[place]) * span
        return is_dip.any(dim=1), place + 1, width

    def _pass(self, is_open: Tensor, is_done: Tensor, is_calm: Tensor, span: Tensor, now: Tensor, size: Tensor) -> None:
        """Remember the size (b e) of the functions in a window, and how long the next may be.

        What made windows short may come again after a while: behind it they grow with the time since.
        """
        self.largest = torch.where(is_open[:, None], self.largest.maximum(size.nan_to_num(nan=0.0)), self.largest)
        longer = (2.0 * self._width).minimum(self._width.maximum(0.5 * (now + span - self._rough)))
        self._width = torch.where(is_done & is_calm.all(dim=1), longer, self._width)

    def _note(
        self, is_found: Tensor, dt: Tensor, begin: Tensor, span: Tensor, share: Tensor, value: Tensor,
        is_change: Tensor, window: Window, step: Step,
    ) -> None:  # fmt: skip
        """Keep what is known of the crossing in the rows where one was found."""

        def keep(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(is_found.reshape(-1, *(1,) * (new.dim() - 1)), new, old)

        part = is_change.to(torch.int8).argmax(dim=1)
        low, high = share.gather(1, part), share.gather(1, part + 1)
        value_low, value_high = (value.gather(1, (part + k)[:, None])[:, 0] for k in (0, 1))
        sign = window.sign.gather(1, (part + 1)[:, None])[:, 0]
        self.crossing = keep(torch.where(is_change.any(dim=1), sign, 0.0), self.crossing)
        self.dt, self.begin, self.span = keep(dt, self.dt), keep(begin, self.begin), keep(span, self.span)
        self.stages = keep(torch.stack([stage.detach() for stage in step.stages], dim=1), self.stages)
        self.value = keep(value.mT, self.value)
        self.typical, self.part = keep(window.typical, self.typical), keep(part, self.part)
        self.low, self.high = keep(low, self.low), keep(high, self.high)
        self.value_low, self.value_high = keep(value_low, self.value_low), keep(value_high, self.value_high)
