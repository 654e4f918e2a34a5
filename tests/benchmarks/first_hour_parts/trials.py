"""Tasks of the first hour, as data: what is fitted, what is asked, and the scores of an answer. No tsode here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.structural_parts.scores import LEVELS

__all__ = ["Question", "Scored", "Task", "Trial", "channels_of", "scores_of", "summary"]

KEYS = ["unique_id", "ds"]


def channels_of(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns if name not in KEYS]


@dataclass(frozen=True)
class Question:
    """What is asked at once of a fitted forecaster.

    Parameters
    ----------
    ahead : DataFrame
        Ids, times and, in the channels, the truth: NaN where nothing is asked. It is for the scores alone.
    context : DataFrame, optional
        Histories to forecast from; without, those that were fitted.
    events, static : DataFrame, optional
        Of the series asked about.
    """

    ahead: pd.DataFrame
    context: pd.DataFrame | None = None
    events: pd.DataFrame | None = None
    static: pd.DataFrame | None = None

    @property
    def rows(self) -> pd.DataFrame:
        """Ids and times alone."""
        return self.ahead[KEYS].reset_index(drop=True)

    @property
    def truth(self) -> np.ndarray:
        """array[m c]."""
        return self.ahead[channels_of(self.ahead)].to_numpy(dtype=float)


@dataclass(frozen=True)
class Trial:
    """One fit and its questions.

    Parameters
    ----------
    horizon : duration or float
        Longest lead that is asked for, in the data's own time.
    step : duration or float
        Of a regular grid, for peers that need one: the typical gap.
    period : float
        Season in such steps, for peers that need to be told; 1 is none.
    unit : array[c], optional
        What CRPS is divided by; the standard deviation of each channel in `train` where there are several, else 1.
    """

    name: str
    train: pd.DataFrame
    questions: list[Question]
    horizon: Any
    events: pd.DataFrame | None = None
    static: pd.DataFrame | None = None
    step: Any = None
    period: float = 1
    unit: np.ndarray | None = None

    @property
    def channels(self) -> list[str]:
        return channels_of(self.train)

    @property
    def units(self) -> np.ndarray:
        if self.unit is not None:
            return self.unit
        values = self.train[self.channels].to_numpy(dtype=float)
        return np.nanstd(values, axis=0) if values.shape[1] > 1 else np.ones(1)


@dataclass(frozen=True)
class Task:
    """Trials by name, and how their scores become one."""

    name: str
    trials: Callable[[], list[Trial]]
    missing: Callable[[], str | None]
    is_geometric: bool = False


@dataclass(frozen=True)
class Scored:
    """Scores of one trial: scaled CRPS of each value (m c; NaN = not asked), and what intervals hold."""

    crps: np.ndarray
    in_80: np.ndarray
    in_90: np.ndarray


def scores_of(trial: Trial, answers: list[np.ndarray]) -> Scored:
    """Of quantiles (m c 19) for each of its questions."""
    truth = np.concatenate([question.truth for question in trial.questions])
    quantiles = np.sort(np.concatenate(answers), axis=-1)
    if quantiles.shape != (*truth.shape, len(LEVELS)):
        raise ValueError(f"the truth is {truth.shape}, its quantiles {quantiles.shape}")
    is_asked = ~np.isnan(truth)
    if not np.isfinite(quantiles[is_asked]).all():
        raise ValueError("quantiles that are asked for are not finite")
    error = truth[..., None] - quantiles
    crps = 2.0 * np.maximum(LEVELS * error, (LEVELS - 1.0) * error).mean(axis=-1) / trial.units

    def inside(tail: int) -> np.ndarray:
        held = (truth >= quantiles[..., tail]) & (truth <= quantiles[..., -1 - tail])
        return np.where(is_asked, held, np.nan)

    return Scored(crps, inside(1), inside(0))


def summary(task: Task, scored: list[Scored]) -> dict[str, Any]:
    """CRPS of a task, by channel and then over channels (or the geometric mean of its trials), and coverage."""
    if task.is_geometric:
        crps = float(np.exp(np.mean([np.log(np.nanmean(one.crps)) for one in scored])))
        # every trial counts the same, however long
        shares = [100.0 * np.mean([np.nanmean(getattr(one, name)) for one in scored]) for name in ("in_80", "in_90")]
    else:
        crps = float(np.nanmean(np.concatenate([one.crps for one in scored]), axis=0).mean())
        shares = [100.0 * np.nanmean(np.concatenate([getattr(s, name) for s in scored])) for name in ("in_80", "in_90")]
    return {"crps": crps, "hold_80": float(shares[0]), "hold_90": float(shares[1])}
