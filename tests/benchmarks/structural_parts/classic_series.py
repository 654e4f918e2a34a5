"""The textbook series, the periods that are given to baselines, and the seasonal naive: numpy and pandas only."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from tests.benchmarks.structural_parts.scores import LEVELS, read

__all__ = ["FILE", "NO_SEASON", "ONE_YEAR", "Classic", "classics", "seasonal_naive"]

FILE = "regular_classics"
ONE_YEAR = ("airpassengers", "co2", "ldeaths", "nottem", "ukdriverdeaths", "ukgas", "usaccdeaths")
NO_SEASON = ("nile", "lakehuron", "treering", "presidents", "wwwusage")
# in rows: a year, the cycles that lynxes and sunspots are known for; 1 is no season
PERIODS = {
    "mauna_loa_co2_weekly": 52,
    "airpassengers": 12,
    "co2": 12,
    "lakehuron": 1,
    "ldeaths": 12,
    "lynx": 10,
    "nile": 1,
    "nottem": 12,
    "presidents": 4,
    "sunspot_year": 11,
    "sunspots": 132,
    "treering": 1,
    "ukdriverdeaths": 12,
    "ukgas": 4,
    "usaccdeaths": 12,
    "wwwusage": 1,
}


class Classic(NamedTuple):
    """One series and its period in rows."""

    name: str
    times: np.ndarray
    values: np.ndarray
    period: int


def classics(with_weekly: bool = False) -> list[Classic]:
    """The fifteen series, and weekly carbon dioxide where asked for."""
    table = read(FILE)
    found = []
    for label, rows in table.groupby("series"):
        name = str(label).removeprefix("r_")
        if name != "mauna_loa_co2_weekly" or with_weekly:
            found.append(Classic(name, rows["time"].to_numpy(), rows["value"].to_numpy(), PERIODS[name]))
    return found


def seasonal_naive(values: np.ndarray, period: int, n_ahead: int) -> np.ndarray:
    """Quantiles (n 19) of the value a period ago; the variance of its errors grows with each period ahead."""
    ahead = np.arange(n_ahead)
    location = values[len(values) - period + ahead % period]
    spread = np.sqrt(np.mean((values[period:] - values[:-period]) ** 2) * (ahead // period + 1))
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    return location[:, None] + spread[:, None] * normal
