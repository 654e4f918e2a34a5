"""Resuming a filter: events as they are from a time on, when what came before is in the belief."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tsode.assimilation.system import StochasticSystem
from tsode.core.scheduled_events import EventKind, ScheduledEvents

__all__ = ["can_resume", "events_from"]

_RESETS = (int(EventKind.RESET), int(EventKind.RESET_ADD))


def can_resume(system: StochasticSystem) -> bool:
    """Whether events are over, or go on, at times that do not depend on parameters."""
    return all(not one.has_lag and one.rate is None and one.duration is None for one in system.doses.values())


def events_from(events: ScheduledEvents, t0: Tensor) -> ScheduledEvents:
    """The events (r k) that are still to come at ``t0`` (r,), and what is left of inputs that go on.

    Events at ``t0`` itself are to come.
    """
    is_past = events.time < t0[:, None]
    place = torch.arange(events.time.shape[1]).expand(events.time.shape)
    is_reset = torch.isin(events.kind, torch.tensor(_RESETS)) & is_past
    last_reset = torch.where(is_reset, place, -1).amax(dim=1, keepdim=True) if place.shape[1] else place
    end = events.time + events.duration
    runs_on = is_past & (events.duration > 0) & (end > t0[:, None]) & (place >= last_reset)
    left = torch.where(runs_on, end - t0[:, None], events.duration)
    share = torch.where(runs_on & events.duration.isfinite(), left / events.duration, 1.0)
    return replace(
        events,
        time=torch.where(runs_on, t0[:, None], torch.where(is_past, torch.inf, events.time)),
        kind=torch.where(runs_on, int(EventKind.ADD), events.kind),
        amount=events.amount * share,
        duration=left,
    )
