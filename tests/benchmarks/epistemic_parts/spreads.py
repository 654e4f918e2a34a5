"""Means and variances of forecasts, with the epistemic part as it is and as the members' disagreement alone."""

from __future__ import annotations

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tsode.errors import TsodeWarning

__all__ = ["Spread", "by_members", "by_rank", "filters_alone", "partly", "spread_of"]


class Spread(NamedTuple):
    """Of each value asked for (k): mean, variance, and its epistemic part."""

    mean: np.ndarray
    total: np.ndarray
    epistemic: np.ndarray

    @property
    def aleatoric(self) -> np.ndarray:
        return self.total - self.epistemic


def spread_of(model: Any, ahead: pd.DataFrame, context: pd.DataFrame, channels: list[str]) -> Spread:
    """Of the values that `ahead` has."""
    is_seen = ahead[channels].notna().to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TsodeWarning)  # of what is off the range
        mean = model.predict(ahead, context=context)[channels].to_numpy()
        table = model.predict_spread(ahead, context=context)
    total, part = (table[[f"{name}-sd{end}" for name in channels]].to_numpy() ** 2 for end in ("", "-epistemic"))
    return Spread(mean[is_seen], total[is_seen], part[is_seen])


def filters_alone(model: Any) -> Any:
    """The forecaster without an expert: what a panel of more channels, or with events, has."""
    return _changed(model, expert=None)


def by_members(model: Any) -> Any:
    """The forecaster with no posterior: its epistemic part is what the members disagree about."""
    expert = copy.deepcopy(model.module_.expert)
    if expert is not None:
        expert.moves = None
    return _changed(model, expert=expert, posterior=None)


def _changed(model: Any, **parts: Any) -> Any:
    other = copy.copy(model)
    other.module_ = copy.deepcopy(model.module_)
    for name, part in parts.items():
        setattr(other.module_, name, part)
    return other


def by_rank(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; 0 where one of them is constant."""
    a, b = rankdata(a), rankdata(b)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def partly(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Rank correlation of `a` and `b` beyond what the ranks of `given` tell of either."""
    ab, ag, bg = by_rank(a, b), by_rank(a, given), by_rank(b, given)
    return (ab - ag * bg) / float(np.sqrt((1.0 - ag**2) * (1.0 - bg**2)))
