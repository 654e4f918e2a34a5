"""Boosted quantiles: scikit-learn's gradient boosting with quantile loss, taken over into arrays after its fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from tsode.models.direct.model import DirectModel
from tsode.models.direct.trees import QuantileTrees
from tsode.training.direct_windows import DirectRows

__all__ = ["export_trees", "fit_trees"]

NAMES = {
    "left": "left",
    "right": "right",
    "feature": "feature_idx",
    "threshold": "num_threshold",
    "missing_left": "missing_go_to_left",
}
LEARNING_RATE, N_LEAVES, LEAST_IN_LEAF = 0.1, 15, 40


def fit_trees(
    model: DirectModel, rows: DirectRows, errors: Tensor, max_trees: int, max_rows: int, generator: torch.Generator
) -> list[dict[str, float]]:
    """Fit the trees of a direct model in place, one sum of them for each level.

    They learn how the quantiles of standardised errors differ from those of the channel. The number of trees of a level
    is that with the least quantile loss where either half of the data is forecast by trees of the other, which may be
    none; all data then fit as many. A shift gives each quantile its share of those errors.

    Parameters
    ----------
    model : DirectModel
        With a location, a spread and quantiles that are fitted.
    rows : DirectRows
    errors : Tensor[r c]
        Standardised errors; NaN = not seen.
    max_trees, max_rows : int
        Most trees of a level, and most errors of all channels to learn from.
    generator : torch.Generator

    Returns
    -------
    list of dict
        A row for each number of trees: the loss on the other half, mean over the levels.
    """
    assert model.trees is not None
    row, channel = (~errors.isnan()).nonzero(as_tuple=True)
    if len(row) > max_rows:
        drawn = torch.randperm(len(row), generator=generator)[:max_rows].sort().values
        row, channel = row[drawn], channel[drawn]
    splits = [rows.signals.at(row[channel == k]).splits(k) for k in range(model.n_channels)]
    order = channel.argsort(stable=True)
    row, channel, x = row[order], channel[order], torch.cat(splits).numpy()
    half = (rows.fold[row] % 2).numpy()
    if half.all() or not half.any():
        return []
    kept, losses, shifts = [], [], []
    for k, level in enumerate(model.likelihood.levels):  # type: ignore[attr-defined]
        y = (errors[row, channel] - model.shape[channel, k].double()).numpy()
        left = np.empty((max_trees + 1, len(y)))  # of errors that a number of trees does not explain
        for side in (0, 1):
            is_out = half == side
            tried = _boosting(level, max_trees).fit(x[~is_out], y[~is_out])
            left[0, is_out] = y[is_out]
            for number, found in enumerate(tried.staged_predict(x[is_out]), start=1):
                left[number, is_out] = y[is_out] - found
        loss = np.maximum(level * left, (level - 1.0) * left).mean(axis=1)
        losses.append(loss)
        best = int(loss.argmin())
        kept.append(_boosting(level, best).fit(x, y) if best else None)
        # so that the share of errors below a level is right where trees have not learned them
        shifts.append(float(np.quantile(left[best], level)) if best else 0.0)
    export_trees(model.trees, kept)
    model.trees.start += torch.tensor(shifts).to(model.trees.start)
    history = np.mean(losses, axis=0)
    return [{"epoch": number, "valid_loss": float(loss)} for number, loss in enumerate(history)]


def _boosting(level: float, n_trees: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        loss="quantile", quantile=level, max_iter=n_trees, learning_rate=LEARNING_RATE, max_leaf_nodes=N_LEAVES,
        min_samples_leaf=LEAST_IN_LEAF, early_stopping=False, random_state=0,
    )  # fmt: skip


def export_trees(trees: QuantileTrees, fitted: Sequence[HistGradientBoostingRegressor | None]) -> None:
    """Take fitted regressors over into arrays, one an output; None gives 0.

    Outputs with fewer trees than others are filled up with trees that give 0.
    """
    every = [[] if one is None else [made[0].nodes for made in one._predictors] for one in fitted]
    start = torch.from_numpy(
        np.array([0.0 if one is None else np.ravel(one._baseline_prediction)[0] for one in fitted], dtype=np.float64)
    )
    most = max(map(len, every), default=0)
    n_nodes = max((len(nodes) for own in every for nodes in own), default=1)
    shape = (len(fitted) * most, n_nodes)
    # a node that nothing else is said of is a leaf that gives 0
    here = np.broadcast_to(np.arange(n_nodes), shape)
    tables: dict[str, np.ndarray] = {
        "left": here.copy(),
        "right": here.copy(),
        "feature": np.zeros(shape, dtype=np.int64),
    }
    tables |= {"threshold": np.zeros(shape), "value": np.zeros(shape), "missing_left": np.zeros(shape, dtype=bool)}
    depth = 0
    for output, own in enumerate(every):
        for number, nodes in enumerate(own):
            place = (output * most + number, slice(len(nodes)))
            inner = nodes["is_leaf"] == 0
            for name, theirs in NAMES.items():
                tables[name][place] = np.where(inner, nodes[theirs], tables[name][place])
            tables["value"][place] = np.where(inner, 0.0, nodes["value"])
            depth = max(depth, int(nodes["depth"].max()))
    arrays = {name: torch.from_numpy(table) for name, table in tables.items()}
    trees.take(arrays | {"start": start, "depth": torch.tensor(depth)})
