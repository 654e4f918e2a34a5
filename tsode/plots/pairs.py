"""Pairs of observations and the quantiles that were forecast for them, by lead time."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsode.errors import DataError
from tsode.frames.meeting import check_new_series
from tsode.frames.read import read_panel
from tsode.plots.axis import duration_unit

__all__ = ["LeadGroup", "pair_by_lead"]


@dataclass(frozen=True)
class LeadGroup:
    """Observations with forecasts of like lead.

    Parameters
    ----------
    label : str
        The leads, with their unit.
    truth : array[k]
    quantiles : array[k q]
    levels : array[q]
        Increasing.
    """

    label: str
    truth: np.ndarray
    quantiles: np.ndarray
    levels: np.ndarray

    @property
    def pit(self) -> np.ndarray:
        """Level at which each observation lies, interpolated between quantiles: array[k].

        Beyond the outermost quantiles it is the middle of the level that is left.
        """
        below = (self.quantiles <= self.truth[:, None]).sum(axis=1)
        place = np.clip(below, 1, len(self.levels) - 1)
        row = np.arange(len(self.truth))
        low, high = self.quantiles[row, place - 1], self.quantiles[row, place]
        share = np.divide(self.truth - low, high - low, out=np.full(len(row), 0.5), where=high > low)
        inside = self.levels[place - 1] + share * (self.levels[place] - self.levels[place - 1])
        inside = np.where(below == 0, 0.5 * self.levels[0], inside)
        return np.where(below == len(self.levels), 0.5 * (1.0 + self.levels[-1]), inside)


def pair_by_lead(
    truth: Any,
    quantiles: Any,
    channel: Hashable = None,
    *,
    history: Any = None,
    n_leads: int = 3,
    id_col: Hashable = "unique_id",
    time_col: Hashable = "ds",
) -> list[LeadGroup]:
    """Bring observations and forecasts of the same series and time together, in groups of equal size by lead.

    Parameters
    ----------
    truth : any container that fit reads
    quantiles : any container that predict_quantiles returns
    channel : label, optional
        None takes all channels of `truth` that have quantiles together.
    history : any container that fit reads, optional
        What was forecast from: a lead is the time since the last row of a series there. None: one group.
    n_leads : int
        Groups.
    id_col, time_col : label

    Raises
    ------
    DataError
        If there are no pairs.
    """
    seen = read_panel(truth, id_col=id_col, time_col=time_col)
    forecast = read_panel(quantiles, id_col=id_col, time_col=time_col)
    check_new_series(seen, forecast, "truth")
    channels = seen.channels if channel is None else [channel]
    columns = {name: by_level for name in channels if (by_level := _columns(name, forecast.channels))}
    if not columns:
        raise DataError(
            f"quantiles has the columns {forecast.channels}, but no '{channels[0]}-q-0.1' and '{channels[0]}-q-0.9' "
            "(or other levels): pass what predict_quantiles gave, for channels of truth."
        )
    levels = sorted(next(iter(columns.values())))
    last = {}
    if history is not None:
        panel = read_panel(history, id_col=id_col, time_col=time_col, require_values=False)
        check_new_series(seen, panel, "truth")
        last = dict(zip(panel.ids, panel.last_times))
    x, q, leads = [], [], []
    for key, times, values in zip(seen.ids, seen.times, seen.values):
        if key not in forecast.ids or (history is not None and last.get(key) is None):
            continue
        row = forecast.ids.index(key)
        at = np.minimum(np.searchsorted(forecast.times[row], times), len(forecast.times[row]) - 1)
        is_forecast = forecast.times[row][at] == times
        for name, by_level in columns.items():
            keep = is_forecast & ~np.isnan(values[:, seen.channels.index(name)])
            x.append(values[keep, seen.channels.index(name)])
            q.append(forecast.values[row][at[keep]][:, [by_level[level] for level in levels]])
            leads.append(times[keep] - last[key] if history is not None else np.zeros(int(keep.sum())))
    if not sum(map(len, x)):
        raise DataError("No observation in truth has a forecast at its series and time: ask for the rows of truth.")
    all_x, all_q, lead = np.concatenate(x), np.concatenate(q), np.concatenate(leads)
    if history is None:
        return [LeadGroup("all leads", all_x, all_q, np.array(levels))]
    order = np.argsort(lead, kind="stable")
    seconds, unit = duration_unit(lead[order[len(order) // 2]], seen)
    groups = []
    for part in np.array_split(order, min(n_leads, len(order))):
        ends = lead[part[[0, -1]]]
        first, final = ends if seconds is None else ends / np.timedelta64(1, "ns") / (1e9 * seconds)
        groups.append(
            LeadGroup(f"{first:.3g} to {final:.3g} {unit}".rstrip(), all_x[part], all_q[part], np.array(levels))
        )
    return groups


def _columns(channel: Hashable, names: list[Hashable]) -> dict[float, int]:
    """Level -> number of the column, where there are at least two of them."""
    pattern = re.compile(re.escape(f"{channel}-q-") + r"(0?\.\d+|\d+e-\d+)")
    matches = [(pattern.fullmatch(str(name)), number) for number, name in enumerate(names)]
    by_level = {float(match[1]): number for match, number in matches if match}
    return by_level if len(by_level) > 1 else {}
