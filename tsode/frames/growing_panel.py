"""Panel that grows: a version of it with more rows costs what is new, however many series there are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tsode.frames.growing import GrowingDict, GrowingList
from tsode.frames.inputs import DosingInputs
from tsode.frames.known_ids import KnownIds
from tsode.frames.panel import CovariateRecord, Panel

__all__ = ["GrowingPanel"]


@dataclass(frozen=True, eq=False)
class GrowingPanel(Panel):
    """A `Panel` whose parts have changed versions. It is read series by series; `plain` is for all of them at once."""

    ids: KnownIds
    times: GrowingList[np.ndarray]
    values: GrowingList[np.ndarray]
    inputs: GrowingDict[Hashable, DosingInputs] = field(default_factory=GrowingDict)
    covariates: GrowingDict[Hashable, CovariateRecord] = field(default_factory=GrowingDict)

    @classmethod
    def of(cls, panel: Panel) -> GrowingPanel:
        """The panel itself if it is such already."""
        if isinstance(panel, cls):
            return panel
        return cls(
            ids=KnownIds.of(panel.ids),
            times=GrowingList(panel.times),
            values=GrowingList(panel.values),
            channels=panel.channels,
            layout=panel.layout,
            inputs=GrowingDict(panel.inputs),
            covariates=GrowingDict(panel.covariates),
        )

    def plain(self) -> Panel:
        """The same in lists and dicts."""
        return Panel(
            ids=self.ids.plain(),
            times=self.times.plain(),
            values=self.values.plain(),
            channels=self.channels,
            layout=self.layout,
            inputs=self.inputs.plain(),
            covariates=self.covariates.plain(),
        )

    def rows_of(self, ids: Iterable[Hashable]) -> list[int]:
        """Places of those of the ids that are here, in order, each once."""
        return sorted({row for row in map(self.ids.row_of, ids) if row is not None})

    def select(self, rows: Sequence[int] | np.ndarray) -> Panel:
        """The series at `rows`, in that order, as a panel of their own."""
        ids, times, values = ([part[row] for row in rows] for part in (self.ids, self.times, self.values))
        return Panel(ids, times, values, self.channels, self.layout, self.inputs, self.covariates)
