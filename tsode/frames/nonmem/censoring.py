"""Values beyond a limit of quantification in a data file, as values at the limit."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from tsode.errors import DataError, TsodeWarning
from tsode.frames.nonmem.cells import Cells

__all__ = ["Censored", "find_limits", "read_censored"]


@dataclass(frozen=True, eq=False)
class Censored:
    """Values (n,) of which those that are censored stand at their limit.

    Parameters
    ----------
    values : array[n]
    is_below, is_above : array[n], bool
        Whether all that is known is that the value is not above, or not below.
    """

    values: np.ndarray
    is_below: np.ndarray
    is_above: np.ndarray


def read_censored(cells: Cells, is_seen: np.ndarray) -> Censored:
    """Read DV with CENS (1 below, -1 above the value) or BLQ (1 below LLOQ), of the rows that are observations.

    Raises
    ------
    DataError
        If a value is censored, but at no limit, or the flags are others.
    """
    values, limit = cells.numbers("DV"), cells.numbers("LLOQ")
    if "CENS" in cells and "BLQ" in cells:
        raise DataError("CENS and BLQ both tell censored values: leave one out by columns=.")
    name = "BLQ" if "BLQ" in cells else "CENS"
    flag = np.where(is_seen, cells.numbers(name, missing=0.0), 0.0)
    known = (0.0, 1.0) if name == "BLQ" else (-1.0, 0.0, 1.0)
    is_strange = ~np.isin(flag, known)
    if is_strange.any():
        row = int(is_strange.argmax())
        raise DataError(f"{name} is {flag[row]:g} in {cells.where(row)}, but must be one of {known}.")
    is_below, is_above = flag == 1.0, flag == -1.0
    at = np.where(np.isnan(limit) & (name == "CENS"), values, limit)
    is_open = (is_below & np.isnan(at)) | (is_above & np.isnan(values))
    if is_open.any():
        raise DataError(
            f"{name} is {flag[is_open.argmax()]:g} in {cells.where(int(is_open.argmax()))}, but there is no limit: add "
            "it in a column LLOQ" + ("." if name == "BLQ" else ", or in DV.")
        )
    if (is_below & ~np.isnan(cells.numbers("LIMIT"))).any():
        warnings.warn(
            "LIMIT is not used: a censored value may be anything below its limit.", TsodeWarning, stacklevel=3
        )
    return Censored(np.where(is_below, at, values), is_below, is_above)


def find_limits(
    found: Censored, channels: dict[Hashable, np.ndarray], is_seen: np.ndarray
) -> tuple[dict[Hashable, float], dict[Hashable, float]]:
    """The one limit below and the one above of each channel; `channels` says which rows are of it.

    Noise has one limit below: of several the highest is taken, and all values up to it are censored; a warning counts
    those that are not in the file.
    """
    limits: tuple[dict[Hashable, float], dict[Hashable, float]] = ({}, {})
    for sign, is_beyond, of in ((1.0, found.is_below, limits[0]), (-1.0, found.is_above, limits[1])):
        for name, rows in channels.items():
            beyond = is_beyond & rows
            if not beyond.any():
                continue
            at = sign * found.values[beyond]
            of[name] = sign * float(at.max())
            others = rows & is_seen & ~is_beyond & (sign * found.values <= at.max())
            if others.any() or len(set(at)) > 1:
                side = "at or below" if sign > 0 else "at or above"
                warnings.warn(
                    f"Channel {name!r} has {len(set(at))} limits of quantification, of which {of[name]:g} stands: "
                    f"{int(others.sum())} values that were measured are {side} it too, and count as censored.",
                    TsodeWarning,
                    stacklevel=4,
                )
    return limits
