"""Report: one page about the data, and about forecasts of what was held out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tsode.cli.holdout import HeldOut, tidy
from tsode.estimators import AutoForecaster
from tsode.frames.read import read_panel
from tsode.metrics import coverage
from tsode.plots import Page, plot_calibration, plot_fan, plot_gaps, plot_history, plot_leaderboard, plot_pit
from tsode.plots.axis import plain_text

__all__ = ["write_report"]

QUANTILES = np.arange(1, 40) / 40  # both ends of the 80 and the 95 % interval are among them
N_EXAMPLES = 3
N_CHANNELS = 3
"""Channels that are drawn: those with the most values."""
FEWEST_OF_LEAD = 50
"""Values in a group of leads, where there is more than one group."""
N_COLUMNS = 8
"""Channels in the table of coverage by cutoff: those with the most values."""


def write_report(held: HeldOut, path: str, title: str) -> None:
    """Write the page: the data, skill against the baselines, leaderboard, calibration, examples, training."""
    import matplotlib as mpl

    mpl.use("agg")  # no window is opened, and none is needed
    forecaster = held.forecaster
    page = Page(f"tsode report: {title}")
    page.text(f"{held.summary} Fit has seen nothing of what is scored here.")
    page.heading("Data")
    _describe(page, held)
    page.figure(
        plot_gaps(held.frame, target=forecaster.channels_, **held.columns),
        "Gaps between observations: a regular channel is one step.",
    )
    page.heading("Skill against the baselines")
    page.text(
        "n: values forecast. mae, rmse: mean absolute and root mean squared error of the mean. crps: continuous ranked "
        "probability score. All in the units of the channel; less is better. skill: share of the CRPS of carrying the "
        "last value forward that is saved; less than 0 is worse than that. The last columns should say 80 and 95."
    )
    page.table(held.scores, strong=held.name)
    _verdict(page, held)
    if isinstance(forecaster, AutoForecaster):
        _choice(page, forecaster)
    page.heading("Calibration")
    _calibration(page, held)
    page.heading("Examples")
    _examples(page, held)
    if "train_loss" in forecaster.history_.columns:
        page.heading("Training")
        page.figure(plot_history(forecaster), "Loss by epoch; the best epoch by validation is kept.")
    page.write(path)


def _describe(page: Page, held: HeldOut) -> None:
    channels = held.forecaster.channels_
    panel = read_panel(held.frame, target=channels, **held.columns)
    lengths = [len(times) for times in panel.times]
    times = held.frame[held.forecaster.time_col]
    page.text(
        f"{len(panel)} series with {min(lengths)} to {max(lengths)} rows (median {np.median(lengths):g}), from "
        f"{tidy(times.min())} to {tidy(times.max())}."
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
            | {"median gap": tidy(middle), "longest gap": tidy(longest)}
        )
    page.table(pd.DataFrame(rows))


def _verdict(page: Page, held: HeldOut) -> None:
    """Say plainly where a baseline does as well."""
    table = held.scores.pivot(index="channel", columns="model", values="crps")
    others = [name for name in table.columns if name != held.name]
    better = (table[held.name] < table[others].min(axis=1)).sum()
    text = f"By CRPS, {held.name} is better than every other model in {better} of {len(table)} channels."
    best = table.idxmin(axis=1)
    losses = [f"{winner} for {channel}" for channel, winner in best.items() if winner != held.name]
    page.text(text + (f" Better: {', '.join(losses)}." if losses else ""))


def _choice(page: Page, forecaster: AutoForecaster) -> None:
    """What an automatic choice has tried, and what came of it."""
    page.heading("Leaderboard")
    page.text(forecaster.explain())
    page.figure(
        plot_leaderboard(forecaster),
        "CRPS of the forecasters that were tried, on parts of the data of fit that each had not learned from.",
    )
    page.table(forecaster.leaderboard_, strong="combination")


def _calibration(page: Page, held: HeldOut) -> None:
    """Coverage by cutoff and channel, and the pictures of all cutoffs together."""
    import matplotlib.pyplot as plt

    forecaster = held.forecaster
    id_col, time_col = held.columns.values()
    parts: list[list[pd.DataFrame]] = []
    rows = []
    listed = _most_seen(held.frame[forecaster.channels_], N_COLUMNS)
    for past, future in held.rounds():
        answer = forecaster.predict_quantiles(future, quantiles=QUANTILES, context=past, **held.tables)
        cut = past[time_col].max()
        # a series and a cutoff make a series of their own: its lead times count from there
        parts.append(
            [part.assign(**{id_col: part[id_col].astype(str) + f" @ {cut}"}) for part in (past, future, answer)]
        )
        n = int(future[forecaster.channels_].notna().to_numpy().sum())
        rows.append({"forecast from": tidy(cut), "n": n} | _inside(future, answer, listed))
    page.text(
        "Per cent of the values in their 80 % intervals, by cutoff (the last, where each series has its own), of the "
        f"{'channels' if len(listed) == len(forecaster.channels_) else f'{len(listed)} channels seen most'}. "
        + (
            "What happens at one time may happen to many series, so n values are worth far fewer independent ones; "
            "how far the rows are apart shows what one cutoff can tell."
            if len(rows) > 1
            else "There is only one, and what happens at one time may happen to many series: so this says little about "
            "other times, however many values there are. Give --cutoffs, or a shorter --horizon, for more."
        )
    )
    page.text(
        "Intervals are set on series held out within the time of training. What is new to all series afterwards, such "
        "as a cold winter, is beyond them; --hold-out leaves out series, not times."
    )
    page.table(pd.DataFrame(rows))
    history, truth, quantiles = [pd.concat(of_kind, ignore_index=True) for of_kind in zip(*parts)]
    frames: dict[str, Any] = {"truth": truth, "quantiles": quantiles, "history": history, **held.columns}
    counts = truth[forecaster.channels_].count()
    drawn = _most_seen(truth[forecaster.channels_], N_CHANNELS)
    for plot, caption in (
        (plot_calibration, "Do intervals hold what they should? By time since the last observation."),
        (plot_pit, "Where observations lie in their forecasts: flat is honest. A value that comes again and again (no "
                   "rain) makes a hill at its level."),
    ):  # fmt: skip
        axes = plt.subplots(
            1, len(drawn), figsize=(4.2 * max(len(drawn), 1.3), 4.6), layout="constrained", squeeze=False
        )[1][0]
        for ax, name in zip(axes, drawn):
            plot(channel=name, ax=ax, n_leads=int(np.clip(counts[name] // FEWEST_OF_LEAD, 1, 3)), **frames)
            ax.set_title(plain_text(name))
        page.figure(axes[0], caption)


def _most_seen(values: pd.DataFrame, n: int) -> list[Any]:
    """The `n` channels with the most values, in their order, and none without any."""
    counts = values.count()
    most = set(counts[counts > 0].nlargest(n).index)
    return [name for name in values.columns if name in most]


def _inside(truth: pd.DataFrame, quantiles: pd.DataFrame, channels: list[Any]) -> dict[str, float]:
    """Per cent of the values of each channel that lie in the 80 % intervals."""
    inside = {}
    for name in channels:
        x = truth[name].to_numpy(dtype=float)
        low, high = (quantiles[f"{name}-q-{p}"].to_numpy() for p in (0.1, 0.9))
        if not np.isnan(x).all():
            inside[str(name)] = 100.0 * coverage(x, low, high)
    return inside


def _examples(page: Page, held: HeldOut) -> None:
    """Forecasts from the last cutoff of the series with the most to compare with, from before it to the end."""
    forecaster = held.forecaster
    id_col, time_col = held.columns.values()
    all_past, all_future = list(held.rounds())[-1]
    counts = all_future.groupby(id_col, sort=False)[forecaster.channels_].count().sum(axis=1)
    for key in counts.sort_values(ascending=False, kind="stable").index[:N_EXAMPLES]:
        past, future = (part[part[id_col] == key] for part in (all_past, all_future))
        end, cut = future[time_col].max(), past[time_col].max()
        begin = max(past[time_col].min(), cut - 3 * (end - cut))
        grid = _between(begin, end, 400)
        bands = forecaster.predict_interval(times=grid, context=past, level=(50, 80, 95), **held.tables)
        drawn = [name for name in forecaster.channels_ if past[name].notna().any() and future[name].notna().any()]
        for name in _most_seen(future[drawn], N_CHANNELS):
            ax = plot_fan(past, bands, name, series=key, truth=future[[id_col, time_col, name]], **held.columns,
                          events=held.tables.get("events"))  # fmt: skip
            page.figure(ax, f"{key}: each point of the fan is forecast from what was seen before it.")


def _between(first: Any, last: Any, n: int) -> Any:
    if isinstance(first, pd.Timestamp | pd.Timedelta):
        return pd.Index(first + (last - first) * np.arange(1, n + 1) / n).unique()
    return np.unique(first + (last - first) * np.arange(1, n + 1) / n)
