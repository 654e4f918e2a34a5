"""Tables that are handed on whole."""

from __future__ import annotations

from typing import Any

__all__ = ["Unsplit", "unwrap"]


class Unsplit:
    """A table of covariates that is never cut to the rows of a split.

    Where arguments are handed on to the parts of a search or pipeline, as by scikit-learn's metadata routing, a table
    with as many rows as the data is taken for one that is aligned with them, and cut along. This one has no length and
    cannot be. The arguments ``static=`` and ``known=`` take a table or one of these; events have
    `tsode.frames.events.EventTable`.

    Parameters
    ----------
    table : any table that the argument takes
    """

    def __init__(self, table: Any) -> None:
        self.table = table


def unwrap(table: Any) -> Any:
    """The table itself."""
    return table.table if isinstance(table, Unsplit) else table
