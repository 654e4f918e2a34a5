"""Encoder that runs back through the events, with a flow between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from tsode.core.batch import IrregularBatch
from tsode.core.observation import Observation
from tsode.core.path import PaddedPath, Path
from tsode.core.status import worst
from tsode.encoders.base import Encoded, Encoder
from tsode.encoders.reversal import reverse
from tsode.evolutions.base import Evolution

__all__ = ["BackwardODERNN", "Jump"]


class Jump(Protocol):
    """Change of a state (b h) at an observation; the members are in `tsode.jumps`."""

    n_state: int
    n_channels: int

    def __call__(self, z: Tensor, observation: Observation) -> Tensor: ...


class BackwardODERNN(Encoder):
    """ODE-RNN from the last event back to the first (Rubanova, Chen & Duvenaud 2019, section 3.2).

    The hidden state flows by the encoder's own evolution, in a clock that runs backward, and jumps at events. The
    clock is reversed rather than the flow, so any evolution will do.

    Parameters
    ----------
    evolution : Evolution
        Of the hidden state.
    jump : Jump
        Of the same width; it is given no prediction.
    run : callable, optional
        ``(encoder, reversed batch) -> Path or None`` in place of the plain loop: a fused kernel, which must agree with
        `loop`, and gives None where it does not serve.
    """

    z_start: Tensor

    def __init__(
        self,
        evolution: Evolution,
        jump: Jump,
        run: Callable[[BackwardODERNN, IrregularBatch], Path | None] | None = None,
    ) -> None:
        super().__init__()
        self.evolution = evolution
        self.jump = jump
        self.run = run
        self.n_channels = jump.n_channels
        self.n_hidden = evolution.n_state
        self.z_start = nn.Parameter(torch.zeros(evolution.n_state))

    def encode(self, batch: IrregularBatch, start: Tensor) -> Encoded:
        if not batch.n_events:
            hidden = self.z_start.expand(batch.n_series, -1)
            return Encoded(hidden, hidden[:, None][:, :0], torch.zeros_like(batch.lengths))
        flipped, order = reverse(batch)
        fused = None if self.run is None else self.run(self, flipped)
        path = self.loop(flipped) if fused is None else fused
        # a row without observations has padding alone, which left its state as it was
        first = torch.where(batch.lengths > 0, flipped.times[:, -1], -start)
        summary = self.evolution.evolve(path.z_plus[:, -1], first, -start)
        context = path.z_plus.gather(1, order[..., None].expand_as(path.z_plus))
        return Encoded(summary.z, context, worst(path.status, summary.status))

    def loop(self, batch: IrregularBatch) -> Path:
        """Run over events in the order of a batch by ordinary autograd."""
        mask = batch.mask.to(batch.values.dtype)
        gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1])
        start = z = self.z_start.expand(batch.n_series, -1)
        status, nothing = torch.zeros_like(batch.lengths), torch.zeros_like(batch.times[:, 0])
        left, right = [], []
        for k in range(batch.n_events):
            evolved = self.evolution.evolve(z, nothing, gaps[:, k])
            status = worst(status, evolved.status)
            predicted = torch.zeros_like(mask[:, k, :, None])
            inputs = None if batch.inputs is None else batch.inputs[:, k]
            z = self.jump(evolved.z, Observation(batch.values[:, k], mask[:, k], predicted, inputs))
            left.append(evolved.z)
            right.append(z)
        return PaddedPath(batch.times, start, torch.stack(left, dim=1), torch.stack(right, dim=1), status)
