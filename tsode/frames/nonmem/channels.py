"""Channels of a data file: which one each observation is of."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from tsode.errors import DataError
from tsode.frames.labels import guess_label
from tsode.frames.nonmem.cells import Cells
from tsode.frames.nonmem.events import tidy_endpoint

__all__ = ["find_channels"]

_ONE = ""  # the endpoint where there is one


def find_channels(
    cells: Cells, is_observed: np.ndarray, channels: Hashable | Mapping[Any, Hashable | None] | None, endpoint: str
) -> tuple[np.ndarray, dict[Any, Hashable]]:
    """Endpoint of each row, and the channel of each endpoint that is read; parameters as of `tsode.read_nonmem`.

    Raises
    ------
    DataError
        If there is no such column, or a value of it has no name.
    """
    if endpoint != "auto" and endpoint not in cells:
        raise DataError(
            f"There is no column {endpoint!r} to tell channels by.{guess_label(endpoint, list(cells.frame.columns))} "
            f"The columns are {list(cells.frame.columns)}."
        )
    given = None
    if isinstance(channels, Mapping):
        given = {tidy_endpoint(key): value for key, value in channels.items()}
    for name in ("DVID", "CMT") if endpoint == "auto" else (endpoint,):
        if name not in cells:
            continue
        kinds = np.array([tidy_endpoint(cell) for cell in cells.frame[name]], dtype=object)
        found = list(dict.fromkeys(kinds[is_observed]))
        if len(found) == 1 and given is None:
            break
        if None in found:
            row = int((is_observed & (kinds == None)).argmax())  # noqa: E711
            raise DataError(f"There is no {name} in {cells.where(row)} to tell the channel of the observation by.")
        if given is None:
            if channels is not None:
                raise DataError(
                    f"Observations have the {name} {', '.join(map(str, found))}, but channels={channels!r} names one "
                    f"channel: give a dict, such as {{{found[0]}: 'a', {found[1]}: 'b'}}."
                )
            names: dict[Any, Hashable] = {
                kind: f"DV_{kind}" for kind in sorted(found, key=lambda kind: (len(kind), kind))
            }
            return kinds, names
        for row in np.flatnonzero(is_observed).tolist():
            if kinds[row] not in given:
                raise DataError(
                    f"{name} is {kinds[row]} in {cells.where(row)}, of which channels= says nothing: name the channel, "
                    "or None to leave it out."
                )
        return kinds, {kind: given[kind] for kind in given if given[kind] is not None and kind in found}
    if given is not None:
        raise DataError(
            "channels= names several channels, but there is no column DVID or CMT: name the column by endpoint=."
        )
    return np.full(len(is_observed), _ONE, dtype=object), {_ONE: "DV" if channels is None else channels}
