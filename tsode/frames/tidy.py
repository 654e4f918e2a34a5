"""Tidy tables, of one value a row with the name of its channel beside it: read as wide ones, and told from them."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from tsode.errors import DataError, TsodeWarning
from tsode.frames.foreign import to_pandas
from tsode.frames.labels import guess_label
from tsode.frames.numbers import as_numbers
from tsode.frames.table import ID_COL, TIME_COL, Table

__all__ = ["describe_tidy", "read_tidy", "refuse_tidy", "warn_tidy"]

# letters of the names by which tables call a column of channels, and of their values
_CALLED_CHANNEL = {
    "analyte", "attribute", "biomarker", "channel", "channelid", "channelname", "feature", "item", "itemid", "lab",
    "labname", "measure", "measurement", "metric", "metricname", "observationtype", "param", "parameter", "quantity",
    "sensortype", "signal", "signalname", "test", "testcode", "testname", "var", "variable", "variablename", "vital",
}  # fmt: skip
_CALLED_VALUE = {"result", "resultvalue", "val", "value", "valuenum", "values", "y"}
_MOST_CHANNELS = 2000
_MOST_EXPLAINED = 0.5  # of the variance of one channel, by labels that are none of channels


def read_tidy(
    data: Any,
    *,
    channel_col: Hashable = "channel",
    value_col: Hashable = "value",
    id_col: Hashable = ID_COL,
    time_col: Hashable = TIME_COL,
) -> pd.DataFrame:
    """Turn a tidy table into one with a column a channel, as every forecaster takes it.

    Parameters
    ----------
    data : DataFrame or polars frame
        One row a value: the series, the time, which channel it is of, and the value. Further columns are left out.
    channel_col, value_col, id_col, time_col : label
        The columns. `id_col` may be absent where there is one series.

    Returns
    -------
    DataFrame
        Columns `id_col` and `time_col`, and one for each channel, by first appearance; NaN where a channel has no row
        at a time. Values of one channel at one time of one series stay in rows of their own: the forecaster refuses or
        averages them, by its ``duplicates``.

    Raises
    ------
    DataError
        If a column is missing, a channel has no name, or a value is no number.

    Examples
    --------
    >>> import pandas as pd
    >>> names = ["hr", "bp", "hr"]
    >>> tidy = pd.DataFrame({"unique_id": "a", "ds": [0.0, 0.0, 2.5], "channel": names, "value": [70, 120, 74]})
    >>> read_tidy(tidy)
      unique_id   ds    hr     bp
    0         a  0.0  70.0  120.0
    1         a  2.5  74.0    NaN
    """
    frame = to_pandas(data, "The tidy table")
    wanted = {"id_col": id_col, "time_col": time_col, "channel_col": channel_col, "value_col": value_col}
    if id_col == ID_COL and id_col not in frame.columns:
        del wanted["id_col"]  # one series
    for argument, name in wanted.items():
        if name not in frame.columns:
            columns = list(frame.columns)
            raise DataError(
                f"The tidy table has no column {name!r}.{guess_label(name, columns)} It has {columns}: name another "
                f"with {argument}=."
            )
    keys = [wanted[argument] for argument in ("id_col", "time_col") if argument in wanted]
    codes, channels = pd.factorize(frame[channel_col])
    if (codes < 0).any():
        raise DataError(f"The column {channel_col!r} names no channel at row {int((codes < 0).argmax())}: fill it in.")
    numbers = as_numbers(frame[value_col])
    if numbers is None:
        raise DataError(f"The column {value_col!r} holds {frame[value_col].dtype} values, not numbers: encode them.")
    # which of several values of one channel at one time: each has a row of its own
    again = frame.groupby([*keys, channel_col], sort=False, dropna=False, observed=True).cumcount()
    groups = frame[keys].assign(again=again).groupby([*keys, "again"], sort=False, dropna=False, observed=True)
    row = groups.ngroup().to_numpy()
    first = np.unique(row, return_index=True)[1]
    values = np.full((len(first), len(channels)), np.nan)
    values[row, codes] = numbers
    wide = pd.DataFrame(values, columns=pd.Index(channels, tupleize_cols=False))
    taken = [name for name in keys if name in wide.columns]
    if taken:
        raise DataError(f"A channel is called {taken[0]!r}, as the column of ids or times is: rename it.")
    return pd.concat([frame[keys].iloc[first].reset_index(drop=True), wide], axis=1)


def refuse_tidy(table: Table, channels: list[Hashable], is_chosen: bool) -> None:
    """Refuse to read the one value column of a tidy table as one channel, or codes of channels as numbers.

    Parameters
    ----------
    table : Table
    channels : list of label
        To be read.
    is_chosen : bool
        Whether the user named them.

    Raises
    ------
    DataError
        If a column beside one channel is called as channels are ("channel", "variable", "itemid", ...).
    """
    others = [c for c in table.columns.columns if not (is_chosen and c in channels) and _holds_labels(table, c)]
    named = [c for c in others if _plain(c) in _CALLED_CHANNEL]
    values = [c for c in channels if c not in named]
    if len(values) != 1 or not len(table.times):
        return
    value = values[0]
    codes = [c for c in named if table.columns[c].dtype.kind in "iu"]
    if codes and not is_chosen and _plain(value) not in _CALLED_VALUE:
        named = [c for c in named if c not in codes]  # a channel may well hold whole numbers
    for column in named:
        if _varies_within(table, column):
            raise DataError(describe_tidy(table, value, column))


def warn_tidy(table: Table, channels: list[Hashable]) -> None:
    """Warn where the values of the one channel that was chosen are of another size for each label in a further column.

    Warns
    -----
    TsodeWarning
    """
    if len(channels) != 1 or not len(table.times):
        return
    for column in table.columns.columns:
        is_text = (
            column not in channels and _holds_labels(table, column) and table.columns[column].dtype.kind not in "iu"
        )
        if is_text and _varies_within(table, column) and _share_explained(table, channels[0], column) > _MOST_EXPLAINED:
            warnings.warn(describe_tidy(table, channels[0], column), TsodeWarning, stacklevel=3)


def describe_tidy(table: Table, value: Hashable, channel: Hashable | None = None) -> str:
    """How to read a table that is tidy, or nothing if no column tells the channels of its rows apart.

    Without `channel`, one is looked for that tells all rows of one series and time apart.
    """
    if channel is None:
        apart = [c for c in table.columns.columns if c != value and _holds_labels(table, c) and _tells_apart(table, c)]
        if not apart:
            return ""
        channel = apart[0]
    usual = {"id_col": (table.layout.id_col, ID_COL), "time_col": (table.layout.time_col, TIME_COL)}
    more = "".join(f", {name}={label!r}" for name, (label, default) in usual.items() if label not in (None, default))
    return (
        f"This looks like a tidy table, in which {channel!r} says of which channel each {value!r} is. Give each "
        f"channel a column: `tsode.frames.read_tidy(df, channel_col={channel!r}, value_col={value!r}{more})`; or drop "
        f"{channel!r} if it names no channels."
    )


def _plain(label: Hashable) -> str:
    return "".join(filter(str.isalpha, str(label).casefold()))


def _holds_labels(table: Table, column: Hashable) -> bool:
    return table.columns[column].dtype.kind not in "fcbmM"


def _codes(table: Table, column: Hashable) -> np.ndarray:
    values = table.columns[column]
    return pd.factorize(values.astype(str) if values.dtype == object else values)[0]


def _varies_within(table: Table, column: Hashable) -> bool:
    """Whether some series has several labels, of which there are far fewer than rows."""
    codes = _codes(table, column)
    pairs = np.unique(np.stack([table.codes, codes]), axis=1)[0]
    n_labels = codes.max(initial=0) + 1
    return n_labels <= _MOST_CHANNELS and 2 * n_labels <= len(codes) and len(pairs) > len(np.unique(pairs))


def _tells_apart(table: Table, column: Hashable) -> bool:
    """Whether the rows of one series and time have different labels."""
    rows = pd.DataFrame({"series": table.codes, "time": table.times, "label": _codes(table, column)})
    return not rows.duplicated().any()


def _share_explained(table: Table, value: Hashable, column: Hashable) -> float:
    """Share of the variance of the values that lies between labels."""
    numbers = as_numbers(table.columns[value])
    if numbers is None:
        return 0.0
    seen = np.isfinite(numbers)
    rows = pd.DataFrame({"label": _codes(table, column)[seen], "value": numbers[seen]})
    total = float(rows["value"].var(ddof=0)) if len(rows) else 0.0
    between = rows.groupby("label")["value"].transform("mean").var(ddof=0)
    return float(between) / total if total > 0.0 else 0.0
