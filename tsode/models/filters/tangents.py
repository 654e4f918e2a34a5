"""Tangents of a jump filter: derivatives of the state after an event by the state before and by what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tsode.models.filters.filtered import Filtered
from tsode.models.filters.jump_filter import JumpFilter

__all__ = ["EventTangents", "event_tangents"]

ROWS_AT_ONCE = 1024  # of states, each once for every coordinate of the state after it


class EventTangents(NamedTuple):
    """Derivatives of the states right after an event.

    Parameters
    ----------
    by_state : Tensor[b d d]
        By the state right after the event before: first axis what changes, last axis by what.
    by_values : Tensor[b d c]
        By the values seen at the event; 0 where none was.
    by_last : Tensor[b d c]
        By the values last seen before it, which the readout may read.
    """

    by_state: Tensor
    by_values: Tensor
    by_last: Tensor


def event_tangents(model: JumpFilter, filtered: Filtered) -> Iterator[EventTangents]:
    """Derivatives along a pass, event by event, through flow and jump.

    By reverse differentiation of the plain step, which every evolution and gradient mode has: each series stands once
    for every coordinate of its state, so that one backward pass gives its whole Jacobian.
    """
    starts, d = filtered.path.starts[0].detach(), model.evolution.n_state
    parts = torch.arange(len(starts), device=starts.device).split(max(1, ROWS_AT_ONCE // d))
    for k in range(filtered.batch.n_events):
        found = [_tangents(model, filtered, k, rows, starts[rows, k]) for rows in parts]
        yield EventTangents(*map(torch.cat, zip(*found)))


@torch.enable_grad()
def _tangents(model: JumpFilter, filtered: Filtered, k: int, rows: Tensor, z: Tensor) -> EventTangents:
    """Derivatives at event `k` of some rows, from the states (b d) before it."""
    b, d = z.shape
    at, columns = rows.repeat_interleave(d), [max(k - 1, 0), k]
    batch, held, features = filtered.batch.select(at), filtered.held, filtered.features
    values = batch.values[:, columns].requires_grad_()
    batch = batch.replace(
        times=batch.times[:, columns],
        values=values,
        mask=batch.mask[:, columns],
        inputs=None if batch.inputs is None else batch.inputs[:, columns],
    )
    if model.availability is not None:
        batch = model.availability.scale_inputs(batch)
    if held is not None:
        constants = None if held.constants is None else held.constants[at]
        held = held._replace(
            rates=held.rates[at][:, columns], acted_at=held.acted_at[at][:, columns], constants=constants
        )
    seen, last = filtered.seen[at][:, columns], filtered.last[at][:, columns].requires_grad_()
    features = None if features is None else features[at][:, columns]
    before = z.repeat_interleave(d, dim=0).requires_grad_()
    mask, drives = batch.mask.to(values.dtype), model.drive(held, slice(None))
    _, after = model.step(before, 1, batch, mask, last, seen, features, held, drives)
    each = torch.eye(d, dtype=z.dtype, device=z.device).repeat(b, 1)
    by_state, *by = torch.autograd.grad(after, (before, values, last), each, materialize_grads=True)
    return EventTangents(by_state.view(b, d, d), *(part[:, 1].view(b, d, -1) for part in by))
