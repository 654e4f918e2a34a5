"""Reweighted draws of a posterior: what a known system would forecast had a part of training been left out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsode.estimators.forecasters.predictive import spread_measure
from tsode.estimators.known_ode.forecaster import KnownODEForecaster
from tsode.inference.loo import MAX_K, weights_without
from tsode.influence.left_out import LeftOut

__all__ = ["Reweighted", "reweigh", "why_not_reweighed"]


class Reweighted(NamedTuple):
    """Forecast means (n c), their standard deviations (n c), the means (s n c) without each part, and shapes (s)."""

    mean: np.ndarray
    sd: np.ndarray
    without: np.ndarray
    k: np.ndarray

    def each(self) -> Iterator[tuple[np.ndarray, str]]:
        for table, k in zip(self.without, self.k):
            yield table, "ok" if k <= MAX_K else f"k = {k:.2f}: refit"


def why_not_reweighed(forecaster: Any) -> str:
    """Why the draws of a forecaster cannot be reweighted; empty where they can."""
    if not isinstance(forecaster, KnownODEForecaster):
        return "needs a KnownODEForecaster"
    if forecaster._density.space.own or not hasattr(forecaster, "_kept"):
        return "needs parameters that all series share, without per_series= and random_effects="
    return ""


def reweigh(forecaster: KnownODEForecaster, asked: Sequence[LeftOut], X: Any, told: dict[str, Any]) -> Reweighted:
    """Weight draws by one over the likelihood of each series or value of training, with Pareto smoothing.

    A series that is forecast from its own history stays as it is when it, or a value of it, is left out of training:
    the draws are conditioned on its rows in either case.

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
    parts, owners = _parts(forecaster, asked), np.array([out.k for out in asked])
    mean, without, shapes = np.empty_like(sd), np.empty((len(asked), *sd.shape)), np.full(len(asked), -np.inf)
    seen: Tensor | None = None
    for pieces, laws, _, draws in forecaster._laws(query, panel, "each"):
        means = torch.stack([law.family.mean(law.params) for law in laws], dim=-1)  # (n k q c)
        for place, piece in enumerate(pieces):
            if seen is None or not torch.equal(seen, draws[place]):
                seen = draws[place]
                weights, k = _weights(forecaster, seen, parts, len(asked))
                shapes = np.maximum(shapes, k)
            own = means[place][:, : len(piece.times)]
            mean[piece.at] = own.mean(dim=0).numpy()
            without[:, piece.at] = torch.einsum("sk,kqc->sqc", weights, own).numpy()
            if piece.history.key in ids:
                is_own = owners == ids.index(piece.history.key)
                without[np.ix_(is_own.nonzero()[0], piece.at)] = mean[piece.at]
    return Reweighted(mean, sd, without, shapes)


def _parts(forecaster: KnownODEForecaster, asked: Sequence[LeftOut]) -> Tensor:
    """The part of those asked for that each value of training belongs to (v); their number where it is none."""
    cells, channels = forecaster._cells(), list(forecaster.channels_)
    places: dict[tuple[int, int], list[int]] = defaultdict(list)  # of the values of a series and channel, as time goes
    for place, (k, channel) in enumerate(zip(cells["series"], cells["channel"])):
        places[k, channels.index(channel)].append(place)
    parts = torch.full((len(cells),), len(asked))
    n_before: dict[tuple[int, int], int] = defaultdict(int)
    for part, out in enumerate(asked):
        if out.row is None:
            parts[torch.from_numpy(cells["series"].to_numpy() == out.k)] = part
        else:
            own = out.k, out.channel
            parts[places[own][n_before[own]]] = part
            n_before[own] += 1
    return parts


def _weights(forecaster: KnownODEForecaster, draws: Tensor, parts: Tensor, n: int) -> tuple[Tensor, np.ndarray]:
    """Weights (s k) of draws (k p) without each of `n` parts, and their Pareto shapes (s)."""
    scores = forecaster._pointwise(draws[None])
    by_part = scores.new_zeros(len(draws), n + 1).index_add(1, parts, scores)[:, :n]
    even = torch.full((len(draws),), -math.log(len(draws)), dtype=scores.dtype)
    log_weights, k = weights_without(by_part.mT, even, is_rule=False)
    return log_weights.exp(), k.numpy()
