"""Leaderboard of an automatic choice: a row a member, the combination first, those without a part last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsode.estimators.auto.choice import Choice
from tsode.estimators.auto.trials import Trial

__all__ = ["COMBINATION", "REFERENCE", "board", "mean_of_channels"]

COMBINATION = "combination"
REFERENCE = "LastValue"


def board(choice: Choice, done: Sequence[Trial], trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Rows of the leaderboard; see `AutoForecaster`.

    Parameters
    ----------
    choice : Choice
    done : sequence of Trial
        Those that have answered, in the order of the scores in the choice.
    trials : sequence of Trial
        All of them.
    """
    scores = [mean_of_channels(of_one, choice.counts) for of_one in choice.scores]
    reference = next((s[0] for s, trial in zip(scores, done) if trial.member.name == REFERENCE), np.nan)
    share = dict(zip((trial.member.name for trial in choice.trials), choice.module.weight.mean(dim=(0, 1)).tolist()))

    def row(
        name: str, of_one: tuple[float, list[float]], holds: float, weight: float, trial: Trial | None
    ) -> dict[str, Any]:
        total, by_lead = of_one
        return {
            "model": name,
            "crps": total,
            "skill": 1.0 - total / reference if reference > 0.0 else np.nan,
            **{f"crps to {edge:.2g} horizon": value for edge, value in zip(choice.edges, by_lead)},
            "coverage_80": holds,
            "weight": weight,
            "fit_seconds": trial.fit_seconds if trial else sum(one.fit_seconds for one in trials),
            "predict_seconds": trial.predict_seconds if trial else sum(one.predict_seconds for one in choice.trials),
            "status": trial.status if trial else "naive" if choice.is_naive else "ok",
        }

    combined = mean_of_channels(choice.combined, choice.counts)
    weights = choice.counts.sum(axis=0)
    held = float((choice.combined_holds * weights).sum() / weights.sum())
    rows = [row(COMBINATION, combined, held, 1.0, None)]
    by_score = sorted(range(len(done)), key=lambda k: scores[k][0])
    rows += [
        row(done[k].member.name, scores[k], float(choice.holds[k]), share.get(done[k].member.name, 0.0), done[k])
        for k in by_score
    ]
    nothing = np.nan, [np.nan] * len(choice.edges)
    return rows + [row(one.member.name, nothing, np.nan, 0.0, one) for one in trials if one.knots is None]


def mean_of_channels(scores: np.ndarray, counts: np.ndarray) -> tuple[float, list[float]]:
    """Mean over channels of scores (c g), by the numbers of values behind them, of all leads and of each range."""
    total = np.nansum(np.where(counts > 0, scores, 0.0) * counts, axis=1)[counts.sum(axis=1) > 0]
    n = counts.sum(axis=1)[counts.sum(axis=1) > 0]
    by_lead = [float(np.mean(scores[counts[:, g] > 0, g])) for g in range(counts.shape[1])]
    return float((total / n).mean()), by_lead
