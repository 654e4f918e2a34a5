"""Staged fields: rates that change at stops alone are solved exactly from one to the next."""

from __future__ import annotations

import math

import torch

from tsode.core.scheduled_events import EventKind, ScheduledEvents
from tsode.numerics.dopri5 import Dopri5
from tsode.numerics.scheduled_events import solve_scheduled
from tsode.numerics.staged_field import StagedField


def marks(*times: float) -> ScheduledEvents:
    time = torch.tensor([times], dtype=torch.float64)
    none, whole = torch.zeros_like(time), torch.zeros_like(time).long()
    return ScheduledEvents(
        time, whole + int(EventKind.MARK), whole, none, none, none, whole, none, torch.ones_like(whole).bool()
    )


def test_rates_that_change_at_a_stop_are_solved_exactly_on_both_sides():
    def during(t):
        rate = torch.where(t < 1.0, 0.5, 2.0).to(t)
        return lambda later, z: -rate[:, None] * z

    times = torch.tensor([[0.5, 1.0, 1.75]], dtype=torch.float64)
    start, t0 = torch.full((1, 1), 3.0, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    rough = Dopri5(rtol=1e-2, atol=1e-2)
    found = solve_scheduled(StagedField(during), start, t0, times, marks(1.0), rough)
    truth = 3.0 * torch.tensor([math.exp(-0.25), math.exp(-0.5), math.exp(-2.0)], dtype=torch.float64)
    torch.testing.assert_close(found.z[0, :, 0], truth, rtol=1e-13, atol=0.0)
    # as a whole it is the same field, which reads the time
    whole = solve_scheduled(lambda t, z: StagedField(during)(t, z), start, t0, times, marks(1.0), Dopri5(rtol=1e-9))
    torch.testing.assert_close(whole.z[0, :, 0], truth, rtol=1e-7, atol=0.0)
