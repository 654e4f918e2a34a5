"""Cross-fitting of few series: each member of an ensemble leaves out a fold, on which it is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsode.core.series import Series
from tsode.training.windows import FEWEST_SERIES, Split

__all__ = ["MANY_SERIES", "N_FOLDS", "cross_fitted"]

N_FOLDS = 4
MANY_SERIES = 400  # of which a tenth tells as much as is asked of it


def cross_fitted(series: Sequence[Series]) -> Split | None:
    """All series to learn from and to be judged on, each in a fold; None where there are too few or enough of them.

    A share held out of few series is too small to stop, widen and weigh by, and what it holds is missed in training.
    Folds are drawn within groups of `N_FOLDS` neighbours, so that each has its part of whatever order the series come
    in, and a series keeps its fold when others come after it.
    """
    usable = [row for row in series if len(row.times) > 1]
    if not FEWEST_SERIES <= len(usable) < MANY_SERIES:
        return None
    generator = np.random.default_rng(0)
    n_groups = -(-len(usable) // N_FOLDS)
    folds = np.concatenate([generator.permutation(N_FOLDS) for _ in range(n_groups)])[: len(usable)]
    return Split(usable, usable, None, folds=folds)
