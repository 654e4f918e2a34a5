"""What a regression is told of a history, its series and the time asked about: one row for each of the pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from tests.benchmarks.first_hour_parts.trials import KEYS, Question, Trial

__all__ = ["Examples", "Told", "asked_of", "drawn_from"]

DAY, YEAR = 1.0, 365.2425


class Examples(NamedTuple):
    """Features (m f), the base (m c: last values), lead by the horizon (m), the values (m c) and the group (m)."""

    features: np.ndarray
    base: np.ndarray
    lead: np.ndarray
    values: np.ndarray
    group: np.ndarray


class Told:
    """How tables of a trial become features; what is filled in is learned from what is fitted.

    Parameters
    ----------
    n_lags, n_averaged : int
        Last values of each channel, and how many of them are averaged.
    is_smooth : bool
        Add products of values and leads, which a linear model needs and trees do not.
    """

    def __init__(self, trial: Trial, n_lags: int, n_averaged: int, is_smooth: bool, scale: np.ndarray) -> None:
        self.trial, self.n_lags, self.n_averaged, self.is_smooth, self.scale = (
            trial,
            n_lags,
            n_averaged,
            is_smooth,
            scale,
        )
        self.is_dated = not pd.api.types.is_numeric_dtype(trial.train["ds"])
        times = _numbers(trial.train["ds"])
        self.horizon = pd.Timedelta(trial.horizon) / pd.Timedelta(days=1) if self.is_dated else float(trial.horizon)
        values = self.transformed(trial.train[trial.channels].to_numpy(float))
        self.means, self.deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        gaps = trial.train.assign(ds=times).groupby("unique_id")["ds"].diff()
        self.has_days = bool(self.is_dated and gaps.median() < DAY / 2)
        self.has_years = bool(self.is_dated and np.ptp(times) > YEAR)
        self.categories: dict[str, list[object]] = {}
        if trial.static is not None:
            for name in trial.static.columns.drop("unique_id"):
                if not pd.api.types.is_numeric_dtype(trial.static[name]):
                    self.categories[name] = sorted(trial.static[name].dropna().unique())

    def transformed(self, values: np.ndarray) -> np.ndarray:
        """Logarithms, of the channels that are learned so."""
        return np.where(self.scale, np.log(np.where(self.scale, values, 1.0)), values)

    def back(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.scale, np.exp(np.where(self.scale, values, 0.0)), values)

    def examples(
        self, name: str, history: pd.DataFrame, cuts: np.ndarray, targets: np.ndarray, tables: Trial | Question
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, base and lead of pairs of a cut and a time (m), in one series."""
        times, values = _numbers(history["ds"]), self.transformed(history[self.trial.channels].to_numpy(float))
        lead = (targets - cuts) / self.horizon
        shapes = [lead, np.sqrt(lead), np.log1p(10.0 * lead)]
        n_rows = np.searchsorted(times, cuts, side="right")
        columns: list[np.ndarray] = [*shapes, np.minimum(n_rows, self.n_lags).astype(float)]
        base = np.empty((len(cuts), values.shape[1]))
        for k, column in enumerate(values.T):
            is_seen = ~np.isnan(column)
            at, seen = times[is_seen], column[is_seen]
            n = np.searchsorted(at, cuts, side="right")
            where = n[:, None] - 1 - np.arange(self.n_lags)
            oldest = np.where(n > 0, 0, -1)[:, None]
            padded = np.append(seen, self.means[k])  # at -1: what is not seen is the mean
            lags = padded[np.where(where >= 0, where, oldest)]
            ages = np.append(at, np.nan)[np.where(where[:, :3] >= 0, where[:, :3], -1)]
            ages = np.log1p(np.nan_to_num((cuts[:, None] - ages) / self.horizon, nan=10.0))
            total, first = np.append(0.0, np.cumsum(seen)), np.maximum(n - self.n_averaged, 0)
            mean = (total[n] - total[first] + self.means[k]) / (n - first + 1.0)  # shrunk to that of all by one value
            base[:, k] = lags[:, 0]
            lags = (lags - self.means[k]) / self.deviations[k]
            mean = (mean - self.means[k]) / self.deviations[k]
            columns += [*lags.T, *ages.T, mean]
            if self.is_smooth:
                columns += [state * shape for state in (lags[:, 0], mean) for shape in shapes]
        columns += self._clock(targets)
        columns += self._constants(name, tables, len(cuts))
        columns += self._doses(name, tables, cuts, targets)
        return np.stack(columns, axis=1), base, lead

    def _clock(self, targets: np.ndarray) -> list[np.ndarray]:
        """The time itself where it is a number, as it then starts with the series; else its place in day and year."""
        if not self.is_dated:
            return [targets / self.horizon, np.log1p(np.maximum(targets, 0.0) / self.horizon * 10.0)]
        periods = [DAY] * self.has_days + [YEAR] * self.has_years
        phases = [2.0 * np.pi * k * targets / period for period in periods for k in (1, 2)]
        return [f(phase) for phase in phases for f in (np.sin, np.cos)]

    def _constants(self, name: str, tables: Trial | Question, n: int) -> list[np.ndarray]:
        if tables.static is None or self.trial.static is None:
            return []
        (row,) = tables.static[tables.static["unique_id"] == name].to_dict("records")
        found: list[float] = []
        for column in self.trial.static.columns.drop("unique_id"):
            if column in self.categories:
                found += [float(row[column] == value) for value in self.categories[column]]
            else:
                known = self.trial.static[column]
                found.append(float((np.nan_to_num(row[column], nan=known.mean()) - known.mean()) / known.std()))
        return [np.full(n, value) for value in found]

    def _doses(self, name: str, tables: Trial | Question, cuts: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
        """Per kg of weight where it is known: given by the cut, from then on, and the time since the last one."""
        if tables.events is None or tables.static is None:
            return []
        doses = tables.events[tables.events["unique_id"] == name].sort_values("ds")
        weight = float(tables.static.loc[tables.static["unique_id"] == name, "weight_kg"].iloc[0])
        total = np.append(0.0, np.cumsum(doses["amount"].to_numpy(float) / weight))
        at = doses["ds"].to_numpy(float)
        by_cut, by_target = np.searchsorted(at, cuts, side="right"), np.searchsorted(at, targets, side="left")
        since = targets - np.append(at, 0.0)[np.maximum(by_target - 1, 0)]
        return [total[by_cut], total[by_target] - total[by_cut], np.log1p(since), total[1] * np.ones(len(cuts))]


def _numbers(times: pd.Series) -> np.ndarray:
    """Times as numbers: dates in days since 1970."""
    if pd.api.types.is_numeric_dtype(times):
        return times.to_numpy(float)
    zone = getattr(times.dt, "tz", None)
    return ((times - pd.Timestamp("1970-01-01", tz=zone)) / pd.Timedelta(days=1)).to_numpy(float)


def drawn_from(told: Told, n_most: int, leads: np.ndarray | None, seed: int = 0) -> Examples:
    """Pairs of a cut and a later time of one series of the fitted table, as many as there are or as are wanted.

    Parameters
    ----------
    leads : array, optional
        By the horizon: only such are drawn. Otherwise any up to the horizon.
    """
    generator = np.random.default_rng(seed)
    trial, parts = told.trial, []
    n_series = trial.train["unique_id"].nunique()
    for group, (name, rows) in enumerate(trial.train.groupby("unique_id")):
        times = _numbers(rows["ds"])
        cuts, targets = _pairs(times, told.horizon, leads, -(-n_most // n_series), generator)
        if not len(cuts):
            continue
        found = told.examples(str(name), rows, times[cuts], times[targets], trial)
        values = told.transformed(rows[trial.channels].to_numpy(float)[targets])
        # in a single series, stretches of it are what is left out in turn
        stretch = (10 * cuts) // len(times) if n_series < 4 else np.full(len(cuts), group)
        parts.append((*found, values, stretch))
    return Examples(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _pairs(
    times: np.ndarray, horizon: float, leads: np.ndarray | None, n_most: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of cuts and of the times after them."""
    last = np.searchsorted(times, times + horizon * (1.0 + 1e-9), side="right")
    n_after = last - np.arange(len(times)) - 1
    cuts = np.repeat(np.arange(len(times)), n_after)
    targets = cuts + 1 + np.arange(len(cuts)) - np.repeat(np.cumsum(n_after) - n_after, n_after)
    if leads is not None:
        lead = (times[targets] - times[cuts]) / horizon
        is_one = np.abs(lead[:, None] - leads).min(axis=1) < 1e-6
        cuts, targets = cuts[is_one], targets[is_one]
    chosen = np.sort(generator.permutation(len(cuts))[:n_most])
    return cuts[chosen], targets[chosen]


def asked_of(told: Told, question: Question) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Features, base and lead of what is asked of each series, and the places of the answers."""
    history = told.trial.train if question.context is None else question.context
    of_series = dict(iter(history[[*KEYS, *told.trial.channels]].groupby("unique_id")))
    tables: Trial | Question = question if question.context is not None else told.trial
    for name, places in question.ahead.reset_index(drop=True).groupby("unique_id").indices.items():
        rows = of_series[name]
        targets = _numbers(question.ahead["ds"])[places]
        cuts = np.full(len(places), _numbers(rows["ds"])[-1])
        yield (*told.examples(str(name), rows, cuts, targets, tables), places)
