"""Warnings where a question leaves what was learned: false alarms on held-out series, and hits on planted trouble.

Six of ten series of each bundled panel are learned from. Others, as they are, are asked within the horizon: what is
told of them is a false alarm. Then each is given one trouble: a last value a thousand times as far from the middle as
the farthest that was learned, a drift by two ranges along the whole series, a gap of ten times the horizon or of the
longest gap before the last observation, a time ten horizons ahead. A hit names that trouble.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.structural_parts.report import Report
from tsode.datasets import load_cgm, load_indomethacin, load_physionet2012, load_theophylline, load_ushcn

__all__ = ["run"]

SEEDS = (1, 2, 3)
EPOCHS = 3  # what is told depends on the data alone
Panel = dict[object, pd.DataFrame]


def run(report: Report) -> None:
    alarms, asked = 0, 0
    hits: dict[str, list[bool]] = {kind: [] for kind in TROUBLES}
    for name, load in SETS.items():
        told, total = 0, 0
        for seed in report.some(SEEDS):
            series: Panel = {key: rows.dropna(axis=1, how="all") for key, rows in load().groupby("unique_id")}
            names = list(np.random.default_rng(seed).permutation(np.array(sorted(series, key=str), dtype=object)))
            n = round(0.6 * len(names))
            learned, others = pd.concat([series[key] for key in names[:n]]), [series[key] for key in names[n:]]
            fitted = forecaster(seed, max_epochs=EPOCHS, n_members=1, expert=None).fit(learned)
            horizon = 0.5 * fitted.horizon_
            columns = ["unique_id", "ds", *fitted.channels_]
            plain = pd.concat(others).reindex(columns=columns)
            status = fitted.forecast_status(horizon=[horizon], context=plain)["status"]
            told, total = told + int((status != "ok").sum()), total + len(status)
            channel = plain[fitted.channels_].notna().sum().idxmax()
            seen = learned[channel].dropna()
            longest = max(2.0 * fitted.horizon_, learned.groupby("unique_id")["ds"].diff().max())
            for kind, trouble in TROUBLES.items():
                changed = trouble(plain, channel, float(seen.min()), float(seen.max()), longest)
                lead = 10.0 * fitted.horizon_ if kind == "far" else horizon
                found = fitted.forecast_status(horizon=[lead], context=changed)["status"]
                hits[kind] += [kind in each for each in found]
        report.note(f"{name}: {told} of {total} held-out series were told of")
        alarms, asked = alarms + told, asked + total
    report.at_most("false alarms, per cent of held-out series", 100.0 * alarms / asked, 1.0)
    for kind, found in hits.items():
        report.at_least(f"{kind}: hits, per cent", 100.0 * float(np.mean(found)), 95.0)


def _wild(frame: pd.DataFrame, channel: object, low: float, high: float, longest: object) -> pd.DataFrame:
    return _last(frame, channel, lambda rows: 0.5 * (low + high) + 500.0 * (high - low))


def _drift(frame: pd.DataFrame, channel: object, low: float, high: float, longest: object) -> pd.DataFrame:
    """Each series on its way out of the range, in steps no larger than a change in it."""
    parts = []
    for _, rows in frame.groupby("unique_id"):
        end = rows["ds"].max()
        span = end - rows["ds"].min()
        times = pd.Series([end + span * (k + 1) / 40 for k in range(40)])
        added = pd.DataFrame({"unique_id": rows["unique_id"].iloc[0], "ds": times})
        added[channel] = np.linspace(0.5 * (low + high), high + 2.0 * (high - low), 40)
        parts += [rows, added]
    return pd.concat(parts, ignore_index=True)


def _gap(frame: pd.DataFrame, channel: object, low: float, high: float, longest: object) -> pd.DataFrame:
    last = frame.groupby("unique_id")["ds"].transform("max")
    return frame.assign(ds=frame["ds"].where(frame["ds"] < last, frame["ds"] + 10 * longest))


def _last(frame: pd.DataFrame, channel: object, value: Callable[[pd.DataFrame], float]) -> pd.DataFrame:
    changed = frame.reset_index(drop=True)
    for _, rows in changed[changed[channel].notna()].groupby("unique_id"):
        changed.loc[rows["ds"].idxmax(), channel] = value(rows)
    return changed


def _plain(frame: pd.DataFrame, *_: object) -> pd.DataFrame:
    return frame


TROUBLES: dict[str, Callable[..., pd.DataFrame]] = {
    "implausible": _wild, "drifted": _drift, "gap": _gap, "far": _plain,
}  # fmt: skip
SETS: dict[str, Callable[[], pd.DataFrame]] = {
    "glucose": lambda: load_cgm().iloc[::3],
    "ICU stays": load_physionet2012,
    "theophylline": load_theophylline,
    "indomethacin": load_indomethacin,
    "stations": load_ushcn,
}
