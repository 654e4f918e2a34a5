"""Typing errors in what a forecast is made from: a decimal point lost, or a sign gained.

PhysioNet 2012 set-a: half of the stays, or a share of those, are trained on; forecasts of the second day of 2,000
others are made from their first as it is, and with one and with ten of its values mistyped, in 20 draws of either.
Errors are those of `real_data`: per channel, in units of which training spans one, then the mean over channels. A
forecast is outside where it leaves what training has shown of its channel.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tests.benchmarks.real_data import physionet
from tests.benchmarks.small_panels_parts.forecasters import forecaster
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import missing_file
from tsode.estimators import BaseForecaster

__all__ = ["mistyped", "run"]

FILE = "physionet2012_a"
SEED = 1
N_TRAIN, N_TEST, N_DRAWS = 2_000, 2_000, 20
ROUNDING = 1e-6  # of a channel's range
MOST_DECIMALS = 3  # more are the mean of two values at one time, which nobody typed


def run(report: Report) -> None:
    why = missing_file(FILE)
    if why:
        report.skip(why)
        return
    frame, cut, horizon = physionet()
    generator = np.random.default_rng(SEED)
    stays = generator.permutation(frame["unique_id"].unique())
    train = frame[frame["unique_id"].isin(stays[: report.count(N_TRAIN)])]
    test = frame[frame["unique_id"].isin(stays[N_TRAIN : N_TRAIN + N_TEST])]
    seen, ahead = test[test["ds"] <= cut], test[test["ds"] > cut]
    ahead = ahead[ahead["unique_id"].isin(seen["unique_id"])].reset_index(drop=True)
    seen = seen[seen["unique_id"].isin(ahead["unique_id"])].reset_index(drop=True)
    channels = list(frame.columns[2:])
    started = time.process_time()
    model = forecaster(SEED, horizon=horizon).fit(train)
    report.note(f"{train['unique_id'].nunique()} stays, fit {time.process_time() - started:.0f} CPU-s")
    unit = (train[channels].max() - train[channels].min()).replace(0.0, 1.0).to_numpy()
    clean = _forecast(model, ahead, seen, channels)
    wanted = _error(ahead[channels].to_numpy(), clean[0], unit)
    report.note(f"mean squared error {wanted:.3e} on {ahead['unique_id'].nunique()} stays")
    _support(report, "as they are", clean, train[channels], unit)
    for n in (1, 10):
        ratios, answers = [], []
        for _ in range(N_DRAWS):
            rows, columns, values = mistyped(seen[channels].to_numpy(), seen["unique_id"].to_numpy(), n, generator)
            changed = seen[channels].to_numpy().copy()
            changed[rows, columns] = values
            changed = seen.assign(**dict(zip(channels, changed.T)))
            # a forecast hangs on its own series alone: the others need not be made again
            who = seen.loc[rows, "unique_id"].unique()
            places = np.flatnonzero(ahead["unique_id"].isin(who))
            answer = _forecast(model, ahead.loc[places], changed[changed["unique_id"].isin(who)], channels)
            mean = clean[0].copy()
            mean[places] = answer[0]
            ratios.append(_error(ahead[channels].to_numpy(), mean, unit) / wanted)
            answers.append(answer)
        report.note(f"{n} of 2,000 stays mistyped: error by the clean one {np.mean(ratios):.4f} in the mean")
        report.at_most(f"{n} of 2,000 stays mistyped: most by the clean one in {N_DRAWS} draws", max(ratios), 1.02)
        every = [np.concatenate(one) for one in zip(*answers)]
        _support(report, f"{n} of 2,000 mistyped", every, train[channels], unit)


def mistyped(
    values: np.ndarray, ids: np.ndarray, n: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of a value of each of `n` stays, and what stands there instead.

    One loses its decimal point, as 7.34 that becomes 734, or gains a sign: either with the same chance.
    """
    decimals = np.full(values.shape, -1)
    for k in range(MOST_DECIMALS, -1, -1):
        decimals[np.isclose(values, np.round(values, k), rtol=0.0, atol=1e-9)] = k
    has_point, can_turn = decimals > 0, (decimals >= 0) & (values > 0)
    rows, columns, found = [], [], []
    for who in generator.permutation(np.unique(ids)):
        loses_point = generator.random() < 0.5
        places = np.argwhere((has_point if loses_point else can_turn) & (ids == who)[:, None])
        if not len(places):
            continue
        row, column = places[generator.integers(len(places))]
        rows.append(row)
        columns.append(column)
        found.append(
            np.round(values[row, column] * 10.0 ** decimals[row, column]) if loses_point else -values[row, column]
        )
        if len(rows) == n:
            break
    return np.array(rows), np.array(columns), np.array(found)


def _forecast(
    model: BaseForecaster, ahead: pd.DataFrame, seen: pd.DataFrame, channels: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and the two ends of 90 % intervals (m c)."""
    table = model.predict_interval(ahead, context=seen, level=90)
    mean, low, high = (table[[f"{c}{end}" for c in channels]].to_numpy() for end in ("", "-lo-90", "-hi-90"))
    return mean, low, high


def _error(truth: np.ndarray, mean: np.ndarray, unit: np.ndarray) -> float:
    is_seen = ~np.isnan(truth).all(axis=0)
    return float(np.nanmean((((truth - mean) / unit) ** 2)[:, is_seen], axis=0).mean())


def _support(report: Report, what: str, answer: Sequence[np.ndarray], train: pd.DataFrame, unit: np.ndarray) -> None:
    """How many forecasts leave what training has shown, and how far."""
    low, high = train.min().to_numpy(), train.max().to_numpy()
    for name, values in zip(("means", "lower ends", "upper ends"), answer):
        beyond = np.maximum(low - values, values - high) / unit
        n = int((beyond > ROUNDING).sum())
        report.at_most(f"{what}: {name} outside what training has shown, of {values.size}", n, 0)
        if n:
            farthest = train.columns[np.argmax(beyond.max(axis=0))]
            report.note(f"by up to {beyond.max():.3g} of its range, of {farthest}")
