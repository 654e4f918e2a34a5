"""Cells of a data file of NONMEM's convention: text as it stands, numbers with the place of what is none."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.events import open_rows
from tsode.frames.labels import guess_label

__all__ = ["DROPPED", "RESERVED", "Cells", "read_cells"]

# items of NM-TRAN and PREDPP, then those of other programs that say something about a value or a dose
RESERVED = ("ID", "TIME", "DATE", "DAT1", "DAT2", "DAT3", "DV", "MDV", "EVID", "AMT", "RATE", "CMT", "ADDL", "II", "SS",
            "DVID", "C", "CALL", "CONT", "PCMT", "DUR", "ALAG", "F", "CENS", "LIMIT", "BLQ", "LLOQ")  # fmt: skip
DROPPED = ("DROP", "SKIP")

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eEdD]([+-]?\d+)|([+-]\d+))?")  # 1D3 and 2-1 are Fortran's
_NUMBERED = re.compile(r"(ALAG|F)\d+")


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of a table, and where each row of them stands.

    Parameters
    ----------
    frame : DataFrame of object
        None where a cell is empty.
    places : tuple of str
        "line 7" of a file, which is counted from 1, or "row 7" of a frame, which is counted from 0.
    left_out : dict of str to int
        Lines that are no records, by the reason.
    renamed : dict of label to label
        Names of columns as they were given, by what they are read as.
    dropped : tuple of label
        Columns that are not read.
    """

    frame: pd.DataFrame
    places: tuple[str, ...]
    left_out: Mapping[str, int]
    renamed: Mapping[Hashable, Hashable]
    dropped: tuple[Hashable, ...]

    def __contains__(self, name: Hashable) -> bool:
        return name in self.frame.columns

    def where(self, row: int) -> str:
        """The place of a row and its ID, for a message."""
        return f"{self.places[row]} (ID {self.frame['ID'].iloc[row]!r})"

    def numbers(self, name: Hashable, missing: float = np.nan) -> np.ndarray:
        """The numbers of a column, `missing` where a cell is empty and where there is no such column.

        Raises
        ------
        DataError
            If a cell is no finite number.
        """
        if name not in self:
            return np.full(len(self.frame), missing)
        numbers = np.full(len(self.frame), missing)
        for row, cell in enumerate(self.frame[name].tolist()):
            if cell is None:
                continue
            number = to_number(cell)
            if number is None or not np.isfinite(number):
                raise DataError(
                    f"{name} is {cell!r} in {self.where(row)}, which is no finite number: mend the cell, leave it "
                    "empty, name what means nothing by missing=, or leave the column out by "
                    f"columns={{{name!r}: 'DROP'}}."
                )
            numbers[row] = number
        return numbers


def to_number(cell: Any) -> float | None:
    """The number that a cell stands for, as Fortran reads it; None if it is none."""
    if not isinstance(cell, str):
        return float(cell) if isinstance(cell, int | float | np.number) else None
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return None
    return float(f"{found[1]}e{found[2] or found[3] or 0}")


def read_cells(
    data: Any, columns: Sequence[Hashable] | Mapping[Hashable, Hashable] | None, ignore: str | None,
    missing: Collection[Any],
) -> Cells:  # fmt: skip
    """Read the cells of a file or a frame; the parameters are those of `tsode.read_nonmem`.

    Raises
    ------
    DataError
        If there is no header, no record, or a line of another length.
    """
    if isinstance(data, str | Path):
        frame, places, left_out = _read_file(Path(data), columns, ignore)
    else:
        frame = open_rows(data, "read_nonmem", "a path, or pd.DataFrame({'ID': ..., 'TIME': ..., 'DV': ...})")
        if isinstance(columns, Sequence):
            frame = _named(frame, columns)
        places, left_out = [f"row {row}" for row in range(len(frame))], {}
    renamed = _names(list(frame.columns), columns if isinstance(columns, Mapping) else {})
    dropped = tuple(label for label, name in renamed.items() if name in DROPPED)
    names = {label: name for label, name in renamed.items() if name not in DROPPED}
    frame = frame[list(names)].rename(columns=names)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"Two columns are read as {twice[0]!r}: leave one out by columns={{...: 'DROP'}}.")
    for name in ("ID", "TIME"):
        if name not in frame.columns:
            raise DataError(
                f"There is no column {name!r}.{guess_label(name, list(frame.columns))} The columns are "
                f"{list(frame.columns)}; name them by columns=."
            )
    void = {str(one) for one in missing}
    tidied = {name: [_tidy(cell, void) for cell in frame[name].tolist()] for name in frame.columns}
    cells = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in tidied.items()})
    if "C" in cells.columns:
        is_comment = cells["C"].notna().to_numpy()
        if is_comment.any():
            left_out["has an entry in the column C"] = int(is_comment.sum())
        cells = cells[~is_comment].reset_index(drop=True)
        places = [place for place, drop in zip(places, is_comment) if not drop]
    if not len(cells):
        raise DataError(f"There is no record: all lines were left out ({left_out}). See ignore=.")
    return Cells(cells, tuple(places), left_out, {k: v for k, v in names.items() if k != v}, dropped)


