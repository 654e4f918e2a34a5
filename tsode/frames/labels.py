"""Labels of ids and columns: as JSON, exactly, and guessed where one is mistyped."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError

__all__ = ["check_zone_name", "decode_label", "encode_label", "guess_label", "labels"]


def encode_label(label: Hashable) -> Any:
    """Turn an id or a column label into something `json` can write and `decode_label` can undo.

    Raises
    ------
    DataError
        If the label is not None, a bool, number, string, Timestamp, Timedelta or a tuple of such.
    """
    if isinstance(label, np.generic):
        label = label.item()
    if label is None or isinstance(label, bool | int | float | str):
        return label
    if isinstance(label, tuple):
        return {"tuple": [encode_label(part) for part in label]}
    if isinstance(label, pd.Timestamp):
        naive = label if label.tz is None else label.tz_convert("UTC").tz_localize(None)
        return {"timestamp": naive.isoformat(), "unit": label.unit, "tz": None if label.tz is None else str(label.tz)}
    if isinstance(label, pd.Timedelta):
        return {"timedelta": int(label.to_timedelta64().astype(np.int64)), "unit": label.unit}
    raise DataError(
        f"The label {label!r} is a {type(label).__name__}, which cannot be saved: "
        "use strings, numbers, Timestamps or tuples of these as ids and column labels."
    )


def decode_label(state: Any) -> Hashable:
    """Undo `encode_label`.

    Raises
    ------
    ValueError
        If `state` is nothing that `encode_label` gives.
    """
    if state is None or isinstance(state, bool | int | float | str):
        return state
    if not isinstance(state, dict):
        raise ValueError(f"{state!r} is no label")
    if "tuple" in state:
        return tuple(decode_label(part) for part in state["tuple"])
    if "timedelta" in state:
        return pd.Timedelta(np.timedelta64(state["timedelta"], state["unit"]))
    stamp = pd.Timestamp(state["timestamp"]).as_unit(state["unit"])
    return stamp if state["tz"] is None else stamp.tz_localize("UTC").tz_convert(check_zone_name(state["tz"]))


def check_zone_name(text: Any) -> str:
    """A time zone, or a dtype with one, that is named in a file, unless the name would open another file.

    Raises
    ------
    ValueError
        If pandas would take it for a path.
    """
    if not isinstance(text, str) or "dateutil" in text:
        raise ValueError(f"{text!r} is no name of a time zone or of a dtype")
    return text


def labels(value: Any) -> list[Hashable]:
    """One label, several or None, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str | tuple) or not isinstance(value, Iterable) else list(value)


def guess_label(label: Hashable, choices: Sequence[Hashable]) -> str:
    """A sentence that names the label meant among `choices`, or an empty string: `` Did you mean 'hr'?``."""
    names = {str(choice).lower(): choice for choice in choices}
    close = get_close_matches(str(label).lower(), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""
