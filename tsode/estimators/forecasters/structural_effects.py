"""Effects of what is known beside a series: coefficients of a structural model for one unit of each covariate."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch

from tsode.estimators.forecasters.reader import DataReader
from tsode.models.structural.event_responses import Responses
from tsode.models.structural.member import ChannelFit, Member

__all__ = ["effects_of"]


def effects_of(reader: DataReader, fit: ChannelFit, member: Member) -> dict[str, torch.Tensor]:
    """Change of the (transformed) value by one unit of each covariate, constant and event: draws (k), by name.

    Of an event there is a step that stays and pulses, each for one unit of its amount.
    """
    labels: list[Hashable] = []
    scales: list[float] = []
    coder = reader.covariates
    if coder is not None:
        for column in coder.static:
            names = [column.name] if column.categories is None else [f"{column.name}={c}" for c in column.categories]
            labels += names
            scales += [column.scale if column.categories is None else 1.0] * len(names)
        labels += list(coder.known)
        scales += coder.scaler.scale.tolist() if coder.known else []
    if reader.events is not None and fit.responses is not None:
        for (kind, target, part), scale in zip(reader.events.columns, reader.events.scale):
            what = " ".join(str(word) for word in (target or kind, part) if word)
            labels += [f"{what}: {ending}" for ending in _endings(fit.responses, reader.time_unit)]
            scales += [scale] * len(fit.responses.decays)
    own = fit.spread * member.structure.coefficients(member.z)[:, : len(labels)]
    return dict(zip(map(str, labels), (own / torch.tensor(scales, dtype=own.dtype)).unbind(dim=1)))


def _endings(responses: Responses, unit: Any) -> list[str]:
    """What stays, and after how long the rest is down to 1 / e, in the data's own time."""
    is_dated = isinstance(unit, np.timedelta64)
    length = unit / np.timedelta64(1, "D") if is_dated else float(unit)
    return [
        f"decays in {decay * length:.3g}{' d' * is_dated}" if decay < np.inf else "stays" for decay in responses.decays
    ]
