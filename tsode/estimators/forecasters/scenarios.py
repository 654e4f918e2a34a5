"""Forecasts under several event tables, and what sets them apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import torch

from tsode.estimators.forecasters.predictive import Predictive
from tsode.frames.panel import Panel
from tsode.frames.table import ID_COL, TIME_COL
from tsode.frames.times import Query
from tsode.frames.write import write_frame

__all__ = ["compare"]


def compare(
    query: Query,
    panels: Mapping[str, Panel],
    channels: Sequence[Hashable],
    levels: Sequence[float],
    forecast: Callable[[Query, Panel], list[Predictive]],
    draw_paths: Callable[[Query, Panel], list[np.ndarray]],
) -> pd.DataFrame:
    """Forecasts of each scenario, and its differences from the first, as one long table.

    Parameters
    ----------
    query : Query
    panels : dict of name to Panel
        Histories with the events of each scenario.
    channels : list of label
    levels : list of float
        Per cents of the bands.
    forecast : callable
        Distributions of each series of a query, from histories.
    draw_paths : callable
        Joint paths (s m c) of each series, with the same noise at every call.
    """
    base = next(iter(panels.values()))
    answers_of_base = forecast(query, base)
    frames = []
    for name, panel in panels.items():
        # what comes before events differ is not computed again: rounding would set it apart
        is_changed = [_is_after_change(panel, base, key, times) for key, times in zip(query.ids, query.times)]
        differs = [row for row, changed in enumerate(is_changed) if changed.any()]
        answers = list(answers_of_base)
        gaps = [np.zeros((1, len(times), panel.n_channels)) for times in query.times]
        if differs:
            subset = replace(query, ids=[query.ids[k] for k in differs], times=[query.times[k] for k in differs])
            paths = [draw_paths(subset, which) for which in (panel, base)]
            for place, (row, answer) in enumerate(zip(differs, forecast(subset, panel))):
                changed, before = is_changed[row], answers_of_base[row]
                after = torch.from_numpy(changed)[:, None, None]
                answers[row] = replace(answer, params=torch.where(after, answer.params, before.params))
                gaps[row] = np.where(changed[:, None], paths[0][place] - paths[1][place], 0.0)
        columns: dict[Hashable, list[Any]] = {"scenario": [[name] * len(times) for times in query.times]}
        for c, channel in enumerate(channels):
            columns[channel] = [answer.mean[:, c] for answer in answers]
            columns |= _bands(channel, [answer.quantiles(_ends(levels))[:, c] for answer in answers], levels)
            columns[f"{channel}-diff"] = [
                answer.mean[:, c] - other.mean[:, c] for answer, other in zip(answers, answers_of_base)
            ]
            between = [np.quantile(gap[:, :, c], _ends(levels), axis=0).T for gap in gaps]
            columns |= _bands(f"{channel}-diff", between, levels)
        layout = query.layout
        layout = replace(
            layout,
            kind="long",
            id_col=ID_COL if layout.id_col is None and layout.kind == "list" else layout.id_col,
            time_col=TIME_COL if layout.time_col is None else layout.time_col,
            time_in_index=False,
            is_squeezed=False,
            backend="pandas",
        )
        frames.append(write_frame(layout, query.ids, query.times, columns, rows=query.rows))
    return pd.concat(frames, ignore_index=True)


def _is_after_change(left: Panel, right: Panel, key: Hashable, times: np.ndarray) -> np.ndarray:
    """Which of the times come after the first event that two tables do not share: array[m]."""
    rows = [
        [] if inputs is None else list(zip(inputs.times, map(tuple, inputs.values)))
        for inputs in (left.inputs.get(key), right.inputs.get(key))
    ]
    for pair in zip_longest(*rows):
        if pair[0] != pair[1]:
            return times > min(event[0] for event in pair if event is not None)
    return np.zeros(len(times), dtype=bool)


def _ends(levels: Sequence[float]) -> list[float]:
    return [0.5 + sign * share / 200.0 for share in levels for sign in (-1.0, 1.0)]


def _bands(name: Hashable, quantiles: Sequence[np.ndarray], levels: Sequence[float]) -> dict[Hashable, list[Any]]:
    """Columns of both ends of each level, from quantiles (m 2q) of each series."""
    names = [f"{name}-{end}-{share:g}" for share in levels for end in ("lo", "hi")]
    return {end: [of_series[:, k] for of_series in quantiles] for k, end in enumerate(names)}
