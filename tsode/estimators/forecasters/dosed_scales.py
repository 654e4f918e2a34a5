"""Scales of channels that are dosed: a level that is proportional to its doses adds up in logarithms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tsode.estimators.forecasters.reader import DataReader
from tsode.estimators.forecasters.supports import in_logarithms
from tsode.frames.panel import Panel
from tsode.models.direct.model import DirectModel
from tsode.training.direct_windows import DirectRows

__all__ = ["choose_scales"]

Fitted = tuple[DirectModel, DirectRows, Tensor]


def choose_scales(reader: DataReader, panel: Panel, fit: Callable[[DataReader], Fitted | None]) -> DataReader:
    """The reader, with the logarithm as scale of channels that are likelier forecast on it.

    Scales are found by lines from value to value, which know of no dose. Where there are doses, the regressions of the
    channels that may be positive are compared on either scale.

    Parameters
    ----------
    reader : DataReader
    panel : Panel
    fit : callable
        Model of the data on a reader's scales, what it has learned from, and standardised errors (r c) of parts of the
        data that were left out; None where there is nothing to learn from.
    """
    if not reader.n_inputs:
        return reader
    everywhere = np.ones(len(reader.channels), dtype=bool)
    tried = in_logarithms(panel, reader.settings, reader.scaler, everywhere)
    if tried is None:
        return reader
    other = replace(reader, scaler=tried)
    found, beside = fit(reader), fit(other)
    if found is None or beside is None:
        return reader
    is_better = _nats(other, *beside) < _nats(reader, *found)
    chosen = in_logarithms(panel, reader.settings, reader.scaler, is_better)
    return reader if chosen is None else replace(reader, scaler=chosen)


def _nats(reader: DataReader, model: DirectModel, rows: DirectRows, errors: Tensor) -> np.ndarray:
    """Mean of minus the logarithm of the density of each channel, in the data's own units, of normal errors: array[c].

    NaN where nothing was learned.
    """
    n = model.n_channels
    spread = torch.stack([model.scale(rows.signals, c).log() for c in range(n)], dim=1)
    is_told = ~errors.isnan()
    scaled = torch.where(is_told, rows.values, torch.nan).numpy()
    values = reader.scaler.inverse(scaled)
    alone = [np.where(np.arange(n) == c, values, np.nan) for c in range(n)]
    slopes = torch.from_numpy(reader.scaler.log_slopes(alone))
    number = is_told.sum(dim=0)
    middle = torch.where(is_told, errors, 0.0).sum(dim=0) / number
    variance = torch.where(is_told, (errors - middle) ** 2, 0.0).sum(dim=0) / number
    size = torch.where(is_told, spread, 0.0).sum(dim=0)
    return (0.5 * variance.log() + (size - slopes) / number).numpy()
