"""Words for an automatic choice: what won, where it is weak, how far ahead it is worth asking, when to refit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsode.estimators.auto.choice import Choice
from tsode.estimators.auto.leaderboard import mean_of_channels
from tsode.estimators.auto.trials import Trial

__all__ = ["explanation"]

NOTICED = 0.005  # share of an error, below which two are the same
WORTH = 0.97  # of the error of the data's own spread: above, a forecast says next to nothing
NAMES = {"LastValue": "the last value", "Constant": "the mean", "SeasonalNaive": "the season before", "Drift": "drift"}


def explanation(choice: Choice, done: Sequence[Trial], forecaster: Any) -> str:
    """A paragraph about a choice.

    Parameters
    ----------
    choice : Choice
    done : sequence of Trial
        Those that have answered, in the order of the scores in the choice.
    forecaster : AutoForecaster
        Fitted.
    """
    scores = {trial.member.name: of_one for trial, of_one in zip(done, choice.scores)}
    total, by_lead = mean_of_channels(choice.combined, choice.counts)
    of_others = {name: mean_of_channels(of_one, choice.counts) for name, of_one in scores.items()}
    n_values = int(choice.counts.sum())
    sentences = [_who(choice, forecaster)]
    beaten = [
        f"{_beside(total, of_others[name][0])} that of {NAMES[name]}"
        for name in ("LastValue", "SeasonalNaive", "Constant")
        if name in of_others and of_others[name][0] > 0.0 and abs(1.0 - total / of_others[name][0]) >= NOTICED
    ]
    if beaten:
        sentences.append(f"On {n_values} values that were held out its CRPS is {_listed(beaten)}.")
    held = choice.combined_holds
    counts = choice.counts.sum(axis=0)
    sentences.append(f"Its 80 % intervals held {float((held * counts).sum() / counts.sum()):.0%} of them.")
    sentences += _weakness(choice, scores, forecaster)
    if "Constant" in of_others:
        idle = [g for g, value in enumerate(by_lead) if value > WORTH * of_others["Constant"][1][g]]
        edges = [_span(forecaster, edge) for edge in choice.edges]
        if idle and idle[0] == 0:
            sentences.append("At no lead does it say more than the mean and spread of the data.")
        elif idle:
            sentences.append(f"Ask up to about {edges[idle[0] - 1]} ahead: beyond, it says little more than the mean.")
        else:
            sentences.append(f"It is worth asking as far as it was tried, {edges[-1]} ahead.")
    late = [trial.member.name for trial in choice.trials if "part of the data" in trial.status]
    if late:
        sentences.append(
            f"For want of time {_listed(late)} learned from a part of the data: a larger budget= would help."
        )
    sentences.append(
        "Call update() as rows come; fit again when the data have grown by half, or when forecast_status() says that a "
        "series has drifted."
    )
    return " ".join(sentences)


def _beside(error: float, other: float) -> str:
    """As in "12% below"."""
    return f"{abs(1.0 - error / other):.0%} {'below' if error <= other else 'above'}"


def _who(choice: Choice, forecaster: Any) -> str:
    shares = choice.module.weight.mean(dim=(0, 1)).tolist()
    order = np.argsort(shares)[::-1]
    names = [choice.trials[k].member.name for k in order]
    if choice.is_naive:
        return f"Nothing that was tried beats the naive forecasts, so {NAMES.get(names[0], names[0])} is the forecast."
    if len(names) == 1:
        return f"{names[0]} won by itself."
    return f"The forecast averages {_listed([f'{name} ({shares[k]:.0%})' for name, k in zip(names, order)])}."


def _weakness(choice: Choice, scores: dict[str, np.ndarray], forecaster: Any) -> list[str]:
    """Channels in which it is no better than the best naive forecast."""
    naive = [scores[name] for name in NAMES if name in scores]
    if not naive or choice.is_naive:
        return []
    seen = choice.counts.sum(axis=1)
    means = [
        np.nansum(np.where(choice.counts > 0, one, 0.0) * choice.counts, axis=1) / np.maximum(seen, 1) for one in naive
    ]
    own = np.nansum(np.where(choice.counts > 0, choice.combined, 0.0) * choice.counts, axis=1) / np.maximum(seen, 1)
    ratio = np.where(seen > 0, own / np.maximum(np.min(means, axis=0), 1e-300), -np.inf)
    weak = [str(forecaster.channels_[c]) for c in np.argsort(ratio)[::-1] if ratio[c] > 0.99]
    if not weak:
        return []
    return [f"It is weak in {_listed(weak[:5])}, where a naive forecast is as good."]


def _span(forecaster: Any, edge: float) -> str:
    """A lead of so many horizons, in the data's own time."""
    horizon = forecaster.horizon_
    span = horizon * float(edge)
    if isinstance(horizon, float | int):
        return f"{span:.3g}"
    seconds = span / np.timedelta64(1, "s")
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} seconds"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
