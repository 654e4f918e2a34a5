"""Branches of fitted forecasters along a parameter or input, with bands of their events over draws from a posterior."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import pandas as pd

from tsode.errors import ParameterError, SolverError
from tsode.stability.family import ParametrisedField
from tsode.stability.fitted import FittedSystem

__all__ = ["fitted_branches"]


def fitted_branches(
    fitted: FittedSystem, name: str, series: Hashable, follow: Callable[[ParametrisedField], pd.DataFrame]
) -> pd.DataFrame:
    """Branches of the median parameters of a forecaster, and where the events of each draw are.

    Parameters
    ----------
    fitted : FittedSystem
    name : str
        Of a parameter or an input.
    series : label or None
    follow : callable
        Field ``f(t, z, p)`` -> table of its branches.

    Returns
    -------
    DataFrame
        Branches; of draws ``attrs["events"]`` is a frame of the events: the parameter there, ``_q05`` and ``_q95`` of
        it, and ``share_of_draws`` that have such an event.
    """
    table = follow(fitted.along(name, series))
    if fitted.n_draws == 1:
        return table
    events = _events(table)
    if not len(events):
        return table
    every = []
    for draw in range(fitted.n_draws):
        try:
            every.append(_events(follow(fitted.along(name, series, draw))))
        except (ParameterError, SolverError):  # nothing to follow in this draw
            continue
    columns = [name, *fitted.flow.names]
    size = table[columns].std().to_numpy() + 1e-300
    places = events[columns].to_numpy(dtype=float) / size
    of_draws: list[list[float]] = [[] for _ in range(len(events))]
    for found in every:
        for kind in found["event"].unique():
            same = np.flatnonzero((events["event"] == kind).to_numpy())
            if not len(same):
                continue
            rows = found[found["event"] == kind]
            apart = np.linalg.norm(rows[columns].to_numpy(dtype=float)[:, None] / size - places[same], axis=2)
            for place, which in zip(same, apart.T):
                nearest = int(which.argmin())
                if apart[nearest].argmin() == list(same).index(place):
                    of_draws[place].append(float(rows[name].iloc[nearest]))
    events = events[["event", *columns]].reset_index(drop=True)
    for label, q in (("q05", 0.05), ("q95", 0.95)):
        events[f"{name}_{label}"] = [np.quantile(values, q) if values else np.nan for values in of_draws]
    events["share_of_draws"] = [len(values) / fitted.n_draws for values in of_draws]
    table.attrs["events"] = events
    return table


def _events(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["event"] != ""]
