"""Rates of infusions along the events of a batch: held from each event to the next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.models.filter_state import FilterState

__all__ = ["HeldRates", "held_rates"]


class HeldRates(NamedTuple):
    """What holds between the events of a batch, after ``0, 1, ..., n`` of them.

    Parameters
    ----------
    rates : Tensor[b n+1 r], float64
        Rate at which each kind of infusion runs.
    acted_at : Tensor[b n+1], float64
        Time of the last event that told something, or moved the state: a rate that changes does neither. That of the
        first event before there is any.
    constants : Tensor[b s] or None
        Of the series, by which a model may scale what is given to them.
    """

    rates: Tensor
    acted_at: Tensor
    constants: Tensor | None = None


def held_rates(batch: IrregularBatch, n_inputs: int, state: FilterState | None = None) -> HeldRates:
    """The rates of a batch, whose inputs from column `n_inputs` on are changes of a rate.

    With `state`, each row begins with an empty event at which it has that state.
    """
    assert batch.inputs is not None
    changes = batch.inputs[..., n_inputs:].double()
    acts = batch.mask.any(dim=2) | (batch.inputs[..., :n_inputs] != 0).any(dim=2)
    times = torch.where(acts, batch.times, -torch.inf)
    first = batch.times[:, :1]
    if state is not None:
        changes = torch.cat([changes[:, :1] + state.rates[:, None], changes[:, 1:]], dim=1)
        first = state.acted_at[:, None]
    elif not batch.n_events:
        first = batch.times.new_zeros(batch.n_series, 1)
    acted_at = torch.cat([first, times], dim=1).cummax(dim=1).values
    constants = None if batch.covariates is None else batch.covariates.static
    return HeldRates(functional.pad(changes.cumsum(dim=1), (0, 0, 1, 0)), acted_at, constants)
