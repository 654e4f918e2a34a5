"""Writing of results in the kind of container that came in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.frames.index import restore_times
from tsode.frames.panel import Layout, Panel
from tsode.frames.table import UNNAMED

__all__ = ["write_frame", "write_long", "write_table"]


def write_frame(
    layout: Layout,
    ids: Sequence[Hashable],
    times: Sequence[np.ndarray],
    columns: Mapping[Hashable, Sequence[Any]],
    *,
    rows: np.ndarray | None = None,
    index: pd.Index | None = None,
) -> Any:
    """Write columns of results, one array a series, in the kind of container that `layout` describes.

    Times get back their time zone and dtype (integers stay integers where all are whole).

    Parameters
    ----------
    layout : Layout
    ids : sequence of label
        One a series.
    times : sequence of array[n]
        Native times, one array a series.
    columns : dict of label to sequence of array[n]
        One array a series.
    rows : array, int, optional
        Row of the result for each row of the series set end to end; default: that order. In a list each series keeps
        its own stretch.
    index : pd.Index, optional
        Index of a result whose times are in a column; default: 0, 1, ...

    Returns
    -------
    pd.Series, pd.DataFrame, list of these, polars frame or pyarrow table
        One column of a layout that had Series is a Series.

    Raises
    ------
    DataError
        If a column has the name of the column of ids or times.
    """
    order = np.arange(sum(map(len, times))) if rows is None else np.argsort(rows)
    frame = pd.DataFrame(
        {j: np.concatenate([np.asarray(part) for part in parts])[order] for j, parts in enumerate(columns.values())}
    )
    return _dress(frame, layout, ids, times, list(columns), order, index)


def write_table(
    layout: Layout,
    ids: Sequence[Hashable],
    times: Sequence[np.ndarray],
    labels: Sequence[Hashable],
    table: np.ndarray,
    *,
    first: Mapping[str, np.ndarray] | None = None,
    rows: np.ndarray | None = None,
    index: pd.Index | None = None,
) -> Any:
    """`write_frame` of a table of numbers without a second copy of it: its memory is that of the result.

    Parameters
    ----------
    labels : sequence of label
        One a column of the result.
    table : array[k n], float64
        The columns, the series set end to end; it is put in order in place.
    first : dict of label to array[n], optional
        Columns before those of the table.
    layout, ids, times, rows, index
        See `write_frame`.
    """
    order = np.arange(table.shape[1]) if rows is None else np.argsort(rows)
    for column in table:
        column[:] = column[order]
    frame = pd.DataFrame(table.T, copy=False)
    for place, column in enumerate((first or {}).values()):
        frame.insert(place, f"first-{place}", column[order])
    return _dress(frame, layout, ids, times, [*(first or {}), *labels], order, index)


def write_long(panel: Panel, id_col: Hashable, time_col: Hashable) -> pd.DataFrame:
    """All observations of a panel as a long frame, whatever the container they came in."""
    id_dtype = panel.layout.id_dtype or pd.Index(list(panel.ids)).dtype  # of a list: names or numbers
    layout = Layout("long", id_col, time_col, False, id_dtype, panel.layout.time_dtype)
    columns = {name: [values[:, c] for values in panel.values] for c, name in enumerate(panel.channels)}
    return write_frame(layout, panel.ids, panel.times, columns)


def _dress(
    frame: pd.DataFrame,
    layout: Layout,
    ids: Sequence[Hashable],
    times: Sequence[np.ndarray],
    names: list[Hashable],
    order: np.ndarray,
    index: pd.Index | None,
) -> Any:
    """The container of `layout` from a frame of the columns alone, in order."""
    named = [] if layout.kind in ("multiindex", "list") or layout.time_in_index else [layout.time_col]
    named += [layout.id_col] if layout.kind == "long" else []
    for label in named:
        if label in names:
            raise DataError(f"A channel is named {label!r}, as the column of ids or times is: rename the channel.")
    lengths = [len(t) for t in times]
    frame.columns = _label_columns(names, layout.column_names)
    stamps = restore_times(np.concatenate(times)[order], layout.time_dtype).rename(layout.time_col)
    if layout.kind == "list":
        frame.index = stamps
        ends = np.cumsum(lengths)
        own = ids if layout.ids_are_names else [None] * len(ids)
        return [_squeeze(frame.iloc[e - n : e], layout, name) for e, n, name in zip(ends, lengths, own)]
    codes = np.repeat(np.arange(len(ids)), lengths)[order]
    if layout.kind == "multiindex":
        levels = [_label_ids(ids, layout)[codes], stamps]
        frame.index = pd.MultiIndex.from_arrays(levels, names=[layout.id_col, layout.time_col])
        return _squeeze(frame, layout)
    if layout.time_in_index:
        frame.index = stamps
    else:
        frame.insert(0, layout.time_col, stamps)
        frame.index = pd.RangeIndex(len(frame)) if index is None else index
    if layout.id_col is not None:
        frame.insert(0, layout.id_col, _label_ids(ids, layout)[codes])
    if layout.backend == "polars":
        converted = nw.from_native(frame).to_polars()
        converted.columns = list(frame.columns)  # a name that is empty does not come through
        return converted
    if layout.backend == "pyarrow":
        return nw.from_native(frame).to_arrow()
    return _squeeze(frame, layout)


def _squeeze(frame: pd.DataFrame, layout: Layout, name: Hashable = None) -> Any:
    if not layout.is_squeezed or frame.shape[1] != 1:
        return frame
    series = frame.iloc[:, 0]
    if name is not None or (layout.is_unnamed and series.name == UNNAMED):
        series.name = name
    return series


def _label_columns(labels: list[Hashable], names: tuple[Hashable, ...]) -> pd.Index:
    tuples = [label for label in labels if isinstance(label, tuple) and len(label) == len(names)]
    if len(names) > 1 and len(tuples) == len(labels):
        return pd.MultiIndex.from_tuples(tuples, names=names)
    # `tupleize_cols=False`: labels that are tuples stay labels.
    return pd.Index(labels, tupleize_cols=False, name=names[0] if len(names) == 1 else None)


def _label_ids(ids: Sequence[Hashable], layout: Layout) -> pd.Index:
    labels = pd.Index(list(ids), tupleize_cols=False)
    dtype = layout.id_dtype
    # Ids of another panel need not fit the dtype, or be among its categories: then they stay as they are.
    if isinstance(dtype, pd.CategoricalDtype):
        return labels.astype(dtype) if labels.isin(dtype.categories).all() else labels
    try:
        cast = labels.astype(dtype)
    except (TypeError, ValueError):
        return labels
    return cast if list(cast) == list(labels) else labels
