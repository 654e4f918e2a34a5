"""Innovations along time within the band of right forecasts, and how they are correlated from one to the next."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsode.errors import DataError
from tsode.plots.axis import choose, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_innovations"]

MOST_LAGS = 20
WIDTH = 1.96  # of a band that holds 95 of 100


def plot_innovations(table: pd.DataFrame, channel: Hashable = None) -> Figure:
    """Draw a table of `tsode.diagnostics.innovations` for one channel: all series along time, and autocorrelations.

    Grey bands hold 95 of 100 if the forecasts are right. Autocorrelations are by number of rows within each series.

    Parameters
    ----------
    table : DataFrame
    channel : label, optional
        May be left out if the table has one channel only.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        If the table is none of innovations, or has no such channel.
    ParameterError
        If it is left open which channel is meant.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    except ImportError as error:
        raise ImportError("plot_innovations draws with matplotlib: `pip install matplotlib`.") from error
    if not {"channel", "innovation"} <= set(table.columns) or "channels" not in table.attrs:
        raise DataError(f"The table has the columns {list(table.columns)}: pass what innovations(forecaster) gave.")
    channel = choose(channel, table["channel"].drop_duplicates().tolist(), "channel", "table")
    said = table.attrs["channels"].loc[channel]
    keys, time_col = table.columns[1], table.columns[2]
    rows = table[(table["channel"] == channel).to_numpy() & table["innovation"].notna().to_numpy()]
    figure, (along, lags) = plt.subplots(
        1, 2, figsize=(10.0, 3.6), width_ratios=[2, 1], layout="constrained"
    )  # fmt: skip
    is_length = pd.api.types.is_timedelta64_dtype(rows[time_col])
    times = rows[time_col].dt.total_seconds() / 3600.0 if is_length else rows[time_col]
    along.axhspan(-WIDTH, WIDTH, color="0.92")
    along.axhline(0.0, color="0.5", linewidth=0.8)
    along.plot(times, rows["innovation"], "o", color="C0", markersize=3)
    along.set(xlabel="time (hours)" if is_length else plain_text(time_col), ylabel="innovation (standard deviations)")
    along.set_title(f"{plain_text(channel)}: {said['verdict']}", fontsize="medium")
    by_series = [own.to_numpy() - said["mean"] for _, own in rows.groupby(keys, sort=False)["innovation"]]
    number, correlation, width = _autocorrelation(by_series)
    lags.fill_between(number, -width, width, color="0.92", step="mid", linewidth=0.0)
    lags.axhline(0.0, color="0.5", linewidth=0.8)
    lags.vlines(number, 0.0, correlation, color="C0", linewidth=1.5)
    lags.plot(number, correlation, "o", color="C0", markersize=3)
    lags.set(xlabel="rows apart", ylabel="autocorrelation")
    lags.set_title(f"white noise: p = {said['whiteness']:.2g}", fontsize="medium")
    if pd.api.types.is_datetime64_any_dtype(rows[time_col]):
        locator = AutoDateLocator()
        along.xaxis.set_major_locator(locator)
        along.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        along.set_xlabel("")
    for axis in (along, lags):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _autocorrelation(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lags at which ten pairs or more are, the correlations there, and the width of their band under white noise."""
    longest = max(map(len, parts), default=0)
    number = np.arange(1, min(MOST_LAGS, longest - 1) + 1)
    count = np.array([sum(max(len(part) - int(k), 0) for part in parts) for k in number], dtype=int)
    square = np.mean(np.concatenate(parts) ** 2) if parts else np.nan
    total = np.array([sum(float(part[k:] @ part[:-k]) for part in parts if len(part) > k) for k in number])
    is_used = count >= 10
    number, count, total = number[is_used], count[is_used], total[is_used]
    return number, total / count / square, WIDTH / np.sqrt(count)
