"""Season that is known of scored forecasters, as the seasonal naive baseline beside them takes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.base import clone

__all__ = ["with_season"]


def with_season(estimator: Any, others: Iterable[Any]) -> Any:
    """A clone of a forecaster, told the period of the first of the `others`, fitted, that has one as ``period_``.

    Where none has, it is left to find a period by itself, as is a forecaster without the parameter.
    """
    known = [period for other in others if (period := getattr(other, "period_", None)) is not None]
    fresh = clone(estimator)
    return fresh.set_params(period=known[0]) if known and "period" in fresh.get_params(deep=False) else fresh
