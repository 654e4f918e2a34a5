"""Limit cycles of fitted forecasters, with a band of the period over draws from a posterior."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from tsode.errors import ParameterError, SolverError
from tsode.stability.fitted import FittedSystem
from tsode.stability.flow import Flow

__all__ = ["fitted_cycle"]


def fitted_cycle(
    fitted: FittedSystem, series: Hashable, start: Any, find: Callable[[Flow, Any, float | None], pd.DataFrame]
) -> pd.DataFrame:
    """Cycle of the field of a series, from where it stands or from a start.

    Parameters
    ----------
    fitted : FittedSystem
    series : label or None
    start : state, optional
    find : callable
        Flow, start, and a guess of the period or None -> table of its cycle.

    Returns
    -------
    DataFrame
        As of `limit_cycle`; of draws that of the median parameters, whose ``attrs`` have ``period_q05``, ``period_q95``
        and ``share_of_draws`` that have a cycle near it.
    """
    place = fitted.place_of(series)
    here: Tensor = fitted.starts[fitted.series == place][:1]
    table = find(fitted.of_one(series), here if start is None else start, None)
    if fitted.n_draws == 1:
        return table
    first, period = table[list(fitted.flow.names)].to_numpy(dtype=float)[0], table.attrs["period"]
    periods = []
    for draw in range(fitted.n_draws):
        try:
            periods.append(find(fitted.of_one(series, draw), first, period).attrs["period"])
        except (ParameterError, SolverError):  # this draw has none there
            continue
    low, high = np.quantile(periods, [0.05, 0.95]) if periods else (np.nan, np.nan)
    share = len(periods) / fitted.n_draws
    table.attrs |= {"period_q05": float(low), "period_q95": float(high), "share_of_draws": share}
    return table
