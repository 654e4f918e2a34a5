"""Meeting of two tables by the ids of their series: the one rule for every table that says something about others'."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from tsode.errors import DataError, TsodeWarning
from tsode.frames.known_ids import KnownIds, exact
from tsode.frames.labels import guess_label
from tsode.frames.panel import Panel

__all__ = ["check_meeting", "check_new_series", "check_one_type", "check_rows_about"]

_SHOWN = 5


def check_meeting(
    ids: Iterable[Hashable],
    known: Iterable[Hashable],
    says: str,
    *,
    others: Collection[Hashable] = (),
    of: str = "the data",
    strangers: str = "none",
    remedy: str = "",
) -> None:
    """Refuse ids that were meant to be those of another table, but are written in another way there.

    An id of another type, or with other capitals, outer spaces, separators or leading zeros, is refused: nothing would
    be found under it. ``1``, ``1.0`` and ``np.int64(1)`` are one id; ``True`` is none of these.

    Parameters
    ----------
    ids : labels
        Of the table that is looked at.
    known : labels
        Of the table that it is to meet.
    says : str
        How the error begins, with ``{}`` for the id: "z0= has nothing for series {}".
    others : labels
        Known beside these; looked at only if some id is not among these.
    of : str
        What the other table is called.
    strangers : {"none", "some", "any"}
        Whether every id must be known, at least one, or none: a table of events may hold series that are not asked
        about, and a history may be of new series.
    remedy : str
        How the error ends.

    Raises
    ------
    DataError
        If an id is a known one in another spelling or type, or is not known and has to be.

    Warns
    -----
    TsodeWarning
        If an id is not known but is written like one that is, and the table has that one as well.
    """
    given = {exact(label): label for label in ids}
    there = KnownIds.of(known)
    unknown = [label for label in given.values() if label not in there]
    if unknown and others:
        there = there.with_more(others)
        unknown = [label for label in unknown if label not in there]
    if not unknown:
        return
    for label in unknown:
        meant = _one_meant(label, there.alike(label))
        if meant is None:
            continue
        if exact(meant) not in given or not _is_one_type(meant, label):
            raise DataError(_refusal(says, label, meant, there.plain(), of, remedy))
        if strangers == "some":
            warnings.warn(
                f"{says.format(repr(label))}, which is left out: in {of} there is {meant!r}, but not {label!r}. "
                "Write them alike if they are one series.",
                TsodeWarning,
                stacklevel=2,
            )
    if strangers == "none" or (strangers == "some" and len(unknown) == len(given)):
        raise DataError(_refusal(says, unknown[0], None, there.plain(), of, remedy))


def check_rows_about(ids: Iterable[Hashable], panel: Panel, others: Collection[Hashable], name: str) -> None:
    """Refuse rows about series unless some are in `panel`, or among the `others` that are known beside it.

    Raises
    ------
    DataError
    """
    has_ids = panel.layout.has_ids
    remedy = "" if has_ids else f"The data are one series without ids: leave the ids out of {name} too."
    says = f"{name} has rows of series {{}}"
    beside = others if has_ids and others is not panel.ids else ()
    check_meeting(ids, panel.ids, says, others=beside, strangers="some", remedy=remedy)


def check_new_series(panel: Panel, history: Panel, name: str) -> None:
    """Refuse series of `panel` that were meant to go on from those in `history`, but are written in another way.

    Raises
    ------
    DataError
    """
    if panel.layout.ids_are_given and history.layout.ids_are_given:
        check_meeting(panel.ids, history.ids, f"{name} has series {{}}", of="the histories", strangers="any")


def check_one_type(ids: Iterable[Hashable], where: str) -> None:
    """Refuse a table whose own ids Python holds for one although they are not: 1 and True.

    1 and "1" are two series.

    Raises
    ------
    DataError
    """
    first: dict[Hashable, Hashable] = {}
    for label in {exact(label): label for label in ids}.values():
        other = first.setdefault(label, label)
        if not _is_one_type(other, label):
            raise DataError(
                f"{where} holds both {other!r} ({_name_of_type(other)}) and {label!r} ({_name_of_type(label)}): give "
                "all ids one type, for instance with `.astype(str)`."
            )


def _name_of_type(label: Any) -> str:
    return type(label.item() if isinstance(label, np.generic) else label).__name__


def _is_one_type(label: Hashable, other: Hashable) -> bool:
    """Whether both are of one type; all numbers are."""
    names = {_name_of_type(label), _name_of_type(other)}
    return len(names) == 1 or names <= {"int", "float", "Decimal"}


def _one_meant(label: Hashable, alike: Sequence[Hashable]) -> Hashable | None:
    """The one of these that is meant, if only one can be."""
    same = [other for other in alike if str(other) == str(label)] or alike
    return same[0] if len(same) == 1 else None


def _refusal(says: str, label: Hashable, meant: Hashable | None, known: list[Hashable], of: str, remedy: str) -> str:
    error = says.format(f"{label!r} ({_name_of_type(label)})") + "."
    if not known:
        return f"{error} There is none in {of}. {remedy}".strip()
    error += guess_label(label, known) if meant is None else f" Did you mean {meant!r}?"
    shown = ", ".join(map(repr, known[:_SHOWN])) + (", ..." if len(known) > _SHOWN else "")
    types = ", ".join(sorted(set(map(_name_of_type, known)))) if meant is None else _name_of_type(meant)
    error += f" Ids in {of}: {shown} ({types})."
    if not any(_is_one_type(label, other) for other in (known if meant is None else [meant])):
        wanted = _name_of_type(known[0] if meant is None else meant)
        error += f" Give the ids one type in both: `.astype({wanted if wanted in ('int', 'float') else 'str'})`."
    elif meant is not None:
        error += " Write the ids alike in both: capitals, spaces, signs and leading zeros count."
    return f"{error} {remedy}".strip()
