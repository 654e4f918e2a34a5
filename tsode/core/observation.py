"""Observation of each row of a batch at one event, as a jump reads it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Observation"]


@dataclass(frozen=True)
class Observation:
    """What is known at one event of each row.

    Parameters
    ----------
    values : Tensor[b c]
        0 where not seen.
    mask : Tensor[b c], the values' dtype
        1 = seen, 0 = not.
    predicted : Tensor[b c p]
        What the state just before predicted: the location, and the log scale too for a jump with ``needs_scale``.
    inputs : Tensor[b e] or None
        Inputs (a dose), and covariates beside them; 0 where nothing happens. None = nowhere.
    """

    values: Tensor
    mask: Tensor
    predicted: Tensor
    inputs: Tensor | None = None
