"""Textbook series: the last fifth held out, two spans ahead, and rows removed at uneven times.

CRPS is that of 19 quantiles, by that of the seasonal naive with the period given, in the geometric mean; the automatic
fit is told no period. Far ahead the first 35 % are fitted and the rest is asked; CRPS is by the mean seasonal
difference of what was fitted (the two series of six years are left out: too little is left of them). What other
libraries score is in `peers_classics.csv`, written by `make peers`. For uneven times 30 % of the rows of the history
are removed and all times moved by up to a tenth of a step (the phase that a season loses by that comes back by no
method), and the same rows are asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.classic_series import (
    FILE,
    NO_SEASON,
    ONE_YEAR,
    Classic,
    classics,
    seasonal_naive,
)
from tests.benchmarks.structural_parts.fits import fit, quantiles, season_weight
from tests.benchmarks.structural_parts.report import Report
from tests.benchmarks.structural_parts.scores import crps, holds, missing_file

__all__ = ["run"]

PEERS = Path(__file__).resolve().parents[1] / "peers_classics.csv"
FEWEST = 30  # rows for a fit from which two spans are asked


def run(report: Report) -> None:
    why = missing_file(FILE)
    if why:
        report.skip(why)
        return
    every = report.some(classics())
    rows = []
    print(
        f"{'series':<16} {'n':>5} {'CRPS':>8} {'ratio':>8} {'90 %':>5} {'year':>5} {'any':>5} {'CPU-s':>6}  likeliest"
    )
    for one in every:
        rows.append(_held_out(one))
    own, ratio, share = (np.array([row[k] for row in rows]) for k in range(3))
    report.at_most("CRPS by that of the seasonal naive, geometric mean", _geometric(ratio), 0.55)
    _beside_peers([one.name for one in every], own, report)
    report.within("90 % intervals hold, per cent", float(share.mean()), 85.0, 95.0)
    for name, (*_, year, _) in zip((one.name for one in every), rows):
        if name in ONE_YEAR:
            report.at_least(f"{name}: weight of a season of one year", year, 0.5)
    for name, (*_, some) in zip((one.name for one in every), rows):
        if name in NO_SEASON:
            report.at_most(f"{name}: weight of any season", some, 0.5)
    far = [_two_spans(one) for one in every if round(0.35 * len(one.values)) >= FEWEST]
    scaled, far_share = (np.array([row[k] for row in far]) for k in range(2))
    report.at_most("two spans ahead: CRPS by the seasonal difference, geometric mean", _geometric(scaled), 1.8)
    report.note(f"two spans ahead: arithmetic mean {scaled.mean():.2f}; 90 % intervals hold {far_share.mean():.0f} %")
    uneven = np.array([_uneven(one) for one in every])
    report.at_most(
        "30 % removed, times moved: by the full series' figure", _geometric(uneven) / _geometric(ratio), 1.05
    )


def _beside_peers(names: list[str], own: np.ndarray, report: Report) -> None:
    if not PEERS.exists():
        report.skip(f"no {PEERS.name} to compare with: make peers")
        return
    table = pd.read_csv(PEERS).pivot(index="series", columns="model", values="crps").reindex(names)
    ratios = {}
    for model, scores in table.items():
        known = scores.notna().to_numpy()
        ratios[model] = _geometric(own[known] / scores.to_numpy()[known])
        report.note(f"CRPS by that of {model}: {ratios[model]:.3f}, geometric mean over {known.sum()} series")
    best = max(ratios, key=lambda model: ratios[model])
    report.at_most(f"CRPS by that of the best peer, {best}, geometric mean", ratios[best], 0.90)
    each = _geometric(own / table.min(axis=1).to_numpy())
    report.at_most("CRPS by that of the best peer of each series, in hindsight, geometric mean", each, 0.90)


def _geometric(ratios: np.ndarray) -> float:
    return float(np.exp(np.log(ratios).mean()))


def _held_out(one: Classic) -> tuple[float, float, float, float, float]:
    """CRPS, that by the seasonal naive's, what 90 % intervals hold, weights of a season of a year and of any."""
    cut = int(0.8 * len(one.values))
    asked = one.values[cut:]
    forecaster, seconds = fit(one.times[:cut], one.values[:cut])
    answer = quantiles(forecaster, one.times[cut:])
    found, naive = crps(asked, answer), _naive(one, cut)
    year, some = season_weight(forecaster, 0.98, 1.02), season_weight(forecaster)
    (likeliest,) = forecaster.components_.values()
    print(
        f"{one.name:<16} {len(one.values):>5} {found:>8.4g} {found / naive:>8.3f} {holds(asked, answer):>5.0f} "
        f"{year:>5.2f} {some:>5.2f} {seconds:>6.1f}  {' + '.join(likeliest)}",
        flush=True,
    )
    return found, found / naive, holds(asked, answer), year, some


def _naive(one: Classic, cut: int) -> float:
    return crps(one.values[cut:], seasonal_naive(one.values[:cut], one.period, len(one.values) - cut))


def _two_spans(one: Classic) -> tuple[float, float]:
    cut = round(0.35 * len(one.values))
    given, asked = one.values[:cut], one.values[cut:]
    period = one.period if one.period < cut / 2 else 1
    forecaster, _ = fit(one.times[:cut], given)
    answer = quantiles(forecaster, one.times[cut:])
    scaled = crps(asked, answer) / np.abs(given[period:] - given[:-period]).mean()
    print(f"{one.name:<16} two spans ahead {scaled:>8.3f} {holds(asked, answer):>5.0f}", flush=True)
    return scaled, holds(asked, answer)


def _uneven(one: Classic) -> float:
    """CRPS by that of the seasonal naive of the full series."""
    generator = np.random.default_rng(len(one.values))
    cut = int(0.8 * len(one.values))
    step = np.median(np.diff(one.times))
    times = one.times + step * generator.uniform(-0.1, 0.1, len(one.times))
    is_kept = generator.random(cut) >= 0.3
    forecaster, _ = fit(times[:cut][is_kept], one.values[:cut][is_kept])
    found = crps(one.values[cut:], quantiles(forecaster, times[cut:])) / _naive(one, cut)
    print(f"{one.name:<16} rows removed    {found:>8.3f}", flush=True)
    return found
