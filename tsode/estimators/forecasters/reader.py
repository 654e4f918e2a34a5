"""Panels and queries in the data's own units -> series and batches in the model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tsode.core.batch import IrregularBatch
from tsode.core.series import ROWS_AT_ONCE, Series, collate
from tsode.core.timeline import Timeline
from tsode.frames.covariates import CovariateCoder
from tsode.frames.inputs import DosingInputs
from tsode.frames.panel import CovariateRecord, Panel
from tsode.frames.scaling import ChannelScaler
from tsode.frames.times import Query

__all__ = ["Translator", "merge_panels", "values_at"]


@dataclass(frozen=True, eq=False)
class Translator:
    """The map between the data's units and the model's.

    Parameters
    ----------
    timeline : Timeline
    scaler : ChannelScaler
    n_inputs : int
        Width of what is put in at known times.
    coder : CovariateCoder or None
        Of covariates.
    horizon : float
        In model time: the scale of their moving averages.
    """

    timeline: Timeline
    scaler: ChannelScaler
    n_inputs: int = 0
    coder: CovariateCoder | None = None
    horizon: float = 1.0

    def series(self, panel: Panel) -> list[Series]:
        """Series in model time and scaled units, without rows in which nothing was seen."""
        rows = zip(panel.ids, panel.times, panel.values)
        return [
            self.one(times, values, panel.inputs.get(key), panel.covariates.get(key)) for key, times, values in rows
        ]

    def one(
        self, times: np.ndarray, values: np.ndarray, inputs: DosingInputs | None, known: CovariateRecord | None = None
    ) -> Series:
        """One of `series`."""
        seen = ~np.isnan(values).all(axis=1)
        own = inputs if self.n_inputs else None
        return Series(
            self.timeline.to_model(times[seen]),
            self.scaler.transform(values[seen]),
            np.empty(0) if own is None else self.timeline.to_model(own.times),
            np.empty((0, self.n_inputs)) if own is None else own.values,
            None if self.coder is None else self.coder.series(known, self.timeline, self.horizon),
        )

    def batches(
        self, query: Query, panel: Panel, dtype: torch.dtype, device: torch.device
    ) -> Iterator[tuple[list[int], IrregularBatch, Tensor]]:
        """Rows of the query, their histories and their query times (b m)."""
        place_of = {key: place for place, key in enumerate(panel.ids)}
        chosen = self.series(panel.select([place_of[key] for key in query.ids]))
        yield from self.together(dict(enumerate(chosen)), query, dtype, device)

    def together(
        self, chosen: Mapping[int, Series], query: Query, dtype: torch.dtype, device: torch.device
    ) -> Iterator[tuple[list[int], IrregularBatch, Tensor]]:
        """Batches of the series of these rows of the query, and their query times (b m); those of like length together.

        Short questions are padded with their own last time; in a list, a series may be asked for no time at all.
        """
        order = sorted(chosen, key=lambda row: len(chosen[row].times))
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = order[start : start + ROWS_AT_ONCE]
            batch = collate([chosen[row] for row in rows], dtype)
            asked = [self.timeline.to_model(query.times[row]) for row in rows]
            width = max(1, *(len(times) for times in asked))
            padded = np.zeros((len(rows), width))
            for place, times in enumerate(asked):
                if len(times):
                    padded[place] = np.pad(times, (0, width - len(times)), mode="edge")
            yield rows, batch.to(device), torch.from_numpy(padded).to(device)


def merge_panels(panel: Panel, over: Panel) -> Panel:
    """Series of both; where an id is in both, the one in `over` stands."""
    taken = set(over.ids)
    below = panel.select([row for row, key in enumerate(panel.ids) if key not in taken])
    return replace(
        over,
        ids=[*below.ids, *over.ids],
        times=[*below.times, *over.times],
        values=[*below.values, *over.values],
        inputs={**panel.inputs, **over.inputs},
        covariates={**panel.covariates, **over.covariates},
    )


def values_at(panel: Panel, query: Query) -> list[np.ndarray]:
    """What `panel` holds at the times of `query`, which are among its own: one array (m c) a series."""
    place_of = {key: place for place, key in enumerate(panel.ids)}
    places = [place_of[key] for key in query.ids]
    return [panel.values[k][np.searchsorted(panel.times[k], times)] for k, times in zip(places, query.times)]
