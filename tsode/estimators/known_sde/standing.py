"""Standings of filters after the rows of each series, so that later rows are run over alone."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any, NamedTuple

from torch import Tensor

from tsode.estimators.known_ode.histories import History

__all__ = ["Standing", "Standings", "mark_of"]

MOST_NUMBERS = 2**24  # that are kept of all series


class Standing(NamedTuple):
    """Where the filters of a series stand.

    Parameters
    ----------
    n_rows : int
        Behind them.
    mark : bytes
        Of what these rows and the events before the last of them are.
    time : float
        Of the last row.
    belief : NamedTuple
        Of the `k` filters there, before events of that time.
    gain : Tensor[k]
        Log evidence of rows that fit has not seen.
    size : Tensor[d]
    step : float
    """

    n_rows: int
    mark: bytes
    time: float
    belief: Any
    gain: Tensor
    size: Tensor
    step: float


class Standings:
    """Standings by series, as far as they fit. It is a cache: copies and files have none of it."""

    def __init__(self) -> None:
        self._of: dict[Hashable, Standing] = {}
        self._n_numbers = 0
        self.known_rows: dict[Hashable, Any] | None = None

    def __reduce__(self) -> Any:
        return Standings, ()

    def __deepcopy__(self, memo: Any) -> Standings:
        return Standings()

    def find(self, history: History, reader: Any) -> Standing | None:
        """The standing of a history, if what is behind it is how this history begins."""
        found = self._of.get(history.key)
        if found is None or found.n_rows > len(history.times) or mark_of(history, found.n_rows, reader) != found.mark:
            return None
        return found

    def keep(self, key: Hashable, standing: Standing) -> None:
        """Keep the standing of a series instead of an earlier one."""
        width = sum(part.numel() for part in standing.belief)
        if key not in self._of:
            if self._n_numbers + width > MOST_NUMBERS:
                return
            self._n_numbers += width
        self._of[key] = standing


def mark_of(history: History, n: int, reader: Any) -> bytes:
    """Bytes that are the same for the same start, first ``n`` rows, and events and inputs before the last of these."""
    return hashlib.sha256(history.rows(slice(n)).digest(reader)).digest()
