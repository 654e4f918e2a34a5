"""Forecast of crossings: probabilities, first times, what comes first, and time spent beyond, as frames."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd

__all__ = ["CrossingForecast"]


@dataclass(frozen=True, eq=False)
class CrossingForecast:
    """What `predict_crossing` says. Every frame has the ids of the data, where it has any, and the name of a level.

    Parameters
    ----------
    channel : label
    of : {"signal", "observation"}
        Whether crossings are those of the signal, at any time, or of observations with their noise, at the times of
        the grid only; "observation" also where a forecaster does not tell the two apart.
    probability : DataFrame
        By the times asked for: ``probability`` of having crossed before, its Monte Carlo ``error``, and ``reached``,
        the probability of having crossed or of standing beyond the level from the start.
    first_times : DataFrame
        Quantiles of the first time: ``quantile``, the time, and ``is_censored`` where the crossing comes after the
        last time that was asked about with so much probability that the quantile is not known: then the time is NaT or
        NaN.
    first : DataFrame
        Of several levels: ``incidence``, the probability that a level is crossed before each time and is the first
        of them to be, and its ``error``.
    duration : DataFrame
        Time spent beyond the level (above it for "up" and "either", below it for "down") from the start to each time:
        its ``mean``, the ``error`` of this, and quantiles ``q-0.1``, ...; durations where times are a clock's.
    starts : DataFrame
        A row a series and level: its ``value`` and ``direction``; the time of the start; ``beyond``, the share of paths
        that stand beyond the level there and have to come back before they can cross it; ``n_paths``, how many
        different paths the numbers come from.
    """

    channel: Hashable
    of: str
    probability: pd.DataFrame
    first_times: pd.DataFrame
    first: pd.DataFrame
    duration: pd.DataFrame
    starts: pd.DataFrame

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.starts["level"].unique()))
        n_series = len(self.starts) // max(self.starts["level"].nunique(), 1)
        return f"CrossingForecast(channel={self.channel!r}, levels: {names}; {n_series} series; of={self.of!r})"
