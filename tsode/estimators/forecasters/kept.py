"""Histories that a fitted forecaster keeps, and how far its filter has come in each."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tsode.estimators.forecasters.history import Checkpoint
from tsode.frames.growing import GrowingDict
from tsode.frames.growing_panel import GrowingPanel
from tsode.frames.panel import Panel

__all__ = ["KeepsHistories"]


class KeepsHistories:
    """Part of a forecaster. What it holds is replaced and never changed, so that copies share it and go apart."""

    _histories: GrowingPanel
    _last_times: GrowingDict[Hashable, Any]
    _checkpoints: GrowingDict[Hashable, Checkpoint | None] | None  # None: no history was run over yet

    @property
    def last_times_(self) -> dict[Hashable, Any]:
        """Last observed time of each series, by id."""
        return dict(self._last_times.plain())

    @property
    def _panel(self) -> Panel:
        return self._histories.plain()

    def _keep_histories(self, panel: Panel) -> None:
        """Forecast from these from now on."""
        self._histories, self._checkpoints = GrowingPanel.of(panel), None
        self._last_times = GrowingDict(dict(zip(panel.ids, panel.last_times)))
