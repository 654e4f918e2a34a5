"""Find a part by its name, with a guess when the name is close to a known one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from tsode.errors import UnknownNameError

T = TypeVar("T")


def lookup(registry: Mapping[str, T], name: str, what: str) -> T:
    """Return ``registry[name]``.

    Raises
    ------
    UnknownNameError
        If there is no such name; the message lists the known ones and guesses the one meant.
    """
    if isinstance(name, str) and name in registry:
        return registry[name]
    close = get_close_matches(str(name), registry, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownNameError(f"{name!r} is not a known {what}.{guess} Known: {', '.join(sorted(registry))}.")
