"""Scales of a direct regression: how long things matter, and what is read as a logarithm."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Scales"]


class Scales(NamedTuple):
    """What signals are measured with.

    Parameters
    ----------
    horizon : Tensor[]
        In the times' unit.
    gap : Tensor[]
        Of the data, about; in that unit.
    quick : Tensor[c]
        Time in which forecasts of a channel leave the last value.
    residence : Tensor[k]
        Times that doses may stay for, from one gap to a whole series.
    is_log : Tensor[c], bool
        Channels that are logarithms of something positive.
    per_unit : Tensor[f]
        Of covariates that are a positive number ``x = mean * (1 + per_unit * covariate)``; 0 = of another kind.
    least : Tensor[f]
        The smallest ``x / mean`` in training.
    """

    horizon: Tensor
    gap: Tensor
    quick: Tensor
    residence: Tensor
    is_log: Tensor
    per_unit: Tensor
    least: Tensor
