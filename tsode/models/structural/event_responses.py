"""Responses to events: what a dose, a switch or a shock adds to a series from then on, in closed form."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch

__all__ = ["Responses"]

N_DECAYS = 4
SHORTEST, LONGEST = 2.0, 0.25  # median gaps, and spans, in which what an event adds may be forgotten


class Responses(NamedTuple):
    """A step that stays and pulses that decay, for each column of inputs; their coefficients are those of regressors.

    Sums of them rise and fall, too. An infusion is a rate that goes up and down by as much, so that a step and a pulse
    give the exact response of a first-order system.

    Parameters
    ----------
    n_inputs : int
        Columns of the inputs.
    decays : tuple of float
        Times in model time after which a pulse is down to 1 / e; infinite for the step.
    """

    n_inputs: int
    decays: tuple[float, ...]

    @classmethod
    def between(cls, n_inputs: int, gap: float, span: float) -> Responses:
        """By the median gap between observations and the span of the series."""
        low = SHORTEST * gap
        return cls(n_inputs, (inf, *np.geomspace(low, max(LONGEST * span, 2.0 * low), N_DECAYS).tolist()))

    @property
    def n_features(self) -> int:
        return self.n_inputs * len(self.decays)

    def at(self, batch: IrregularBatch, times: Tensor) -> Tensor:
        """What the coefficients multiply at times (b m), by the inputs strictly before them: Tensor[b m f]."""
        out = times.new_zeros(*times.shape, self.n_inputs, len(self.decays))
        if batch.inputs is None or not bool(batch.is_input.any()):
            return out.flatten(2)
        n = int(batch.is_input.sum(dim=1).max())  # inputs alone, gathered to the left
        order = (~batch.is_input).to(torch.int8).argsort(dim=1, stable=True)[:, :n]
        given = batch.inputs.gather(1, order[..., None].expand(-1, -1, self.n_inputs)).double()
        since = times[:, :, None] - batch.times.gather(1, order)[:, None]
        for k, decay in enumerate(self.decays):
            left = torch.where(since > 0.0, (-since.clamp(min=0.0) / decay).exp(), 0.0)
            out[..., k] = left @ given
        return out.flatten(2)
