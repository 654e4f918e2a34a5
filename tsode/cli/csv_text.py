"""CSV text as a frame: its separator found, names kept as they are written, columns by the header alone."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tsode.errors import DataError

__all__ = ["STDIN", "read_csv", "refuse_commas"]

STDIN = "-"
_SEPARATORS = ",;\t|"
_UNNAMED = re.compile(r"Unnamed: \d+")  # what pandas calls a column without a name, such as an index that was saved
_CODE = re.compile(r"0\d+")
_COMMA = r"[+-]?[\d .']*,\d+(?:[eE][+-]?\d+)?"


def read_csv(
    path: str,
    *,
    named: Collection[str] = (),
    as_text: Collection[str] = (),
    plain: Collection[str] | None = None,
    decimal: str = ".",
) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV file, gzipped or not, or standard input ("-").

    Parameters
    ----------
    path : str
    named : collection of str
        Columns that may be in it: a separator by which the header has them is the right one. They are never dropped.
    as_text : collection of str
        Columns whose cells are names ("01", "NA" and "1e5" are three of them); an empty cell is missing.
    plain : collection of str, optional
        Columns that are numbers even if written like 007; of all others these are names. None = all are numbers.
    decimal : str

    Returns
    -------
    frame : DataFrame
        The columns that have a name, each once.
    dropped : list of str
        Which columns were left out, and why.

    Raises
    ------
    DataError
        If it is no CSV text.
    """
    text = _decode(_content(path), path)
    try:
        separator, names = _open(text, named)
        _check_widths(text, separator, names, path)
        codes = set() if plain is None else _columns_of_codes(text, separator)
        places = [k for k, name in enumerate(names) if name in as_text or (k in codes and name not in (plain or ()))]
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=0,
            names=range(len(names)),
            index_col=False,
            converters=dict.fromkeys(places, _as_written),
            decimal=decimal,
            skipinitialspace=True,
            low_memory=False,
        )
    except DataError:
        raise
    except OverflowError:  # of a whole number of hundreds of digits
        raise DataError(
            f"{path!r} holds a number that is too large for float64: correct it, or leave it empty."
        ) from None
    except (ValueError, csv.Error) as error:  # of the parsers
        raise DataError(f"{path!r} cannot be read as csv: {str(error).splitlines()[0]}") from error
    dropped: list[str] = []
    kept: dict[int, str] = {}
    for place, name in enumerate(names):
        if name in kept.values():
            if name in named:
                raise DataError(f"{path!r} has the column {name!r} more than once: rename or drop one of them.")
            dropped.append(f"the second column {name!r}, which stays unread: rename it to have both")
        elif name not in named and _UNNAMED.fullmatch(name):
            if frame[place].notna().any():
                dropped.append(f"{name!r}, a column without a name (row numbers?): name it to have it read")
        else:
            kept[place] = name
    return frame[list(kept)].set_axis(list(kept.values()), axis=1), dropped


def refuse_commas(frame: pd.DataFrame, columns: Collection[Any], path: str, decimal: str) -> None:
    """Raise a DataError if one of the `columns` holds text throughout that is a number but for its commas."""
    for name in columns:
        column = frame[name]
        if not pd.api.types.is_string_dtype(column) or decimal == ",":
            continue
        cells = column.dropna().astype(str).str.strip()
        has_comma = cells.str.contains(",")
        if has_comma.any() and cells.str.fullmatch(r"[+-]?\d+(?:\.\d+)?|" + _COMMA).all():
            cell = cells[has_comma].iloc[0]
            raise DataError(
                f"Column {name!r} of {path!r} has numbers with a comma, such as {cell!r}: if it is a decimal comma, "
                "give --decimal ,; if it separates thousands, write the numbers without it."
            )


def _content(path: str) -> bytes:
    if path == STDIN:
        if sys.stdin is None:
            raise DataError("There is no standard input to read: give a file.")
        content = sys.stdin.buffer.read()
    else:
        content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise DataError(f"{path!r} cannot be unpacked: {error}.") from error
    return content


def _decode(content: bytes, path: str) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path!r} is no text in UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from None
    if "\0" in text:
        raise DataError(f"{path!r} is no text, as it holds bytes of zero: give a CSV file.")
    if not text.strip():
        raise DataError(f"{path!r} is empty: give a line with the names of the columns, and rows.")
    return text


def _open(text: str, named: Collection[str]) -> tuple[str, list[str]]:
    """The separator by which most of the `named` are in the header, or it has most columns; and the header by it."""
    headers = {}
    for separator in _SEPARATORS:
        cells = [cell.strip() for cell in next(_rows(text, separator))]
        headers[separator] = [cell or f"Unnamed: {k}" for k, cell in enumerate(cells)]
    best = max(_SEPARATORS, key=lambda separator: (len({*named} & {*headers[separator]}), len(headers[separator])))
    return best, headers[best]


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Rows that are not blank."""
    return filter(None, csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True))


def _check_widths(text: str, separator: str, names: list[str], path: str) -> None:
    """Refuse a row that is wider than the header, which pandas would cut off or take for an index and values."""
    for number, row in enumerate(_rows(text, separator)):
        if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
            raise DataError(
                f"Row {number} of {path!r} has {len(row)} cells, but the header names {len(names)} columns: give every "
                "column a name, and put text that holds the separator into quotes."
            )


def _columns_of_codes(text: str, separator: str) -> set[int]:
    """Places of the columns with a cell that no number is written like: whole, with a zero in front."""
    return {k for row in _rows(text, separator) for k, cell in enumerate(row) if _CODE.fullmatch(cell.strip())}


def _as_written(cell: str) -> str | None:
    return cell or None
