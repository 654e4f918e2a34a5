"""New series: asked about when they have events, and nothing of them has been observed yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from tsode.frames.events import EventTable
from tsode.frames.meeting import check_meeting
from tsode.frames.panel import Panel
from tsode.frames.times import Query

__all__ = ["ask_with_new", "ids_of_events"]


def ask_with_new(
    ask: Callable[[Panel], Query], panel: Panel, history: Panel, told: Sequence[Hashable]
) -> tuple[Query, Panel]:
    """Ask about the series in `panel`, and about those that only events tell of: these have an empty history.

    Parameters
    ----------
    ask : callable
        Reads the question, given the series that it may be about.
    panel, history : Panel
        What is forecast from, and what was given to fit.
    told : sequence of label
        Series that have events.

    Returns
    -------
    query : Query
    panel : Panel
        With an empty series for each new one that is asked about.

    Raises
    ------
    DataError
        If the question names a series that is in neither, or a known one in another spelling.
    """
    there = set(panel.ids)
    new = [key for key in told if key not in there]
    query = ask(panel.with_empty(new, history))
    asked = set(query.ids)
    new = [key for key in new if key in asked]
    says = "There is no history of series {}"
    check_meeting(new, panel.ids, says, others=history.ids, of="the histories", strangers="any")
    return query, panel.with_empty(new, history)


def ids_of_events(tables: Sequence[Any], history: Panel, id_col: Hashable, time_col: Hashable) -> list[Hashable]:
    """Series that have events in one of these tables, where None stands for those given to fit."""
    ids: dict[Hashable, None] = {}
    for table in tables:
        if table is not None and not isinstance(table, EventTable):
            table = EventTable(table, id_col, time_col)
        ids |= dict.fromkeys(history.inputs if table is None else table.ids)
    return list(ids)
