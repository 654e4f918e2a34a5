"""One page about the data, and about forecasts of what was held out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsode.cli.holdout import HeldOut
from tsode.frames.read import read_panel
from tsode.plots import Page, plot_calibration, plot_fan, plot_gaps, plot_history, plot_pit

__all__ = ["write_report"]

N_EXAMPLES = 3
N_CHANNELS = 3
"""Channels drawn of each example: the first."""


def write_report(held: HeldOut, path: str, title: str) -> None:
    """Write the page: the data, skill against the baselines, calibration, examples, training."""
    import matplotlib as mpl

    mpl.use("agg")  # no window is opened, and none is needed
    columns: dict[str, Any] = {"id_col": held.id_col, "time_col": held.time_col}
    made: Any = held.forecasters[held.name]
    page = Page(f"tsode report: {title}")
    page.text(
        f"{held.name}, asked for the last {_tidy(held.horizon)} of {held.future[held.id_col].nunique()} series; fit "
        "has seen nothing of what is scored here."
    )
    page.heading("Data")
    _describe(page, held)
    page.figure(
        plot_gaps(held.frame, target=made.channels_, **columns),
        "Gaps between observations: a regular channel is one step.",
    )
    page.heading("Skill against the baselines")
    page.text(
        "mae: mean absolute error of the median. rmse: root mean squared error of the mean. crps: continuous ranked "
        "probability score. All in the units of the channel; less is better. skill: share of the CRPS of carrying the "
        "last value forward that is saved; less than 0 is worse than that. The last columns should say 80 and 95."
    )
    page.table(held.scores, strong=held.name)
    _verdict(page, held)
    page.heading("Calibration")
    asked: dict[str, Any] = {"truth": held.future, "quantiles": held.quantiles, "history": held.past, **columns}
    page.figure(plot_calibration(**asked), "Do intervals hold what they should? By time since the last observation.")
    page.figure(plot_pit(**asked), "Where observations lie in their forecasts: flat is honest.")
    page.heading("Examples")
    _examples(page, held, columns)
    if "train_loss" in made.history_.columns:
        page.heading("Training")
        page.figure(plot_history(made), "Loss by epoch; the best epoch by validation is kept.")
    page.write(path)


def _describe(page: Page, held: HeldOut) -> None:
    channels = held.forecasters[held.name].channels_
    panel = read_panel(held.frame, id_col=held.id_col, time_col=held.time_col, target=channels)
    lengths = [len(times) for times in panel.times]
    times = held.frame[held.time_col]
    page.text(
        f"{len(panel)} series with {min(lengths)} to {max(lengths)} rows (median {np.median(lengths):g}), from "
        f"{_tidy(times.min())} to {_tidy(times.max())}."
    )
    rows = []
    for c, name in enumerate(channels):
        x = np.concatenate([values[:, c] for values in panel.values])
        seen = [t[~np.isnan(v[:, c])] for t, v in zip(panel.times, panel.values)]
        gaps = np.sort(np.concatenate([np.diff(t) for t in seen]))
        middle = gaps[len(gaps) // 2] if len(gaps) else None
        longest = gaps[-1] if len(gaps) else None
        low, median, high = np.nanquantile(x, [0.05, 0.5, 0.95])
        rows.append(
            {"channel": str(name), "observed": int((~np.isnan(x)).sum()), "missing, %": 100.0 * np.isnan(x).mean()}
            | {"5 %": low, "median": median, "95 %": high}
            | {"median gap": _tidy(middle), "longest gap": _tidy(longest)}
        )
    page.table(pd.DataFrame(rows))


def _tidy(time: Any) -> str:
    """A time or a duration, without the clock of a whole day."""
    if time is None:
        return ""
    if isinstance(time, np.timedelta64):
        time = pd.Timedelta(time)
    return f"{time:.4g}" if isinstance(time, float) else str(time).removesuffix(" 00:00:00")


def _verdict(page: Page, held: HeldOut) -> None:
    """Say plainly where a baseline does as well."""
    table = held.scores.pivot(index="channel", columns="model", values="crps")
    others = [name for name in table.columns if name != held.name]
    better = (table[held.name] < table[others].min(axis=1)).sum()
    text = f"By CRPS, {held.name} is better than every other model in {better} of {len(table)} channels."
    best = table.idxmin(axis=1)
    losses = [f"{winner} for {channel}" for channel, winner in best.items() if winner != held.name]
    page.text(text + (f" Better: {', '.join(losses)}." if losses else ""))


def _examples(page: Page, held: HeldOut, columns: dict[str, Any]) -> None:
    """Forecasts of the series with the most to compare with, from before the cut to the end."""
    made: Any = held.forecasters[held.name]
    counts = held.future.groupby(held.id_col, sort=False)[made.channels_].count().sum(axis=1)
    given = {"events": held.events} if held.events is not None and made.reads_events else {}
    for key in counts.sort_values(ascending=False, kind="stable").index[:N_EXAMPLES]:
        past, future = (part[part[held.id_col] == key] for part in (held.past, held.future))
        end, cut = future[held.time_col].max(), past[held.time_col].max()
        begin = max(past[held.time_col].min(), cut - 3 * (end - cut))
        grid = _between(begin, end, 400)
        bands = made.predict_interval(times=grid, context=past, level=(50, 80, 95), **given)
        drawn = [name for name in made.channels_ if past[name].notna().any() or future[name].notna().any()]
        for name in drawn[:N_CHANNELS]:
            if past[name].notna().any():
                ax = plot_fan(past, bands, name, series=key, truth=future[[*columns.values(), name]], **columns,
                              events=held.events)  # fmt: skip
                page.figure(ax, f"{key}: each point of the fan is forecast from what was seen before it.")


def _between(first: Any, last: Any, n: int) -> Any:
    if isinstance(first, pd.Timestamp | pd.Timedelta):
        return pd.Index(first + (last - first) * np.arange(1, n + 1) / n).unique()
    return np.unique(first + (last - first) * np.arange(1, n + 1) / n)
