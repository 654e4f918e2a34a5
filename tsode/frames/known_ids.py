"""Ids of the series that are known, found by what they are and by how they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from tsode.frames.growing import GrowingDict, GrowingList

__all__ = ["KnownIds", "bare", "exact"]


class KnownIds(Sequence[Hashable]):
    """Distinct ids in the order in which they came. To look one up, or to add some, costs the same however many are.

    Parameters
    ----------
    ids : labels
    """

    def __init__(self, ids: Iterable[Hashable] = ()) -> None:
        distinct = {exact(label): label for label in ids}
        self._labels = GrowingList(distinct.values())
        self._rows = GrowingDict(dict(zip(distinct, range(len(distinct)))))
        self._spelt: GrowingDict[Hashable, tuple[Hashable, ...]] | None = None

    @classmethod
    def of(cls, ids: Iterable[Hashable]) -> KnownIds:
        """The ids themselves if they are such already."""
        return ids if isinstance(ids, cls) else cls(ids)

    def with_more(self, ids: Iterable[Hashable]) -> KnownIds:
        """These, and those of `ids` that are not among them."""
        new = {exact(label): label for label in ids if label not in self}
        version = KnownIds()
        version._labels = self._labels.changed({}, list(new.values()))
        version._rows = self._rows.changed(dict(zip(new, range(len(self), len(version._labels)))))
        if self._spelt is not None:
            version._spelt = _with_spellings(self._spelt, new.values())
        return version

    def row_of(self, label: Hashable) -> int | None:
        """The place of an id, or None."""
        return self._rows.get(exact(label))

    def alike(self, label: Hashable) -> tuple[Hashable, ...]:
        """All ids that are written like this one, see `bare`."""
        if self._spelt is None:  # few tables hold an id that is looked for in this way
            self._spelt = _with_spellings(GrowingDict(), self)
        return self._spelt.get(bare(label), ())

    def plain(self) -> list[Hashable]:
        """The ids as a list of its own."""
        return self._labels.plain()

    def __contains__(self, label: Any) -> bool:
        return exact(label) in self._rows

    def __getitem__(self, at: Any) -> Any:
        return self._labels[at]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def _with_spellings(
    spelt: GrowingDict[Hashable, tuple[Hashable, ...]], ids: Iterable[Hashable]
) -> GrowingDict[Hashable, tuple[Hashable, ...]]:
    new: dict[Hashable, list[Hashable]] = {}
    for label in ids:
        new.setdefault(bare(label), []).append(label)
    return spelt.changed({key: (*spelt.get(key, ()), *labels) for key, labels in new.items()})


def bare(label: Hashable) -> Hashable:
    """What is left of a label without its type, capitals, outer spaces, separators and leading zeros."""
    if isinstance(label, tuple):
        return tuple(map(bare, label))
    if isinstance(label, bool | np.bool_):
        return Decimal(int(label))
    text = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
    text = unicodedata.normalize("NFKC", text).casefold().strip("\ufeff\u200b \t\r\n").removesuffix(" 00:00:00")
    try:
        number = None if "_" in text else Decimal(text)
    except InvalidOperation:
        number = None
    if number is not None and number.is_finite():
        return number
    return re.sub(r"(?<=\w)[\s_.\-]+(?=\w)|_+", " ", text)


def exact(label: Hashable) -> Hashable:
    """The label as a key, under which True is not 1."""
    return (bool, bool(label)) if isinstance(label, bool | np.bool_) else label
