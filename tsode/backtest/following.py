"""Following of histories from cutoff to cutoff, so that a filter does not run over them again at each."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tsode.frames.panel import Panel
from tsode.frames.write import write_long

__all__ = ["Following"]


class Following:
    """A fitted forecaster, and the histories that it has come along.

    Parameters
    ----------
    forecaster : fitted forecaster
        Never changed.
    id_col, time_col : str
        As it reads frames.
    """

    def __init__(self, forecaster: Any, id_col: Hashable, time_col: Hashable) -> None:
        self.forecaster, self.columns = forecaster, (id_col, time_col)
        self._at: Any = None
        self._n_rows: dict[Any, int] = {}

    @property
    def is_possible(self) -> bool:
        """Whether forecasts go on from a state, and need no history behind it."""
        module = getattr(self.forecaster, "module_", None)
        return hasattr(self.forecaster, "with_history") and bool(getattr(module, "can_resume", False))

    def along(self, past: Panel) -> Any:
        """A forecaster with these histories: the one of the last time where they have only grown."""
        n_rows = {key: len(times) for key, times in zip(past.ids, past.times)}
        if self._at is None or any(n_rows.get(key, 0) < n for key, n in self._n_rows.items()):
            self._at = self.forecaster.with_history(write_long(past, *self.columns))
        else:
            grown = [row for row, key in enumerate(past.ids) if n_rows[key] > self._n_rows.get(key, 0)]
            if grown:
                further = past.part(grown, [slice(self._n_rows.get(past.ids[row], 0), None) for row in grown])
                self._at.update(write_long(further, *self.columns))
        self._n_rows = n_rows
        return self._at
