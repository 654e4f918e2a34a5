"""Report of questions that leave what a model has learned: which series, by what, and what helps."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.core.status import Status
from tsode.errors import TsodeWarning
from tsode.estimators.forecasters.pieces import Piece
from tsode.estimators.forecasters.reader import DataReader
from tsode.models.reach import LONG, Reach

__all__ = ["ReachReport", "untold"]

REMEDIES = {
    "implausible": "each was taken for the end of that range. Check them, or fit again with data that have such values",
    "drifted": "call update(..., refit=True), or fit again on data that go that far",
    "gap": "fit again on data with such gaps, or forecast from a context that begins after it",
    "far": "intervals there only widen, by a general law. Fit with a longer horizon=, or ask for nearer times",
    "failed": "see the warning of that forecast",
}
"""What may be wrong with a question, in the order in which it is told, and what helps."""

BEGINNING = "The history of series"
ROUNDING = 1e-6  # of a lead time

OPENINGS = {
    "implausible": "holds values that are far from all that training has shown",
    "drifted": "has left the range that training has shown",
    "gap": "has a gap longer than any in training",
    "far": "ends long before a time that is asked for, beyond the horizon of training",
}


@contextmanager
def untold() -> Iterator[None]:
    """Nothing is told inside: where forecasts are scored, the truth says what they are worth."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", BEGINNING, TsodeWarning)
        yield


@dataclass
class ReachReport:
    """What the histories and times of a question have that training has not.

    Parameters
    ----------
    reader : DataReader
    module : Any
        The model; one without a `Reach` is never left.
    """

    reader: DataReader
    module: Any
    _rows: dict[int, dict[str, str]] = field(default_factory=dict)
    _lead: dict[int, float] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Look at some series of the question."""
        reach = getattr(self.module, "reach", None)
        if not isinstance(reach, Reach):
            return
        with torch.no_grad():
            found = reach.survey(piece.batch, piece.query_times, piece.state.get("state"))
        lead = np.where(piece.is_asked, found.lead.cpu().numpy(), 0.0).max(axis=1, initial=0.0)
        for place, row in enumerate(piece.rows):
            self._lead[row] = max(self._lead.get(row, 0.0), float(lead[place]))
            if self._lead[row] > (1.0 + ROUNDING) * found.longest:
                self._note(row, "far", f"up to {self._lead[row]:.3g} horizons ahead")
        for place in found.gap.gt(1.0).nonzero()[:, 0].tolist():
            self._note(piece.rows[place], "gap", f"{LONG * float(found.gap[place]):.3g} times as long")
        low, high = (self._units(end) for end in (reach.low, reach.high))
        for kind, extreme in (("implausible", found.implausible), ("drifted", found.drifted)):
            values = self._units(extreme)
            for place, channel in np.argwhere(~np.isnan(values)):
                if channel < len(self.reader.targets):
                    name = self.reader.channels[channel]
                    seen = f"{values[place, channel]:.4g} in {name!r}, {low[channel]:.4g} to {high[channel]:.4g}"
                    self._note(piece.rows[place], kind, seen)

    def fail(self, failed: dict[int, int]) -> None:
        """Series whose solve failed."""
        for row, status in failed.items():
            self._note(row, "failed", Status(status).meaning)

    def take(self, other: ReachReport, rows: Sequence[int]) -> None:
        """What another model has to say of these series of the question: the first to say a thing is heard."""
        for place, notes in other._rows.items():
            self._rows[rows[place]] = {**notes, **self._rows.get(rows[place], {})}
        for place, lead in other._lead.items():
            self._lead[rows[place]] = max(self._lead.get(rows[place], 0.0), lead)

    def warn(self, ids: Sequence[Hashable], stacklevel: int) -> None:
        """Name the series, one warning for each thing that is wrong; `stacklevel` is that of the user's line."""
        for kind, what in OPENINGS.items():
            rows = sorted(row for row, notes in self._rows.items() if kind in notes)
            if rows:
                names = ", ".join(repr(ids[row]) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
                message = f"{BEGINNING} {names} {what} ({self._rows[rows[0]][kind]}): {REMEDIES[kind]}."
                warnings.warn(message, TsodeWarning, stacklevel=stacklevel)

    def table(self, ids: Sequence[Hashable], id_col: Hashable) -> pd.DataFrame:
        """A row a series: what is wrong, how far, and what helps."""
        rows = [{kind: notes[kind] for kind in REMEDIES if kind in notes} for notes in map(self._of, range(len(ids)))]
        columns = {
            id_col: list(ids),
            "status": [", ".join(notes) or "ok" for notes in rows],
            "detail": ["; ".join(notes.values()) for notes in rows],
            "lead": [self._lead.get(row, np.nan) for row in range(len(ids))],
            "remedy": ["; ".join(REMEDIES[kind] for kind in notes) for notes in rows],
        }
        return pd.DataFrame(columns)

    def _of(self, row: int) -> dict[str, str]:
        return self._rows.get(row, {})

    def _note(self, row: int, kind: str, detail: str) -> None:
        self._rows.setdefault(row, {})[kind] = detail

    def _units(self, scaled: torch.Tensor) -> np.ndarray:
        return self.reader.scaler.inverse(scaled.cpu().double().numpy())
