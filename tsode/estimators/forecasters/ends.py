"""Ends of the channels of a learned forecaster: found in what it has learned from, and kept to in its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tsode.estimators.forecasters.pieces import Piece
from tsode.estimators.forecasters.reader import DataReader
from tsode.frames.ends import Ends, find_ends
from tsode.frames.panel import Panel
from tsode.frames.supports import SupportScaler
from tsode.likelihoods.supported import OF_NORMALS
from tsode.models.reach import Reach

__all__ = ["ends_at", "learn_ends"]


def learn_ends(module: Any, reader: DataReader, panels: Sequence[Panel]) -> Ends | None:
    """Ends of the channels of a model that has a reach, unless these have supports; see `find_ends`.

    Records do not hold where events or covariates may drive a series farther than any has been.
    """
    if not isinstance(getattr(module, "reach", None), Reach) or isinstance(reader.scaler, SupportScaler):
        return None
    series = [values for panel in panels for values in panel.values]
    times = [reader.timeline.to_model(own) for panel in panels for own in panel.times]
    is_driven = reader.n_inputs or reader.covariates is not None
    return find_ends(series, times, None if is_driven else reader.reach)


def ends_at(
    reader: DataReader, module: Any, piece: Piece, family: Any, side: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Ends beyond which no forecast goes, low and high (b m c), in the data's own units; None where there are none.

    Of a series whose latest value has passed an end, forecasts may go as far. `family` is that of the forecast.
    """
    if reader.ends is None or type(family) not in OF_NORMALS:
        return None
    with torch.no_grad():
        latest = module.reach.latest(piece.batch, piece.query_times, side, piece.state.get("state"))
    scaler, n_targets = reader.scaler, len(reader.targets)
    low, high = reader.ends.of(scaler.inverse(latest.cpu().double().numpy()), scaler.scale)
    return low[..., :n_targets], high[..., :n_targets]
