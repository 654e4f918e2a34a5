"""Containers that grow by versions: a new version costs what is changed, and the one before stays as it was."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["GrowingDict", "GrowingList"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class GrowingDict(Mapping[K, V]):
    """A mapping in the order in which its keys came, that is never changed but has changed versions.

    It is a pile of dicts of which the upper ones stand. Each is more than twice as large as the one above, so that
    there are few, and merging them costs a new item only about as many steps as there are dicts.

    Parameters
    ----------
    items : mapping
    """

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._layers: tuple[dict[K, V], ...] = (dict(items or {}),)

    def changed(self, changes: Mapping[K, V]) -> GrowingDict[K, V]:
        """A version with these items, new or instead of those of the same keys."""
        if not changes:
            return self
        layers, top = [*self._layers], dict(changes)
        while layers and len(layers[-1]) <= 2 * len(top):
            top = {**layers.pop(), **top}
        version: GrowingDict[K, V] = GrowingDict()
        version._layers = (*layers, top)
        return version

    def plain(self) -> dict[K, V]:
        """The items as one dict, which is not to be changed."""
        if len(self._layers) > 1:
            whole: dict[K, V] = {}
            for layer in self._layers:
                whole.update(layer)
            self._layers = (whole,)
        return self._layers[0]

    def __getitem__(self, key: K) -> V:
        for layer in reversed(self._layers):
            if key in layer:
                return layer[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[K]:
        return iter(self.plain())

    def __len__(self) -> int:
        return len(self.plain())


class GrowingList(Sequence[V]):
    """A sequence that is never changed but has changed and longer versions.

    Parameters
    ----------
    items : iterable
    """

    def __init__(self, items: Iterable[V] = ()) -> None:
        by_place = dict(enumerate(items))
        self._items: GrowingDict[int, V] = GrowingDict(by_place)
        self._length = len(by_place)

    def changed(self, changes: Mapping[int, V], more: Sequence[V] = ()) -> GrowingList[V]:
        """A version with other items at some places, and with more of them at its end."""
        version: GrowingList[V] = GrowingList()
        version._items = self._items.changed({**changes, **dict(enumerate(more, self._length))})
        version._length = self._length + len(more)
        return version

    def plain(self) -> list[V]:
        """The items as a list of its own."""
        return list(self._items.plain().values())

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return self.plain()[at]
        return self._items[range(self._length)[at]]

    def __iter__(self) -> Iterator[V]:
        return iter(self._items.plain().values())

    def __len__(self) -> int:
        return self._length
