"""Which fused kernel, if any, serves the parts of a jump filter.

A kernel runs all events of a batch in one autograd node and returns the same `Path` as the plain loop. To add one:
append its ``(matches, run)`` to `KERNELS`. Parts are matched by exact type: a subclass may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from tsode.core.batch import IrregularBatch
from tsode.core.path import Path
from tsode.flows.diagonal import DiagonalFlow
from tsode.jumps.innovation_gru import InnovationGRU
from tsode.nn.fused_innovation import Events, Weights, filter_states
from tsode.readouts import Readout

if TYPE_CHECKING:
    from tsode.models.jump_filter import JumpFilter

__all__ = ["KERNELS", "Run", "kernel_for"]

Run = Callable[["JumpFilter", IrregularBatch, Tensor, Tensor], Path]
"""``(model, batch, last, seen) -> Path``, as `JumpFilter._loop`."""


def is_innovation(model: JumpFilter) -> bool:
    return (type(model.evolution), type(model.jump), type(model.readout)) == (DiagonalFlow, InnovationGRU, Readout)


def run_innovation(model: JumpFilter, batch: IrregularBatch, last: Tensor, seen: Tensor) -> Path:
    """The default filter: `tsode.nn.fused_innovation`."""
    jump: Any = model.jump
    flow: Any = model.evolution
    readout, cell = model.readout, jump.cell
    if batch.values.requires_grad or not batch.n_events:
        return model._loop(batch, last, seen)
    gap = batch.times.diff(dim=1, prepend=batch.times[:, :1]).to(model.z_start.dtype)
    hidden, out = readout.location_hidden, readout.location_out
    dropout = None
    if readout.training and readout.dropout.p:
        dropout = functional.dropout(gap.new_ones(*gap.t().shape, hidden.out_features), readout.dropout.p)
    history = (batch.values, batch.mask.to(gap.dtype), last[:, :-1], seen[:, :-1])
    values, mask, last, seen = (tensor.transpose(0, 1) for tensor in history)
    events = Events(gap.t(), values, mask, last, seen, dropout)
    weights = Weights(
        model.z_start, flow.rate, flow.frequency,
        (flow.modulation.weight, flow.modulation.bias) if flow.n_static else None,
        (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh),
        (hidden.weight, hidden.bias), (out.weight, out.bias),
    )  # fmt: skip
    z_minus, z_plus = filter_states(events, weights)
    start = model.z_start.expand(batch.n_series, -1)
    return Path(batch.times, start, z_minus, z_plus, torch.zeros_like(batch.lengths))


KERNELS: list[tuple[Callable[[JumpFilter], bool], Run]] = [(is_innovation, run_innovation)]


def kernel_for(model: JumpFilter) -> Run | None:
    """The first kernel that serves the parts of `model`."""
    return next((run for matches, run in KERNELS if matches(model)), None)
