"""Fixed points of fitted forecasters: of the field of each series, with bands over draws from a posterior."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pandas as pd
import torch
from torch import Tensor

from tsode.stability.fitted import FittedSystem
from tsode.stability.flow import Flow
from tsode.stability.points import eigenvalues, polish

__all__ = ["around", "fitted_points"]

SAME = 1e-6  # of the size of points: closer ones of a draw are one
REACH = 1.0  # of the spread of the states of series, by which points are looked for beyond them


def around(z: Tensor) -> list[tuple[float, float]]:
    """A box around states (b d), as much larger as they are apart, or as large as they are."""
    low, high = z.amin(dim=0), z.amax(dim=0)
    margin = REACH * torch.maximum(high - low, z.abs().amax(dim=0)).clamp(min=1e-6)
    return list(zip((low - margin).tolist(), (high + margin).tolist()))


def fitted_points(fitted: FittedSystem, find: Callable[[Flow, Tensor], pd.DataFrame]) -> pd.DataFrame:
    """Fixed points of each field of a forecaster.

    Parameters
    ----------
    fitted : FittedSystem
    find : callable
        Flow, and states of the series that follow it -> table of its fixed points.

    Returns
    -------
    DataFrame
        As of `fixed_points`, with the id of the series where fields differ; of draws the points of the median
        parameters, followed into each draw: ``_q05`` and ``_q95`` of coordinates and of ``max_real``, and
        ``share_of_draws`` in which the point is there.
    """
    parts = []
    places: list[Hashable] = [None] if fitted.is_shared else list(fitted.ids)
    for series in places:
        place = fitted.place_of(series)
        rows = torch.arange(len(fitted.starts)) if fitted.is_shared else (fitted.series == place).nonzero()[:, 0]
        table = find(fitted.of_one(series), fitted.starts[rows])
        if fitted.n_draws > 1:
            table = _with_bands(table, fitted, (fitted.series == place).nonzero()[:, 0])
        if not fitted.is_shared:
            table.insert(0, str(fitted.id_col), [series] * len(table))
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    table.attrs["unit"] = fitted.flow.unit
    return table


def _with_bands(table: pd.DataFrame, fitted: FittedSystem, rows: Tensor) -> pd.DataFrame:
    """The points of a table, followed into the field of each of the rows."""
    names = list(fitted.flow.names)
    points = torch.tensor(table[names].to_numpy(dtype=float))
    m, k = len(points), len(rows)
    which = rows.repeat(m)
    flow, t = fitted.flow.at(which), fitted.t0[which]
    z, is_there = polish(flow, t, points.repeat_interleave(k, dim=0))
    largest = eigenvalues(flow, float(t[0]), z).real.amax(dim=1).reshape(m, k)
    z, is_there = z.reshape(m, k, -1), is_there.reshape(m, k)
    size = points.abs().amax(dim=0) + 1e-12
    # of points that end in one place the nearest has come there, the others are gone
    apart = ((z[:, None] - z[None]).abs() <= SAME * size).all(dim=3)
    way = ((z - points[:, None]) / size).norm(dim=2)
    is_nearest = (way[:, None] <= way[None]) | ~apart
    is_there = is_there & is_nearest.all(dim=1)
    for i, name in enumerate(names):
        _add(table, name, z[:, :, i], is_there)
    _add(table, "max_real", largest, is_there)
    table["share_of_draws"] = is_there.double().mean(dim=1).numpy()
    return table


def _add(table: pd.DataFrame, name: str, values: Tensor, is_there: Tensor) -> None:
    known = values.where(is_there, torch.nan)
    for label, q in (("q05", 0.05), ("q95", 0.95)):
        table[f"{name}_{label}"] = known.nanquantile(q, dim=1).numpy()
