"""Wrapper that keeps scikit-learn from splitting a table."""

from __future__ import annotations

from typing import Any

__all__ = ["Unsplit", "unwrap"]


class Unsplit:
    """A table of covariates that is never cut to the rows of a split.

    scikit-learn's metadata routing takes a table with as many rows as the data for one that is aligned with them, and
    cuts it along with them. This one has no length and cannot be cut. The arguments ``static=`` and ``known=`` take a
    table or one of these; events have `tsode.frames.events.EventTable`.

    Parameters
    ----------
    table : any table that the argument takes
    """

    def __init__(self, table: Any) -> None:
        self.table = table


def unwrap(table: Any) -> Any:
    """The table in an `Unsplit`, or the table that is given."""
    return table.table if isinstance(table, Unsplit) else table