def is_reserved(name: Hashable) -> bool:
    """Whether a column says something about records rather than being a covariate."""
    return name in RESERVED or bool(_NUMBERED.fullmatch(str(name)))


def _tidy(cell: Any, void: set[str]) -> Any:
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell in ("", ".") or cell in void else cell
    if cell is None or pd.isna(cell) or str(cell) in void:
        return None
    if isinstance(cell, float | np.floating) and f"{cell:g}" in void:
        return None
    return cell.item() if isinstance(cell, np.generic) else cell


def _named(frame: pd.DataFrame, columns: Sequence[Hashable]) -> pd.DataFrame:
    if len(columns) != frame.shape[1]:
        raise DataError(f"columns= names {len(columns)} columns, but there are {frame.shape[1]}.")
    kept = [place for place, name in enumerate(columns) if name not in DROPPED]
    return frame.iloc[:, kept].set_axis([columns[place] for place in kept], axis=1)


def _names(labels: Sequence[Hashable], given: Mapping[Hashable, Hashable]) -> dict[Hashable, Hashable]:
    """What each column is read as: the name that is given, or a name of NONMEM's in capitals."""
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise DataError(
            f"columns= names {unknown[0]!r}, which is no column.{guess_label(unknown[0], list(labels))} The columns "
            f"are {list(labels)}."
        )
    names: dict[Hashable, Hashable] = {}
    for label in labels:
        upper = str(label).strip().upper()
        # a small f may be of females
        is_free = upper in RESERVED and len(upper) > 1 and upper not in labels and upper not in given.values()
        names[label] = given.get(label, upper if is_free else label)
    return names


def _read_file(
    path: Path, columns: Sequence[Hashable] | Mapping[Hashable, Hashable] | None, ignore: str | None
) -> tuple[pd.DataFrame, list[str], dict[str, int]]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header: list[Hashable] | None = list(columns) if isinstance(columns, Sequence) else None
    is_listed, left_out = header is not None, {}
    rows, places = [], []
    has_commas = any("," in line for line in lines)
    for number, line in enumerate(lines, start=1):
        if line.strip() == "FIN":
            left_out["comes after FIN"] = len(lines) - number + 1
            break
        reason: str | None
        if not line.strip():
            reason = "is blank"
        elif header is None and _is_header(split := _split(line.strip().lstrip("#@"), has_commas)):
            header, reason = [cell.strip() for cell in split], "is the header"
        else:
            reason = _reason(line, ignore)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        cells = _split(line, has_commas)
        if header is None:
            raise DataError(
                f"Line {number} has the cells {cells[:4]}..., but there was no header with ID and TIME before it: name "
                "the columns by columns=[...], in the order of $INPUT."
            )
        if len(cells) > len(header) and not any(cell.strip() for cell in cells[len(header) :]):
            cells = cells[: len(header)]
        if len(cells) != len(header):
            raise DataError(
                f"Line {number} has {len(cells)} cells, but there are {len(header)} columns: {list(header)}. Empty "
                "cells are dots where blanks part the cells."
            )
        rows.append(cells)
        places.append(f"line {number}")
    if header is None:
        raise DataError(f"{path.name} has no header with ID and TIME: name the columns by columns=[...].")
    frame = pd.DataFrame(rows, columns=range(len(header)), dtype=object)
    if is_listed:
        return _named(frame, header), places, left_out
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"The header names {twice[0]!r} twice: name the columns by columns=[...], with 'DROP' for one.")
    return frame.set_axis(header, axis=1), places, left_out


def _split(line: str, has_commas: bool) -> list[str]:
    if has_commas:
        return next(csv.reader([line.replace("\t", " ")], skipinitialspace=True))
    return line.split("\t") if "\t" in line.strip() else line.split()


def _is_header(cells: Sequence[str]) -> bool:
    return "ID" in {cell.strip().upper() for cell in cells} and all(to_number(cell.strip()) is None for cell in cells)


def _reason(line: str, ignore: str | None) -> str | None:
    """Why a line is no record; None if it is one."""
    if line.startswith("#"):
        return "begins with #"
    if ignore == "@":
        first = line.lstrip()[0]
        return "begins with a letter, @ or #" if first.isalpha() or first in "@#" else None
    return f"begins with {ignore}" if ignore and line.startswith(ignore) else None
