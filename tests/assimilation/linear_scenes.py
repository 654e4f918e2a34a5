"""Linear motions with missing values, values at one time and an event, along which filters go beside Kalman's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.assimilation.ensemble_motions import Kalman, LinearMotion, normal_seen, normal_start
from tsode.assimilation.filters.base import Filter
from tsode.assimilation.motion import Draws

__all__ = ["Scene", "along", "scene"]

Scene = tuple[np.ndarray, ...]


def scene(d: int, k: int, n: int, n_rows: int = 3, noise: float = 1.0, seed: int = 0) -> Scene:
    """A stable linear motion, its start, times of rows, and values of two channels, some of them missing."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(d, d))
    matrix = (raw - raw.T) / 2 - np.diag(0.2 + rng.random(d))
    offset, diffusion = rng.normal(size=d), noise * rng.normal(size=(d, k))
    mean, sd = rng.normal(size=(n_rows, d)), rng.random((n_rows, d))
    gaps = rng.exponential(0.5, size=(n_rows, n))
    gaps[:, 1] = 0.0
    values = 2.0 * rng.normal(size=(n_rows, n, 2))
    values[rng.random(values.shape) < 0.3] = math.nan
    weights = rng.normal(size=(2, d))
    return matrix, offset, diffusion, mean, sd, gaps, values, weights


def along(
    filter_: Filter[Any],
    parts: Scene,
    variances: tuple[float, ...] = (0.3, 0.5),
    is_linear: bool = True,
    draws: Draws | None = None,
    until: int | None = None,
) -> tuple[Any, Tensor, list[Kalman]]:
    """Belief and log evidence (r,) of the ensembles, and of Kalman, after every stop and an event at the fourth."""
    matrix, offset, diffusion, mean, sd, gaps, values, weights = parts
    n_rows, d = mean.shape
    motion = LinearMotion(*(torch.as_tensor(part) for part in (matrix, offset, diffusion)), is_linear)
    draws = draws or Draws(torch.arange(n_rows) + 7)
    t, total = torch.zeros(n_rows, dtype=torch.float64), torch.zeros(n_rows, dtype=torch.float64)
    belief = filter_.start(normal_start(torch.as_tensor(mean), torch.as_tensor(sd)), motion, t, draws)
    exact = [Kalman(mean[row], np.diag(sd[row] ** 2)) for row in range(n_rows)]
    rng = np.random.default_rng(5)
    factor, shift = rng.random((n_rows, d)) * (rng.random((n_rows, d)) < 0.7), rng.normal(size=(n_rows, d))
    for i in range(until or gaps.shape[1]):
        belief = filter_.flow(belief, motion, t, torch.as_tensor(gaps[:, i]), draws)
        t = t + torch.as_tensor(gaps[:, i])
        if i == 3:
            belief = filter_.change(belief, torch.as_tensor(factor), torch.as_tensor(shift))
        for channel, variance in enumerate(variances):
            value = torch.as_tensor(values[:, i, channel])
            seen = normal_seen(torch.as_tensor(weights[channel]), value, torch.full_like(value, variance))
            belief, more = filter_.observe(belief, seen, t, draws)
            total = total + more
        for row, kalman in enumerate(exact):
            kalman.flow(matrix, offset, diffusion, gaps[row, i])
            if i == 3:
                kalman.change(factor[row], shift[row])
            for channel, variance in enumerate(variances):
                kalman.observe(weights[channel], values[row, i, channel], variance)
    return belief, total, exact
