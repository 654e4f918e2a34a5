"""Reweighted draws of a posterior: what a known system would forecast had each training series been left out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.estimators.forecasters.predictive import spread_measure
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.inference.loo import MAX_K, weights_without

__all__ = ["Reweighted", "reweigh", "why_not_reweighed"]


class Reweighted(NamedTuple):
    """Forecast means (n c), their standard deviations (n c), the means (s n c) without each series, and shapes (s)."""

    mean: np.ndarray
    sd: np.ndarray
    without: np.ndarray
    k: np.ndarray

    def each(self, ids: list[Hashable]) -> Iterator[tuple[Hashable, np.ndarray, str]]:
        for key, table, k in zip(ids, self.without, self.k):
            yield key, table, "ok" if k <= MAX_K else f"k = {k:.2f}: refit"


def why_not_reweighed(forecaster: Any) -> str:
    """Why the draws of a forecaster cannot be reweighted; empty where they can."""
    if not isinstance(forecaster, KnownODEForecaster):
        return "needs a KnownODEForecaster"
    if forecaster._density.space.own or not hasattr(forecaster, "_kept"):
        return "needs parameters that all series share, without per_series= and random_effects="
    return ""


def reweigh(forecaster: KnownODEForecaster, X: Any, told: dict[str, Any]) -> Reweighted:
    """Weight draws by one over the likelihood of each training series, with Pareto smoothing.

    A series that is forecast from its own history stays as it is when it is left out of training: the draws are
    conditioned on its rows in either case.

    References
    ----------
    Vehtari, Gelman and Gabry, "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
    Statistics and Computing 27, 2017.
    """
    times, horizon, context, events, static, known = (
        told.get(name) for name in ("times", "horizon", "context", "events", "static", "known")
    )
    query, panel = forecaster._read_query(X, times, horizon, context, events, static, known)
    channels, ids = forecaster.channels_, list(forecaster._kept.data.ids)
    spread = spread_measure(channels)
    table = forecaster._measure(query, panel, spread)
    sd = np.stack([table[spread.labels.index(f"{channel}-sd")] for channel in channels], axis=1)
    mean, without, shapes = np.empty_like(sd), np.empty((len(ids), *sd.shape)), np.full(len(ids), -np.inf)
    seen: Tensor | None = None
    for pieces, laws, _, draws in forecaster._laws(query, panel, "each"):
        means = torch.stack([law.family.mean(law.params) for law in laws], dim=-1)  # (n k q c)
        for place, piece in enumerate(pieces):
            if seen is None or not torch.equal(seen, draws[place]):
                seen = draws[place]
                weights, k = _weights(forecaster, seen, len(ids))
                shapes = np.maximum(shapes, k)
            own = means[place][:, : len(piece.times)]
            mean[piece.at] = own.mean(dim=0).numpy()
            without[:, piece.at] = torch.einsum("sk,kqc->sqc", weights, own).numpy()
            if piece.history.key in ids:
                without[ids.index(piece.history.key), piece.at] = mean[piece.at]
    return Reweighted(mean, sd, without, shapes)


def _weights(forecaster: KnownODEForecaster, draws: Tensor, n_series: int) -> tuple[Tensor, np.ndarray]:
    """Weights (s k) of draws (k p) without each series, and their Pareto shapes (s)."""
    scores = forecaster._pointwise(draws[None])
    series = torch.tensor(forecaster._cells()["series"].tolist())
    by_series = scores.new_zeros(len(draws), n_series).index_add(1, series, scores)
    even = torch.full((len(draws),), -math.log(len(draws)), dtype=scores.dtype)
    log_weights, k = weights_without(by_series.mT, even, is_rule=False)
    return log_weights.exp(), k.numpy()
