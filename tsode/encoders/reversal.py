"""Reversal of a batch: the events of each row from last to first, in a clock that runs backward."""

from __future__ import annotations

import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["reverse"]


def reverse(batch: IrregularBatch) -> tuple[IrregularBatch, Tensor]:
    """Turn each row round.

    Parameters
    ----------
    batch : IrregularBatch

    Returns
    -------
    flipped : IrregularBatch
        The events of each row from last to first, at their times negated; padding still stands at the end.
    order : Tensor[b n], int64
        Place of each event in `flipped`, and the other way round.
    """
    place = torch.arange(batch.n_events, device=batch.times.device)
    is_event = place < batch.lengths[:, None]
    order = torch.where(is_event, batch.lengths[:, None] - 1 - place, place)
    pick = order[..., None].expand_as(batch.values)
    times = -torch.where(is_event, batch.times.gather(1, order), batch.times[:, :1])
    inputs = batch.inputs
    if inputs is not None:
        inputs = inputs.gather(1, order[..., None].expand_as(inputs))
    values, mask = batch.values.gather(1, pick), batch.mask.gather(1, pick)
    return IrregularBatch(times, values, mask, batch.lengths, inputs=inputs), order
